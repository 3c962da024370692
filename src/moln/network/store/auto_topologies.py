"""What was allocated for projects that asked for "a network"."""

from __future__ import annotations

import sqlalchemy as sa
from msgspec import Struct

from moln.kernel.db import Query, Reader, Transaction
from moln.network.store import tables as t


class AutoTopology(Struct, frozen=True):
    """One project's."""

    project_id: str
    network_id: str
    router_id: str


_one = sa.select(t.auto_topologies.c.project_id, t.auto_topologies.c.network_id, t.auto_topologies.c.router_id)
OF_PROJECT = Query(_one.where(t.auto_topologies.c.project_id == sa.bindparam("project_id")), AutoTopology)


async def find(db: Reader, project_id: str) -> AutoTopology | None:
    return await db.one(OF_PROJECT, project_id=project_id)


async def keep(tx: Transaction, topology: AutoTopology) -> None:
    """Raises: Duplicate, when another came first."""
    await tx.insert(t.auto_topologies, topology)


async def forget(tx: Transaction, project_id: str) -> None:
    await tx.delete(t.auto_topologies, project_id=project_id)
