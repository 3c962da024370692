"""What a snapshot is (block-storage v3 api-ref, "Volume snapshots")."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


class SnapshotStatus(StrEnum):
    """Cinder's, those that we ever enter."""

    CREATING = "creating"
    AVAILABLE = "available"
    DELETING = "deleting"
    ERROR = "error"
    ERROR_DELETING = "error_deleting"


S = SnapshotStatus
DELETABLE = frozenset({S.AVAILABLE, S.ERROR, S.ERROR_DELETING})
MOVES = {
    S.CREATING: {S.AVAILABLE, S.ERROR, S.DELETING},
    S.AVAILABLE: {S.DELETING},
    S.ERROR: {S.DELETING},
    S.ERROR_DELETING: {S.DELETING},
    S.DELETING: {S.ERROR_DELETING},
}


class Snapshot(Struct, frozen=True):
    """A volume as it was at a moment. size_gib: the volume's size then. host: the node that holds it. Times: µs UTC.

    group_snapshot_id: the snapshot of a group that it is part of. progress: what somebody said of it; None: by its status.
    """

    id: str
    project_id: str
    user_id: str
    volume_id: str
    volume_type_id: str
    name: str | None
    description: str | None
    size_gib: int
    status: SnapshotStatus
    created_at: int
    updated_at: int
    host: str | None = None
    bootable: bool = False
    metadata: dict[str, str] = {}
    group_snapshot_id: str | None = None
    progress: str | None = None
    generation: int = 1
