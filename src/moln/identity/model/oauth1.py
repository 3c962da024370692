"""OAuth 1.0a: consumers, and what users let them do (identity v3-ext api-ref, "OS-OAUTH1"; RFC 5849)."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from msgspec import Struct

REQUEST_S = 8 * 3600  # how long a request token lives, in seconds
ACCESS_S = 24 * 3600  # how long an access token lives
UNSIGNED = "-._~"


class Consumer(Struct, frozen=True):
    """A program that may ask users for access. sealed: its secret."""

    id: str
    sealed: str
    description: str | None = None
    extra: dict[str, Any] = {}


class RequestToken(Struct, frozen=True):
    """What a consumer asks for; authorizing_user_id, role_ids and verifier when somebody has agreed. expires_at: µs UTC."""

    id: str
    sealed: str
    consumer_id: str
    requested_project_id: str
    expires_at: int
    verifier: str | None = None
    authorizing_user_id: str | None = None
    role_ids: list[str] = []


class AccessToken(Struct, frozen=True):
    """What a consumer may do: a user's roles on a project. expires_at: µs UTC."""

    id: str
    sealed: str
    consumer_id: str
    authorizing_user_id: str
    project_id: str
    role_ids: list[str]
    expires_at: int


def parse_header(text: str) -> dict[str, str]:
    """The parameters of `Authorization: OAuth …`, decoded; empty, where there are none (RFC 5849, 3.5.1)."""
    scheme, _, rest = text.strip().partition(" ")
    if scheme.lower() != "oauth":
        return {}
    found = {}
    for part in rest.split(","):
        name, equals, value = part.strip().partition("=")
        if equals:
            found[unquote(name)] = unquote(value.strip('"'))
    return found


def base_string(method: str, url: str, params: Iterable[tuple[str, str]]) -> str:
    """What is signed (RFC 5849, 3.4.1). params: of the query and the header, decoded, without oauth_signature and realm."""
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port and (parts.scheme, parts.port) not in (("http", 80), ("https", 443)) else ""
    where = f"{parts.scheme.lower()}://{(parts.hostname or '').lower()}{port}{parts.path or '/'}"
    pairs = sorted((quote(name, safe=UNSIGNED), quote(value, safe=UNSIGNED)) for name, value in params)
    normal = "&".join(f"{name}={value}" for name, value in pairs)
    return "&".join(quote(part, safe=UNSIGNED) for part in (method.upper(), where, normal))


HASHES = {"HMAC-SHA1": "sha1", "HMAC-SHA256": "sha256"}


def sign(how: str, text: str, consumer_secret: str, token_secret: str = "") -> str | None:
    """The signature of a base string; None, for a method that is not an HMAC."""
    if how not in HASHES:
        return None
    key = f"{quote(consumer_secret, safe=UNSIGNED)}&{quote(token_secret, safe=UNSIGNED)}"
    return base64.b64encode(hmac.new(key.encode(), text.encode(), getattr(hashlib, HASHES[how])).digest()).decode()
