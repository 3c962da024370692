"""Rows held to the end of a transaction, so that nothing is hung on what is being removed."""

from __future__ import annotations

import sqlalchemy as sa

from moln.kernel.db import Transaction


async def hold(tx: Transaction, table: sa.Table, id_: str) -> bool:
    """Lock a row by its id; False, when it is gone. Whoever adds what points at a row holds it, and so does who removes it."""
    return bool(await tx.update(table, {"id": id_}, id=id_))
