"""How group types are kept."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from moln.kernel.db import INT, TEXT, Listing, Query, Reader, Transaction, column, table
from moln.volume.model.group_types import GroupType

group_types = table(
    "volume_group_types",
    column("id", TEXT, unique=True),
    column("name", TEXT, unique=True),
    column("description", null=True),
    column("is_public", INT),
    column("created_at", INT),
    column("updated_at", INT),
    column("group_specs"),
)
COLUMNS = [group_types.c[f] for f in GroupType.__struct_fields__]
BY_ID = Query(sa.select(*COLUMNS).where(group_types.c.id == sa.bindparam("id")), GroupType)
BY_NAME = Query(sa.select(*COLUMNS).where(group_types.c.name == sa.bindparam("name")), GroupType)
LISTING = Listing(sa.select(*COLUMNS), GroupType, group_types)


async def find(db: Reader, id_or_name: str) -> GroupType | None:
    return await db.one(BY_ID, id=id_or_name) or await db.one(BY_NAME, name=id_or_name)


async def add(tx: Transaction, group_type: GroupType) -> None:
    """Raises: Duplicate, when the name is taken."""
    await tx.insert(group_types, group_type)


async def change(tx: Transaction, type_id: str, **changes: Any) -> None:
    """Raises: Duplicate, when the name is taken."""
    await tx.update(group_types, changes, id=type_id)


async def remove(tx: Transaction, type_id: str) -> None:
    await tx.delete(group_types, id=type_id)
