"""/v3/OS-TRUST/trusts"""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

from moln.identity.api import views
from moln.identity.api.bodies import Id, RoleRef, convert, inner, moment, one
from moln.identity.api.service import base, routes
from moln.identity.model.trusts import Trust
from moln.identity.ops import trusts as ops
from moln.kernel.clock import iso_micro
from moln.kernel.context import RequestContext
from moln.kernel.http import Params

PATH = "/v3/OS-TRUST/trusts"


class _New(Struct):
    trustor_user_id: Id
    trustee_user_id: Id
    impersonation: bool
    project_id: Id | None = None
    roles: Annotated[list[RoleRef], Meta(max_length=100)] = []
    expires_at: str | None = None
    remaining_uses: Annotated[int, Meta(ge=1)] | None = None
    allow_redelegation: bool = False
    redelegation_count: Annotated[int, Meta(ge=0)] | None | UnsetType = UNSET


def _plain(ctx: RequestContext, of: Trust) -> dict[str, Any]:
    return {
        "id": of.id, "trustor_user_id": of.trustor_user_id, "trustee_user_id": of.trustee_user_id, "project_id": of.project_id,
        "impersonation": of.impersonation, "expires_at": iso_micro(of.expires_at, suffix="Z") if of.expires_at is not None else None,
        "remaining_uses": of.remaining_uses, "redelegation_count": of.redelegation_count, "redelegated_trust_id": of.redelegated_trust_id,
        "deleted_at": None, "links": {"self": f"{base(ctx)}/OS-TRUST/trusts/{of.id}"},
    }  # fmt: skip


async def _view(ctx: RequestContext, of: Trust) -> dict[str, Any]:
    links = {"self": f"{base(ctx)}/OS-TRUST/trusts/{of.id}/roles", "next": None, "previous": None}
    return _plain(ctx, of) | {"roles": [views.role(ctx, r) for r in await ops.roles(ctx, of)], "roles_links": links}


@routes.get(PATH)
async def list_trusts(ctx: RequestContext, query: Params) -> Any:
    found = await ops.visible(ctx, one(query, "trustor_user_id"), one(query, "trustee_user_id"))
    return views.collection(ctx, "trusts", [_plain(ctx, t) for t in found], "OS-TRUST/trusts")


@routes.post(PATH, status=201)
async def create_trust(ctx: RequestContext, body: dict[str, Any]) -> Any:
    asked = convert(inner(body, "trust"), _New, "trust")
    values = {
        "trustor_user_id": asked.trustor_user_id, "trustee_user_id": asked.trustee_user_id, "impersonation": asked.impersonation,
        "project_id": asked.project_id, "expires_at": moment(asked.expires_at, "expires_at"), "remaining_uses": asked.remaining_uses,
    }  # fmt: skip
    if asked.redelegation_count is not UNSET and asked.redelegation_count is not None:
        values["redelegation_count"] = asked.redelegation_count
    made = await ops.create(ctx, values, [(role.id, role.name) for role in asked.roles], asked.allow_redelegation)
    return {"trust": await _view(ctx, made)}


@routes.get(PATH + "/{trust_id}")
async def show_trust(ctx: RequestContext, trust_id: str) -> Any:
    return {"trust": await _view(ctx, await ops.get(ctx, trust_id))}


@routes.delete(PATH + "/{trust_id}")
async def delete_trust(ctx: RequestContext, trust_id: str) -> None:
    await ops.delete(ctx, trust_id)


@routes.get(PATH + "/{trust_id}/roles")
async def list_trust_roles(ctx: RequestContext, trust_id: str) -> Any:
    found = await ops.roles(ctx, await ops.get(ctx, trust_id, "identity:list_roles_for_trust"))
    return views.collection(ctx, "roles", [views.role(ctx, r) for r in found], f"OS-TRUST/trusts/{trust_id}/roles")


@routes.get(PATH + "/{trust_id}/roles/{role_id}")
async def show_trust_role(ctx: RequestContext, trust_id: str, role_id: str) -> Any:
    return {"role": views.role(ctx, await ops.role(ctx, trust_id, role_id))}
