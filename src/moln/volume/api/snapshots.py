"""/v3/snapshots (block-storage v3 api-ref, "Volume snapshots")."""

from __future__ import annotations

import re
from typing import Any

from msgspec import UNSET, Struct, UnsetType

from moln.kernel.context import RequestContext
from moln.kernel.errors import Invalid, NotFound
from moln.kernel.http import Params, Routes
from moln.volume.api.bodies import filters, metadata, one_meta, page, parse, text, truth
from moln.volume.api.faults import SERVICE
from moln.volume.api.views import next_links, snapshot_view
from moln.volume.api.volumes import found_item
from moln.volume.model.snapshots import Snapshot
from moln.volume.ops import snapshots as ops

routes = Routes(SERVICE)
SORT_KEYS = {k: k for k in ("id", "status", "created_at", "updated_at", "name", "volume_id", "project_id")} | {
    "display_name": "name",
    "volume_size": "size_gib",
    "size": "size_gib",
}
FILTERS = {
    "name": "name", "display_name": "name", "status": "status", "volume_id": "volume_id", "id": "id",
    "volume_size": "size_gib", "user_id": "user_id",
}  # fmt: skip
LIKE = frozenset({"name", "display_name", "status"})


class SnapshotCreate(Struct, kw_only=True):
    """`snapshot` of POST /snapshots."""

    volume_id: str | None
    name: str | None = None
    description: str | None = None
    display_name: str | None = None
    display_description: str | None = None
    force: Any = None
    metadata: Any = None


class SnapshotUpdate(Struct, kw_only=True):
    """`snapshot` of PUT /snapshots/{id}."""

    name: str | UnsetType | None = UNSET
    description: str | UnsetType | None = UNSET
    display_name: str | UnsetType | None = UNSET
    display_description: str | UnsetType | None = UNSET


@routes.post("/v3/snapshots", status=202)
async def create_snapshot(ctx: RequestContext, body: dict) -> dict[str, Any]:  # type: ignore[type-arg]
    asked = parse(ctx, body, "snapshot", SnapshotCreate)
    if asked.volume_id is None:  # Cinder looks it up, and finds nothing
        raise NotFound("Volume None could not be found.")
    force = truth(asked.force, "force", default=ctx.at_least(3, 66))
    if ctx.at_least(3, 66) and not force:
        raise Invalid("The 'force' parameter is deprecated and must be true or absent since microversion 3.66.", field="force")
    made = await ops.create(
        ctx,
        asked.volume_id,
        name=text(asked.name if asked.name is not None else asked.display_name, "name"),
        description=text(asked.description if asked.description is not None else asked.display_description, "description"),
        metadata=metadata(asked.metadata),
        in_use_too=force,
    )
    return {"snapshot": snapshot_view(ctx, made, extended=False)}


@routes.get("/v3/snapshots")
async def list_snapshots(ctx: RequestContext, query: Params) -> dict[str, Any]:
    return await listed(ctx, query, detail=False)


@routes.get("/v3/snapshots/detail")
async def list_snapshots_detail(ctx: RequestContext, query: Params) -> dict[str, Any]:
    return await listed(ctx, query, detail=True)


async def listed(ctx: RequestContext, query: Params, *, detail: bool) -> dict[str, Any]:
    known = FILTERS | ({"metadata": "label"} if ctx.at_least(3, 22) else {})
    query = {k: v for k, v in query.items() if k not in ("consumes_quota", "availability_zone")}
    where, asked = filters(ctx, query, known, like=LIKE), page(ctx, query, SORT_KEYS)
    found: list[Snapshot] = []
    if asked.marker:
        await ops.show(ctx, asked.marker)  # Cinder answers 404 to a marker that is none
    if asked.limit:
        found = await ops.index(ctx, where, sort=asked.sort, marker=asked.marker, limit=asked.limit + asked.offset)
        found = found[asked.offset :]
    path = "snapshots/detail" if detail else "snapshots"
    answer: dict[str, Any] = {"snapshots": [snapshot_view(ctx, s, detail=detail) for s in found]}
    answer |= next_links(ctx, query, asked, path, found, "snapshots_links")
    if asked.count:
        answer["count"] = len(await ops.index(ctx, where, sort=[], marker=None, limit=None))
    return answer


@routes.get("/v3/snapshots/{snapshot_id}")
async def show_snapshot(ctx: RequestContext, snapshot_id: str) -> dict[str, Any]:
    return {"snapshot": snapshot_view(ctx, await ops.show(ctx, snapshot_id))}


