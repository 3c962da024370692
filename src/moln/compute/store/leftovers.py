"""How it is kept what servers left on hosts that they are no longer on."""

from __future__ import annotations

import sqlalchemy as sa

from moln.compute.model.moves import Leftover
from moln.compute.store.server_tables import server_leftovers
from moln.kernel.db import Query, Reader, Transaction

_select = sa.select(*[server_leftovers.c[f] for f in Leftover.__struct_fields__]).order_by(server_leftovers.c.rowid)
ALL = Query(_select, Leftover)
OF_EACH_HOST = 64  # at a time: those that wait for a host that is away keep no other host's waiting
_place = sa.func.row_number().over(partition_by=server_leftovers.c.host, order_by=server_leftovers.c.rowid).label("place")
_ranked = sa.select(server_leftovers, _place).subquery()
FIRST = Query(
    sa.select(*[_ranked.c[f] for f in Leftover.__struct_fields__]).where(_ranked.c.place <= OF_EACH_HOST).order_by(_ranked.c.rowid), Leftover
)
OF_SERVER = Query(_select.where(server_leftovers.c.server_id == sa.bindparam("server_id")), Leftover)
ON_HOST = Query(_select.where(server_leftovers.c.host == sa.bindparam("host")), Leftover)


async def unsettled(db: Reader, now_us: int) -> list[Leftover]:
    return await db.all(FIRST)


async def everywhere(db: Reader) -> list[Leftover]:
    return await db.all(ALL)


async def of_server(db: Reader, server_id: str) -> list[Leftover]:
    return await db.all(OF_SERVER, server_id=server_id)


async def on_host(db: Reader, host: str) -> list[Leftover]:
    return await db.all(ON_HOST, host=host)


async def add(tx: Transaction, leftover: Leftover) -> bool:
    """False: there is one of this server on this host already."""
    added = bool(await tx.insert(server_leftovers, leftover, if_absent=True))
    tx.wake("server-leftovers", leftover.id)
    return added


async def remove(tx: Transaction, leftover: Leftover) -> bool:
    return bool(await tx.delete(server_leftovers, id=leftover.id))
