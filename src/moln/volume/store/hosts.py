"""The nodes whose pools take no new volumes, because an administrator said so; frozen: nor may what lies there be changed."""

from __future__ import annotations

import sqlalchemy as sa

from moln.kernel.db import INT, TEXT, Query, Reader, Transaction, column, table

DISABLED = table("volume_disabled_hosts", column("host", TEXT, unique=True), column("reason", null=True), column("frozen", INT))
ALL = Query(sa.select(DISABLED.c.host, DISABLED.c.reason, DISABLED.c.frozen), dict)
FEED = "volume.hosts"


async def disabled(db: Reader) -> dict[str, tuple[str | None, bool]]:
    """Reasons by node, and whether it is frozen."""
    return {row["host"]: (row["reason"], bool(row["frozen"])) for row in await db.all(ALL)}


async def set_disabled(tx: Transaction, host: str, disabled: bool, reason: str | None, frozen: bool = False) -> None:
    await tx.delete(DISABLED, host=host)
    if disabled:
        await tx.insert(DISABLED, {"host": host, "reason": reason, "frozen": frozen})
    tx.changed(FEED, host)
