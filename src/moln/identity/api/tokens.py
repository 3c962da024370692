"""/v3/auth/tokens and what a token leads to."""

from __future__ import annotations

from typing import Annotated, Any

import falcon.asgi
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from moln.identity.api import views
from moln.identity.api.bodies import convert
from moln.identity.api.service import base, routes
from moln.identity.model.tokens import METHODS, OpenToken, Ref
from moln.identity.ops import authentication, catalog, scopes, tokens
from moln.identity.ops.access import lacking, require
from moln.identity.ops.authentication import Named, ProgramShown, Shown, Wanted
from moln.kernel.clock import iso_micro
from moln.kernel.context import RequestContext
from moln.kernel.errors import Forbidden, Invalid, Unauthorized
from moln.kernel.http import Params, Reply

MAX_METHODS = 8


class _Within(Struct, frozen=True):
    domain: Ref
    id: str
    name: str


class _UserView(Struct, frozen=True):
    domain: Ref
    id: str
    name: str
    password_expires_at: str | None = None


class _ProgramView(Struct, frozen=True):
    id: str
    name: str
    restricted: bool


class _TokenView(Struct, frozen=True):
    methods: tuple[str, ...]
    user: _UserView
    audit_ids: tuple[str, ...]
    expires_at: str
    issued_at: str
    system: dict[str, bool] | UnsetType = UNSET
    domain: Ref | UnsetType = UNSET
    project: _Within | UnsetType = UNSET
    is_domain: bool | UnsetType = UNSET
    roles: tuple[Ref, ...] | UnsetType = UNSET
    catalog: Raw | UnsetType = UNSET
    application_credential: _ProgramView | UnsetType = UNSET


class TokenReply(Struct, frozen=True):
    token: _TokenView


async def _view(ctx: RequestContext, of: OpenToken, with_catalog: bool) -> TokenReply:
    """What an opened token says, made once and kept with it."""
    made: TokenReply | None = of.rendered.get(with_catalog)
    if made is not None:
        return made
    payload = of.payload
    scoped = bool(payload.scope.project_id or payload.scope.domain_id or payload.scope.system)
    entries: Raw | UnsetType = UNSET
    if with_catalog and scoped:
        entries = await catalog.entries(ctx, payload.user_id, payload.scope.project_id)
    program = of.application_credential
    view = _TokenView(
        methods=payload.methods,
        user=_UserView(of.user_domain, of.user.id, of.user.name),
        audit_ids=payload.audit_ids,
        expires_at=iso_micro(payload.expires_at, suffix="Z"),
        issued_at=iso_micro(payload.issued_at, suffix="Z"),
        system={"all": True} if payload.scope.system else UNSET,
        domain=of.domain or UNSET,
        project=_Within(of.project_domain, of.project.id, of.project.name) if of.project and of.project_domain else UNSET,
        is_domain=False if of.project else UNSET,
        roles=of.roles if scoped else UNSET,
        catalog=entries,
        application_credential=_ProgramView(program.id, program.name, not program.unrestricted) if program else UNSET,
    )
    made = of.rendered[with_catalog] = TokenReply(view)
    return made


def _headers(token: str) -> dict[str, str]:
    return {"X-Subject-Token": token, "Vary": "X-Auth-Token"}


class _User(Struct):
    id: str | None = None
    name: str | None = None
    password: str | None = None
    domain: Named | None = None


class _Password(Struct):
    user: _User


class _Token(Struct):
    id: str


class _Program(Struct):
    secret: str
    id: str | None = None
    name: str | None = None
    user: _User | None = None


class _System(Struct):
    all: bool = False


class _Scope(Struct):
    project: Named | None = None
    domain: Named | None = None
    system: _System | None = None
    unscoped: dict[str, Any] | None = None


class _Identity(Struct):
    methods: Annotated[list[str], Meta(max_length=MAX_METHODS)]
    password: _Password | None = None
    token: _Token | None = None
    application_credential: _Program | None = None


class _Auth(Struct):
    identity: _Identity
    scope: _Scope | str | None = None


