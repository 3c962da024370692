"""/v3/os-volume-transfer, and /v3/volume-transfers since 3.55 (block-storage v3 api-ref, "Volume transfer")."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from moln.kernel.clock import iso_micro
from moln.kernel.context import RequestContext
from moln.kernel.http import Params, Routes
from moln.volume.api.bodies import filters, page, parse, text, truth, uuid_or_none
from moln.volume.api.faults import SERVICE
from moln.volume.api.views import links, next_links
from moln.volume.model.transfers import Transfer
from moln.volume.ops import transfers as ops

routes = Routes(SERVICE)
OLD, NEW = "/v3/os-volume-transfer", "/v3/volume-transfers"
SORT_KEYS = {k: k for k in ("id", "name", "created_at", "volume_id")}
FILTERS = {"name": "name", "volume_id": "volume_id", "id": "id"}


class TransferCreate(Struct, kw_only=True):
    """`transfer` of POST; no_snapshots exists since 3.55."""

    volume_id: str
    name: str | None = None
    no_snapshots: Any = False


class Accept(Struct):
    auth_key: str


def _view(ctx: RequestContext, of: Transfer, *, detail: bool = True, accepted: bool = False) -> dict[str, Any]:
    view: dict[str, Any] = {"id": of.id, "name": of.name, "volume_id": of.volume_id, "links": links(ctx, "os-volume-transfer", of.id)}
    if detail:
        view["created_at"] = iso_micro(of.created_at)
        if ctx.at_least(3, 55):
            view["no_snapshots"] = of.no_snapshots
        if ctx.at_least(3, 57):
            view |= {"source_project_id": of.project_id, "destination_project_id": None, "accepted": accepted}
    return view


async def _create(ctx: RequestContext, body: dict[str, Any], *, new: bool) -> dict[str, Any]:
    asked = parse(ctx, body, "transfer", TransferCreate, always=True)
    volume_id = uuid_or_none(asked.volume_id, "volume_id") or ""
    with_snapshots = new and not truth(asked.no_snapshots, "no_snapshots")
    made, key = await ops.create(ctx, volume_id, text(asked.name, "name"), snapshots_too=with_snapshots)
    return {"transfer": _view(ctx, made) | {"auth_key": key}}


@routes.post(OLD, status=202)
async def create_transfer_before(ctx: RequestContext, body: dict) -> dict[str, Any]:  # type: ignore[type-arg]
    return await _create(ctx, body, new=False)


@routes.post(NEW, status=202, since="3.55")
async def create_transfer(ctx: RequestContext, body: dict) -> dict[str, Any]:  # type: ignore[type-arg]
    return await _create(ctx, body, new=True)


async def _listed(ctx: RequestContext, query: Params, *, detail: bool) -> dict[str, Any]:
    where, asked = filters(ctx, query, FILTERS), page(ctx, query, SORT_KEYS)
    found = await ops.index(ctx, where, sort=asked.sort, marker=asked.marker, limit=asked.limit + asked.offset) if asked.limit else []
    found = found[asked.offset :]
    path = "os-volume-transfer/detail" if detail else "os-volume-transfer"
    shown = [_view(ctx, t, detail=detail) for t in found]
    return {"transfers": shown} | next_links(ctx, query, asked, path, found, "transfers_links")


@routes.get(OLD)
@routes.get(NEW, since="3.55")
async def list_transfers(ctx: RequestContext, query: Params) -> dict[str, Any]:
    return await _listed(ctx, query, detail=False)


@routes.get(OLD + "/detail")
@routes.get(NEW + "/detail", since="3.55")
async def list_transfers_detail(ctx: RequestContext, query: Params) -> dict[str, Any]:
    return await _listed(ctx, query, detail=True)


@routes.get(OLD + "/{transfer_id}")
@routes.get(NEW + "/{transfer_id}", since="3.55")
async def show_transfer(ctx: RequestContext, transfer_id: str) -> dict[str, Any]:
    return {"transfer": _view(ctx, await ops.show(ctx, transfer_id))}


@routes.delete(OLD + "/{transfer_id}", status=202)
@routes.delete(NEW + "/{transfer_id}", status=202, since="3.55")
async def delete_transfer(ctx: RequestContext, transfer_id: str) -> None:
    await ops.delete(ctx, transfer_id)


@routes.post(OLD + "/{transfer_id}/accept", status=202)
@routes.post(NEW + "/{transfer_id}/accept", status=202, since="3.55")
async def accept_transfer(ctx: RequestContext, transfer_id: str, body: dict) -> dict[str, Any]:  # type: ignore[type-arg]
    asked = parse(ctx, body, "accept", Accept, always=True)
    return {"transfer": _view(ctx, await ops.accept(ctx, transfer_id, asked.auth_key), detail=False)}
