"""/v3/types (block-storage v3 api-ref, "Volume types")."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, Struct, UnsetType, field

from moln.kernel.context import RequestContext
from moln.kernel.errors import Invalid, NotFound
from moln.kernel.http import Params, Routes
from moln.volume.api.bodies import metadata, page, parse, text, truth
from moln.volume.api.faults import SERVICE
from moln.volume.api.views import next_links, shown_specs, type_view
from moln.volume.ops import types as ops

routes = Routes(SERVICE)
SORT_KEYS = {k: k for k in ("id", "name", "is_public", "created_at", "updated_at", "description")}


class TypeCreate(Struct, kw_only=True):
    """`volume_type` of POST /types."""

    name: str
    description: str | None = None
    extra_specs: Any = None
    is_public: Any = field(name="os-volume-type-access:is_public", default=True)


class TypeUpdate(Struct, kw_only=True):
    """`volume_type` of PUT /types/{id}."""

    name: str | UnsetType | None = UNSET
    description: str | UnsetType | None = UNSET
    is_public: Any = UNSET


def name_of(value: str) -> str:
    found = text(value, "name")
    if not found:
        raise Invalid("Volume type name can not be empty.", field="name")
    return found


@routes.get("/v3/types")
async def list_types(ctx: RequestContext, query: Params) -> dict[str, Any]:
    asked = page(ctx, query, SORT_KEYS)
    wanted = query.get("is_public", [None])[-1]
    public: bool | None = True
    if wanted is not None and ctx.is_admin:
        public = None if wanted.lower() == "none" else truth(wanted, "is_public")
    elif ctx.is_admin:
        public = None
    found = []
    if asked.limit:
        found = await ops.index(ctx, public=public, sort=asked.sort, marker=asked.marker, limit=asked.limit + asked.offset)
        found = found[asked.offset :]
    answer: dict[str, Any] = {"volume_types": [type_view(ctx, t) for t in found]}
    return answer | next_links(ctx, query, asked, "types", found, "volume_type_links")


@routes.post("/v3/types")
async def create_type(ctx: RequestContext, body: dict) -> dict[str, Any]:  # type: ignore[type-arg]
    asked = parse(ctx, body, "volume_type", TypeCreate, always=True)
    made = await ops.create(
        ctx,
        name=name_of(asked.name),
        description=text(asked.description, "description"),
        is_public=truth(asked.is_public, "os-volume-type-access:is_public", default=True),
        extra_specs=metadata(asked.extra_specs),
    )
    return {"volume_type": type_view(ctx, made, without=("qos_specs_id",))}


@routes.get("/v3/types/default")
async def show_default_type(ctx: RequestContext) -> dict[str, Any]:
    return {"volume_type": type_view(ctx, await ops.show(ctx, "default"))}


@routes.get("/v3/types/{type_id}")
async def show_type(ctx: RequestContext, type_id: str) -> dict[str, Any]:
    return {"volume_type": type_view(ctx, await ops.show(ctx, type_id))}


@routes.put("/v3/types/{type_id}")
async def update_type(ctx: RequestContext, type_id: str, body: dict) -> dict[str, Any]:  # type: ignore[type-arg]
    asked = parse(ctx, body, "volume_type", TypeUpdate, always=True)
    changes: dict[str, Any] = {}
    if asked.name is not UNSET and asked.name is not None:
        changes["name"] = name_of(asked.name)
    if asked.description is not UNSET:
        changes["description"] = text(asked.description, "description")
    if asked.is_public is not UNSET and asked.is_public is not None:
        changes["is_public"] = truth(asked.is_public, "is_public")
    if not changes:
        raise Invalid("Specify volume type name, description, is_public or a combination thereof.")
    changed = await ops.update(ctx, type_id, **changes)
    return {"volume_type": type_view(ctx, changed, without=("qos_specs_id", "os-volume-type-access:is_public"))}


@routes.delete("/v3/types/{type_id}", status=202)
async def delete_type(ctx: RequestContext, type_id: str) -> None:
    await ops.delete(ctx, type_id)


@routes.get("/v3/types/{type_id}/extra_specs")
async def list_extra_specs(ctx: RequestContext, type_id: str) -> dict[str, Any]:
    ctx.require("volume", "volume_extension:types_extra_specs:index", {"project_id": ctx.project_id})
    return {"extra_specs": shown_specs(ctx, await ops.show(ctx, type_id))}


@routes.post("/v3/types/{type_id}/extra_specs")
async def create_extra_specs(ctx: RequestContext, type_id: str, body: dict) -> dict[str, Any]:  # type: ignore[type-arg]
    specs = metadata(body.get("extra_specs"), null=False)
    await ops.set_specs(ctx, type_id, specs, "volume_extension:types_extra_specs:create")
    return {"extra_specs": specs}


@routes.get("/v3/types/{type_id}/extra_specs/{key}")
async def show_extra_spec(ctx: RequestContext, type_id: str, key: str) -> dict[str, str]:
    ctx.require("volume", "volume_extension:types_extra_specs:show", {"project_id": ctx.project_id})
    found = shown_specs(ctx, await ops.show(ctx, type_id))
    if key not in found:
        raise NotFound(f"Volume Type {type_id} has no extra specs with key {key[:255]}.")
    return {key: found[key]}


@routes.put("/v3/types/{type_id}/extra_specs/{key}")
async def update_extra_spec(ctx: RequestContext, type_id: str, key: str, body: dict) -> dict[str, str]:  # type: ignore[type-arg]
    if list(body) != [key]:
        raise Invalid("Request body and URI mismatch" if body else "Request body contains too many items")
    specs = metadata(body, null=False)
    await ops.set_specs(ctx, type_id, specs, "volume_extension:types_extra_specs:update")
    return specs


@routes.delete("/v3/types/{type_id}/extra_specs/{key}", status=202)
async def delete_extra_spec(ctx: RequestContext, type_id: str, key: str) -> None:
    await ops.delete_spec(ctx, type_id, key)


@routes.get("/v3/types/{type_id}/os-volume-type-access")
async def list_type_access(ctx: RequestContext, type_id: str) -> dict[str, Any]:
    found = await ops.access(ctx, type_id)
    return {"volume_type_access": [{"volume_type_id": type_id, "project_id": p} for p in found]}


class Access(Struct):
    project: str


@routes.post("/v3/types/{type_id}/action", action="addProjectAccess", status=202)
async def add_type_access(ctx: RequestContext, type_id: str, body: dict) -> None:  # type: ignore[type-arg]
    asked = parse(ctx, body, "addProjectAccess", Access, always=True)
    await ops.set_access(ctx, type_id, project_of(asked), granted=True)


@routes.post("/v3/types/{type_id}/action", action="removeProjectAccess", status=202)
async def remove_type_access(ctx: RequestContext, type_id: str, body: dict) -> None:  # type: ignore[type-arg]
    asked = parse(ctx, body, "removeProjectAccess", Access, always=True)
    await ops.set_access(ctx, type_id, project_of(asked), granted=False)


def project_of(asked: Access) -> str:
    if not 0 < len(asked.project) <= 255:
        raise Invalid("Invalid input for field/attribute project. It is a string of 1 to 255 characters.", field="project")
    return asked.project
