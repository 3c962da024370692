"""How Cinder says a volume, a snapshot, an attachment and a type, each at the caller's microversion."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from moln.kernel.clock import iso_micro
from moln.kernel.context import RequestContext
from moln.kernel.db import Reader
from moln.kernel.http import Params
from moln.volume.api.bodies import Page
from moln.volume.api.faults import SERVICE
from moln.volume.model.attachments import Attachment, AttachStatus
from moln.volume.model.snapshots import Snapshot
from moln.volume.model.types import USER_VISIBLE, VolumeType
from moln.volume.model.volumes import BACKEND, Volume
from moln.volume.store import attachments, types

View = dict[str, Any]


def links(ctx: RequestContext, kind: str, id: str) -> list[dict[str, str]]:
    """Without a project: the catalogue's address has none either."""
    base = f"{ctx.settings.public_url}{SERVICE.prefix}"
    return [{"rel": "self", "href": f"{base}/v3/{kind}/{id}"}, {"rel": "bookmark", "href": f"{base}/{kind}/{id}"}]


def next_links(ctx: RequestContext, query: Params, page: Page, path: str, found: list[Any], name: str) -> View:
    """`<name>_links`, when the page is as long as was asked for."""
    if not found or len(found) < page.limit:
        return {}
    rest = [(k, v) for k, vs in query.items() if k not in ("marker", "offset") for v in vs]
    base = f"{ctx.settings.public_url}{SERVICE.prefix}/v3/{path}"
    return {name: [{"rel": "next", "href": f"{base}?{urlencode([*rest, ('marker', found[-1].id)])}"}]}


def volume_summary(ctx: RequestContext, volume: Volume) -> View:
    return {"id": volume.id, "name": volume.name, "links": links(ctx, "volumes", volume.id)}


async def volume_details(ctx: RequestContext, db: Reader, found: list[Volume], *, extended: bool = True) -> list[View]:
    """Full views of several, their types and attachments fetched at once. extended: with Cinder's extensions, which answers to
    POST and PUT lack.
    """
    names = await types.names(db, {v.volume_type_id for v in found})
    attached = await attachments.of_volumes(db, [v.id for v in found])
    views = [volume_detail(ctx, v, names.get(v.volume_type_id), attached.get(v.id, [])) for v in found]
    if extended:
        for volume, view in zip(found, views, strict=True):
            view |= volume_extensions(ctx, volume)
    return views


def volume_detail(ctx: RequestContext, volume: Volume, type_name: str | None, attached: list[Attachment]) -> View:
    view: View = {
        "id": volume.id,
        "status": volume.status.value,
        "size": volume.size_gib,
        "availability_zone": volume.availability_zone,
        "created_at": iso_micro(volume.created_at),
        "updated_at": iso_micro(volume.updated_at),
        "name": volume.name,
        "description": volume.description,
        "volume_type": type_name,
        "snapshot_id": volume.snapshot_id,
        "source_volid": volume.source_volid,
        "metadata": shown_metadata(volume, attached),
        "links": links(ctx, "volumes", volume.id),
        "user_id": volume.user_id,
        "bootable": str(volume.bootable).lower(),
        "encrypted": False,
        "replication_status": None,
        "consistencygroup_id": None,
        "multiattach": volume.multiattach,
        "attachments": [volume_attachment(ctx, a) for a in attached if a.status is AttachStatus.ATTACHED],
    }
    if ctx.is_admin:
        view["migration_status"] = None
    if ctx.at_least(3, 13):
        view["group_id"] = volume.group_id
    if ctx.is_admin and ctx.at_least(3, 21):
        view["provider_id"] = None
    if ctx.at_least(3, 48):
        view |= {"shared_targets": False, "service_uuid": None}
    if ctx.is_admin and ctx.at_least(3, 61):
        view["cluster_name"] = None
    if ctx.at_least(3, 63):
        view["volume_type_id"] = volume.volume_type_id
    if ctx.at_least(3, 65):
        view["consumes_quota"] = True
    return view


