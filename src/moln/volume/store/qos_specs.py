"""How QoS specs are kept; which types have them is a column of the types."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from moln.kernel.db import INT, TEXT, Listing, Query, Reader, Transaction, column, table
from moln.volume.model.qos_specs import QosSpecs
from moln.volume.model.types import VolumeType
from moln.volume.store.tables import volume_types
from moln.volume.store.types import COLUMNS as TYPE_COLUMNS

qos_specs = table(
    "volume_qos_specs",
    column("id", TEXT, unique=True),
    column("name", TEXT, unique=True),
    column("consumer"),
    column("created_at", INT),
    column("updated_at", INT),
    column("specs"),
)
COLUMNS = [qos_specs.c[f] for f in QosSpecs.__struct_fields__]
BY_ID = Query(sa.select(*COLUMNS).where(qos_specs.c.id == sa.bindparam("id")), QosSpecs)
LISTING = Listing(sa.select(*COLUMNS), QosSpecs, qos_specs)
TYPES = Query(
    sa.select(*TYPE_COLUMNS).where(volume_types.c.qos_specs_id == sa.bindparam("id")).order_by(volume_types.c.rowid), VolumeType
)


async def find(db: Reader, specs_id: str) -> QosSpecs | None:
    return await db.one(BY_ID, id=specs_id)


async def types_of(db: Reader, specs_id: str) -> list[VolumeType]:
    return await db.all(TYPES, id=specs_id)


async def add(tx: Transaction, specs: QosSpecs) -> None:
    """Raises: Duplicate, when the name is taken."""
    await tx.insert(qos_specs, specs)


async def change(tx: Transaction, specs_id: str, **changes: Any) -> bool:
    return bool(await tx.update(qos_specs, changes, id=specs_id))


async def remove(tx: Transaction, specs_id: str) -> bool:
    return bool(await tx.delete(qos_specs, id=specs_id))
