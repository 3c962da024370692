"""/v3/auth/OS-FEDERATION/saml2 and /v3/OS-FEDERATION/saml2/metadata: this cloud as an identity provider of others."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from moln.identity.api.bodies import convert
from moln.identity.api.service import base, routes
from moln.identity.ops import saml as ops
from moln.identity.ops.access import lacking
from moln.kernel.context import RequestContext
from moln.kernel.errors import Invalid
from moln.kernel.http import Reply

XML = "text/xml"
PATH = "/v3/auth/OS-FEDERATION/saml2"


class _Ref(Struct):
    id: str


class _Identity(Struct):
    methods: list[str]
    token: _Ref


class _Scope(Struct):
    service_provider: _Ref


class Wanted(Struct):
    identity: _Identity
    scope: _Scope


def _entity(ctx: RequestContext) -> str:
    return f"{base(ctx)}/OS-FEDERATION/saml2/idp"


async def _assertion(ctx: RequestContext, body: dict[str, Any], wrapped: bool) -> Reply:
    if "auth" not in body:
        raise lacking("auth", "request body")
    wanted = convert(body["auth"], Wanted, "auth")
    if wanted.identity.methods != ["token"]:
        raise Invalid("Invalid input for field identity/methods: a token alone.", field="methods")
    made, provider = await ops.assertion(ctx.cloud, wanted.identity.token.id, wanted.scope.service_provider.id, _entity(ctx), wrapped=wrapped)
    return Reply(made, headers={"X-sp-url": provider.sp_url, "X-auth-url": provider.auth_url}, media_type=XML)


@routes.post(PATH, public=True)
async def make_assertion(ctx: RequestContext, body: dict[str, Any]) -> Reply:
    return await _assertion(ctx, body, wrapped=False)


@routes.post(f"{PATH}/ecp", public=True)
async def make_ecp_assertion(ctx: RequestContext, body: dict[str, Any]) -> Reply:
    return await _assertion(ctx, body, wrapped=True)


@routes.get("/v3/OS-FEDERATION/saml2/metadata", public=True)
async def show_saml_metadata(ctx: RequestContext) -> Reply:
    return Reply(await ops.metadata(ctx.cloud, _entity(ctx), f"{base(ctx)}/OS-FEDERATION/saml2/sso"), media_type=XML)
