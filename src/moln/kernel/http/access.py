"""What a service's own token beside a caller's is good for, and which requests an application credential allows (keystonemiddleware)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import ssl
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import unquote

import falcon.asgi

from moln.kernel.context import AccessRule, Identity
from moln.kernel.errors import Unauthorized
from moln.kernel.http.routes import Service
from moln.kernel.http.serve import CERTIFICATE

if TYPE_CHECKING:
    from moln.kernel.cloud import Cloud

TYPES = {"volume": frozenset({"volume", "volumev2", "volumev3", "block-storage", "block-store"})}  # other names of a service's type
PROXY = "moln.proxy"  # in the ASGI scope of what comes by a proxy's own listener
_PEM_SPACE = re.compile(r"[ \t]+(?!CERTIFICATE)")  # web servers put a PEM into one line
LONGEST = 4096  # characters of a path that rules are compared with
MAX_RESTS = 2  # of `**` in a rule: more would take long to compare
_PART = re.compile(r"(\{[^}]*\})|(\*\*)|(\*)|([^{}*]+)|([{}])")


def bearer(headers: dict[bytes, bytes]) -> bytes | None:
    """The token of `Authorization: Bearer …` (RFC 6750), as clients of OAuth 2.0 send it."""
    if b"authorization" not in headers:
        return None
    scheme, _, token = headers[b"authorization"].partition(b" ")
    return token.strip() if scheme.lower() == b"bearer" else None


def certificate(req: falcon.asgi.Request) -> bytes | None:
    """The certificate that a client has shown (DER): to us, or to the proxy whose listener this is, which says that it is good."""
    shown: bytes | None = req.scope.get(CERTIFICATE)
    if shown is None and req.scope.get(PROXY) and _said(req, "SSL_CLIENT_VERIFY") == "SUCCESS":
        text = unquote(_said(req, "SSL_CLIENT_CERT"))
        try:
            return ssl.PEM_cert_to_DER_cert(_PEM_SPACE.sub("\n", text).strip() + "\n")
        except ValueError:
            return None
    return shown


def _said(req: falcon.asgi.Request, name: str) -> str:
    """A proxy's header, with `_` in its name or with `-`."""
    return req.get_header(name) or req.get_header(name.replace("_", "-")) or ""


def thumbprint(der: bytes) -> str:
    """What a token that is bound to a certificate says of it (`x5t#S256`, RFC 8705)."""
    return base64.urlsafe_b64encode(hashlib.sha256(der).digest()).decode().rstrip("=")


def check_bound(who: Identity, req: falcon.asgi.Request) -> None:
    """A token that was given to the holder of a certificate is good with that certificate alone. Raises: Unauthorized."""
    shown = certificate(req)
    if shown is None or not hmac.compare_digest(thumbprint(shown), who.bound_to or ""):
        raise Unauthorized("The request you have made requires authentication.", detail=f"token {who.audit_id} without the certificate that it is bound to")


async def authenticate_late(cloud: Cloud, token: bytes, service_token: bytes | None) -> Identity | None:
    """Who a token proved that has expired meanwhile, where a service's own comes with it; else None."""
    if not service_token:
        return None
    try:
        return await cloud.authenticate_late(cloud, token.decode("latin-1"), service_token.decode("latin-1"))
    except Unauthorized:
        return None


async def check_access(cloud: Cloud, service: Service, who: Identity, req: falcon.asgi.Request) -> None:
    """Raises: Unauthorized, when no rule allows the request and no other service asks it for the caller."""
    full = req.path
    paths = (full, full.removeprefix(service.prefix) or "/")
    method = "GET" if req.method == "HEAD" else req.method
    for rule in who.access_rules or ():
        if rule.method in (method, req.method) and service_is(service.name, rule.service) and any(matches(rule, path) for path in paths):
            return
    if await _is_service(cloud, req.get_header("X-Service-Token")):
        return
    raise Unauthorized("The request you have made requires authentication.", detail=f"no access rule for {req.method} {full}")


async def _is_service(cloud: Cloud, token: str | None) -> bool:
    if not token:
        return False
    try:
        return "service" in (await cloud.authenticate(cloud, token)).roles
    except Unauthorized:
        return False


def service_is(area: str, type_: str) -> bool:
    """Whether a service type, by any of its names, is this area."""
    return type_ == area or type_ in TYPES.get(area, ())


def matches(rule: AccessRule, path: str) -> bool:
    return len(path) <= LONGEST and _pattern(rule.path).fullmatch(path) is not None


def is_plain(path: str) -> bool:
    """Whether a rule's path is compared in no time: one wildcard in a segment, two rests at most."""
    rests = path.count("**")
    segments = path.replace("**", "").split("/")
    return rests <= MAX_RESTS and "***" not in path and all(segment.count("*") + segment.count("{") <= 1 for segment in segments)


@lru_cache(4096)
def _pattern(path: str) -> re.Pattern[str]:
    """A name in braces or * is one segment, ** is anything."""

    def part(found: re.Match[str]) -> str:
        if found[1] or found[3]:
            return "[^/]+"
        return ".*" if found[2] else re.escape(found[0])

    return re.compile(_PART.sub(part, path), re.DOTALL)
