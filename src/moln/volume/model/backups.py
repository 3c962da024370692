"""What a backup of a volume is (block-storage v3 api-ref, "Backups")."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


class BackupStatus(StrEnum):
    """Cinder's, those that we ever enter."""

    CREATING = "creating"
    AVAILABLE = "available"
    RESTORING = "restoring"
    DELETING = "deleting"
    ERROR = "error"
    ERROR_DELETING = "error_deleting"


S = BackupStatus
AT_WORK = frozenset({S.CREATING, S.RESTORING, S.DELETING})
DELETABLE = frozenset({S.AVAILABLE, S.ERROR, S.ERROR_DELETING})


class Backup(Struct, frozen=True):
    """A copy that outlives its volume. Times: µs UTC.

    object_id: the name of its data in the pool of `host`, its own id unless it was imported. parent_id: what it was made on top of.
    restore_volume_id: the volume of `restoring`. was_*: what the volume was like. imported: it is to be found, not made.
    """

    id: str
    project_id: str
    user_id: str
    volume_id: str
    name: str | None
    description: str | None
    size_gib: int
    status: BackupStatus
    object_id: str
    host: str
    availability_zone: str
    created_at: int
    updated_at: int
    data_timestamp: int
    snapshot_id: str | None = None
    parent_id: str | None = None
    container: str | None = None
    object_count: int = 0
    fail_reason: str | None = None
    restore_volume_id: str | None = None
    imported: bool = False
    metadata: dict[str, str] = {}
    was_type_id: str = ""
    was_bootable: bool = False
    was_metadata: dict[str, str] = {}
    was_image_metadata: dict[str, str] = {}
    generation: int = 1
