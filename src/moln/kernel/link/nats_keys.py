"""NATS's signed credentials: keys with names (nkeys), and claims that one key makes about another (JWTs, version 2).

An operator's key vouches for accounts, an account's for users. A user's claims carry all that it may do, so that a server needs no
configuration for it; whoever connects proves its key by signing what the server drew.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat, load_pem_private_key

from moln.kernel.errors import Failure
from moln.kernel.files import appearing

OPERATOR, ACCOUNT, USER = 14 << 3, 0 << 3, 20 << 3  # the first byte of a name; its first letter is O, A or U
_SEED = 18 << 3  # the first five bits of a private key; it begins with S and the letter of its kind
_HEADER = {"typ": "JWT", "alg": "ed25519-nkey"}


def _checksum(data: bytes) -> int:
    """CRC-16/XMODEM."""
    crc = 0
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ (0x1021 if crc & 0x8000 else 0)) & 0xFFFF
    return crc


def name_of(kind: int, public: bytes) -> str:
    """A public key as NATS writes it: kind, key and checksum in base32."""
    data = bytes([kind]) + public
    return base64.b32encode(data + _checksum(data).to_bytes(2, "little")).decode().rstrip("=")


def is_name(kind: int, text: str) -> bool:
    """Whether this is a public key of that kind."""
    try:
        data = base64.b32decode(text + "=" * (-len(text) % 8))
    except ValueError:
        return False
    return len(data) == 35 and data[0] == kind and _checksum(data[:33]) == int.from_bytes(data[33:], "little")


class NatsKey:
    """A private key of one kind. name: its public part, as NATS writes it."""

    def __init__(self, kind: int, key: ed25519.Ed25519PrivateKey | None = None):
        self._key = key or ed25519.Ed25519PrivateKey.generate()
        self._public = self._key.public_key()
        self.name = name_of(kind, self._public.public_bytes(Encoding.Raw, PublicFormat.Raw))

    def sign(self, data: bytes) -> bytes:
        return self._key.sign(data)

    def pem(self) -> bytes:
        return self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def _raw(self) -> bytes:
        return self._key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())

    def seed(self, kind: int) -> str:
        """The private key as NATS's clients keep it in files."""
        data = bytes([_SEED | kind >> 5, (kind & 31) << 3]) + self._raw()
        return base64.b32encode(data + _checksum(data).to_bytes(2, "little")).decode().rstrip("=")

    def derived(self, kind: int, purpose: str) -> NatsKey:
        """Another key, the same for whoever has this one."""
        return NatsKey(kind, ed25519.Ed25519PrivateKey.from_private_bytes(self.secret(purpose)))

    def secret(self, purpose: str) -> bytes:
        """32 bytes, the same for whoever has this key."""
        return hmac.digest(self._raw(), purpose.encode(), "sha256")

    def claim(self, subject: str, name: str, said: dict[str, Any], *, issued_s: int, expires_s: int | None = None) -> str:
        """A signed claim of this key about `subject`, a key's name. issued_s, expires_s: seconds since 1970."""
        claims = {"iat": issued_s, "iss": self.name, "name": name, "sub": subject, "nats": {**said, "version": 2}}
        if expires_s is not None:
            claims["exp"] = expires_s
        claims["jti"] = base64.b32encode(hashlib.sha256(_json(claims)).digest()).decode().rstrip("=")
        text = f"{_base64(_json(_HEADER))}.{_base64(_json(claims))}"
        return f"{text}.{_base64(self.sign(text.encode()))}"


def verified(name: str, data: bytes, signature: bytes) -> bool:
    """Whether the key of this name (see is_name) made the signature."""
    public = base64.b32decode(name + "=" * (-len(name) % 8))[1:33]
    try:
        ed25519.Ed25519PublicKey.from_public_bytes(public).verify(signature, data)
    except InvalidSignature:
        return False
    return True


def ensure_key(path: Path, kind: int) -> NatsKey:
    """The key in a file (PEM, 0600); a new one where there is none. Raises: Failure, when the file holds no such key."""
    if not path.exists():
        with appearing(path) as out, open(out, "wb", closefd=False) as file:
            file.write(NatsKey(kind).pem())
    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError) as error:
        raise Failure(f"{path} cannot be used as a key ({error}).") from None
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise Failure(f"{path} holds no Ed25519 key.")
    return NatsKey(kind, key)


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
