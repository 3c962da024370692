"""Trunks and their subports."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa
from msgspec import Struct

from moln.kernel.db import Query, Reader, Transaction, in_list
from moln.network.model.trunks import SubPort, Trunk
from moln.network.store import tables as t
from moln.network.store.clauses import owned
from moln.network.store.reads import Table

trunks = Table(t.trunks, Trunk, extra=owned(t.trunks))


class Carried(Struct, frozen=True):
    """A subport, and what carries it."""

    trunk_id: str
    parent_id: str
    port_id: str
    segmentation_type: str
    segmentation_id: int

    @property
    def plain(self) -> SubPort:
        return SubPort(self.port_id, self.segmentation_type, self.segmentation_id)


_carried = (
    sa.select(
        t.subports.c.trunk_id, t.trunks.c.port_id.label("parent_id"), t.subports.c.port_id, t.subports.c.segmentation_type,
        t.subports.c.segmentation_id,
    )
    .join(t.trunks, t.trunks.c.id == t.subports.c.trunk_id)
    .order_by(t.subports.c.rowid)
)  # fmt: skip
ALL = Query(_carried, Carried)
OF_TRUNKS = Query(_carried.where(in_list(t.subports.c.trunk_id, "ids")), Carried)
OF_PORTS = Query(_carried.where(in_list(t.subports.c.port_id, "ids")), Carried)


async def all_carried(db: Reader) -> list[Carried]:
    return await db.all(ALL)


async def carried_by(db: Reader, trunk_ids: Iterable[str]) -> list[Carried]:
    """Subports of these trunks."""
    return await db.all(OF_TRUNKS, ids=sorted(set(trunk_ids)))


async def carriers_of(db: Reader, port_ids: Iterable[str]) -> list[Carried]:
    """Those of the ports that are subports."""
    return await db.all(OF_PORTS, ids=sorted(set(port_ids)))


async def carry(tx: Transaction, trunk_id: str, subport: SubPort) -> bool:
    """False: the port, or the tag, is taken."""
    row = {
        "trunk_id": trunk_id, "port_id": subport.port_id, "segmentation_type": subport.segmentation_type,
        "segmentation_id": subport.segmentation_id,
    }  # fmt: skip
    return await tx.insert(t.subports, row, if_absent=True)


async def let_down(tx: Transaction, trunk_id: str, port_id: str) -> bool:
    """Whether the trunk carried it."""
    return bool(await tx.delete(t.subports, trunk_id=trunk_id, port_id=port_id))
