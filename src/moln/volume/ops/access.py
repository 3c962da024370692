"""Who may know of a volume, and Cinder's words for what is not so."""

from __future__ import annotations

from moln.kernel.context import RequestContext
from moln.kernel.db import Reader
from moln.kernel.errors import Forbidden, Invalid, NotFound
from moln.volume.model.snapshots import Snapshot
from moln.volume.model.volumes import Volume
from moln.volume.store import snapshots, volumes

SERVICE = "volume"


def missing_volume(volume_id: str) -> NotFound:
    return NotFound(f"Volume {volume_id[:64]} could not be found.")


def missing_snapshot(snapshot_id: str) -> NotFound:
    return NotFound(f"Snapshot {snapshot_id[:64]} could not be found.")


def invalid_volume(reason: str) -> Invalid:
    """Cinder answers 400, not 409, to what a volume's state forbids."""
    return Invalid(f"Invalid volume: {reason}")


def invalid_snapshot(reason: str) -> Invalid:
    return Invalid(f"Invalid snapshot: {reason}")


def invalid_input(reason: str, field: str | None = None) -> Invalid:
    return Invalid(f"Invalid input received: {reason}", field=field)


def require(ctx: RequestContext, rule: str, target: object) -> None:
    """Raises: Forbidden."""
    if not ctx.allows(SERVICE, rule, target):
        raise Forbidden(f"Policy doesn't allow {rule} to be performed.")


async def get_volume(db: Reader, ctx: RequestContext, volume_id: str, rule: str = "volume:get") -> Volume:
    """The volume, if the caller may do `rule` to it. Raises: NotFound, Forbidden."""
    volume = await volumes.find(db, volume_id)
    if volume is None or not (ctx.is_admin or ctx.project_id == volume.project_id):
        raise missing_volume(volume_id)
    require(ctx, rule, volume)
    return volume


async def get_snapshot(db: Reader, ctx: RequestContext, snapshot_id: str, rule: str = "volume:get_snapshot") -> Snapshot:
    """The snapshot, if the caller may do `rule` to it. Raises: NotFound, Forbidden."""
    snapshot = await snapshots.find(db, snapshot_id)
    if snapshot is None or not (ctx.is_admin or ctx.project_id == snapshot.project_id):
        raise missing_snapshot(snapshot_id)
    require(ctx, rule, snapshot)
    return snapshot
