"""Records of servers that changed their flavor (compute api-ref, "Migrations"). All of them stay on their host."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


class MigrationStatus(StrEnum):
    """Nova's, those that a resize goes through."""

    PRE_MIGRATING = "pre-migrating"
    POST_MIGRATING = "post-migrating"
    FINISHED = "finished"
    CONFIRMING = "confirming"
    CONFIRMED = "confirmed"
    REVERTING = "reverting"
    REVERTED = "reverted"
    ERROR = "error"


class Migration(Struct, frozen=True, kw_only=True):
    """One of them. rowid: its id on the wire. user_id, project_id: who asked. old_number, new_number: of the flavors, as integers.

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
    old_number: int | None = None
    new_number: int | None = None
