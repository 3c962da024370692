"""How the encryptions of volume types are kept: at most one each."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from moln.kernel.db import INT, TEXT, Query, Reader, Transaction, column, table
from moln.volume.model.encryptions import Encryption

encryptions = table(
    "volume_type_encryptions",
    column("id", TEXT, unique=True),
    column("volume_type_id", TEXT, sa.ForeignKey("volume_types.id"), unique=True),
    column("provider"),
    column("control_location"),
    column("cipher", null=True),
    column("key_size", INT, null=True),
    column("created_at", INT),
    column("updated_at", INT, null=True),
)
COLUMNS = [encryptions.c[f] for f in Encryption.__struct_fields__]
OF_TYPE = Query(sa.select(*COLUMNS).where(encryptions.c.volume_type_id == sa.bindparam("type_id")), Encryption)


async def of_type(db: Reader, type_id: str) -> Encryption | None:
    return await db.one(OF_TYPE, type_id=type_id)


async def add(tx: Transaction, encryption: Encryption) -> None:
    await tx.insert(encryptions, encryption)


async def change(tx: Transaction, encryption_id: str, **changes: Any) -> None:
    await tx.update(encryptions, changes, id=encryption_id)


async def remove(tx: Transaction, type_id: str) -> None:
    """Nothing, when the type has none."""
    await tx.delete(encryptions, volume_type_id=type_id)
