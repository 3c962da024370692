"""Password hashes as Keystone writes them: bcrypt, bcrypt-sha256, scrypt and pbkdf2-sha512, in passlib's notation. We only verify them."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable

MAX_SCRYPT = 1 << 30  # bytes of memory that one scrypt may take
_BCRYPT = re.compile(r"\$2[aby]\$\d\d\$[./A-Za-z0-9]{53}")
_BCRYPT_SHA256 = re.compile(r"\$bcrypt-sha256\$v=2,t=(2[ab]),r=(\d{1,2})\$([./A-Za-z0-9]{22})\$([./A-Za-z0-9]{31})")
_SCRYPT = re.compile(r"\$scrypt\$ln=(\d{1,2}),r=(\d{1,3}),p=(\d{1,3})\$([+/A-Za-z0-9]*)\$([+/A-Za-z0-9]{16,128})")
_PBKDF2 = re.compile(r"\$pbkdf2-sha512\$(\d{1,8})\$([./+A-Za-z0-9]*)\$([./+A-Za-z0-9]{86})")


def is_foreign(hashed: str) -> bool:
    """Whether `verify` knows what to do with it; a hash of our own is not."""
    return any(known.fullmatch(hashed) for known in _VERIFY)


def needs_bcrypt(hashed: str) -> bool:
    """Whether it takes the Python package bcrypt, which comes with moln[import]."""
    return is_foreign(hashed) and hashed.startswith(("$2", "$bcrypt"))


def verify(hashed: str, password: str) -> bool:
    """Raises: ModuleNotFoundError, for bcrypt's without the package bcrypt."""
    for known, call in _VERIFY.items():
        if found := known.fullmatch(hashed):
            return call(found, password.encode())
    return False


def _bcrypt(found: re.Match[str], password: bytes) -> bool:
    """Only 72 bytes count, whoever made it."""
    import bcrypt

    return bool(bcrypt.checkpw(password[:72], found[0].encode()))


def _bcrypt_sha256(found: re.Match[str], password: bytes) -> bool:
    """bcrypt of an HMAC keyed with the salt, so that every byte counts."""
    import bcrypt

    ident, rounds, salt, digest = found.groups()
    keyed = base64.b64encode(hmac.digest(salt.encode(), password, "sha256"))
    return bool(bcrypt.checkpw(keyed, f"${ident}${int(rounds):02}${salt}{digest}".encode()))


def _scrypt(found: re.Match[str], password: bytes) -> bool:
    cost, block, lanes = (int(found[n]) for n in (1, 2, 3))
    salt, digest = _decode(found[4]), _decode(found[5])
    try:
        made = hashlib.scrypt(password, salt=salt, n=1 << cost, r=block, p=lanes, maxmem=MAX_SCRYPT, dklen=len(digest))
    except ValueError:  # more memory than we give
        return False
    return hmac.compare_digest(made, digest)


def _pbkdf2(found: re.Match[str], password: bytes) -> bool:
    rounds, salt, digest = int(found[1]), _decode(found[2]), _decode(found[3])
    return hmac.compare_digest(hashlib.pbkdf2_hmac("sha512", password, salt, max(rounds, 1), len(digest)), digest)


def _decode(text: str) -> bytes:
    """Base64 without its padding; passlib writes `.` for `+`."""
    try:
        return binascii.a2b_base64(text.replace(".", "+") + "=" * (-len(text) % 4))
    except binascii.Error:
        return b""


_VERIFY: dict[re.Pattern[str], Callable[[re.Match[str], bytes], bool]] = {
    _BCRYPT: _bcrypt, _BCRYPT_SHA256: _bcrypt_sha256, _SCRYPT: _scrypt, _PBKDF2: _pbkdf2,
}  # fmt: skip
