"""Signatures of requests made with an EC2 key: AWS's version 2 and 4, and S3's of a string."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any
from urllib.parse import quote

UNSIGNED = "-_.~"
V4 = "AWS4-HMAC-SHA256"
Params = dict[str, Any]


def _hmac(key: bytes, text: str | bytes, digest: str = "sha256") -> bytes:
    return hmac.new(key, text.encode() if isinstance(text, str) else text, digest).digest()


def _query(params: Params) -> str:
    pairs = sorted((quote(str(name), safe=UNSIGNED), quote(str(value), safe=UNSIGNED)) for name, value in params.items())
    return "&".join(f"{name}={value}" for name, value in pairs)


def v2(secret: str, verb: str, host: str, path: str, params: Params) -> str:
    """Version 2: of verb, host, path and parameters, by the hash that they name."""
    digest = "sha1" if params.get("SignatureMethod") == "HmacSHA1" else "sha256"
    text = "\n".join((verb, host.lower(), path, _query({k: v for k, v in params.items() if k != "Signature"})))
    return base64.b64encode(_hmac(secret.encode(), text, digest)).decode()


def _v4_key(secret: str, date: str, region: str, service: str) -> bytes:
    key = ("AWS4" + secret).encode()
    for part in (date, region, service, "aws4_request"):
        key = _hmac(key, part)
    return key


def authorization(headers: Params, params: Params) -> dict[str, str]:
    """Credential, SignedHeaders and Signature of version 4: from the header, or from X-Amz-… parameters."""
    found = {}
    text = str(headers.get("authorization", ""))
    if text.startswith(V4):
        for part in text[len(V4) :].split(","):
            name, _, value = part.strip().partition("=")
            found[name] = value
    for name in ("Credential", "SignedHeaders", "Signature"):
        if name not in found and f"X-Amz-{name}" in params:
            found[name] = str(params[f"X-Amz-{name}"])
    return found


def v4(secret: str, verb: str, host: str, path: str, params: Params, headers: Params, body_hash: str) -> str | None:
    """Version 4; None, when the request lacks what it needs. headers: names in lower case."""
    given = authorization(headers, params)
    date = str(headers.get("x-amz-date") or params.get("X-Amz-Date") or "")
    scope = given.get("Credential", "").split("/")[1:]
    if len(scope) != 4 or not date:
        return None
    signed = given.get("SignedHeaders", "").split(";")
    values = {**headers, "host": host}
    if any(name not in values for name in signed):
        return None
    query = "" if verb.upper() == "POST" else _query({k: v for k, v in params.items() if k != "X-Amz-Signature"})
    lines = "".join(f"{name}:{' '.join(str(values[name]).split())}\n" for name in signed)
    request = "\n".join((verb.upper(), path, query, lines, ";".join(signed), body_hash))
    text = "\n".join((V4, date, "/".join(scope), hashlib.sha256(request.encode()).hexdigest()))
    return _hmac(_v4_key(secret, *scope[:3]), text).hex()


def s3(secret: str, text: bytes) -> str | None:
    """Of the string that an S3 service was asked to sign, by its first line; None, when version 4's is malformed."""
    if not text.startswith(b"AWS4"):
        return base64.b64encode(_hmac(secret.encode(), text, "sha1")).decode()
    lines = text.decode("utf-8", "replace").split("\n")
    scope = lines[2].split("/") if len(lines) == 4 else []
    if lines[0] != V4 or len(scope) != 4 or scope[2:] != ["s3", "aws4_request"]:
        return None
    return _hmac(_v4_key(secret, *scope[:3]), text).hex()
