"""How volumes are kept."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from msgspec import Struct

from moln.kernel.db import Listing, Query, Reader, Transaction, generations, in_list
from moln.kernel.errors import Conflict
from moln.volume.model.volumes import AT_WORK, MOVES, Volume
from moln.volume.store.labels import labelled, relabel
from moln.volume.store.tables import volumes

PAGE = 200  # unsettled volumes looked at in one round

COLUMNS = [volumes.c[f] for f in Volume.__struct_fields__]
BY_ID = Query(sa.select(*COLUMNS).where(volumes.c.id == sa.bindparam("id")), Volume)
BY_IDS = Query(sa.select(*COLUMNS).where(in_list(volumes.c.id, "ids")), Volume)
UNSETTLED = Query(sa.select(*COLUMNS).where(in_list(volumes.c.status, "statuses")).order_by(volumes.c.rowid).limit(PAGE), Volume)
OF_GROUP = Query(sa.select(*COLUMNS).where(volumes.c.group_id == sa.bindparam("group_id")).order_by(volumes.c.rowid), Volume)
ON_HOSTS = Query(sa.select(*COLUMNS).where(volumes.c.host.is_not(None)), Volume)
MADE_FROM = Query(
    sa.select(volumes.c.id).where(volumes.c.host == sa.bindparam("of"), volumes.c.image_data_id == sa.bindparam("base")).limit(1), str
)
AT_HOST_IN = Query(sa.select(*COLUMNS).where(volumes.c.host == sa.bindparam("of"), volumes.c.status == sa.bindparam("status")), Volume)
OF_TYPE = Query(sa.select(volumes.c.id).where(volumes.c.volume_type_id == sa.bindparam("id")).limit(1), str)
LISTING = Listing(sa.select(*COLUMNS), Volume, volumes, extra={"label": labelled(volumes.c.id)})


class Use(Struct, frozen=True):
    """What a project has."""

    project_id: str
    count: int
    gib: int


USE = Query(
    sa.select(
        volumes.c.project_id, sa.func.count().label("count"), sa.func.coalesce(sa.func.sum(volumes.c.size_gib), 0).label("gib")
    ).group_by(volumes.c.project_id),
    Use,
)


async def find(db: Reader, volume_id: str) -> Volume | None:
    """The volume, whoever asks."""
    return await db.one(BY_ID, id=volume_id)


async def all_of(db: Reader, volume_ids: list[str]) -> list[Volume]:
    """Those that exist, in no order."""
    return await db.all(BY_IDS, ids=volume_ids)


async def of_group(db: Reader, group_id: str) -> list[Volume]:
    """Oldest first."""
    return await db.all(OF_GROUP, group_id=group_id)


async def unsettled(db: Reader, now_us: int) -> list[Volume]:
    """Volumes to which a reconciler owes something, oldest first."""
    return await db.all(UNSETTLED, statuses=sorted(AT_WORK))


async def add(tx: Transaction, volume: Volume) -> None:
    await tx.insert(volumes, volume)
    await relabel(tx, volume.id, {}, volume.metadata)
    tx.changed("volumes", volume.id)


async def save(tx: Transaction, before: Volume, *, forced: bool = False, **changes: Any) -> Volume:
    """Write what changed. forced: an administrator's reset, which MOVES does not bind.

    Raises: Conflict, when another writer came first or MOVES forbids the status.
    """
    status = changes.get("status", before.status)
    if status is not before.status and not forced and status not in MOVES[before.status]:
        raise Conflict(f"Volume {before.id} is {before.status} and cannot become {status}.")
    after = await generations.save(tx, volumes, "Volume", before, changes)
    if "metadata" in changes:
        await relabel(tx, before.id, before.metadata, after.metadata)
    tx.changed("volumes", before.id)
    return after


async def remove(tx: Transaction, volume: Volume) -> None:
    """The row goes to its history. Raises: Conflict, when another writer came first."""
    await relabel(tx, volume.id, volume.metadata, {})
    await generations.remove(tx, volumes, "Volume", volume)
    tx.changed("volumes", volume.id)
