"""Placement's part of moln.toml."""

from __future__ import annotations

from msgspec import Struct


class PlacementSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Nothing to set: what hosts offer is compute's to say."""
