"""POST /v3/volumes/{id}/action (block-storage v3 api-ref, "Volume actions")."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from moln.kernel.clock import iso_micro
from moln.kernel.context import RequestContext
from moln.kernel.errors import Invalid, NotFound
from moln.kernel.http import Routes
from moln.volume.api.bodies import metadata, parse, text, truth
from moln.volume.api.faults import SERVICE
from moln.volume.api.views import type_view
from moln.volume.ops import actions as ops
from moln.volume.ops import types, volumes

routes = Routes(SERVICE)
ACTION = "/v3/volumes/{volume_id}/action"


class Extend(Struct):
    new_size: int


@routes.post(ACTION, action="os-extend", status=202)
async def extend_volume(ctx: RequestContext, volume_id: str, body: dict) -> None:  # type: ignore[type-arg]
    asked = parse(ctx, body, "os-extend", Extend, always=True)
    await ops.extend(ctx, volume_id, asked.new_size, attached=ctx.at_least(3, 42))


class Retype(Struct):
    new_type: str
    migration_policy: str | None = "never"


@routes.post(ACTION, action="os-retype", status=202)
async def retype_volume(ctx: RequestContext, volume_id: str, body: dict) -> None:  # type: ignore[type-arg]
    asked = parse(ctx, body, "os-retype", Retype, always=True)
    if asked.migration_policy not in (None, "never", "on-demand"):
        raise Invalid("migration_policy must be 'on-demand' or 'never'.", field="migration_policy")
    if not asked.new_type:
        raise Invalid("new_type is a name or an id.", field="new_type")
    await ops.retype(ctx, volume_id, asked.new_type)


class Revert(Struct):
    snapshot_id: str | None = None


@routes.post(ACTION, action="revert", status=202, since="3.40")
async def revert_volume(ctx: RequestContext, volume_id: str, body: dict) -> None:  # type: ignore[type-arg]
    await ops.revert(ctx, volume_id, parse(ctx, body, "revert", Revert).snapshot_id)


class SetBootable(Struct):
    bootable: Any


@routes.post(ACTION, action="os-set_bootable")
async def set_bootable(ctx: RequestContext, volume_id: str, body: dict) -> None:  # type: ignore[type-arg]
    asked = parse(ctx, body, "os-set_bootable", SetBootable, always=True)
    await ops.set_flag(ctx, volume_id, rule="volume:update", bootable=flag(asked.bootable, "bootable"))


def flag(value: Any, name: str) -> bool:
    """A flag that must be given. Raises: Invalid."""
    if value is None:
        raise Invalid(f"Invalid input for field/attribute {name}. It must be a boolean.", field=name)
    return truth(value, name)


class ReadOnly(Struct):
    readonly: Any


@routes.post(ACTION, action="os-update_readonly_flag", status=202)
async def update_readonly_flag(ctx: RequestContext, volume_id: str, body: dict) -> None:  # type: ignore[type-arg]
    asked = parse(ctx, body, "os-update_readonly_flag", ReadOnly, always=True)
    await ops.set_flag(ctx, volume_id, rule="volume:update_readonly_flag", readonly=flag(asked.readonly, "readonly"))


class ResetStatus(Struct):
    """attach_status and migration_status are taken for the clients' sake: they follow from the attachments here."""

    status: str | None = None
    attach_status: str | None = None
    migration_status: str | None = None


@routes.post(ACTION, action="os-reset_status", status=202)
async def reset_volume_status(ctx: RequestContext, volume_id: str, body: dict) -> None:  # type: ignore[type-arg]
    asked = parse(ctx, body, "os-reset_status", ResetStatus, always=True)
    if asked.status is None:
        raise Invalid("'status' is a required property", field="status")
    await ops.reset_status(ctx, volume_id, asked.status.lower())


@routes.post(ACTION, action="os-force_delete", status=202)
async def force_delete_volume(ctx: RequestContext, volume_id: str) -> None:
    ctx.require("volume", "volume_extension:volume_admin_actions:force_delete", await volumes.show(ctx, volume_id))
    await volumes.delete(ctx, volume_id, force=True)


class UploadImage(Struct, kw_only=True):
    """disk_format: only raw is made here; convert it on the way out where another is needed."""

    image_name: str
    container_format: str | None = "bare"
    disk_format: str | None = "raw"
    force: Any = False
    visibility: str | None = "private"
    protected: Any = False


@routes.post(ACTION, action="os-volume_upload_image", status=202)
async def upload_volume_image(ctx: RequestContext, volume_id: str, body: dict) -> dict[str, Any]:  # type: ignore[type-arg]
    asked = parse(ctx, body, "os-volume_upload_image", UploadImage, always=True)
    name = text(asked.image_name, "image_name")
    if not name:
        raise Invalid("image_name is a string of 1 to 255 characters.", field="image_name")
    if asked.disk_format not in (None, "raw") or asked.container_format not in (None, "bare"):
        raise Invalid("Volumes become images of disk_format raw and container_format bare here.", field="disk_format")
    newer = ctx.at_least(3, 1)
    visibility = (asked.visibility or "private") if newer else "private"
    if visibility not in ("public", "private", "shared", "community"):
        raise Invalid(f"Invalid input for field/attribute visibility. Value: {visibility[:40]}.", field="visibility")
    protected = truth(asked.protected, "protected") if newer else False
    volume, image = await ops.upload_image(
        ctx, volume_id, name=name, visibility=visibility, protected=protected, force=truth(asked.force, "force")
    )
    answer: dict[str, Any] = {
        "id": volume.id,
        "updated_at": iso_micro(volume.updated_at),
        "status": volume.status.value,
        "display_description": volume.description,
        "size": volume.size_gib,
        "volume_type": type_view(ctx, await types.choose(ctx.db, ctx.cloud.system_context(), volume.volume_type_id)),
        "image_id": image.id,
        "container_format": "bare",
        "disk_format": "raw",
        "image_name": name,
    }
    if newer:
        answer |= {"visibility": visibility, "protected": protected}
    return {"os-volume_upload_image": answer}


class SetImageMetadata(Struct):
    metadata: Any


@routes.post(ACTION, action="os-set_image_metadata")
async def set_image_metadata(ctx: RequestContext, volume_id: str, body: dict) -> dict[str, Any]:  # type: ignore[type-arg]
    asked = parse(ctx, body, "os-set_image_metadata", SetImageMetadata, always=True)
    return {"metadata": await ops.set_image_metadata(ctx, volume_id, metadata(asked.metadata, null=False))}


class UnsetImageMetadata(Struct):
    key: str


@routes.post(ACTION, action="os-unset_image_metadata")
async def unset_image_metadata(ctx: RequestContext, volume_id: str, body: dict) -> None:  # type: ignore[type-arg]
    await ops.unset_image_metadata(ctx, volume_id, parse(ctx, body, "os-unset_image_metadata", UnsetImageMetadata, always=True).key)


@routes.post(ACTION, action="os-show_image_metadata")
async def show_image_metadata(ctx: RequestContext, volume_id: str) -> dict[str, Any]:
    volume = await volumes.show(ctx, volume_id)
    if not ctx.allows("volume", "volume_extension:volume_image_metadata:show", volume):
        raise NotFound(f"Volume {volume_id} could not be found.")
    return {"metadata": volume.image_metadata}
