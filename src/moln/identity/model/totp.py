"""One-time passwords by time (RFC 6238, with SHA-1, 30 seconds and six digits, as Keystone and every phone have it)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

STEP_S = 30
DIGITS = 6
BEFORE = 1  # steps back that still count: clocks differ, and people type


def secret_of(blob: str) -> bytes | None:
    """The shared secret of a credential's blob (base32); None, when it is none."""
    text = "".join(blob.split()).upper()
    try:
        return base64.b32decode(text + "=" * (-len(text) % 8)) or None
    except (binascii.Error, ValueError):
        return None


def passcode(secret: bytes, step: int) -> str:
    digest = hmac.new(secret, step.to_bytes(8, "big"), hashlib.sha1).digest()
    at = digest[-1] & 15
    number = int.from_bytes(digest[at : at + 4], "big") & 0x7FFFFFFF
    return str(number % 10**DIGITS).zfill(DIGITS)


def step_of(secret: bytes, given: str, now_s: int) -> int | None:
    """The step that a passcode is of, if it is one of those that count now."""
    present = now_s // STEP_S
    for step in range(present, present - BEFORE - 1, -1):
        if step >= 0 and hmac.compare_digest(passcode(secret, step).encode(), given.encode()):
            return step
    return None
