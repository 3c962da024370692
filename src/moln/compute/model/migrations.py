"""Records of servers that changed their flavor or their host (compute api-ref, "Migrations")."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


class MigrationStatus(StrEnum):
    """Nova's. A resize or cold migration: from PRE_MIGRATING to CONFIRMED or REVERTED; a live one: from QUEUED to COMPLETED, FAILED or CANCELLED;
    an evacuation: from ACCEPTED to DONE, and COMPLETED when nothing is left on the host that was lost."""

    ACCEPTED = "accepted"
    QUEUED = "queued"
    PREPARING = "preparing"
    RUNNING = "running"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    FAILED = "failed"
    DONE = "done"
    PRE_MIGRATING = "pre-migrating"
    MIGRATING = "migrating"
    POST_MIGRATING = "post-migrating"
    FINISHED = "finished"
    CONFIRMING = "confirming"
    CONFIRMED = "confirmed"
    REVERTING = "reverting"
    REVERTED = "reverted"
    ERROR = "error"


IN_PROGRESS = frozenset({MigrationStatus.QUEUED, MigrationStatus.PREPARING, MigrationStatus.RUNNING, MigrationStatus.POST_MIGRATING})
ENDED = frozenset({
    MigrationStatus.COMPLETED, MigrationStatus.CANCELLED, MigrationStatus.FAILED, MigrationStatus.DONE, MigrationStatus.CONFIRMED,
    MigrationStatus.REVERTED, MigrationStatus.ERROR,
})  # fmt: skip


class MigrationType(StrEnum):
    RESIZE, MIGRATION, LIVE, EVACUATION = "resize", "migration", "live-migration", "evacuation"


class Progress(Struct, frozen=True):
    """How far a live migration is, in bytes, in the order of the wire; total: as far as is known by now."""

    memory_total: int = 0
    memory_processed: int = 0
    memory_remaining: int = 0
    disk_total: int = 0
    disk_processed: int = 0
    disk_remaining: int = 0


class Migration(Struct, frozen=True, kw_only=True):
    """One of them. rowid: its id on the wire. user_id, project_id: who asked. host, dest_host: from where to where. old_number, new_number: of the flavors, as integers.

    Times: µs UTC.
    """

    rowid: int
    uuid: str
    server_id: str
    user_id: str | None
    project_id: str | None
    migration_type: str
    status: MigrationStatus
    host: str
    old_flavor_id: str
    new_flavor_id: str
    created_at: int
    updated_at: int
    dest_host: str = ""
    progress: Progress | None = None
    old_number: int | None = None
    new_number: int | None = None
