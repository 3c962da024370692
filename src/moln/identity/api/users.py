"""/v3/users"""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

from moln.identity.api import views
from moln.identity.api.bodies import Id, Name, convert, one, switch, take
from moln.identity.api.service import routes
from moln.identity.model.users import MAX_PASSWORD
from moln.identity.ops import directory_entries, scopes
from moln.identity.ops import users as ops
from moln.identity.ops.access import require
from moln.identity.store.users import SHOWN
from moln.kernel.context import RequestContext
from moln.kernel.errors import Invalid
from moln.kernel.http import Params

Password = Annotated[str, Meta(max_length=MAX_PASSWORD)]


class _User(Struct):
    name: Name | UnsetType = UNSET
    domain_id: Id | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET
    default_project_id: str | None | UnsetType = UNSET
    password: Password | None | UnsetType = UNSET
    options: dict[str, Any] | UnsetType = UNSET


class _NewUser(_User, kw_only=True):
    name: Name


class _PasswordChange(Struct, forbid_unknown_fields=True):
    original_password: str
    password: Password


@routes.get("/v3/users")
async def list_users(ctx: RequestContext, query: Params) -> Any:
    about: dict[str, Any] = {"domain_id": ctx.domain_id} if ctx.domain_id else {}
    require(ctx, "identity:list_users", **about)
    where = views.filters(domain_id=one(query, "domain_id"), name=one(query, "name"), enabled=switch(query, "enabled"))
    if ctx.domain_id:
        where.append(("domain_id", "eq", ctx.domain_id))
    where += await directory_entries.listed(ctx, "user", [str(value) for name, _, value in where if name == "domain_id"], one(query, "name"), query)
    return await views.page(ctx, SHOWN, "users", views.listed_user, query, where)


@routes.post("/v3/users", status=201)
async def create_user(ctx: RequestContext, body: dict[str, Any]) -> Any:
    values = take(body, "user", _NewUser)
    password = values.pop("password", None)
    return {"user": views.user(ctx, await ops.create(ctx, values, password))}


@routes.get("/v3/users/{user_id}")
async def show_user(ctx: RequestContext, user_id: str) -> Any:
    return {"user": views.user(ctx, await ops.get(ctx, user_id))}


@routes.patch("/v3/users/{user_id}")
async def update_user(ctx: RequestContext, user_id: str, body: dict[str, Any]) -> Any:
    values = take(body, "user", _User, user_id)
    password = values.pop("password", None)
    return {"user": views.user(ctx, await ops.update(ctx, user_id, values, password))}


@routes.delete("/v3/users/{user_id}")
async def delete_user(ctx: RequestContext, user_id: str) -> None:
    await ops.delete(ctx, user_id)


@routes.post("/v3/users/{user_id}/password", status=204, public=True)
async def change_password(ctx: RequestContext, user_id: str, body: dict[str, Any]) -> None:
    """Proved by the old password, not by a token."""
    if "user" not in body:
        raise Invalid("'user' is a required property", field="user")
    change = convert(body["user"], _PasswordChange, "user")
    await ops.change_password(ctx, user_id, change.original_password, change.password)


@routes.get("/v3/users/{user_id}/projects")
async def list_user_projects(ctx: RequestContext, user_id: str, query: Params) -> Any:
    await ops.get(ctx, user_id, "identity:list_user_projects")
    found = await scopes.projects_of(ctx.db, user_id)
    name, enabled = one(query, "name"), switch(query, "enabled")
    shown = [p for p in found if name in (None, p.name) and (enabled is None or bool(enabled) == p.enabled)]
    return views.collection(ctx, "projects", [views.project(ctx, p) for p in shown], f"users/{user_id}/projects")
