"""How groups and their snapshots are kept; which volumes and snapshots belong to them is a column of theirs."""

from __future__ import annotations

from typing import Any, TypeVar

import sqlalchemy as sa

from moln.kernel.db import INT, TEXT, Listing, Query, Reader, Transaction, column, generations, table
from moln.volume.model.groups import Group, GroupSnapshot
from moln.volume.store.volumes import PAGE

G = TypeVar("G", Group, GroupSnapshot)

groups = table(
    "volume_groups",
    column("id", TEXT, unique=True),
    column("project_id", TEXT, index=True),
    column("user_id"),
    column("name", null=True),
    column("description", null=True),
    column("status"),
    column("group_type_id", TEXT, sa.ForeignKey("volume_group_types.id"), index=True),
    column("availability_zone"),
    column("created_at", INT),
    column("updated_at", INT),
    column("host", null=True),
    column("volume_types"),
    column("group_snapshot_id", null=True),
    column("source_group_id", null=True),
    column("owed", INT, index=True),
    column("generation", INT),
)
group_snapshots = table(
    "volume_group_snapshots",
    column("id", TEXT, unique=True),
    column("project_id", TEXT, index=True),
    column("user_id"),
    column("name", null=True),
    column("description", null=True),
    column("status"),
    column("group_id", TEXT, sa.ForeignKey("volume_groups.id"), index=True),
    column("group_type_id"),
    column("created_at", INT),
    column("updated_at", INT),
    column("owed", INT, index=True),
    column("generation", INT),
)
COLUMNS = [groups.c[f] for f in Group.__struct_fields__]
SNAPSHOT_COLUMNS = [group_snapshots.c[f] for f in GroupSnapshot.__struct_fields__]
BY_ID = Query(sa.select(*COLUMNS).where(groups.c.id == sa.bindparam("id")), Group)
SNAPSHOT_BY_ID = Query(sa.select(*SNAPSHOT_COLUMNS).where(group_snapshots.c.id == sa.bindparam("id")), GroupSnapshot)
OWED = Query(sa.select(*COLUMNS).where(groups.c.owed == 1).order_by(groups.c.rowid).limit(PAGE), Group)
SNAPSHOTS_OWED = Query(
    sa.select(*SNAPSHOT_COLUMNS).where(group_snapshots.c.owed == 1).order_by(group_snapshots.c.rowid).limit(PAGE), GroupSnapshot
)
OF_TYPE = Query(sa.select(groups.c.id).where(groups.c.group_type_id == sa.bindparam("id")).limit(1), str)
SNAPSHOTS_OF = Query(sa.select(*SNAPSHOT_COLUMNS).where(group_snapshots.c.group_id == sa.bindparam("id")), GroupSnapshot)
LISTING = Listing(sa.select(*COLUMNS), Group, groups)
SNAPSHOT_LISTING = Listing(sa.select(*SNAPSHOT_COLUMNS), GroupSnapshot, group_snapshots)
USE = Query(sa.select(groups.c.project_id, sa.func.count().label("count")).group_by(groups.c.project_id), dict)


async def find(db: Reader, group_id: str) -> Group | None:
    return await db.one(BY_ID, id=group_id)


async def find_snapshot(db: Reader, group_snapshot_id: str) -> GroupSnapshot | None:
    return await db.one(SNAPSHOT_BY_ID, id=group_snapshot_id)


async def snapshots_of(db: Reader, group_id: str) -> list[GroupSnapshot]:
    return await db.all(SNAPSHOTS_OF, id=group_id)


async def owed(db: Reader, now_us: int) -> list[Group]:
    """Groups that are to be brought to their end, oldest first."""
    return await db.all(OWED)


async def snapshots_owed(db: Reader, now_us: int) -> list[GroupSnapshot]:
    """The same of their snapshots."""
    return await db.all(SNAPSHOTS_OWED)


async def add(tx: Transaction, made: Group | GroupSnapshot) -> None:
    await tx.insert(_table(made), made)


async def save(tx: Transaction, before: G, **changes: Any) -> G:
    """Write what changed. Raises: Conflict, when another writer came first."""
    return await generations.save(tx, _table(before), "Group", before, changes)


async def remove(tx: Transaction, gone: Group | GroupSnapshot) -> None:
    """Raises: Conflict, when another writer came first."""
    await generations.remove(tx, _table(gone), "Group", gone)


def _table(of: Group | GroupSnapshot) -> sa.Table:
    return groups if isinstance(of, Group) else group_snapshots
