"""The volume types that projects have for theirs, where they differ from the cloud's."""

from __future__ import annotations

import sqlalchemy as sa

from moln.kernel.db import TEXT, Query, Reader, Transaction, column, table

default_types = table(
    "volume_default_types",
    column("project_id", TEXT, unique=True),
    column("volume_type_id", TEXT, sa.ForeignKey("volume_types.id"), index=True),
)
OF = Query(sa.select(default_types.c.volume_type_id).where(default_types.c.project_id == sa.bindparam("project_id")), str)
ALL = Query(sa.select(default_types.c.project_id, default_types.c.volume_type_id).order_by(default_types.c.rowid), dict)
USED = Query(sa.select(default_types.c.project_id).where(default_types.c.volume_type_id == sa.bindparam("id")).limit(1), str)


async def of_project(db: Reader, project_id: str) -> str | None:
    """The type's id; None: the cloud's own default."""
    return await db.one(OF, project_id=project_id)


async def all_of_them(db: Reader) -> list[dict[str, str]]:
    return await db.all(ALL)


async def set_for(tx: Transaction, project_id: str, type_id: str) -> None:
    await tx.delete(default_types, project_id=project_id)
    await tx.insert(default_types, {"project_id": project_id, "volume_type_id": type_id})


async def unset(tx: Transaction, project_id: str) -> None:
    await tx.delete(default_types, project_id=project_id)
