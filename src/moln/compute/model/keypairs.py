"""Key pairs: whose, and the fingerprint and form of what they hold."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re

from msgspec import Struct

SSH, X509 = "ssh", "x509"
NAME_BEFORE_92 = re.compile(r"^[a-zA-Z0-9 _-]{1,255}$")
NAME = re.compile(r"^[a-zA-Z0-9 _@.-]{1,255}$")


class Keypair(Struct, frozen=True):
    """A public key of one user, by name. rowid: its `id` on the wire. created_at: µs UTC."""

    user_id: str
    name: str
    type: str
    public_key: str
    fingerprint: str
    created_at: int
    rowid: int | None = None


def ssh_fingerprint(public_key: str) -> str:
    """MD5 of the key's bytes, in colons. Raises ValueError, when the text is not a public key as ssh writes it."""
    parts = public_key.strip().split(None, 2)
    if len(parts) < 2 or len(public_key) > 16384:
        raise ValueError("not a public key")
    try:
        raw = base64.b64decode(parts[1], validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("not base64") from None
    size = int.from_bytes(raw[:4], "big")
    if raw[4 : 4 + size] != parts[0].encode() or not size:
        raise ValueError("the key is not of the kind that it says")
    digest = hashlib.md5(raw, usedforsecurity=False).hexdigest()
    return ":".join(digest[i : i + 2] for i in range(0, 32, 2))
