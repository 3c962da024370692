"""/v3/group_types and their specs, since 3.11 (block-storage v3 api-ref, "Group types", "Group type specs")."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, Struct, UnsetType

from moln.kernel.context import RequestContext
from moln.kernel.errors import Invalid, NotFound
from moln.kernel.http import Params, Routes
from moln.volume.api.bodies import metadata, page, parse, text, truth
from moln.volume.api.faults import SERVICE
from moln.volume.api.views import next_links
from moln.volume.model.group_types import GroupType
from moln.volume.ops import group_types as ops

routes = Routes(SERVICE)
SORT_KEYS = {k: k for k in ("id", "name", "is_public", "created_at", "updated_at")}
ALL, ONE = "/v3/group_types", "/v3/group_types/{group_type_id}"
SPECS = ONE + "/group_specs"


class TypeCreate(Struct, kw_only=True):
    """`group_type` of POST."""

    name: str
    description: str | None = None
    group_specs: Any = None
    is_public: Any = True


class TypeUpdate(Struct, kw_only=True):
    """`group_type` of PUT."""

    name: str | UnsetType | None = UNSET
    description: str | UnsetType | None = UNSET
    is_public: Any = UNSET


def _view(ctx: RequestContext, of: GroupType) -> dict[str, Any]:
    view: dict[str, Any] = {"id": of.id, "name": of.name, "description": of.description, "is_public": of.is_public}
    if ctx.allows("volume", "group:access_group_types_specs", {"project_id": ctx.project_id}):
        view["group_specs"] = of.group_specs
    return view


def _name(value: str) -> str:
    found = text(value, "name")
    if not found:
        raise Invalid("Group type name can not be empty.", field="name")
    return found


@routes.get(ALL, since="3.11")
async def list_group_types(ctx: RequestContext, query: Params) -> dict[str, Any]:
    asked = page(ctx, query, SORT_KEYS)
    wanted = query.get("is_public", ["none"])[-1]
    public = (None if wanted.lower() == "none" else truth(wanted, "is_public")) if ctx.is_admin else True
    found: list[GroupType] = []
    if asked.limit:
        found = await ops.index(ctx, public=public, sort=asked.sort, marker=asked.marker, limit=asked.limit + asked.offset)
        found = found[asked.offset :]
    answer = {"group_types": [_view(ctx, t) for t in found]}
    return answer | next_links(ctx, query, asked, "group_types", found, "group_type_links")


@routes.post(ALL, status=202, since="3.11")
async def create_group_type(ctx: RequestContext, body: dict) -> dict[str, Any]:  # type: ignore[type-arg]
    asked = parse(ctx, body, "group_type", TypeCreate, always=True)
    made = await ops.create(
        ctx, name=_name(asked.name), description=text(asked.description, "description"),
        is_public=truth(asked.is_public, "is_public", default=True), group_specs=metadata(asked.group_specs),
    )  # fmt: skip
    return {"group_type": _view(ctx, made)}


@routes.get(ALL + "/default", since="3.11")
async def show_default_group_type(ctx: RequestContext) -> dict[str, Any]:
    raise NotFound("Default group type can not be found.")  # Cinder's `default_group_type` is not set either, unless somebody did


@routes.get(ONE, since="3.11")
async def show_group_type(ctx: RequestContext, group_type_id: str) -> dict[str, Any]:
    return {"group_type": _view(ctx, await ops.get(ctx.db, ctx, group_type_id))}


@routes.put(ONE, since="3.11")
async def update_group_type(ctx: RequestContext, group_type_id: str, body: dict) -> dict[str, Any]:  # type: ignore[type-arg]
    asked = parse(ctx, body, "group_type", TypeUpdate, always=True)
    changes: dict[str, Any] = {}
    if asked.name is not UNSET and asked.name is not None:
        changes["name"] = _name(asked.name)
    if asked.description is not UNSET:
        changes["description"] = text(asked.description, "description")
    if asked.is_public is not UNSET and asked.is_public is not None:
        changes["is_public"] = truth(asked.is_public, "is_public")
    if not changes:
        raise Invalid("Specify group type name, description or a combination thereof.")
    return {"group_type": _view(ctx, await ops.update(ctx, group_type_id, **changes))}


@routes.delete(ONE, status=202, since="3.11")
async def delete_group_type(ctx: RequestContext, group_type_id: str) -> None:
    await ops.delete(ctx, group_type_id)


@routes.get(SPECS, since="3.11")
async def list_group_specs(ctx: RequestContext, group_type_id: str) -> dict[str, Any]:
    return {"group_specs": await ops.specs(ctx, group_type_id, "get_all")}


@routes.post(SPECS, status=202, since="3.11")
async def create_group_specs(ctx: RequestContext, group_type_id: str, body: dict) -> dict[str, Any]:  # type: ignore[type-arg]
    given = metadata(body.get("group_specs"), null=False)
    await ops.set_specs(ctx, group_type_id, given, "create")
    return {"group_specs": given}


@routes.get(SPECS + "/{key}", since="3.11")
async def show_group_spec(ctx: RequestContext, group_type_id: str, key: str) -> dict[str, str]:
    found = await ops.specs(ctx, group_type_id, "get")
    if key not in found:
        raise NotFound(f"Group Type {group_type_id} has no group specs with key {key[:255]}.")
    return {key: found[key]}


@routes.put(SPECS + "/{key}", since="3.11")
async def update_group_spec(ctx: RequestContext, group_type_id: str, key: str, body: dict) -> dict[str, str]:  # type: ignore[type-arg]
    if list(body) != [key]:
        raise Invalid("Request body and URI mismatch")
    given = metadata(body, null=False)
    await ops.set_specs(ctx, group_type_id, given, "update")
    return given


@routes.delete(SPECS + "/{key}", status=202, since="3.11")
async def delete_group_spec(ctx: RequestContext, group_type_id: str, key: str) -> None:
    await ops.delete_spec(ctx, group_type_id, key)
