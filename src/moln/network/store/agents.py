"""What operators said of agents."""

from __future__ import annotations

import sqlalchemy as sa

from moln.kernel.db import Query, Reader, Transaction
from moln.network.store import tables as t

ALL = Query(sa.select(t.agent_notes.c.agent_id, t.agent_notes.c.description), dict)


async def descriptions(db: Reader) -> dict[str, str]:
    """By agent."""
    return {row["agent_id"]: row["description"] for row in await db.all(ALL)}


async def describe(tx: Transaction, agent_id: str, description: str) -> None:
    """An empty one is none."""
    await tx.delete(t.agent_notes, agent_id=agent_id)
    if description:
        await tx.insert(t.agent_notes, {"agent_id": agent_id, "description": description})
