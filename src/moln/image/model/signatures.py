"""Signed images: the four properties that name a signature (Glance, "Image signature verification")."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping

from msgspec import Struct

SIGNATURE, HASH_METHOD = "img_signature", "img_signature_hash_method"
KEY_TYPE, CERTIFICATE = "img_signature_key_type", "img_signature_certificate_uuid"
ALL = (SIGNATURE, HASH_METHOD, KEY_TYPE, CERTIFICATE)
HASHES = ("SHA-224", "SHA-256", "SHA-384", "SHA-512")


class Signature(Struct, frozen=True):
    """What an image says of its signature. method: as in HASHES; certificate: its id."""

    value: bytes
    method: str
    key_type: str
    certificate: str

    @property
    def algorithm(self) -> str:
        """What hashlib calls the method."""
        return self.method.replace("-", "").lower()


def is_signed(properties: Mapping[str, str]) -> bool:
    """Whether the image says so, be it nonsense what it says."""
    return all(name in properties for name in ALL)


def signature_of(properties: Mapping[str, str]) -> Signature | None:
    """None: the image does not say that it is signed. Raises: ValueError, when it says so in a way that nothing can fulfil."""
    if not is_signed(properties):
        return None
    if properties[HASH_METHOD] not in HASHES:
        raise ValueError(f"the hash method must be one of {', '.join(HASHES)}")
    try:
        value = base64.b64decode(properties[SIGNATURE], validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("the signature is not base64") from None
    return Signature(value, properties[HASH_METHOD], properties[KEY_TYPE], properties[CERTIFICATE])
