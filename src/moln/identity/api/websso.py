"""/v3/auth/OS-FEDERATION/…/websso: a dashboard sends a browser here, which comes back to it with a token.

Where we speak to the provider ourselves, the same address takes the browser when it is back from there, with `code` and `state` in the
query, or in a form that the provider has it send.
"""

from __future__ import annotations

import base64
import hashlib
import html
from urllib.parse import parse_qs, urlencode, urlsplit

import falcon.asgi

from moln.identity.api import federated_auth
from moln.identity.api.bodies import one
from moln.identity.api.service import base, routes
from moln.identity.model.oidc import SIGN_IN_S
from moln.identity.ops import mapped, oidc
from moln.kernel.context import RequestContext
from moln.kernel.errors import Invalid
from moln.kernel.http import Params, Reply
from moln.kernel.http.operations import read_body
from moln.kernel.http.routes import Whole

ROOT = "/v3/auth/OS-FEDERATION"
OF_PROVIDER = ROOT + "/identity_providers/{idp_id}/protocols/{protocol_id}/websso"
OF_PROTOCOL = ROOT + "/websso/{protocol_id}"
FORM = "application/x-www-form-urlencoded"
LONGEST_FORM = 8192  # bytes; a code may have some thousand
SCRIPT = "document.forms[0].submit()"
SCRIPT_HASH = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
PAGE = """<!DOCTYPE html>
<html><head><meta charset="utf-8"><title>Signing in</title></head><body>
<form id="sso" name="sso" action="{origin}" method="post"><p>Signing in…</p><input type="hidden" name="token" id="token" value="{token}">
<noscript><input type="submit" name="Continue" value="Continue"></noscript></form><script>{script}</script></body></html>
"""


def _back(ctx: RequestContext, idp_id: str, protocol_id: str) -> str:
    """Where a provider sends browsers back to: what has to be registered there."""
    return f"{base(ctx)}/auth/OS-FEDERATION/identity_providers/{idp_id}/protocols/{protocol_id}/websso"


def _cookie(ctx: RequestContext, state: str) -> tuple[str, str]:
    """Its name and its attributes: no other site's request brings it along, and no script reads it."""
    secure = ctx.settings.public_url.startswith("https:")
    return ("__Host-" if secure else "") + f"moln-sign-in-{oidc.short(state)}", "; Path=/; HttpOnly; SameSite=Lax" + ("; Secure" if secure else "")


def handed_over(token: str, origin: str, headers: dict[str, str]) -> Reply:
    """The page whose form takes the token to the dashboard."""
    where = urlsplit(origin)
    policy = f"default-src 'none'; script-src 'sha256-{SCRIPT_HASH}'; form-action {where.scheme}://{where.netloc}; frame-ancestors 'none'"
    page = PAGE.format(origin=html.escape(origin), token=html.escape(token), script=SCRIPT)
    return Reply(page.encode(), headers={"Content-Security-Policy": policy, "Referrer-Policy": "no-referrer"} | headers, media_type="text/html; charset=utf-8")


async def _sign_in(ctx: RequestContext, idp_id: str, protocol_id: str, query: Params, request: falcon.asgi.Request) -> Reply:
    if "state" in query:
        return await _finish(ctx, idp_id, protocol_id, query, request)
    form = await _form(request)
    if "state" in form:
        return _again(_back(ctx, idp_id, protocol_id), form)
    origin = oidc.check_origin(ctx.cloud, one(query, "origin") or one(form, "origin") or "")
    if federated_auth.is_vouched(ctx, request):
        token, _ = await mapped.authenticate(ctx.cloud, idp_id, protocol_id, federated_auth.assertion(ctx, request))
        return handed_over(token, origin, {})
    url, coming, sealed = await oidc.begin(ctx.cloud, idp_id, protocol_id, _back(ctx, idp_id, protocol_id), origin)
    name, attributes = _cookie(ctx, coming.state)
    return Reply(status=302, headers={"Location": Whole(url), "Set-Cookie": f"{name}={sealed}; Max-Age={SIGN_IN_S}{attributes}"})


async def _form(request: falcon.asgi.Request) -> Params:
    """What a dashboard or a provider posts; nothing in any other body. Raises: Invalid."""
    if request.method != "POST" or not (request.content_type or "").startswith(FORM):
        return {}
    try:
        return parse_qs((await read_body(request, LONGEST_FORM)).decode(), max_num_fields=10)
    except ValueError:
        raise Invalid("The form is not understood.", field="origin") from None


def _again(here: str, form: Params) -> Reply:
    """What a provider posted, asked for once more: a browser brings its cookie along when it follows a link, not with another site's form."""
    back = {name: one(form, name) or "" for name in ("state", "code", "iss") if name in form}
    return Reply(status=303, headers={"Location": Whole(f"{here}?{urlencode(back)}"), "Referrer-Policy": "no-referrer"})


async def _finish(ctx: RequestContext, idp_id: str, protocol_id: str, query: Params, request: falcon.asgi.Request) -> Reply:
    state = one(query, "state") or ""
    name, attributes = _cookie(ctx, state)
    sealed = request.cookies.get(name, "")
    token, _, origin = await oidc.finish(
        ctx.cloud, idp_id, protocol_id, _back(ctx, idp_id, protocol_id), sealed, state, one(query, "code") or "", one(query, "iss") or ""
    )
    return handed_over(token, oidc.check_origin(ctx.cloud, origin), {"Set-Cookie": f"{name}=; Max-Age=0{attributes}"})


@routes.get(OF_PROVIDER, public=True)
async def sign_in_at_provider(ctx: RequestContext, idp_id: str, protocol_id: str, query: Params, request: falcon.asgi.Request) -> Reply:
    return await _sign_in(ctx, idp_id, protocol_id, query, request)


@routes.post(OF_PROVIDER, public=True)
async def sign_in_at_provider_by_post(ctx: RequestContext, idp_id: str, protocol_id: str, query: Params, request: falcon.asgi.Request) -> Reply:
    return await _sign_in(ctx, idp_id, protocol_id, query, request)


@routes.get(OF_PROTOCOL, public=True)
async def sign_in_by_protocol(ctx: RequestContext, protocol_id: str, query: Params, request: falcon.asgi.Request) -> Reply:
    return await _sign_in(ctx, await federated_auth.provider_of(ctx, protocol_id, request), protocol_id, query, request)


@routes.post(OF_PROTOCOL, public=True)
async def sign_in_by_protocol_and_post(ctx: RequestContext, protocol_id: str, query: Params, request: falcon.asgi.Request) -> Reply:
    return await _sign_in(ctx, await federated_auth.provider_of(ctx, protocol_id, request), protocol_id, query, request)
