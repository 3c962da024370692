"""How backups are kept."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from moln.kernel.db import INT, TEXT, Listing, Query, Reader, Transaction, column, generations, in_list, table
from moln.volume.model.backups import AT_WORK, Backup
from moln.volume.store.volumes import PAGE, Use

backups = table(
    "volume_backups",
    column("id", TEXT, unique=True),
    column("project_id", TEXT, index=True),
    column("user_id"),
    column("volume_id", TEXT, index=True),
    column("name", null=True),
    column("description", null=True),
    column("size_gib", INT),
    column("status", TEXT, index=True),
    column("object_id", TEXT, index=True),
    column("host"),
    column("availability_zone"),
    column("created_at", INT),
    column("updated_at", INT),
    column("data_timestamp", INT),
    column("snapshot_id", null=True),
    column("parent_id", null=True, index=True),
    column("container", null=True),
    column("object_count", INT),
    column("fail_reason", null=True),
    column("restore_volume_id", null=True),
    column("imported", INT),
    column("metadata"),
    column("was_type_id"),
    column("was_bootable", INT),
    column("was_metadata"),
    column("was_image_metadata"),
    column("generation", INT),
    history=True,
)
COLUMNS = [backups.c[f] for f in Backup.__struct_fields__]
BY_ID = Query(sa.select(*COLUMNS).where(backups.c.id == sa.bindparam("id")), Backup)
ALL = Query(sa.select(*COLUMNS), Backup)
UNSETTLED = Query(sa.select(*COLUMNS).where(in_list(backups.c.status, "statuses")).order_by(backups.c.rowid).limit(PAGE), Backup)
LATEST = Query(
    sa.select(*COLUMNS)
    .where(backups.c.volume_id == sa.bindparam("volume_id"), backups.c.status == "available")
    .order_by(backups.c.data_timestamp.desc(), backups.c.rowid.desc())
    .limit(1),
    Backup,
)
ABOVE = Query(sa.select(backups.c.parent_id).where(in_list(backups.c.parent_id, "ids")), str)
SHARING = Query(sa.select(backups.c.id).where(backups.c.object_id == sa.bindparam("object_id"), backups.c.id != sa.bindparam("id")), str)
LISTING = Listing(sa.select(*COLUMNS), Backup, backups)
USE = Query(
    sa.select(
        backups.c.project_id, sa.func.count().label("count"), sa.func.coalesce(sa.func.sum(backups.c.size_gib), 0).label("gib")
    ).group_by(backups.c.project_id),
    Use,
)


async def find(db: Reader, backup_id: str) -> Backup | None:
    return await db.one(BY_ID, id=backup_id)


async def latest(db: Reader, volume_id: str) -> Backup | None:
    """The newest that a volume has, of those that are whole."""
    return await db.one(LATEST, volume_id=volume_id)


async def depended_on(db: Reader, ids: list[str]) -> set[str]:
    """Those on top of which others were made."""
    return set(await db.all(ABOVE, ids=ids))


async def shares_data(db: Reader, backup: Backup) -> bool:
    """Whether another backup (an imported record) names the same data."""
    return await db.one(SHARING, object_id=backup.object_id, id=backup.id) is not None


async def unsettled(db: Reader, now_us: int) -> list[Backup]:
    return await db.all(UNSETTLED, statuses=sorted(AT_WORK))


async def add(tx: Transaction, backup: Backup) -> None:
    """Raises: Duplicate, when the id is taken."""
    await tx.insert(backups, backup)


async def save(tx: Transaction, before: Backup, **changes: Any) -> Backup:
    """Raises: Conflict, when another writer came first."""
    return await generations.save(tx, backups, "Backup", before, changes)


async def remove(tx: Transaction, backup: Backup) -> None:
    """The row goes to its history. Raises: Conflict, when another writer came first."""
    await generations.remove(tx, backups, "Backup", backup)
