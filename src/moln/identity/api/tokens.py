"""/v3/auth/tokens and what a token leads to."""

from __future__ import annotations

from typing import Any

import falcon.asgi
from msgspec.structs import replace

from moln.identity.api import auth_bodies, oauth1, views
from moln.identity.api.auth_bodies import Auth
from moln.identity.api.bodies import convert, flag
from moln.identity.api.service import base, routes
from moln.identity.api.token_views import headers, view
from moln.identity.ops import authentication, catalog, scopes, tokens
from moln.identity.ops import oauth1 as oauth1_ops
from moln.identity.ops.access import lacking, require
from moln.identity.ops.authentication import MoreNeeded
from moln.identity.store import projects as project_store
from moln.kernel.clock import iso_micro
from moln.kernel.context import RequestContext
from moln.kernel.errors import Forbidden, NotFound
from moln.kernel.http import Params, Reply

RECEIPT = "Openstack-Auth-Receipt"
ACCESS_RULES = "OpenStack-Identity-Access-Rules"  # who validates tokens and does not know access rules must not take one for unbound


@routes.post("/v3/auth/tokens", status=201, public=True)
async def issue_token(ctx: RequestContext, body: dict[str, Any], query: Params, request: falcon.asgi.Request) -> Reply:
    if not isinstance(body.get("auth"), dict):
        raise lacking("auth", "request body")
    auth = convert(body["auth"], Auth, "auth")
    shown, wanted = auth_bodies.shown(body["auth"], auth.identity), auth_bodies.wanted(auth.scope)
    if "oauth1" in auth.identity.methods:
        shown = replace(shown, access_token=await oauth1_ops.verify(ctx.cloud, oauth1.signed(ctx, request)))
    receipt = request.get_header(RECEIPT)
    try:
        token, opened = await authentication.authenticate(ctx.cloud, replace(shown, receipt=receipt), wanted)
    except MoreNeeded as more:
        return await _receipt(ctx, more)
    ctx.proved = opened.identity
    return Reply(await view(ctx, opened, "nocatalog" not in query), headers=headers(token))


async def _receipt(ctx: RequestContext, more: MoreNeeded) -> Reply:
    """What has been shown counts for a while; what is still needed is said."""
    made, user = more.receipt, more.user
    domain = await project_store.find_domain(ctx.db, user.domain_id)
    shown = {
        "methods": made.methods, "expires_at": iso_micro(made.expires_at, suffix="Z"), "issued_at": iso_micro(made.issued_at, suffix="Z"),
        "user": {"id": user.id, "name": user.name, "domain": {"id": user.domain_id, "name": domain.name if domain else ""}},
    }  # fmt: skip
    return Reply({"receipt": shown, "required_auth_methods": more.rules}, status=401, headers={RECEIPT: more.text})


@routes.get("/v3/auth/tokens")
async def validate_token(ctx: RequestContext, query: Params, request: falcon.asgi.Request) -> Reply:
    token = request.get_header("X-Subject-Token")
    opened = await tokens.subject(ctx, token, "identity:validate_token", bool(query) and flag(query, "allow_expired"))
    if opened.access_rules is not None and request.get_header(ACCESS_RULES) is None:
        raise NotFound("Failed to validate token")
    return Reply(await view(ctx, opened, "nocatalog" not in query), headers=headers(token or ""))


@routes.head("/v3/auth/tokens")
async def check_token(ctx: RequestContext, query: Params, request: falcon.asgi.Request) -> Reply:
    token = request.get_header("X-Subject-Token")
    await tokens.subject(ctx, token, "identity:check_token", flag(query, "allow_expired"))
    return Reply(headers=headers(token or ""))


@routes.delete("/v3/auth/tokens")
async def revoke_token(ctx: RequestContext, request: falcon.asgi.Request) -> None:
    await tokens.revoke(ctx, request.get_header("X-Subject-Token"))


@routes.get("/v3/auth/catalog")
async def show_catalog(ctx: RequestContext) -> Any:
    require(ctx, "identity:get_auth_catalog")
    if ctx.project_id is None or ctx.user_id is None:
        raise Forbidden("A project-scoped token is required to produce a service catalog.")
    entries = await catalog.entries(ctx, ctx.user_id, ctx.project_id)
    return {"catalog": entries, "links": {"self": f"{base(ctx)}/auth/catalog"}}


@routes.get("/v3/auth/projects")
async def list_own_projects(ctx: RequestContext) -> Any:
    require(ctx, "identity:get_auth_projects")
    found = [p for p in await scopes.projects_of(ctx.db, ctx.user_id or "", ctx.who.groups if ctx.who else ()) if p.enabled]
    return views.collection(ctx, "projects", [views.project(ctx, p) for p in found], "auth/projects")


@routes.get("/v3/auth/domains")
async def list_own_domains(ctx: RequestContext) -> Any:
    require(ctx, "identity:get_auth_domains")
    found = [d for d in await scopes.domains_of(ctx.db, ctx.user_id or "", ctx.who.groups if ctx.who else ()) if d.enabled]
    return views.collection(ctx, "domains", [views.domain(ctx, d) for d in found], "auth/domains")


@routes.get("/v3/auth/system")
async def list_own_systems(ctx: RequestContext) -> Any:
    require(ctx, "identity:get_auth_system")
    system = [{"all": True}] if await scopes.on_system(ctx.db, ctx.user_id or "") else []
    return {"system": system, "links": {"self": f"{base(ctx)}/auth/system"}}


@routes.delete("/v3/users/{user_id}/tokens")
async def revoke_user_tokens(ctx: RequestContext, user_id: str) -> None:
    await tokens.revoke_all_of(ctx, user_id)
