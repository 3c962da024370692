"""/v3/role_assignments"""

from __future__ import annotations

from typing import Any

from moln.identity.api import views
from moln.identity.api.bodies import flag, one
from moln.identity.api.service import base, routes
from moln.identity.model.roles import SYSTEM, Assignment
from moln.identity.ops import assignments as ops
from moln.identity.ops.assignments import Asked, Names
from moln.kernel.context import RequestContext
from moln.kernel.http import Params


@routes.get("/v3/role_assignments")
async def list_assignments(ctx: RequestContext, query: Params) -> Any:
    inherited = one(query, "scope.OS-INHERIT:inherited_to")
    found = await ops.find(ctx, Asked(
        role_id=one(query, "role.id"),
        user_id=one(query, "user.id"),
        group_id=one(query, "group.id"),
        project_id=one(query, "scope.project.id"),
        domain_id=one(query, "scope.domain.id"),
        system="scope.system" in query,
        inherited=None if inherited is None else inherited == "projects",
        effective=flag(query, "effective"),
        subtree=flag(query, "include_subtree"),
    ))  # fmt: skip
    names = Names(ctx.db) if flag(query, "include_names") else None
    shown = [await _view(ctx, assignment, names) for assignment in found]
    return views.collection(ctx, "role_assignments", shown, "role_assignments")


async def _view(ctx: RequestContext, of: Assignment, names: Names | None) -> dict[str, Any]:
    grant = of.grant
    inherited = grant.inherited or of.via_target is not None
    scope: dict[str, Any]
    if grant.target_kind == SYSTEM:
        scope = {"system": {"all": True}}
    else:
        scope = {grant.target_kind: await names.project(grant.target_id) if names else {"id": grant.target_id}}
    if inherited:
        scope["OS-INHERIT:inherited_to"] = "projects"
    links = {"assignment": base(ctx) + _path(of, inherited)}
    if of.via_group:
        links["membership"] = f"{base(ctx)}/groups/{of.via_group}/users/{grant.actor_id}"
    if of.via_role:
        links["prior_role"] = f"{base(ctx)}/prior_role/{of.via_role}/implies/{grant.role_id}"
    return {
        "scope": scope,
        grant.actor_kind: await names.actor(grant.actor_kind, grant.actor_id) if names else {"id": grant.actor_id},
        "role": await names.role(grant.role_id) if names else {"id": grant.role_id},
        "links": links,
    }


def _path(of: Assignment, inherited: bool) -> str:
    """Where the grant behind the assignment is, below /v3."""
    grant = of.grant
    kind, target = of.via_target or (grant.target_kind, grant.target_id)
    path = "/system" if kind == SYSTEM else f"/{kind}s/{target}"
    path += f"/groups/{of.via_group}" if of.via_group else f"/{grant.actor_kind}s/{grant.actor_id}"
    path += f"/roles/{of.via_role or grant.role_id}"
    return f"/OS-INHERIT{path}/inherited_to_projects" if inherited else path
