"""Tokens for requests that were signed with an EC2 key: asked for by a service that was sent one (EC2, S3)."""

from __future__ import annotations

import base64
import binascii
import hmac
import json
from datetime import UTC, datetime
from typing import Any

from moln.identity import settings
from moln.identity.model import signatures
from moln.identity.model.credentials import EC2, Credential
from moln.identity.model.tokens import OpenToken, Scope
from moln.identity.ops import tokens
from moln.identity.ops.access import require
from moln.identity.ops.credentials import blob, ec2_id
from moln.identity.ops.examining import active_user, unauthorized
from moln.identity.ops.tokens import Grounds
from moln.identity.store import credentials, oauth1, trusts
from moln.kernel.clock import parse_iso
from moln.kernel.context import RequestContext
from moln.kernel.errors import Invalid, NotFound, Unauthorized

METHOD = ("ec2credential",)
COMPACT = "%Y%m%dT%H%M%SZ"  # how AWS writes times in version 4


async def by_ec2(ctx: RequestContext, given: dict[str, Any]) -> tuple[str, OpenToken]:
    """given: access, signature, host, verb, path, params, headers, body_hash. Raises: Forbidden, Unauthorized, NotFound, Invalid."""
    require(ctx, "identity:ec2tokens_validate")
    found, keys = await _key(ctx, given)
    if not _fits(keys["secret"], given):
        raise Unauthorized("Invalid EC2 signature.")
    return await _issue(ctx, found, keys)


async def by_s3(ctx: RequestContext, given: dict[str, Any]) -> tuple[str, OpenToken]:
    """given: access, token (what was signed, in base64) and signature. Raises: Forbidden, Unauthorized, NotFound, Invalid."""
    require(ctx, "identity:s3tokens_validate")
    found, keys = await _key(ctx, given)
    try:
        text = base64.urlsafe_b64decode(str(given.get("token") or ""))
    except (binascii.Error, ValueError):
        raise Invalid("The token is not base64.", field="token") from None
    if text.startswith(b"AWS4"):
        _check_time(ctx, *text.decode("utf-8", "replace").split("\n")[1:2])
    right = signatures.s3(keys["secret"], text)
    if not text or right is None or not hmac.compare_digest(right.encode(), _text(given, "signature").encode()):
        raise Unauthorized("Credential signature mismatch")
    return await _issue(ctx, found, keys)


def _text(given: dict[str, Any], name: str) -> str:
    """Raises: Unauthorized, where it is missing or no text."""
    value = given.get(name)
    if not isinstance(value, str) or not value:
        raise Unauthorized("EC2 signature not supplied.")
    return value


async def _key(ctx: RequestContext, given: dict[str, Any]) -> tuple[Credential, dict[str, Any]]:
    """The credential that the access key is of, and its blob. Raises: Unauthorized, NotFound."""
    found = await credentials.find(ctx.db, ec2_id(_text(given, "access")))
    keys = json.loads(blob(ctx.cloud, found)) if found is not None and found.type == EC2 else {}
    if found is None or not isinstance(keys.get("secret"), str) or not keys["secret"]:
        raise NotFound("EC2 access key not found.")
    _text(given, "signature")
    if "token" not in given:
        _check_times(ctx, given)
    return found, keys


def _dicts(given: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The request's parameters and its headers, these by names in lower case. Raises: Invalid."""
    params, headers = given.get("params") or {}, given.get("headers") or {}
    if not isinstance(params, dict) or not isinstance(headers, dict):
        raise Invalid("params and headers must be objects.", field="params")
    return params, {str(name).lower(): value for name, value in headers.items()}


def _check_times(ctx: RequestContext, given: dict[str, Any]) -> None:
    """A request without a time could be sent again for ever. Raises: Unauthorized."""
    params, headers = _dicts(given)
    if expires := params.get("Expires"):
        if _moment(expires) <= ctx.now_us:
            raise Unauthorized("Credential is expired")
        return
    _check_time(ctx, params.get("Timestamp") or headers.get("x-amz-date") or params.get("X-Amz-Date"))


def _check_time(ctx: RequestContext, text: Any = None) -> None:
    if not text:
        raise Unauthorized("Credential timestamp is missing")
    if abs(ctx.now_us - _moment(text)) > settings.of(ctx.cloud).signature_s * 1_000_000:
        raise Unauthorized("Credential is expired")


def _moment(text: Any) -> int:
    """µs UTC. Raises: Unauthorized."""
    try:
        if isinstance(text, str) and "-" not in text:
            return int(datetime.strptime(text, COMPACT).replace(tzinfo=UTC).timestamp()) * 1_000_000
        return parse_iso(str(text))
    except (ValueError, OverflowError):
        raise Unauthorized("Credential timestamp is invalid") from None


def _fits(secret: str, given: dict[str, Any]) -> bool:
    """Whether the signature is right, of the host with its port or without: clients differ in that."""
    params, headers = _dicts(given)
    host = str(given.get("host", ""))
    verb, path, signature = str(given.get("verb", "")), str(given.get("path", "")), _text(given, "signature")
    for name in dict.fromkeys((host, host.rpartition(":")[0] or host)):
        if signatures.authorization(headers, params):
            right = signatures.v4(secret, verb, name, path, params, headers, str(given.get("body_hash", "")))
        elif str(params.get("SignatureVersion")) == "2":
            right = signatures.v2(secret, verb, name, path, params)
        else:
            raise Invalid("Only signatures of version 2 and 4 are understood.", field="params")
        if right is not None and hmac.compare_digest(right.encode(), signature.encode()):
            return True
    return False


async def _issue(ctx: RequestContext, found: Credential, keys: dict[str, Any]) -> tuple[str, OpenToken]:
    """A token that is good for what the maker of the key could do with theirs, and no longer than that. Raises: Unauthorized."""
    db, user, scope = ctx.db, await active_user(ctx.db, found.user_id), Scope(project_id=found.project_id)
    grounds = Grounds(user, METHOD)
    if trust_id := keys.get("trust_id"):
        trust = await trusts.find(db, trust_id)
        if trust is None or trust.project_id != found.project_id:
            raise unauthorized()
        who = trust.trustor_user_id if trust.impersonation else trust.trustee_user_id
        grounds = Grounds(await active_user(db, who), METHOD, trust_id=trust.id, ends_at=trust.expires_at)
    elif program_id := keys.get("app_cred_id"):
        program = await credentials.find_application(db, program_id)
        if program is None or program.project_id != found.project_id:
            raise unauthorized()
        grounds = Grounds(user, METHOD, application_credential_id=program.id, ends_at=program.expires_at)
    elif access_id := keys.get("access_token_id"):
        access = await oauth1.find_access(db, access_id)
        if access is None or access.project_id != found.project_id:
            raise unauthorized()
        grounds = Grounds(user, METHOD, access_token_id=access.id, ends_at=access.expires_at)
    return await tokens.issue(ctx.cloud, grounds, scope)
