"""/v2.0/quotas."""

from __future__ import annotations

from typing import Any

from moln.kernel.context import RequestContext
from moln.kernel.db import Transaction
from moln.kernel.errors import Forbidden, Invalid
from moln.network.api.attributes import whole
from moln.network.api.service import routes
from moln.network.ops import authority
from moln.network.ops.common import QUOTA
from moln.network.store import quotas as store

LIMIT = whole(-1)


def _may(ctx: RequestContext, action: str, project_id: str) -> None:
    if not ctx.allows("network", f"{action}_quota", authority.of_project(project_id)):
        raise Forbidden(f"rule:{action}_quota is disallowed by policy", type="PolicyNotAuthorized")


def _sees_own(ctx: RequestContext, project_id: str) -> None:
    """A project may see its own (Nova and Horizon ask as the user)."""
    if project_id != ctx.project_id:
        _may(ctx, "get", project_id)


@routes.get("/v2.0/quotas")
async def list_(ctx: RequestContext) -> dict[str, Any]:
    _may(ctx, "get", "")
    found = []
    for project_id in await store.projects(ctx.db, QUOTA.service):
        found.append({**await QUOTA.limits(ctx.db, project_id), "project_id": project_id, "tenant_id": project_id})
    return {"quotas": found}


@routes.get("/v2.0/quotas/{project_id}")
async def show(ctx: RequestContext, project_id: str) -> dict[str, Any]:
    if project_id in ("tenant", "project"):  # whose token is this
        return {project_id: {f"{project_id}_id": ctx.project_id}}
    _sees_own(ctx, project_id)
    return {"quota": await QUOTA.limits(ctx.db, project_id)}


@routes.get("/v2.0/quotas/{project_id}/default")
async def default(ctx: RequestContext, project_id: str) -> dict[str, Any]:
    _sees_own(ctx, project_id)
    return {"quota": await QUOTA.limits(ctx.db, "")}


@routes.get("/v2.0/quotas/{project_id}/details.json")
async def details_json(ctx: RequestContext, project_id: str) -> dict[str, Any]:
    return await _details(ctx, project_id)


@routes.get("/v2.0/quotas/{project_id}/details")
async def details(ctx: RequestContext, project_id: str) -> dict[str, Any]:
    return await _details(ctx, project_id)


async def _details(ctx: RequestContext, project_id: str) -> dict[str, Any]:
    _sees_own(ctx, project_id)
    limits, used = await QUOTA.limits(ctx.db, project_id), await QUOTA.used(ctx.db, project_id)
    return {"quota": {name: {"limit": limits[name], "used": used.get(name, 0), "reserved": 0} for name in limits}}


@routes.put("/v2.0/quotas/{project_id}")
async def update(ctx: RequestContext, project_id: str, body: dict) -> dict[str, Any]:  # type: ignore[type-arg]
    _may(ctx, "update", project_id)
    given = body.get("quota")
    if not isinstance(given, dict):
        raise Invalid("Resource body required")
    force = given.get("force") is True
    given = {k: v for k, v in given.items() if k not in ("tenant_id", "project_id", "force", "check_limit")}
    if unknown := [name for name in given if name not in QUOTA.defaults]:
        raise Invalid(f"Unrecognized attribute(s) '{', '.join(name[:80] for name in unknown)}'", field=unknown[0])
    values = {name: LIMIT(value, name) for name, value in given.items()}
    used = {} if force else await QUOTA.used(ctx.db, project_id)
    for name, limit in values.items():
        if 0 <= limit < used.get(name, 0):
            raise Invalid(f"Quota limit {limit} for {name} must be greater than or equal to already used {used[name]}", field=name)
    await ctx.db.write(_set, project_id, values)
    return {"quota": await QUOTA.limits(ctx.db, project_id)}


async def _set(tx: Transaction, project_id: str, values: dict[str, int]) -> None:
    await QUOTA.set_limits(tx, project_id, values)


@routes.delete("/v2.0/quotas/{project_id}")
async def delete(ctx: RequestContext, project_id: str) -> None:
    _may(ctx, "delete", project_id)
    await ctx.db.write(_reset, project_id)


async def _reset(tx: Transaction, project_id: str) -> None:
    await QUOTA.reset(tx, project_id)
