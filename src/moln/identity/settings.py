"""Settings of identity: the table `[identity]` of moln.toml."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from moln.kernel.cloud import Cloud


class IdentitySettings(Struct, frozen=True, forbid_unknown_fields=True):
    """token_expiration_s: how long a token lives, in seconds. key_rotation_s: how long one key seals tokens, in seconds."""

    token_expiration_s: Annotated[int, Meta(ge=60, le=7 * 86400)] = 3600
    key_rotation_s: Annotated[int, Meta(ge=3600)] = 7 * 86400


def of(cloud: Cloud) -> IdentitySettings:
    """The settings of this cloud's identity (app.py puts an area's table beside the kernel's own)."""
    settings: IdentitySettings = cloud.settings.identity  # type: ignore[attr-defined]
    return settings
