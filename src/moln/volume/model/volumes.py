"""What a volume is (block-storage v3 api-ref, "Volumes")."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

MAX_SIZE_GIB = (1 << 31) - 1
MAX_METADATA = 128
VENDOR, PROTOCOL = "Moln", "file"
BACKEND = "pool"  # the one backend of a node; a service's host is `<node>@pool`


class VolumeStatus(StrEnum):
    """Cinder's, those that we ever enter."""

    CREATING = "creating"
    AVAILABLE = "available"
    RESERVED = "reserved"
    ATTACHING = "attaching"
    DETACHING = "detaching"
    IN_USE = "in-use"
    EXTENDING = "extending"
    UPLOADING = "uploading"
    REVERTING = "reverting"
    BACKING_UP = "backing-up"
    RESTORING_BACKUP = "restoring-backup"
    MAINTENANCE = "maintenance"
    AWAITING_TRANSFER = "awaiting-transfer"
    DELETING = "deleting"
    ERROR = "error"
    ERROR_DELETING = "error_deleting"
    ERROR_EXTENDING = "error_extending"
    ERROR_RESTORING = "error_restoring"


S = VolumeStatus
CONNECTED = frozenset({S.RESERVED, S.ATTACHING, S.DETACHING, S.IN_USE})
AT_WORK = frozenset({S.CREATING, S.EXTENDING, S.UPLOADING, S.REVERTING, S.RESTORING_BACKUP, S.DELETING})  # a reconciler owes it something
DELETABLE = frozenset({S.AVAILABLE, S.ERROR, S.ERROR_DELETING, S.ERROR_EXTENDING, S.ERROR_RESTORING})

MOVES = {  # every change of status there is, but for an administrator's os-reset_status
    S.CREATING: {S.AVAILABLE, S.RESERVED, S.IN_USE, S.ERROR, S.DELETING},
    S.AVAILABLE: {
        S.RESERVED, S.ATTACHING, S.EXTENDING, S.UPLOADING, S.REVERTING, S.DELETING, S.MAINTENANCE, S.AWAITING_TRANSFER, S.BACKING_UP,
        S.RESTORING_BACKUP,
    },
    S.RESERVED: {S.AVAILABLE, S.ATTACHING, S.IN_USE},
    S.ATTACHING: {S.AVAILABLE, S.RESERVED, S.IN_USE, S.DETACHING},
    S.IN_USE: {S.RESERVED, S.ATTACHING, S.DETACHING, S.AVAILABLE, S.EXTENDING, S.UPLOADING, S.BACKING_UP},
    S.DETACHING: {S.AVAILABLE, S.RESERVED, S.IN_USE},
    S.EXTENDING: {S.AVAILABLE, S.IN_USE, S.RESERVED, S.ERROR_EXTENDING},
    S.UPLOADING: {S.AVAILABLE, S.IN_USE, S.ERROR},
    S.REVERTING: {S.AVAILABLE, S.ERROR},
    S.BACKING_UP: {S.AVAILABLE, S.IN_USE, S.RESERVED, S.ATTACHING, S.DETACHING, S.ERROR},
    S.RESTORING_BACKUP: {S.AVAILABLE, S.ERROR_RESTORING},
    S.AWAITING_TRANSFER: {S.AVAILABLE},
    S.MAINTENANCE: {S.AVAILABLE, S.ERROR},
    S.ERROR: {S.DELETING, S.AVAILABLE},
    S.ERROR_DELETING: {S.DELETING},
    S.ERROR_EXTENDING: {S.DELETING},
    S.ERROR_RESTORING: {S.DELETING, S.AVAILABLE},
    S.DELETING: {S.ERROR_DELETING},
}  # fmt: skip


class Volume(Struct, frozen=True):
    """A block device owned by one project. Times: µs UTC.

    size_gib: GiB, `size` on the wire. host: the node whose pool holds it; None until one was found. image_data_id: the raw base
    that it begins as. source, source_id: what it begins as. previous_status: where a passing status leads back to.
    group_id: the group it belongs to. readonly: None, until somebody said. next_size_gib: the size asked of `extending`. task_id: the image of `uploading`, the snapshot of `reverting`, the data of a backup that is being restored.
    generation: raised by each write; a command to a node names it.
    """

    id: str
    project_id: str
    user_id: str
    name: str | None
    description: str | None
    size_gib: int
    status: VolumeStatus
    volume_type_id: str
    availability_zone: str
    created_at: int
    updated_at: int
    host: str | None = None
    bootable: bool = False
    readonly: bool | None = None
    multiattach: bool = False
    snapshot_id: str | None = None
    source_volid: str | None = None
    group_id: str | None = None
    backup_id: str | None = None
    image_data_id: str | None = None
    image_metadata: dict[str, str] = {}
    metadata: dict[str, str] = {}
    previous_status: VolumeStatus | None = None
    next_size_gib: int | None = None
    task_id: str | None = None
    generation: int = 1


def labels(metadata: dict[str, str]) -> set[str]:
    """What lists are filtered by beside the columns."""
    return {f"{key}={value}" for key, value in metadata.items()}
