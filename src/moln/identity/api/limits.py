"""/v3/registered_limits and /v3/limits"""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

from moln.identity import settings
from moln.identity.api import views
from moln.identity.api.bodies import Id, convert, one, take
from moln.identity.api.service import base, routes
from moln.identity.model.limits import MODELS, Limit, RegisteredLimit
from moln.identity.ops import limits as ops
from moln.identity.ops.access import require
from moln.identity.store.limits import REGISTERED_LISTING
from moln.kernel.context import RequestContext
from moln.kernel.errors import Invalid
from moln.kernel.http import Params

Amount = Annotated[int, Meta(ge=-1, le=2**31 - 1)]
Resource = Annotated[str, Meta(min_length=1, max_length=255)]
Text = Annotated[str, Meta(max_length=4096)]
Region = Annotated[str, Meta(max_length=255)]


class NewRegistered(Struct, forbid_unknown_fields=True):
    service_id: Id
    resource_name: Resource
    default_limit: Amount
    region_id: Region | None = None
    description: Text | None = None


class Registered(Struct):
    service_id: Id | UnsetType = UNSET
    resource_name: Resource | UnsetType = UNSET
    default_limit: Amount | UnsetType = UNSET
    region_id: Region | None | UnsetType = UNSET
    description: Text | None | UnsetType = UNSET


class NewLimit(Struct, forbid_unknown_fields=True):
    service_id: Id
    resource_name: Resource
    resource_limit: Amount
    project_id: Id | None = None
    domain_id: Id | None = None
    region_id: Region | None = None
    description: Text | None = None


class ChangedLimit(Struct):
    resource_limit: Amount | UnsetType = UNSET
    description: Text | None | UnsetType = UNSET


def _registered(ctx: RequestContext, of: RegisteredLimit) -> dict[str, Any]:
    return {
        "id": of.id, "service_id": of.service_id, "region_id": of.region_id, "resource_name": of.resource_name,
        "default_limit": of.default_limit, "description": of.description, "links": {"self": f"{base(ctx)}/registered_limits/{of.id}"},
    }  # fmt: skip


def _limit(ctx: RequestContext, of: Limit) -> dict[str, Any]:
    return {
        "id": of.id, "service_id": of.service_id, "region_id": of.region_id, "resource_name": of.resource_name, "project_id": of.project_id,
        "domain_id": of.domain_id, "resource_limit": of.resource_limit, "description": of.description,
        "links": {"self": f"{base(ctx)}/limits/{of.id}"},
    }  # fmt: skip


def _many(body: dict[str, Any], root: str, shape: type[Any]) -> list[dict[str, Any]]:
    """Raises: Invalid."""
    given = body.get(root)
    if not isinstance(given, list) or not 0 < len(given) <= 1000:
        raise Invalid(f"{root!r} must be a list of at least one.", field=root)
    return [{name: getattr(taken, name) for name in taken.__struct_fields__} for taken in convert(given, list[shape], root)]


def _known(body: dict[str, Any], root: str, shape: type[Struct], id_: str) -> dict[str, Any]:
    values = take(body, root, shape, id_)
    if extra := values.get("extra"):
        name = next(iter(extra))
        raise Invalid(f"Additional properties are not allowed ({name[:64]!r} was unexpected)", field=name)
    return values


@routes.get("/v3/registered_limits")
async def list_registered_limits(ctx: RequestContext, query: Params) -> Any:
    require(ctx, "identity:list_registered_limits")
    where = views.filters(service_id=one(query, "service_id"), region_id=one(query, "region_id"), resource_name=one(query, "resource_name"))
    return await views.page(ctx, REGISTERED_LISTING, "registered_limits", _registered, query, where)


@routes.post("/v3/registered_limits", status=201)
async def create_registered_limits(ctx: RequestContext, body: dict[str, Any]) -> Any:
    made = await ops.register(ctx, _many(body, "registered_limits", NewRegistered))
    return {"registered_limits": [_registered(ctx, limit) for limit in made]}


@routes.get("/v3/registered_limits/{registered_limit_id}")
async def show_registered_limit(ctx: RequestContext, registered_limit_id: str) -> Any:
    return {"registered_limit": _registered(ctx, await ops.get_registered(ctx, registered_limit_id))}


@routes.patch("/v3/registered_limits/{registered_limit_id}")
async def update_registered_limit(ctx: RequestContext, registered_limit_id: str, body: dict[str, Any]) -> Any:
    values = _known(body, "registered_limit", Registered, registered_limit_id)
    return {"registered_limit": _registered(ctx, await ops.update_registered(ctx, registered_limit_id, values))}


@routes.delete("/v3/registered_limits/{registered_limit_id}")
async def delete_registered_limit(ctx: RequestContext, registered_limit_id: str) -> None:
    await ops.delete_registered(ctx, registered_limit_id)


@routes.get("/v3/limits/model")
async def show_limit_model(ctx: RequestContext) -> Any:
    require(ctx, "identity:get_limit_model")
    name = settings.of(ctx.cloud).limit_model
    return {"model": {"name": name, "description": MODELS[name]}}


@routes.get("/v3/limits")
async def list_limits(ctx: RequestContext, query: Params) -> Any:
    names = ("service_id", "region_id", "resource_name", "project_id", "domain_id")
    found = await ops.visible(ctx, views.filters(**{name: one(query, name) for name in names}))
    return views.collection(ctx, "limits", [_limit(ctx, limit) for limit in found], "limits")


@routes.post("/v3/limits", status=201)
async def create_limits(ctx: RequestContext, body: dict[str, Any]) -> Any:
    return {"limits": [_limit(ctx, limit) for limit in await ops.create(ctx, _many(body, "limits", NewLimit))]}


@routes.get("/v3/limits/{limit_id}")
async def show_limit(ctx: RequestContext, limit_id: str) -> Any:
    return {"limit": _limit(ctx, await ops.get(ctx, limit_id))}


@routes.patch("/v3/limits/{limit_id}")
async def update_limit(ctx: RequestContext, limit_id: str, body: dict[str, Any]) -> Any:
    return {"limit": _limit(ctx, await ops.update(ctx, limit_id, _known(body, "limit", ChangedLimit, limit_id)))}


@routes.delete("/v3/limits/{limit_id}")
async def delete_limit(ctx: RequestContext, limit_id: str) -> None:
    await ops.delete(ctx, limit_id)
