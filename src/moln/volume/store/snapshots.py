"""How snapshots are kept."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from moln.kernel.db import Listing, Query, Reader, Transaction, generations
from moln.kernel.errors import Conflict
from moln.volume.model.snapshots import MOVES, Snapshot
from moln.volume.store.labels import labelled, relabel
from moln.volume.store.tables import snapshots
from moln.volume.store.volumes import PAGE, Use

COLUMNS = [snapshots.c[f] for f in Snapshot.__struct_fields__]
BY_ID = Query(sa.select(*COLUMNS).where(snapshots.c.id == sa.bindparam("id")), Snapshot)
OF_VOLUME = Query(sa.select(*COLUMNS).where(snapshots.c.volume_id == sa.bindparam("volume_id")).order_by(snapshots.c.rowid), Snapshot)
UNSETTLED = Query(
    sa.select(*COLUMNS)
    .where(sa.or_(snapshots.c.status == "creating", snapshots.c.status == "deleting"))
    .order_by(snapshots.c.rowid)
    .limit(PAGE),
    Snapshot,
)
OF_GROUP_SNAPSHOT = Query(sa.select(*COLUMNS).where(snapshots.c.group_snapshot_id == sa.bindparam("id")).order_by(snapshots.c.rowid), Snapshot)
ON_HOSTS = Query(sa.select(*COLUMNS).where(snapshots.c.host.is_not(None)), Snapshot)
LISTING = Listing(sa.select(*COLUMNS), Snapshot, snapshots, extra={"label": labelled(snapshots.c.id)})
USE = Query(
    sa.select(
        snapshots.c.project_id,
        sa.func.count().label("count"),
        sa.func.coalesce(sa.func.sum(snapshots.c.size_gib), 0).label("gib"),
    ).group_by(snapshots.c.project_id),
    Use,
)


async def find(db: Reader, snapshot_id: str) -> Snapshot | None:
    return await db.one(BY_ID, id=snapshot_id)


async def of_volume(db: Reader, volume_id: str) -> list[Snapshot]:
    """Oldest first."""
    return await db.all(OF_VOLUME, volume_id=volume_id)


async def of_group_snapshot(db: Reader, group_snapshot_id: str) -> list[Snapshot]:
    """Oldest first."""
    return await db.all(OF_GROUP_SNAPSHOT, id=group_snapshot_id)


async def unsettled(db: Reader, now_us: int) -> list[Snapshot]:
    return await db.all(UNSETTLED)


async def add(tx: Transaction, snapshot: Snapshot) -> None:
    await tx.insert(snapshots, snapshot)
    await relabel(tx, snapshot.id, {}, snapshot.metadata)
    tx.changed("snapshots", snapshot.id)


async def save(tx: Transaction, before: Snapshot, *, forced: bool = False, **changes: Any) -> Snapshot:
    """Write what changed. Raises: Conflict, when another writer came first or MOVES forbids the status."""
    status = changes.get("status", before.status)
    if status is not before.status and not forced and status not in MOVES[before.status]:
        raise Conflict(f"Snapshot {before.id} is {before.status} and cannot become {status}.")
    after = await generations.save(tx, snapshots, "Snapshot", before, changes)
    if "metadata" in changes:
        await relabel(tx, before.id, before.metadata, after.metadata)
    tx.changed("snapshots", before.id)
    return after


async def remove(tx: Transaction, snapshot: Snapshot) -> None:
    """The row goes to its history. Raises: Conflict, when another writer came first."""
    await relabel(tx, snapshot.id, snapshot.metadata, {})
    await generations.remove(tx, snapshots, "Snapshot", snapshot)
    tx.changed("snapshots", snapshot.id)
