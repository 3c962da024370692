"""Rows that count their changes: whoever changes or removes one says which generation of it was read, and loses to whoever came first."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

import sqlalchemy as sa
from msgspec.structs import replace

from moln.kernel.db.database import Transaction
from moln.kernel.errors import Conflict


class Counted(Protocol):
    """A row's Struct."""

    id: str
    generation: int


R = TypeVar("R", bound=Counted)


async def save(tx: Transaction, rows: sa.Table, kind: str, before: R, changes: dict[str, Any]) -> R:
    """The row as it is afterwards. kind: what it is called in words. Raises: Conflict, when another writer came first."""
    after: R = replace(before, **changes, generation=before.generation + 1)  # type: ignore[type-var]
    if not await tx.update(rows, {**changes, "generation": after.generation}, id=before.id, generation=before.generation):
        raise Conflict(f"{kind} {before.id} changed meanwhile.")
    return after


async def remove(tx: Transaction, rows: sa.Table, kind: str, row: Counted) -> None:
    """Raises: Conflict, when another writer came first."""
    if not await tx.delete(rows, id=row.id, generation=row.generation):
        raise Conflict(f"{kind} {row.id} changed meanwhile.")
