"""/v3/OS-FEDERATION/identity_providers/{idp_id}/protocols/{protocol_id}/auth: where a trusted proxy sends those whom it has proved.

The proxy (a web server with mod_auth_openidc, mod_auth_mellon, Shibboleth…) proves itself by the secret of the settings and says what
it knows in headers: `X-Assertion-OIDC-email: …` is HTTP_OIDC_EMAIL to the mapping's rules, `X-Assertion-Remote-User` is REMOTE_USER.
It has to take such headers out of what comes in from outside.
"""

from __future__ import annotations

import hmac

import falcon.asgi

from moln.identity import settings
from moln.identity.api.service import routes
from moln.identity.api.token_views import headers, view
from moln.identity.ops import mapped
from moln.kernel.context import RequestContext
from moln.kernel.errors import Forbidden
from moln.kernel.http import Reply

PATH = "/v3/OS-FEDERATION/identity_providers/{idp_id}/protocols/{protocol_id}/auth"
SECRET = "X-Assertion-Secret"
PREFIX = b"x-assertion-"
REMOTE_USER = "HTTP_REMOTE_USER"


def assertion(ctx: RequestContext, request: falcon.asgi.Request) -> dict[str, str]:
    """What the proxy says, by the names that rules use. Raises: Forbidden, when it is not the proxy."""
    wanted = settings.of(ctx.cloud).federation_secret
    if not wanted or not hmac.compare_digest((request.get_header(SECRET) or "").encode(), wanted.encode()):
        raise Forbidden("Only the proxy of this cloud may say who somebody is.")
    found = {
        "HTTP_" + name[len(PREFIX) :].decode("latin-1").upper().replace("-", "_"): value.decode("utf-8", "replace")
        for name, value in request._asgi_headers.items()
        if name.startswith(PREFIX) and name != SECRET.lower().encode()
    }
    if REMOTE_USER in found:
        found["REMOTE_USER"] = found.pop(REMOTE_USER)
    return found


async def _issue(ctx: RequestContext, idp_id: str, protocol_id: str, request: falcon.asgi.Request) -> Reply:
    token, opened = await mapped.authenticate(ctx.cloud, idp_id, protocol_id, assertion(ctx, request))
    return Reply(await view(ctx, opened, True), headers=headers(token))


@routes.get(PATH, status=201, public=True)
async def federate(ctx: RequestContext, idp_id: str, protocol_id: str, request: falcon.asgi.Request) -> Reply:
    return await _issue(ctx, idp_id, protocol_id, request)


@routes.post(PATH, status=201, public=True)
async def federate_by_post(ctx: RequestContext, idp_id: str, protocol_id: str, request: falcon.asgi.Request) -> Reply:
    return await _issue(ctx, idp_id, protocol_id, request)
