"""/v3/OS-FEDERATION/identity_providers/{idp_id}/protocols/{protocol_id}/auth: a token for whom an identity provider vouches.

Three may say who somebody is: the provider itself, whose token a client brings (`Authorization: Bearer`); a proxy (a web server with
mod_auth_mellon, mod_auth_openidc, Shibboleth…) on the listener that is its own, in the headers that the settings name; and one that
proves itself by the secret of the settings, in `X-Assertion-…`: `X-Assertion-OIDC-email` is HTTP_OIDC_EMAIL to rules, and
`X-Assertion-Remote-User` is REMOTE_USER. Proxies have to take such headers out of what comes in from outside.
"""

from __future__ import annotations

import hmac

import falcon.asgi

from moln.identity import settings
from moln.identity.api.service import routes
from moln.identity.api.token_views import headers, view
from moln.identity.ops import mapped, oidc
from moln.kernel.context import RequestContext
from moln.kernel.errors import Forbidden
from moln.kernel.http import Reply
from moln.kernel.http.access import PROXY, bearer

PATH = "/v3/OS-FEDERATION/identity_providers/{idp_id}/protocols/{protocol_id}/auth"
SECRET = "X-Assertion-Secret"
PREFIX = "X_ASSERTION_"
REMOTE_USER = "HTTP_REMOTE_USER"


def is_vouched(ctx: RequestContext, request: falcon.asgi.Request) -> bool:
    """Whether a request comes from a proxy whose word counts."""
    if request.scope.get(PROXY):
        return True
    wanted = settings.of(ctx.cloud).federation_secret
    return bool(wanted) and hmac.compare_digest((request.get_header(SECRET) or "").encode(), wanted.encode())


def assertion(ctx: RequestContext, request: falcon.asgi.Request) -> dict[str, str]:
    """What the proxy says, by the names that rules use. Raises: Forbidden, when it is not the proxy."""
    if not is_vouched(ctx, request):
        raise Forbidden("Only the proxy of this cloud may say who somebody is.")
    given = {name.decode("latin-1").upper().replace("-", "_"): value.decode("utf-8", "replace") for name, value in request._asgi_headers.items()}
    found: dict[str, str] = {}
    if request.scope.get(PROXY):
        wanted = settings.of(ctx.cloud).federation.headers
        found = {name: value for name, value in given.items() if name.startswith(wanted)}
        found |= {f"HTTP_{name}": value for name, value in found.items()}
    found |= {"HTTP_" + name.removeprefix(PREFIX): value for name, value in given.items() if name.startswith(PREFIX) and name != PREFIX + "SECRET"}
    if REMOTE_USER in found:
        found["REMOTE_USER"] = found.pop(REMOTE_USER)
    return found


async def provider_of(ctx: RequestContext, protocol_id: str, request: falcon.asgi.Request) -> str:
    """Which provider is meant where the path says a protocol alone. Raises: NotFound, Forbidden, Invalid."""
    if is_vouched(ctx, request):
        return await mapped.provider_of(ctx.cloud, protocol_id, assertion(ctx, request))
    return await oidc.the_one_with(ctx.cloud, protocol_id)


async def _issue(ctx: RequestContext, idp_id: str, protocol_id: str, request: falcon.asgi.Request) -> Reply:
    shown = None if is_vouched(ctx, request) else bearer(request._asgi_headers)
    if shown:
        token, opened = await oidc.by_token(ctx.cloud, idp_id, protocol_id, shown.decode("latin-1"))
    else:
        token, opened = await mapped.authenticate(ctx.cloud, idp_id, protocol_id, assertion(ctx, request))
    return Reply(await view(ctx, opened, True), headers=headers(token))


@routes.get(PATH, status=201, public=True)
async def federate(ctx: RequestContext, idp_id: str, protocol_id: str, request: falcon.asgi.Request) -> Reply:
    return await _issue(ctx, idp_id, protocol_id, request)


@routes.post(PATH, status=201, public=True)
async def federate_by_post(ctx: RequestContext, idp_id: str, protocol_id: str, request: falcon.asgi.Request) -> Reply:
    return await _issue(ctx, idp_id, protocol_id, request)
