"""The settings of the volume area (`[volume]` in moln.toml)."""

from __future__ import annotations

from msgspec import Struct


class VolumeSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """folder: the pool of volumes on each node, below its home or absolute. reserve_gib: space of it never promised.
    availability_zone: the one that there is. quota_*, per_volume_gib: what a project may have unless an operator says otherwise, -1: no bound.
    """

    folder: str = "pool"
    reserve_gib: int = 1
    availability_zone: str = "nova"
    quota_volumes: int = 10
    quota_snapshots: int = 10
    quota_gigabytes: int = 1000
    per_volume_gib: int = -1