def _shown(auth: dict[str, Any], identity: _Identity) -> Shown:
    """Raises: Invalid, Unauthorized."""
    methods = set(identity.methods)
    for method in identity.methods:
        if method not in auth["identity"]:
            raise lacking(method, "identity")
    if not methods or methods - set(METHODS):
        raise Unauthorized("Attempted to authenticate with an unsupported method.")
    if "application_credential" in methods:
        given_program = identity.application_credential
        if methods != {"application_credential"} or given_program is None:
            raise Unauthorized("An application credential is shown alone.")
        owner = given_program.user
        who = Named(owner.id, owner.name, owner.domain) if owner else None
        return Shown(program=ProgramShown(given_program.secret, given_program.id, given_program.name, who))
    user, password = None, ""
    if "password" in methods and identity.password is not None:
        given = identity.password.user
        if given.id is None and given.name is None:
            raise Invalid("Invalid input for field identity/password/user: id or name must be present.", field="user")
        _check_named(given.domain, "identity/password/user/domain")
        user, password = Named(given.id, given.name, given.domain), given.password or ""
    token = identity.token.id if "token" in methods and identity.token is not None else None
    if user is None and token is None:
        raise lacking("password or token", "identity")
    return Shown(user, password, token)


def _check_named(thing: Named | None, where: str) -> None:
    if thing is not None and thing.id is None and thing.name is None:
        raise Invalid(f"Invalid input for field {where}: id or name must be present.", field=where.rpartition("/")[2])


def _wanted(scope: _Scope | str | None) -> Wanted:
    """Raises: Invalid."""
    if scope is None:
        return Wanted()
    if isinstance(scope, str):
        if scope != "unscoped":
            raise Invalid("Invalid input for field scope: the only word for a scope is 'unscoped'.", field="scope")
        return Wanted(unscoped=True)
    given = [part for part in (scope.project, scope.domain, scope.system, scope.unscoped) if part is not None]
    if len(given) != 1:
        raise lacking("system, project, domain, OS-TRUST:trust or unscoped", "scope")
    if scope.system is not None and not scope.system.all:
        raise Invalid("Invalid input for field scope/system: only all is a system scope.", field="system")
    _check_named(scope.project, "scope/project")
    _check_named(scope.domain, "scope/domain")
    if scope.project is not None:
        _check_named(scope.project.domain, "scope/project/domain")
    return Wanted(scope.project, scope.domain, scope.system is not None, scope.unscoped is not None)


@routes.post("/v3/auth/tokens", status=201, public=True)
async def issue_token(ctx: RequestContext, body: dict[str, Any], query: Params) -> Reply:
    if not isinstance(body.get("auth"), dict):
        raise lacking("auth", "request body")
    auth = convert(body["auth"], _Auth, "auth")
    shown, wanted = _shown(body["auth"], auth.identity), _wanted(auth.scope)
    token, opened = await authentication.authenticate(ctx.cloud, shown, wanted)
    return Reply(await _view(ctx, opened, "nocatalog" not in query), headers=_headers(token))


@routes.get("/v3/auth/tokens")
async def validate_token(ctx: RequestContext, query: Params, request: falcon.asgi.Request) -> Reply:
    token = request.get_header("X-Subject-Token")
    opened = await tokens.subject(ctx, token, "identity:validate_token")
    return Reply(await _view(ctx, opened, "nocatalog" not in query), headers=_headers(token or ""))


@routes.head("/v3/auth/tokens")
async def check_token(ctx: RequestContext, request: falcon.asgi.Request) -> Reply:
    token = request.get_header("X-Subject-Token")
    await tokens.subject(ctx, token, "identity:check_token")
    return Reply(headers=_headers(token or ""))


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
    found = [p for p in await scopes.projects_of(ctx.db, ctx.user_id or "") if p.enabled]
    return views.collection(ctx, "projects", [views.project(ctx, p) for p in found], "auth/projects")


@routes.get("/v3/auth/domains")
async def list_own_domains(ctx: RequestContext) -> Any:
    require(ctx, "identity:get_auth_domains")
    found = [d for d in await scopes.domains_of(ctx.db, ctx.user_id or "") if d.enabled]
    return views.collection(ctx, "domains", [views.domain(ctx, d) for d in found], "auth/domains")


@routes.get("/v3/auth/system")
async def list_own_systems(ctx: RequestContext) -> Any:
    require(ctx, "identity:get_auth_system")
    system = [{"all": True}] if await scopes.on_system(ctx.db, ctx.user_id or "") else []
    return {"system": system, "links": {"self": f"{base(ctx)}/auth/system"}}


@routes.delete("/v3/users/{user_id}/tokens")
async def revoke_user_tokens(ctx: RequestContext, user_id: str) -> None:
    await tokens.revoke_all_of(ctx, user_id)
