"""What the encryption of a volume type is (block-storage v3 api-ref, "Volume types": encryption)."""

from __future__ import annotations

from msgspec import Struct

LOCATIONS = ("front-end", "back-end")


class Encryption(Struct, frozen=True):
    """How volumes of a type are to be encrypted. key_size: bits. Times: µs UTC."""

    id: str
    volume_type_id: str
    provider: str
    control_location: str
    cipher: str | None
    key_size: int | None
    created_at: int
    updated_at: int | None = None
