"""/os-volumes and /os-snapshots (until 2.35): the volume area's, in Nova's old words."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET, Meta, UnsetType

from moln.compute.api.routes import routes
from moln.compute.api.server_bodies import given, number
from moln.compute.api.shapes import Switch, offset_of, switch
from moln.kernel.clock import iso_micro
from moln.kernel.context import RequestContext
from moln.kernel.errors import NotFound
from moln.kernel.http import Body, Params, Reply, bounded_limit
from moln.volume.model.attachments import Attachment, AttachStatus
from moln.volume.model.snapshots import Snapshot
from moln.volume.model.volumes import Volume
from moln.volume.ops import for_compute, snapshots, volumes
from moln.volume.ops.volumes import VolumeSpec

VOLUMES, SNAPSHOTS, UNTIL = "/v2.1/os-volumes", "/v2.1/os-snapshots", "2.35"
P = "os_compute_api:os-volumes"
SORT = (("created_at", "desc"),)
MOST = 1000  # things of one list
Text = Annotated[str, Meta(max_length=255)]


def _attached(a: Attachment) -> dict[str, Any]:
    shown = {"id": a.volume_id, "volumeId": a.volume_id, "serverId": a.server_id}
    return shown | ({"device": a.device} if a.device else {})


async def _views(ctx: RequestContext, found: list[Volume]) -> list[dict[str, Any]]:
    names = await for_compute.type_names(ctx.db, {v.volume_type_id for v in found})
    held = await for_compute.attachments_of_volumes(ctx.db, [v.id for v in found])
    return [_view(v, names.get(v.volume_type_id), held.get(v.id, [])) for v in found]


def _view(v: Volume, type_name: str | None, held: list[Attachment]) -> dict[str, Any]:
    on = [_attached(a) for a in held if a.status is AttachStatus.ATTACHED and a.server_id]
    return {
        "id": v.id, "status": v.status, "size": v.size_gib, "availabilityZone": v.availability_zone, "createdAt": iso_micro(v.created_at),
        "displayName": v.name, "displayDescription": v.description, "volumeType": type_name,
        "snapshotId": v.snapshot_id, "metadata": v.metadata, "attachments": on or [{}],
    }  # fmt: skip


async def _list(ctx: RequestContext, query: Params, rule: str) -> dict[str, Any]:
    ctx.require("compute", f"{P}:{rule}", {"project_id": ctx.project_id})
    limit, offset = bounded_limit(query.get("limit", [None])[-1], MOST), offset_of(query)
    found = await volumes.index(ctx, [("project_id", "eq", ctx.project_id or "")], sort=SORT, marker=None, limit=limit + min(offset, MOST))
    return {"volumes": await _views(ctx, found[offset:])}


@routes.get(VOLUMES, until=UNTIL)
async def list_volumes(ctx: RequestContext, query: Params) -> dict[str, Any]:
    return await _list(ctx, query, "list")


@routes.get(VOLUMES + "/detail", until=UNTIL)
async def list_volumes_detail(ctx: RequestContext, query: Params) -> dict[str, Any]:
    return await _list(ctx, query, "detail")


@routes.get(VOLUMES + "/{volume_id}", until=UNTIL)
async def show_volume(ctx: RequestContext, volume_id: str) -> dict[str, Any]:
    ctx.require("compute", f"{P}:show", {"project_id": ctx.project_id})
    return {"volume": (await _views(ctx, [await volumes.show(ctx, volume_id)]))[0]}


class VolumeCreate(Body, root="volume"):
    size: int | str
    display_name: Text | None | UnsetType = UNSET
    display_description: str | None | UnsetType = UNSET
    volume_type: Text | None | UnsetType = UNSET
    metadata: dict[str, Text] | None | UnsetType = UNSET
    snapshot_id: str | None | UnsetType = UNSET
    availability_zone: Text | None | UnsetType = UNSET


@routes.post(VOLUMES, until=UNTIL)
async def create_volume(ctx: RequestContext, body: VolumeCreate) -> Reply:
    ctx.require("compute", f"{P}:create", {"project_id": ctx.project_id})
    made = await volumes.create(ctx, VolumeSpec(
        number(body.size, "size", least=1), given(body.display_name), given(body.display_description), given(body.volume_type) or None,
        given(body.availability_zone) or None, given(body.metadata) or {}, snapshot_id=given(body.snapshot_id) or None,
    ))  # fmt: skip
    location = f"{ctx.settings.public_url}/compute{VOLUMES}/{made.id}"
    return Reply({"volume": (await _views(ctx, [made]))[0]}, headers={"Location": location})


@routes.delete(VOLUMES + "/{volume_id}", status=202, until=UNTIL)
async def delete_volume(ctx: RequestContext, volume_id: str) -> None:
    ctx.require("compute", f"{P}:delete", {"project_id": ctx.project_id})
    await volumes.delete(ctx, volume_id)


def _snapshot(s: Snapshot) -> dict[str, Any]:
    return {
        "id": s.id, "volumeId": s.volume_id, "status": s.status, "size": s.size_gib, "createdAt": iso_micro(s.created_at),
        "displayName": s.name, "displayDescription": s.description,
    }  # fmt: skip


async def _list_snapshots(ctx: RequestContext, query: Params, rule: str) -> dict[str, Any]:
    ctx.require("compute", f"{P}:snapshots:{rule}", {"project_id": ctx.project_id})
    limit, offset = bounded_limit(query.get("limit", [None])[-1], MOST), offset_of(query)
    found = await snapshots.index(ctx, [("project_id", "eq", ctx.project_id or "")], sort=SORT, marker=None, limit=limit + min(offset, MOST))
    return {"snapshots": [_snapshot(s) for s in found[offset:]]}


@routes.get(SNAPSHOTS, until=UNTIL)
async def list_snapshots(ctx: RequestContext, query: Params) -> dict[str, Any]:
    return await _list_snapshots(ctx, query, "list")


@routes.get(SNAPSHOTS + "/detail", until=UNTIL)
async def list_snapshots_detail(ctx: RequestContext, query: Params) -> dict[str, Any]:
    return await _list_snapshots(ctx, query, "detail")


@routes.get(SNAPSHOTS + "/{snapshot_id}", until=UNTIL)
async def show_snapshot(ctx: RequestContext, snapshot_id: str) -> dict[str, Any]:
    ctx.require("compute", f"{P}:snapshots:show", {"project_id": ctx.project_id})
    return {"snapshot": _snapshot(await snapshots.show(ctx, snapshot_id))}


class SnapshotCreate(Body, root="snapshot"):
    volume_id: str
    display_name: Text | None | UnsetType = UNSET
    display_description: str | None | UnsetType = UNSET
    force: Switch | UnsetType = UNSET


@routes.post(SNAPSHOTS, until=UNTIL)
async def create_snapshot(ctx: RequestContext, body: SnapshotCreate) -> dict[str, Any]:
    ctx.require("compute", f"{P}:snapshots:create", {"project_id": ctx.project_id})
    try:
        made = await snapshots.create(
            ctx, body.volume_id, name=given(body.display_name), description=given(body.display_description),
            in_use_too=switch(given(body.force, False)),
        )  # fmt: skip
    except NotFound:
        raise NotFound(f"Volume {body.volume_id[:64]} could not be found.") from None
    return {"snapshot": _snapshot(made)}


@routes.delete(SNAPSHOTS + "/{snapshot_id}", status=202, until=UNTIL)
async def delete_snapshot(ctx: RequestContext, snapshot_id: str) -> None:
    ctx.require("compute", f"{P}:snapshots:delete", {"project_id": ctx.project_id})
    await snapshots.delete(ctx, snapshot_id)
