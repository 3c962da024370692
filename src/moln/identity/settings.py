"""Settings of identity: the table `[identity]` of moln.toml."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct


class IdentitySettings(Struct, frozen=True, forbid_unknown_fields=True):
    """token_expiration_s: how long a token lives, in seconds. key_rotation_s: how long one key seals tokens, in seconds."""

    token_expiration_s: Annotated[int, Meta(ge=60, le=7 * 86400)] = 3600
    key_rotation_s: Annotated[int, Meta(ge=3600)] = 7 * 86400
