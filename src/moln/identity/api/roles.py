"""/v3/roles, what they imply, and /v3/role_inferences"""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, Struct, UnsetType

from moln.identity.api import views
from moln.identity.api.bodies import Id, Name, one, take
from moln.identity.api.service import base, routes
from moln.identity.model.roles import Role
from moln.identity.ops import roles as ops
from moln.identity.ops.access import require
from moln.identity.store.roles import LISTING
from moln.kernel.context import RequestContext
from moln.kernel.http import Params


class _Role(Struct):
    name: Name | UnsetType = UNSET
    domain_id: Id | None | UnsetType = UNSET
    description: str | None | UnsetType = UNSET
    options: dict[str, Any] | UnsetType = UNSET


class _NewRole(_Role, kw_only=True):
    name: Name


@routes.get("/v3/roles")
async def list_roles(ctx: RequestContext, query: Params) -> Any:
    domain_id = one(query, "domain_id")
    require(ctx, "identity:list_domain_roles" if domain_id else "identity:list_roles")
    where = views.filters(name=one(query, "name"), domain_id=domain_id)
    if not domain_id:
        where.append(("domain_id", "null", None))
    return await views.page(ctx, LISTING, "roles", views.role, query, where)


@routes.post("/v3/roles", status=201)
async def create_role(ctx: RequestContext, body: dict[str, Any]) -> Any:
    return {"role": views.role(ctx, await ops.create(ctx, take(body, "role", _NewRole)))}


@routes.get("/v3/roles/{role_id}")
async def show_role(ctx: RequestContext, role_id: str) -> Any:
    return {"role": views.role(ctx, await ops.get(ctx, role_id))}


@routes.patch("/v3/roles/{role_id}")
async def update_role(ctx: RequestContext, role_id: str, body: dict[str, Any]) -> Any:
    return {"role": views.role(ctx, await ops.update(ctx, role_id, take(body, "role", _Role, role_id)))}


@routes.delete("/v3/roles/{role_id}")
async def delete_role(ctx: RequestContext, role_id: str) -> None:
    await ops.delete(ctx, role_id)


def _short(ctx: RequestContext, role: Role) -> dict[str, Any]:
    return {"id": role.id, "name": role.name, "links": {"self": f"{base(ctx)}/roles/{role.id}"}}


def _inference(ctx: RequestContext, prior: Role, implies: Any) -> dict[str, Any]:
    return {"prior_role": _short(ctx, prior), "implies": implies}


@routes.get("/v3/roles/{prior_role_id}/implies")
async def list_implied(ctx: RequestContext, prior_role_id: str) -> Any:
    prior, found = await ops.implied_by(ctx, prior_role_id)
    return {"role_inference": _inference(ctx, prior, [_short(ctx, r) for r in found]),
            "links": {"self": f"{base(ctx)}/roles/{prior_role_id}/implies"}}  # fmt: skip


def _one(ctx: RequestContext, prior: Role, implied: Role) -> Any:
    return {"role_inference": _inference(ctx, prior, _short(ctx, implied)),
            "links": {"self": f"{base(ctx)}/roles/{prior.id}/implies/{implied.id}"}}  # fmt: skip


@routes.get("/v3/roles/{prior_role_id}/implies/{implied_role_id}")
async def show_implied(ctx: RequestContext, prior_role_id: str, implied_role_id: str) -> Any:
    return _one(ctx, *await ops.get_implied(ctx, prior_role_id, implied_role_id, "identity:get_implied_role"))


@routes.head("/v3/roles/{prior_role_id}/implies/{implied_role_id}", status=204)
async def check_implied(ctx: RequestContext, prior_role_id: str, implied_role_id: str) -> None:
    await ops.get_implied(ctx, prior_role_id, implied_role_id, "identity:check_implied_role")


@routes.put("/v3/roles/{prior_role_id}/implies/{implied_role_id}", status=201)
async def create_implied(ctx: RequestContext, prior_role_id: str, implied_role_id: str) -> Any:
    return _one(ctx, *await ops.imply(ctx, prior_role_id, implied_role_id))


@routes.delete("/v3/roles/{prior_role_id}/implies/{implied_role_id}")
async def delete_implied(ctx: RequestContext, prior_role_id: str, implied_role_id: str) -> None:
    await ops.imply_no_more(ctx, prior_role_id, implied_role_id)


@routes.get("/v3/role_inferences")
async def list_inferences(ctx: RequestContext) -> Any:
    found = [_inference(ctx, prior, [_short(ctx, r) for r in implied]) for prior, implied in await ops.implications(ctx)]
    return {"role_inferences": found, "links": {"self": f"{base(ctx)}/role_inferences"}}
