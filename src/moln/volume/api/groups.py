"""/v3/groups, since 3.13 (block-storage v3 api-ref, "Generic volume groups")."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, Struct, UnsetType

from moln.kernel.clock import iso_micro
from moln.kernel.context import RequestContext
from moln.kernel.errors import Invalid
from moln.kernel.http import Params, Routes
from moln.volume.api.bodies import filters, page, parse, text, truth, uuid_or_none
from moln.volume.api.faults import SERVICE
from moln.volume.api.views import next_links
from moln.volume.model.groups import Group
from moln.volume.ops import groups as ops

routes = Routes(SERVICE)
ALL, ONE = "/v3/groups", "/v3/groups/{group_id}"
SORT_KEYS = {k: k for k in ("id", "name", "status", "created_at", "updated_at", "group_type_id")}
FILTERS = {"id": "id", "name": "name", "status": "status", "group_type": "group_type_id", "availability_zone": "availability_zone"}


class GroupCreate(Struct, kw_only=True):
    """`group` of POST."""

    group_type: str
    volume_types: list[str]
    name: str | None = None
    description: str | None = None
    availability_zone: str | None = None


class FromSource(Struct, kw_only=True):
    """`create-from-src`."""

    name: str | None = None
    description: str | None = None
    group_snapshot_id: str | None = None
    source_group_id: str | None = None


class GroupUpdate(Struct, kw_only=True):
    """`group` of PUT; add_volumes, remove_volumes: ids with commas between."""

    name: str | UnsetType | None = UNSET
    description: str | UnsetType | None = UNSET
    add_volumes: str | None = None
    remove_volumes: str | None = None


class Delete(Struct, kw_only=True, rename={"delete_volumes": "delete-volumes"}):
    delete_volumes: Any = False


class Reset(Struct):
    status: str


def _short(of: Group) -> dict[str, Any]:
    return {"id": of.id, "name": of.name}


async def _view(ctx: RequestContext, of: Group, *, volumes: bool) -> dict[str, Any]:
    view: dict[str, Any] = _short(of) | {
        "status": of.status.value, "availability_zone": of.availability_zone, "created_at": iso_micro(of.created_at),
        "description": of.description, "group_type": of.group_type_id, "volume_types": of.volume_types,
    }  # fmt: skip
    if ctx.at_least(3, 14):
        view |= {"group_snapshot_id": of.group_snapshot_id, "source_group_id": of.source_group_id}
    if volumes and ctx.at_least(3, 25):
        view["volumes"] = await ops.volumes_of(ctx, of.id)
    if ctx.at_least(3, 38):
        view["replication_status"] = "disabled"
    if ctx.at_least(3, 58) and ctx.allows("volume", "group:group_project_attribute", of):
        view["project_id"] = of.project_id
    return view


async def _listed(ctx: RequestContext, query: Params, *, detail: bool) -> dict[str, Any]:
    asked, volumes = page(ctx, query, SORT_KEYS), truth(query.get("list_volume", [None])[-1], "list_volume")
    where = filters(ctx, {k: v for k, v in query.items() if k != "list_volume"}, FILTERS)
    found = await ops.index(ctx, where, sort=asked.sort, marker=asked.marker, limit=asked.limit + asked.offset) if asked.limit else []
    found = found[asked.offset :]
    shown = [await _view(ctx, g, volumes=volumes) if detail else _short(g) for g in found]
    return {"groups": shown} | next_links(ctx, query, asked, "groups/detail" if detail else "groups", found, "group_links")


@routes.get(ALL, since="3.13")
async def list_groups(ctx: RequestContext, query: Params) -> dict[str, Any]:
    return await _listed(ctx, query, detail=False)


@routes.get(ALL + "/detail", since="3.13")
async def list_groups_detail(ctx: RequestContext, query: Params) -> dict[str, Any]:
    return await _listed(ctx, query, detail=True)


@routes.post(ALL, status=202, since="3.13")
async def create_group(ctx: RequestContext, body: dict) -> dict[str, Any]:  # type: ignore[type-arg]
    asked = parse(ctx, body, "group", GroupCreate, always=True)
    if not 0 < len(asked.volume_types) <= 64 or not all(0 < len(t) <= 255 for t in asked.volume_types):
        raise Invalid("volume_types must be provided to create a group: 1 to 64 of them.", field="volume_types")
    made = await ops.create(
        ctx, name=text(asked.name, "name"), description=text(asked.description, "description"), group_type=asked.group_type[:255],
        volume_types=asked.volume_types, zone=asked.availability_zone or None,
    )  # fmt: skip
    return {"group": _short(made)}


@routes.post(ALL + "/action", action="create-from-src", status=202, since="3.14")
async def create_group_from_source(ctx: RequestContext, body: dict) -> dict[str, Any]:  # type: ignore[type-arg]
    asked = parse(ctx, body, "create-from-src", FromSource, always=True)
    if bool(asked.group_snapshot_id) == bool(asked.source_group_id):
        raise Invalid("One of 'group_snapshot_id' and 'source_group_id' must be provided to create a group from source.")
    made = await ops.create_from(
        ctx, name=text(asked.name, "name"), description=text(asked.description, "description"),
        group_snapshot_id=uuid_or_none(asked.group_snapshot_id, "group_snapshot_id"),
        source_group_id=uuid_or_none(asked.source_group_id, "source_group_id"),
    )  # fmt: skip
    return {"group": _short(made)}


@routes.get(ONE, since="3.13")
async def show_group(ctx: RequestContext, group_id: str, query: Params) -> dict[str, Any]:
    volumes = truth(query.get("list_volume", [None])[-1], "list_volume")
    return {"group": await _view(ctx, await ops.show(ctx, group_id), volumes=volumes)}


@routes.put(ONE, status=202, since="3.13")
async def update_group(ctx: RequestContext, group_id: str, body: dict) -> None:  # type: ignore[type-arg]
    asked = parse(ctx, body, "group", GroupUpdate, always=True)
    changes = {n: text(v, n) for n in ("name", "description") if (v := getattr(asked, n)) is not UNSET and v is not None}
    add, remove = ([i for i in (given or "").split(",") if i] for given in (asked.add_volumes, asked.remove_volumes))
    if not (changes or add or remove):
        raise Invalid("At least one of the following must be specified: name, description, add_volumes or remove_volumes.")
    await ops.update(ctx, group_id, add=add, remove=remove, **changes)


@routes.post(ONE + "/action", action="delete", status=202, since="3.13")
async def delete_group(ctx: RequestContext, group_id: str, body: dict) -> None:  # type: ignore[type-arg]
    asked = parse(ctx, body, "delete", Delete, always=True)
    await ops.delete(ctx, group_id, volumes_too=truth(asked.delete_volumes, "delete-volumes"))


@routes.post(ONE + "/action", action="reset_status", status=202, since="3.20")
async def reset_group_status(ctx: RequestContext, group_id: str, body: dict) -> None:  # type: ignore[type-arg]
    await ops.reset_status(ctx, group_id, parse(ctx, body, "reset_status", Reset, always=True).status.lower())
