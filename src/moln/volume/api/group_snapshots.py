"""/v3/group_snapshots, since 3.14 (block-storage v3 api-ref, "Group snapshots")."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, Struct, UnsetType

from moln.kernel.clock import iso_micro
from moln.kernel.context import RequestContext
from moln.kernel.errors import Invalid
from moln.kernel.http import Params, Routes
from moln.volume.api.bodies import filters, page, parse, text, uuid_or_none
from moln.volume.api.faults import SERVICE
from moln.volume.api.groups import Reset
from moln.volume.api.views import next_links
from moln.volume.model.groups import GroupSnapshot
from moln.volume.ops import group_snapshots as ops

routes = Routes(SERVICE)
ALL, ONE = "/v3/group_snapshots", "/v3/group_snapshots/{group_snapshot_id}"
SORT_KEYS = {k: k for k in ("id", "name", "status", "created_at", "updated_at", "group_id", "group_type_id")}
FILTERS = {"id": "id", "name": "name", "status": "status", "group_id": "group_id"}


class SnapshotCreate(Struct, kw_only=True):
    """`group_snapshot` of POST."""

    group_id: str
    name: str | None = None
    description: str | None = None


class SnapshotUpdate(Struct, kw_only=True):
    """`group_snapshot` of PUT."""

    name: str | UnsetType | None = UNSET
    description: str | UnsetType | None = UNSET


def _short(of: GroupSnapshot) -> dict[str, Any]:
    return {"id": of.id, "name": of.name}


def _view(ctx: RequestContext, of: GroupSnapshot) -> dict[str, Any]:
    view: dict[str, Any] = _short(of) | {
        "group_id": of.group_id, "group_type_id": of.group_type_id, "status": of.status.value,
        "created_at": iso_micro(of.created_at), "description": of.description,
    }  # fmt: skip
    if ctx.at_least(3, 58) and ctx.allows("volume", "group:group_snapshot_project_attribute", of):
        view["project_id"] = of.project_id
    return view


async def _listed(ctx: RequestContext, query: Params, *, detail: bool) -> dict[str, Any]:
    where, asked = filters(ctx, query, FILTERS), page(ctx, query, SORT_KEYS)
    found = await ops.index(ctx, where, sort=asked.sort, marker=asked.marker, limit=asked.limit + asked.offset) if asked.limit else []
    found = found[asked.offset :]
    path = "group_snapshots/detail" if detail else "group_snapshots"
    shown = [_view(ctx, s) if detail else _short(s) for s in found]
    return {"group_snapshots": shown} | next_links(ctx, query, asked, path, found, "group_snapshot_links")


@routes.get(ALL, since="3.14")
async def list_group_snapshots(ctx: RequestContext, query: Params) -> dict[str, Any]:
    return await _listed(ctx, query, detail=False)


@routes.get(ALL + "/detail", since="3.14")
async def list_group_snapshots_detail(ctx: RequestContext, query: Params) -> dict[str, Any]:
    return await _listed(ctx, query, detail=True)


@routes.post(ALL, status=202, since="3.14")
async def create_group_snapshot(ctx: RequestContext, body: dict) -> dict[str, Any]:  # type: ignore[type-arg]
    asked = parse(ctx, body, "group_snapshot", SnapshotCreate, always=True)
    group_id = uuid_or_none(asked.group_id, "group_id") or ""
    made = await ops.create(ctx, group_id, name=text(asked.name, "name"), description=text(asked.description, "description"))
    return {"group_snapshot": _short(made) | {"group_type_id": made.group_type_id}}


@routes.get(ONE, since="3.14")
async def show_group_snapshot(ctx: RequestContext, group_snapshot_id: str) -> dict[str, Any]:
    return {"group_snapshot": _view(ctx, await ops.show(ctx, group_snapshot_id))}


@routes.put(ONE, since="3.14")
async def update_group_snapshot(ctx: RequestContext, group_snapshot_id: str, body: dict) -> dict[str, Any]:  # type: ignore[type-arg]
    asked = parse(ctx, body, "group_snapshot", SnapshotUpdate, always=True)
    changes = {n: text(v, n) for n in ("name", "description") if (v := getattr(asked, n)) is not UNSET}
    if not changes:
        raise Invalid("At least one of name and description is needed.")
    return {"group_snapshot": _view(ctx, await ops.update(ctx, group_snapshot_id, **changes))}


@routes.delete(ONE, status=202, since="3.14")
async def delete_group_snapshot(ctx: RequestContext, group_snapshot_id: str) -> None:
    await ops.delete(ctx, group_snapshot_id)


@routes.post(ONE + "/action", action="reset_status", status=202, since="3.19")
async def reset_group_snapshot_status(ctx: RequestContext, group_snapshot_id: str, body: dict) -> None:  # type: ignore[type-arg]
    await ops.reset_status(ctx, group_snapshot_id, parse(ctx, body, "reset_status", Reset, always=True).status.lower())
