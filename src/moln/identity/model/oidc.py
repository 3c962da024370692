"""OpenID Connect: what a provider says of somebody, as mappings read it, and a sign-in under way."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

SIGN_IN_S = 600  # how long somebody may take at their provider, in seconds
_VERSION = 102  # which no token and no receipt has
Claims = Mapping[str, Any]


class SignIn(Struct, frozen=True, array_like=True):
    """Somebody on their way through their provider: sealed, it is a cookie of their browser, and nothing is kept here.

    state: what the provider brings back. nonce: what the ID token holds. verifier: PKCE's (RFC 7636). origin: where they
    go in the end. expires_at: µs UTC.
    """

    version: int
    idp_id: str
    protocol_id: str
    state: str
    nonce: str
    verifier: str
    origin: str
    expires_at: int


_decoder = msgspec.msgpack.Decoder(SignIn)


def sign_in(idp_id: str, protocol_id: str, state: str, nonce: str, verifier: str, origin: str, now_us: int) -> SignIn:
    return SignIn(_VERSION, idp_id, protocol_id, state, nonce, verifier, origin, now_us + SIGN_IN_S * 1_000_000)


def pack(of: SignIn) -> bytes:
    return msgspec.msgpack.encode(of)


def unpack(raw: bytes) -> SignIn:
    """Raises: ValueError, when it is not what pack made."""
    try:
        found = _decoder.decode(raw)
    except msgspec.MsgspecError as error:
        raise ValueError("no sign-in of ours") from error
    if found.version != _VERSION:
        raise ValueError("no sign-in of ours")
    return found


def assertion(issuer: str, claims: Claims) -> dict[str, list[str]]:
    """Claims by the names that mod_auth_openidc's users write in rules: HTTP_OIDC_EMAIL, OIDC-email and OIDC_CLAIM_email.

    A value is never cut in two, whatever is in it. REMOTE_USER is `subject@issuer`, as there.
    """
    found: dict[str, list[str]] = {}
    for name, value in claims.items():
        values = [_text(item) for item in (value if isinstance(value, list) else [value]) if item is not None]
        if values:
            upper = "".join(c if c.isalnum() else "_" for c in name).upper()
            found |= dict.fromkeys((f"HTTP_OIDC_{upper}", f"OIDC-{name}", f"OIDC_CLAIM_{name}"), values)
    where = urlsplit(issuer)
    return found | {"REMOTE_USER": [f"{claims['sub']}@{where.netloc}{where.path}"]}


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(int(value))
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def is_for(claims: Claims, accepted: frozenset[str]) -> bool:
    """Whether an access token is for us, or was given to us: one of another client of the provider proves nothing (confused deputy)."""
    audience = claims.get("aud") or []
    named = {audience} if isinstance(audience, str) else {item for item in audience if isinstance(item, str)}
    return bool((named | {str(claims.get(key)) for key in ("azp", "client_id") if claims.get(key)}) & accepted)


def id_token_fault(claims: Claims, client_id: str, nonce: str) -> str | None:
    """What is wrong with an ID token whose signature, issuer and times are good (OpenID Connect Core 1.0, 3.1.3.7)."""
    audience = claims.get("aud")
    named = [audience] if isinstance(audience, str) else audience
    if not isinstance(named, list) or client_id not in named:
        return "it is for another client"
    if (len(named) > 1 or "azp" in claims) and claims.get("azp") != client_id:
        return "it was given to another client"
    if claims.get("nonce") != nonce:
        return "it belongs to another sign-in"
    return None
