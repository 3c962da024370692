"""/v3/ec2tokens, /v3/s3tokens and /v3/OS-OAUTH2/token: tokens without a body of /v3/auth/tokens."""

from __future__ import annotations

import base64
import binascii
import logging
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

import falcon.asgi

from moln.identity import settings
from moln.identity.api.service import routes
from moln.identity.api.token_views import headers, view
from moln.identity.model.tokens import OpenToken
from moln.identity.ops import authentication, certified, keyed
from moln.identity.ops.authentication import Shown, Wanted
from moln.identity.ops.proving import ProgramShown
from moln.kernel.context import RequestContext
from moln.kernel.errors import Failure, Invalid
from moln.kernel.http import Reply
from moln.kernel.http.access import certificate
from moln.kernel.http.operations import read_body

_log = logging.getLogger("moln.identity")
FORM = "application/x-www-form-urlencoded"


def _given(body: dict[str, Any]) -> dict[str, Any]:
    """Raises: Invalid."""
    for name in ("credentials", "credential", "ec2Credentials"):
        if isinstance(body.get(name), dict):
            return body[name]  # type: ignore[no-any-return]
    raise Invalid("request must include credentials", field="credentials")


@routes.post("/v3/ec2tokens")
async def issue_ec2_token(ctx: RequestContext, body: dict[str, Any]) -> Reply:
    token, opened = await keyed.by_ec2(ctx, _given(body))
    return Reply(await view(ctx, opened, True), headers=headers(token))


@routes.post("/v3/s3tokens")
async def issue_s3_token(ctx: RequestContext, body: dict[str, Any]) -> Reply:
    """Who asks learns whose key it is; the token itself stays here, as Keystone has it."""
    _, opened = await keyed.by_s3(ctx, _given(body))
    return Reply(await view(ctx, opened, True))


@routes.post("/v3/OS-OAUTH2/token", public=True)
async def issue_oauth2_token(ctx: RequestContext, request: falcon.asgi.Request) -> Reply:
    """OAuth 2.0's client credentials grant (RFC 6749, 4.4): an application credential's id and secret, or a user's id and certificate (RFC 8705)."""
    form = dict(parse_qsl((await read_body(request)).decode("utf-8", "replace"), keep_blank_values=True))
    if not (request.content_type or "").startswith(FORM) or "grant_type" not in form:
        return _refuse(400, "invalid_request", "A form with grant_type is needed.")
    if form["grant_type"] != "client_credentials":
        return _refuse(400, "unsupported_grant_type", "The grant is not supported.")
    shown = certificate(request)
    if shown is not None and "client_id" in form:
        try:
            return _granted(ctx, *await certified.issue(ctx.cloud, form["client_id"], shown))
        except Failure as failure:
            _log.warning("a certificate for %r: %s", form["client_id"][:64], failure.detail or failure.message)
            return _refuse(401, "invalid_client", "Client authentication failed.")
    client = _client(request.get_header("Authorization"), form)
    if client is None:
        return _refuse(401, "invalid_client", "Client authentication failed.")
    try:
        token, opened = await authentication.authenticate(ctx.cloud, Shown(program=ProgramShown(client[1], id=client[0])), Wanted())
    except Failure:
        return _refuse(401, "invalid_client", "Client authentication failed.")
    return _granted(ctx, token, opened)


def _granted(ctx: RequestContext, token: str, opened: OpenToken) -> Reply:
    left = min((opened.payload.expires_at - ctx.now_us) // 1_000_000, settings.of(ctx.cloud).token_expiration_s)
    return Reply({"access_token": token, "token_type": "Bearer", "expires_in": left}, headers={"Cache-Control": "no-store"})


def _client(header: str | None, form: dict[str, str]) -> tuple[str, str] | None:
    """The client's id and secret, as `Authorization: Basic` has them or the form."""
    scheme, _, rest = (header or "").partition(" ")
    if scheme.lower() == "basic":
        try:
            id_, colon, secret = base64.b64decode(rest, validate=True).decode().partition(":")
        except (binascii.Error, ValueError):
            return None
        return (unquote_plus(id_), unquote_plus(secret)) if colon else None
    if header is None and form.get("client_id") and form.get("client_secret"):
        return form["client_id"], form["client_secret"]
    return None


def _refuse(status: int, error: str, why: str) -> Reply:
    more = {"WWW-Authenticate": "Basic"} if status == 401 else {}
    return Reply({"error": error, "error_description": why}, status=status, headers=more | {"Cache-Control": "no-store"})
