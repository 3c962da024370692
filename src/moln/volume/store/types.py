"""How volume types are kept."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from moln.kernel.db import Listing, Query, Reader, Transaction, in_list
from moln.volume.model.types import VolumeType
from moln.volume.store.tables import volume_type_projects, volume_types

COLUMNS = [volume_types.c[f] for f in VolumeType.__struct_fields__]
BY_ID = Query(sa.select(*COLUMNS).where(volume_types.c.id == sa.bindparam("id")), VolumeType)
BY_IDS = Query(sa.select(*COLUMNS).where(in_list(volume_types.c.id, "ids")), VolumeType)
BY_NAME = Query(sa.select(*COLUMNS).where(volume_types.c.name == sa.bindparam("name")), VolumeType)
PROJECTS = Query(
    sa.select(volume_type_projects.c.project_id)
    .where(volume_type_projects.c.volume_type_id == sa.bindparam("id"))
    .order_by(volume_type_projects.c.rowid),
    str,
)
ACCESS = Query(
    sa.select(volume_type_projects.c.project_id).where(
        volume_type_projects.c.volume_type_id == sa.bindparam("id"),
        volume_type_projects.c.project_id == sa.bindparam("project_id"),
    ),
    str,
)


def open_to(param: str) -> Any:
    """The types that a project may choose."""
    granted = sa.select(volume_type_projects.c.volume_type_id)
    return sa.or_(
        volume_types.c.is_public == 1,
        volume_types.c.id.in_(granted.where(volume_type_projects.c.project_id == sa.bindparam(param))),
    )


LISTING = Listing(sa.select(*COLUMNS), VolumeType, volume_types, extra={"open_to": open_to})


async def find(db: Reader, type_id: str) -> VolumeType | None:
    return await db.one(BY_ID, id=type_id)


async def find_named(db: Reader, name: str) -> VolumeType | None:
    return await db.one(BY_NAME, name=name)


async def names(db: Reader, type_ids: set[str]) -> dict[str, str]:
    """Names by id."""
    return {t.id: t.name for t in await db.all(BY_IDS, ids=sorted(type_ids))}


async def has_access(db: Reader, type_id: str, project_id: str) -> bool:
    return await db.one(ACCESS, id=type_id, project_id=project_id) is not None


async def projects(db: Reader, type_id: str) -> list[str]:
    return await db.all(PROJECTS, id=type_id)


async def add(tx: Transaction, volume_type: VolumeType, *, if_absent: bool = False) -> bool:
    """Raises: Duplicate, when the name is taken (unless if_absent)."""
    return await tx.insert(volume_types, volume_type, if_absent=if_absent)


async def change(tx: Transaction, type_id: str, **changes: Any) -> bool:
    """Raises: Duplicate, when the name is taken."""
    return bool(await tx.update(volume_types, changes, id=type_id))


async def remove(tx: Transaction, type_id: str) -> None:
    await tx.delete(volume_type_projects, volume_type_id=type_id)
    await tx.delete(volume_types, id=type_id)


async def grant(tx: Transaction, type_id: str, project_id: str) -> bool:
    """False: it had access."""
    return await tx.insert(volume_type_projects, {"volume_type_id": type_id, "project_id": project_id}, if_absent=True)


async def revoke(tx: Transaction, type_id: str, project_id: str) -> bool:
    return bool(await tx.delete(volume_type_projects, volume_type_id=type_id, project_id=project_id))
