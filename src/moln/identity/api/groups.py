"""/v3/groups"""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, Struct, UnsetType

from moln.identity.api import views
from moln.identity.api.bodies import Id, Name, one, take
from moln.identity.api.service import routes
from moln.identity.ops import directory_entries
from moln.identity.ops import groups as ops
from moln.identity.ops.access import require
from moln.identity.store.groups import LISTING
from moln.kernel.context import RequestContext
from moln.kernel.http import Params


class _Group(Struct):
    name: Name | UnsetType = UNSET
    domain_id: Id | UnsetType = UNSET
    description: str | None | UnsetType = UNSET


class _NewGroup(_Group, kw_only=True):
    name: Name


@routes.get("/v3/groups")
async def list_groups(ctx: RequestContext, query: Params) -> Any:
    require(ctx, "identity:list_groups", group={"domain_id": ctx.domain_id} if ctx.domain_id else None)
    where = views.filters(domain_id=one(query, "domain_id"), name=one(query, "name"))
    if ctx.domain_id:
        where.append(("domain_id", "eq", ctx.domain_id))
    where += await directory_entries.listed(ctx, "group", [str(value) for name, _, value in where if name == "domain_id"], one(query, "name"), query)
    return await views.page(ctx, LISTING, "groups", views.group, query, where)


@routes.post("/v3/groups", status=201)
async def create_group(ctx: RequestContext, body: dict[str, Any]) -> Any:
    return {"group": views.group(ctx, await ops.create(ctx, take(body, "group", _NewGroup)))}


@routes.get("/v3/groups/{group_id}")
async def show_group(ctx: RequestContext, group_id: str) -> Any:
    return {"group": views.group(ctx, await ops.get(ctx, group_id))}


@routes.patch("/v3/groups/{group_id}")
async def update_group(ctx: RequestContext, group_id: str, body: dict[str, Any]) -> Any:
    return {"group": views.group(ctx, await ops.update(ctx, group_id, take(body, "group", _Group, group_id)))}


@routes.delete("/v3/groups/{group_id}")
async def delete_group(ctx: RequestContext, group_id: str) -> None:
    await ops.delete(ctx, group_id)


@routes.get("/v3/groups/{group_id}/users")
async def list_group_users(ctx: RequestContext, group_id: str) -> Any:
    found = await ops.members(ctx, group_id)
    return views.collection(ctx, "users", [views.user(ctx, u) for u in found], f"groups/{group_id}/users")


@routes.put("/v3/groups/{group_id}/users/{user_id}", status=204)
async def add_group_user(ctx: RequestContext, group_id: str, user_id: str) -> None:
    await ops.add(ctx, group_id, user_id)


@routes.get("/v3/groups/{group_id}/users/{user_id}", status=204)
async def check_group_user(ctx: RequestContext, group_id: str, user_id: str) -> None:
    await ops.check(ctx, group_id, user_id)


@routes.delete("/v3/groups/{group_id}/users/{user_id}")
async def remove_group_user(ctx: RequestContext, group_id: str, user_id: str) -> None:
    await ops.remove(ctx, group_id, user_id)


@routes.get("/v3/users/{user_id}/groups")
async def list_user_groups(ctx: RequestContext, user_id: str) -> Any:
    found = await ops.of_user(ctx, user_id)
    return views.collection(ctx, "groups", [views.group(ctx, g) for g in found], f"users/{user_id}/groups")
