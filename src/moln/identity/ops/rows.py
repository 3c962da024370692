"""Rows that a caller changes or removes by their ids, inside a write."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from moln.identity.ops.access import missing
from moln.kernel.db import Transaction


async def change_in(tx: Transaction, table: sa.Table, kind: str, values: dict[str, Any], /, **by: str) -> None:
    """by: the columns that choose the row, its id among them. Raises: NotFound, when it has gone meanwhile."""
    if values and not await tx.update(table, values, **by):
        raise missing(kind, by["id"])


async def remove_in(tx: Transaction, table: sa.Table, kind: str, /, **by: str) -> None:
    """Raises: NotFound, when it has gone meanwhile."""
    if not await tx.delete(table, **by):
        raise missing(kind, by["id"])
