"""/os-aggregates."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET, Meta, UnsetType

from moln.compute.api.routes import routes
from moln.compute.api.shapes import STRICT, check_query
from moln.compute.model.aggregates import Aggregate
from moln.compute.ops import aggregates as ops
from moln.kernel.clock import iso_micro
from moln.kernel.context import RequestContext
from moln.kernel.errors import Invalid
from moln.kernel.http import Body, Params, Reply

Name = Annotated[str, Meta(min_length=1, max_length=255)]


class AggregateCreate(Body, root="aggregate"):
    name: Name
    availability_zone: Name | None = None


class AggregateUpdate(Body, root="aggregate"):
    name: Name | UnsetType = UNSET
    availability_zone: Name | None | UnsetType = UNSET


class AddHost(Body, root="add_host"):
    host: Name


class RemoveHost(Body, root="remove_host"):
    host: Name


class SetMetadata(Body, root="set_metadata"):
    metadata: dict[Annotated[str, Meta(pattern="^[a-zA-Z0-9-_:. ]{1,255}$")], Annotated[str, Meta(max_length=255)] | None]


def _view(ctx: RequestContext, a: Aggregate) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "id": a.rowid, "name": a.name, "availability_zone": a.zone, "hosts": list(a.hosts),
        "metadata": a.metadata | ({ops.ZONE: a.zone} if a.zone else {}), "created_at": iso_micro(a.created_at),
        "updated_at": iso_micro(a.updated_at) if a.updated_at else None, "deleted": False, "deleted_at": None,
    }  # fmt: skip
    return shown | ({"uuid": a.id} if ctx.version >= (2, 41) else {})


def _id(text: str) -> int:
    """Raises: Invalid."""
    if not (text.isascii() and text.removeprefix("-").isdigit() and len(text) < 19):
        raise Invalid(f"id must be an integer, not {text[:64]!r}", field="id")
    return int(text)


def check_name(value: str, field: str) -> None:
    """Raises: Invalid."""
    if not value.strip() or value != value.strip() or not value.isprintable() or (field == ops.ZONE and ":" in value):
        raise Invalid(f"Invalid input for field/attribute {field}. Value: {value[:64]!r}. It must be printable characters, without "
                      "spaces at its ends" + (" and without ':'." if field == ops.ZONE else "."), field=field)  # fmt: skip


@routes.get("/v2.1/os-aggregates")
async def list_aggregates(ctx: RequestContext, query: Params) -> dict[str, Any]:
    check_query(ctx, query, (), strict_since=STRICT)
    return {"aggregates": [_view(ctx, a) for a in await ops.search(ctx)]}


@routes.post("/v2.1/os-aggregates")
async def create_aggregate(ctx: RequestContext, body: AggregateCreate) -> dict[str, Any]:
    check_name(body.name, "name")
    if body.availability_zone is not None:
        check_name(body.availability_zone, ops.ZONE)
    shown = _view(ctx, await ops.create(ctx, body.name, body.availability_zone))
    return {"aggregate": {k: v for k, v in shown.items() if k not in ("hosts", "metadata")}}


@routes.get("/v2.1/os-aggregates/{aggregate_id}")
async def show_aggregate(ctx: RequestContext, aggregate_id: str) -> dict[str, Any]:
    return {"aggregate": _view(ctx, await ops.show(ctx, _id(aggregate_id)))}


@routes.put("/v2.1/os-aggregates/{aggregate_id}")
async def update_aggregate(ctx: RequestContext, aggregate_id: str, body: AggregateUpdate) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if body.name is not UNSET:
        check_name(body.name, "name")
        values["name"] = body.name
    if body.availability_zone is not UNSET:
        if body.availability_zone is not None:
            check_name(body.availability_zone, ops.ZONE)
        values["zone"] = body.availability_zone
    if not values:
        raise Invalid("'name' or 'availability_zone' is a required property", field="name")
    return {"aggregate": _view(ctx, await ops.update(ctx, _id(aggregate_id), values))}


@routes.delete("/v2.1/os-aggregates/{aggregate_id}", status=200)
async def delete_aggregate(ctx: RequestContext, aggregate_id: str) -> Reply:
    await ops.remove(ctx, _id(aggregate_id))
    return Reply()


@routes.post("/v2.1/os-aggregates/{aggregate_id}/action", action="add_host")
async def add_host(ctx: RequestContext, aggregate_id: str, body: AddHost) -> dict[str, Any]:
    return {"aggregate": _view(ctx, await ops.add_host(ctx, _id(aggregate_id), body.host))}


@routes.post("/v2.1/os-aggregates/{aggregate_id}/action", action="remove_host")
async def remove_host(ctx: RequestContext, aggregate_id: str, body: RemoveHost) -> dict[str, Any]:
    return {"aggregate": _view(ctx, await ops.remove_host(ctx, _id(aggregate_id), body.host))}


@routes.post("/v2.1/os-aggregates/{aggregate_id}/action", action="set_metadata")
async def set_metadata(ctx: RequestContext, aggregate_id: str, body: SetMetadata) -> dict[str, Any]:
    return {"aggregate": _view(ctx, await ops.set_metadata(ctx, _id(aggregate_id), body.metadata))}
