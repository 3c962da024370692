"""What a transfer of a volume to another project is (block-storage v3 api-ref, "Volume transfer")."""

from __future__ import annotations

from msgspec import Struct


class Transfer(Struct, frozen=True):
    """An offer: whoever shows the key gets the volume. key_hash: of the key, which is told once. Times: µs UTC."""

    id: str
    name: str | None
    volume_id: str
    project_id: str
    no_snapshots: bool
    created_at: int
    key_hash: str