@routes.put("/v3/snapshots/{snapshot_id}")
async def update_snapshot(ctx: RequestContext, snapshot_id: str, body: dict) -> dict[str, Any]:  # type: ignore[type-arg]
    asked = parse(ctx, body, "snapshot", SnapshotUpdate, always=True)
    changes: dict[str, Any] = {}
    for column in ("name", "description"):
        for value in (getattr(asked, f"display_{column}"), getattr(asked, column)):
            if value is not UNSET:
                changes[column] = text(value, column)
    return {"snapshot": snapshot_view(ctx, await ops.update(ctx, snapshot_id, **changes), extended=False)}


@routes.delete("/v3/snapshots/{snapshot_id}", status=202)
async def delete_snapshot(ctx: RequestContext, snapshot_id: str) -> None:
    await ops.delete(ctx, snapshot_id)


class ResetStatus(Struct):
    status: str


@routes.post("/v3/snapshots/{snapshot_id}/action", action="os-reset_status", status=202)
async def reset_snapshot_status(ctx: RequestContext, snapshot_id: str, body: dict) -> None:  # type: ignore[type-arg]
    await ops.reset_status(ctx, snapshot_id, parse(ctx, body, "os-reset_status", ResetStatus, always=True).status.lower())


class UpdateStatus(Struct, kw_only=True):
    status: str
    progress: str | None = None


@routes.post("/v3/snapshots/{snapshot_id}/action", action="os-update_snapshot_status", status=202)
async def update_snapshot_status(ctx: RequestContext, snapshot_id: str, body: dict) -> None:  # type: ignore[type-arg]
    asked = parse(ctx, body, "os-update_snapshot_status", UpdateStatus, always=True)
    if asked.progress is not None and not re.fullmatch(r"(\d{1,2}|100)%", asked.progress):
        raise Invalid("progress must be an integer percentage", field="progress")
    await ops.update_status(ctx, snapshot_id, asked.status, asked.progress)


@routes.post("/v3/snapshots/{snapshot_id}/action", action="os-force_delete", status=202)
async def force_delete_snapshot(ctx: RequestContext, snapshot_id: str) -> None:
    await ops.delete(ctx, snapshot_id, force=True)


@routes.get("/v3/snapshots/{snapshot_id}/metadata")
async def show_snapshot_metadata(ctx: RequestContext, snapshot_id: str) -> dict[str, Any]:
    return {"metadata": await metadata_of(ctx, snapshot_id)}


async def metadata_of(ctx: RequestContext, snapshot_id: str) -> dict[str, str]:
    snapshot = await ops.show(ctx, snapshot_id)
    ctx.require("volume", "volume:get_snapshot_metadata", snapshot)
    return snapshot.metadata


@routes.post("/v3/snapshots/{snapshot_id}/metadata")
async def create_snapshot_metadata(ctx: RequestContext, snapshot_id: str, body: dict) -> dict[str, Any]:  # type: ignore[type-arg]
    given = metadata(body.get("metadata"), null=False)
    return {"metadata": await ops.set_metadata(ctx, snapshot_id, given, replace=False)}


@routes.put("/v3/snapshots/{snapshot_id}/metadata")
async def replace_snapshot_metadata(ctx: RequestContext, snapshot_id: str, body: dict) -> dict[str, Any]:  # type: ignore[type-arg]
    given = metadata(body.get("metadata"), null=False)
    return {"metadata": await ops.set_metadata(ctx, snapshot_id, given, replace=True)}


@routes.get("/v3/snapshots/{snapshot_id}/metadata/{key}")
async def show_snapshot_metadata_item(ctx: RequestContext, snapshot_id: str, key: str) -> dict[str, Any]:
    return {"meta": {key: found_item(await metadata_of(ctx, snapshot_id), key)}}


@routes.put("/v3/snapshots/{snapshot_id}/metadata/{key}")
async def update_snapshot_metadata_item(ctx: RequestContext, snapshot_id: str, key: str, body: dict) -> dict[str, Any]:  # type: ignore[type-arg]
    given = one_meta(body, key)
    await ops.set_metadata(ctx, snapshot_id, given, replace=False)
    return {"meta": given}


@routes.delete("/v3/snapshots/{snapshot_id}/metadata/{key}", status=200)
async def delete_snapshot_metadata_item(ctx: RequestContext, snapshot_id: str, key: str) -> None:
    await ops.delete_metadata(ctx, snapshot_id, key)
