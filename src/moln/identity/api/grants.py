"""Role assignments one by one: /v3/{projects,domains,system}/…/{users,groups}/…/roles, and the same below OS-INHERIT."""

from __future__ import annotations

from typing import Any

from moln.identity.api import views
from moln.identity.api.service import routes
from moln.identity.model.roles import SYSTEM, Grant
from moln.identity.ops import grants as ops
from moln.kernel.context import RequestContext


async def _list(ctx: RequestContext, grant: Grant, path: str) -> Any:
    return views.collection(ctx, "roles", [views.role(ctx, role) for role in await ops.roles(ctx, grant)], path)


def _declare(actor: str, target: str, *, inherited: bool = False) -> None:
    """The operations on one kind of actor's roles on one kind of target."""
    before, after = ("OS-INHERIT/", "/inherited_to_projects") if inherited else ("", "")
    plural = f"{before}{target}s/{{target_id}}/{actor}s/{{actor_id}}/roles"

    def grant(actor_id: str, target_id: str, role_id: str = "") -> Grant:
        return Grant(actor, actor_id, target, target_id, role_id, inherited)

    async def list_(ctx: RequestContext, target_id: str, actor_id: str) -> Any:
        path = plural.format(target_id=target_id, actor_id=actor_id) + after
        return await _list(ctx, grant(actor_id, target_id), path)

    async def check(ctx: RequestContext, target_id: str, actor_id: str, role_id: str) -> None:
        await ops.check(ctx, grant(actor_id, target_id, role_id))

    async def create(ctx: RequestContext, target_id: str, actor_id: str, role_id: str) -> None:
        await ops.create(ctx, grant(actor_id, target_id, role_id))

    async def revoke(ctx: RequestContext, target_id: str, actor_id: str, role_id: str) -> None:
        await ops.revoke(ctx, grant(actor_id, target_id, role_id))

    routes.get(f"/v3/{plural}{after}")(list_)
    routes.get(f"/v3/{plural}/{{role_id}}{after}", status=204)(check)
    routes.put(f"/v3/{plural}/{{role_id}}{after}", status=204)(create)
    routes.delete(f"/v3/{plural}/{{role_id}}{after}")(revoke)


def _declare_system(actor: str) -> None:
    """The operations on one kind of actor's roles on the system."""
    plural = f"system/{actor}s/{{actor_id}}/roles"

    def grant(actor_id: str, role_id: str = "") -> Grant:
        return Grant(actor, actor_id, SYSTEM, SYSTEM, role_id)

    async def list_(ctx: RequestContext, actor_id: str) -> Any:
        return await _list(ctx, grant(actor_id), plural.format(actor_id=actor_id))

    async def check(ctx: RequestContext, actor_id: str, role_id: str) -> None:
        await ops.check(ctx, grant(actor_id, role_id))

    async def create(ctx: RequestContext, actor_id: str, role_id: str) -> None:
        await ops.create(ctx, grant(actor_id, role_id))

    async def revoke(ctx: RequestContext, actor_id: str, role_id: str) -> None:
        await ops.revoke(ctx, grant(actor_id, role_id))

    routes.get(f"/v3/{plural}")(list_)
    routes.get(f"/v3/{plural}/{{role_id}}", status=204)(check)
    routes.put(f"/v3/{plural}/{{role_id}}", status=204)(create)
    routes.delete(f"/v3/{plural}/{{role_id}}")(revoke)


for _actor in ("user", "group"):
    _declare_system(_actor)
    for _target in ("project", "domain"):
        _declare(_actor, _target)
        _declare(_actor, _target, inherited=True)
