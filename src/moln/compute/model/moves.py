"""Servers that change their host while they keep their flavor: live migration, and evacuation of a host that is lost."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


class MoveKind(StrEnum):
    LIVE = "live-migration"
    EVACUATION = "evacuation"


class Stage(StrEnum):
    """Of a live migration: the destination is made ready, the guest is being sent, or all of it is taken back."""

    PREPARING = "preparing"
    RUNNING = "running"
    UNDOING = "undoing"


class Move(Struct, frozen=True, gc=False):
    """A move under way. migration_id: of its record, and who holds the claim on the source. address: where the destination waits for the guest.

    forced: whether its owner would rather have the guest stand still than wait any longer. outcome, reason: what the record will say of
    a move that is taken back. off: an evacuated server is not started.
    """

    migration_id: str
    kind: MoveKind
    source: str
    dest: str
    stage: Stage = Stage.PREPARING
    address: str = ""
    forced: bool = False
    outcome: str = ""
    reason: str = ""
    off: bool = False


class Leftover(Struct, frozen=True):
    """What a server left on a host that it is no longer on: gone as soon as that host answers. generation: of the server's row when it left.

    claim: who holds what it takes there, "" for nobody. disks: their ids.
    """

    id: str
    server_id: str
    host: str
    generation: int
    claim: str
    disks: tuple[str, ...]
    created_at: int
