"""Until when a node is taken for alive: its beats renew a lease. Controllers share leases in a store: the database, or etcd where there is one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import sqlalchemy as sa

from moln.kernel.db import INT, Database, Query, Statement, Transaction, column, in_list, table

BEAT_S = 5.0  # seconds between a node's signs of life
LEASE_S = 20.0  # seconds after its last one, until which it is alive


class Leases(Protocol):
    """Any controller that hears a node renews its lease. Raises: Unavailable."""

    async def renew(self, nodes: Iterable[str], ends_us: int) -> None:
        """They live until `ends_us` (µs UTC) at least."""
        ...

    async def ends_us(self, node: str) -> int:
        """When a node's lease ends; 0: it has none."""
        ...

    async def end(self, node: str) -> None:
        """It lives no more."""
        ...


leases = table("node_leases", column("node"), column("ends_us", INT), sa.UniqueConstraint("node"))
PROLONG = Statement(
    sa.update(leases).where(in_list(leases.c.node, "nodes"), leases.c.ends_us < sa.bindparam("until")).values(ends_us=sa.bindparam("until"))
)
KNOWN = Query(sa.select(leases.c.node).where(in_list(leases.c.node, "nodes")), str)
ENDS = Query(sa.select(leases.c.ends_us).where(leases.c.node == sa.bindparam("node")), int)


class DatabaseLeases:
    """Leases in a table; a few statements a minute for any number of nodes, as controllers renew many at once."""

    def __init__(self, db: Database):
        self._db = db

    async def renew(self, nodes: Iterable[str], ends_us: int) -> None:
        await self._db.write(renew_in, sorted(nodes), ends_us)

    async def ends_us(self, node: str) -> int:
        return await self._db.one(ENDS, node=node) or 0

    async def end(self, node: str) -> None:
        await self._db.write(end_in, node)


async def renew_in(tx: Transaction, nodes: list[str], ends_us: int) -> None:
    """All at once: a cloud of a thousand nodes has a hundred beats a second."""
    if await tx.run(PROLONG, nodes=nodes, until=ends_us) == len(nodes):
        return
    known = await tx.all(KNOWN, nodes=nodes)
    for node in sorted(set(nodes).difference(known)):
        await tx.insert(leases, {"node": node, "ends_us": ends_us}, if_absent=True)


async def end_in(tx: Transaction, node: str) -> None:
    await tx.delete(leases, node=node)
