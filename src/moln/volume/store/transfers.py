"""How transfers are kept: a row while the offer stands."""

from __future__ import annotations

import sqlalchemy as sa

from moln.kernel.db import INT, TEXT, Listing, Query, Reader, Transaction, column, table
from moln.volume.model.transfers import Transfer

transfers = table(
    "volume_transfers",
    column("id", TEXT, unique=True),
    column("name", null=True),
    column("volume_id", TEXT, sa.ForeignKey("volumes.id"), unique=True),
    column("project_id", TEXT, index=True),
    column("no_snapshots", INT),
    column("created_at", INT),
    column("key_hash"),
)
COLUMNS = [transfers.c[f] for f in Transfer.__struct_fields__]
BY_ID = Query(sa.select(*COLUMNS).where(transfers.c.id == sa.bindparam("id")), Transfer)
LISTING = Listing(sa.select(*COLUMNS), Transfer, transfers)


async def find(db: Reader, transfer_id: str) -> Transfer | None:
    return await db.one(BY_ID, id=transfer_id)


async def add(tx: Transaction, transfer: Transfer) -> None:
    await tx.insert(transfers, transfer)


async def remove(tx: Transaction, transfer_id: str) -> bool:
    return bool(await tx.delete(transfers, id=transfer_id))


async def withdraw(tx: Transaction, volume_id: str) -> None:
    """The offer of a volume that goes; nothing, where there is none."""
    await tx.delete(transfers, volume_id=volume_id)
