"""volume_hosts: the nodes whose pools take no new volumes, because an administrator said so."""

from __future__ import annotations

import sqlalchemy as sa

from moln.kernel.db import TEXT, Query, Reader, Transaction, column, table

DISABLED = table("volume_disabled_hosts", column("host", TEXT, unique=True), column("reason", null=True))
ALL = Query(sa.select(DISABLED.c.host, DISABLED.c.reason), dict)
FEED = "volume.hosts"


async def disabled(db: Reader) -> dict[str, str | None]:
    """Reasons by node."""
    return {row["host"]: row["reason"] for row in await db.all(ALL)}


async def set_disabled(tx: Transaction, host: str, disabled: bool, reason: str | None) -> None:
    await tx.delete(DISABLED, host=host)
    if disabled:
        await tx.insert(DISABLED, {"host": host, "reason": reason})
    tx.changed(FEED, host)