def volume_extensions(ctx: RequestContext, volume: Volume) -> View:
    view: View = {}
    if ctx.allows("volume", "volume_extension:volume_host_attribute", volume):
        view["os-vol-host-attr:host"] = f"{volume.host}@{BACKEND}#{BACKEND}" if volume.host else None
    if ctx.allows("volume", "volume_extension:volume_tenant_attribute", volume):
        view["os-vol-tenant-attr:tenant_id"] = volume.project_id
    if ctx.allows("volume", "volume_extension:volume_mig_status_attribute", volume):
        view |= {"os-vol-mig-status-attr:migstat": None, "os-vol-mig-status-attr:name_id": None}
    if volume.image_metadata and ctx.allows("volume", "volume_extension:volume_image_metadata:show", volume):
        view["volume_image_metadata"] = volume.image_metadata
    return view


def shown_metadata(volume: Volume, attached: list[Attachment]) -> dict[str, str]:
    """The user's, and what of the administrators' is shown to all."""
    return volume.metadata | ({"readonly": str(volume.readonly)} if volume.readonly is not None else {})


def volume_attachment(ctx: RequestContext, attachment: Attachment) -> View:
    seen_by = ctx.is_admin or "service" in ctx.roles
    return {
        "id": attachment.volume_id,
        "attachment_id": attachment.id,
        "volume_id": attachment.volume_id,
        "server_id": attachment.server_id,
        "host_name": attachment.host if seen_by else None,
        "device": attachment.device,
        "attached_at": iso_micro(attachment.attached_at) if attachment.attached_at else None,
    }


def snapshot_view(ctx: RequestContext, snapshot: Snapshot, *, detail: bool = True, extended: bool = True) -> View:
    """extended: with Cinder's extension, which answers to POST and PUT lack."""
    view: View = {
        "id": snapshot.id,
        "created_at": iso_micro(snapshot.created_at),
        "updated_at": iso_micro(snapshot.updated_at),
        "name": snapshot.name,
        "description": snapshot.description,
        "volume_id": snapshot.volume_id,
        "status": snapshot.status.value,
        "size": snapshot.size_gib,
        "metadata": snapshot.metadata,
    }
    if not detail:
        return view
    if ctx.at_least(3, 14):
        view["group_snapshot_id"] = snapshot.group_snapshot_id
    if ctx.at_least(3, 41):
        view["user_id"] = snapshot.user_id
    if ctx.at_least(3, 65):
        view["consumes_quota"] = True
    if extended and ctx.allows("volume", "volume_extension:extended_snapshot_attributes", snapshot):
        view["os-extended-snapshot-attributes:project_id"] = snapshot.project_id
        view["os-extended-snapshot-attributes:progress"] = snapshot.progress or ("100%" if snapshot.status == "available" else "0%")
    return view


def attachment_view(attachment: Attachment, *, detail: bool = True) -> View:
    view: View = {
        "id": attachment.id,
        "status": attachment.status.value,
        "instance": attachment.server_id,
        "volume_id": attachment.volume_id,
    }
    if detail:
        view |= {
            "attached_at": iso_micro(attachment.attached_at) if attachment.attached_at else "",
            "detached_at": "",
            "attach_mode": attachment.mode,
            "connection_info": attachment.connection,
        }
    return view


def type_view(ctx: RequestContext, volume_type: VolumeType, *, without: tuple[str, ...] = ()) -> View:
    """without: parts that the answers to POST and PUT lack."""
    mine = {"project_id": ctx.project_id}
    view: View = {
        "id": volume_type.id,
        "name": volume_type.name,
        "is_public": volume_type.is_public,
        "description": volume_type.description,
    }
    if ctx.allows("volume", "volume_extension:access_types_extra_specs", mine):
        view["extra_specs"] = shown_specs(ctx, volume_type)
    if ctx.allows("volume", "volume_extension:access_types_qos_specs_id", mine):
        view["qos_specs_id"] = volume_type.qos_specs_id
    if ctx.allows("volume", "volume_extension:volume_type_access", mine):
        view["os-volume-type-access:is_public"] = volume_type.is_public
    return {name: value for name, value in view.items() if name not in without}


def shown_specs(ctx: RequestContext, volume_type: VolumeType) -> dict[str, str]:
    """All of them for those who may see backends' secrets, the user-visible ones for the others."""
    if ctx.allows("volume", "volume_extension:types_extra_specs:read_sensitive", {"project_id": ctx.project_id}):
        return volume_type.extra_specs
    return {k: v for k, v in volume_type.extra_specs.items() if k in USER_VISIBLE}
