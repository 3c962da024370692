"""What an import did, for whom it was done."""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import Any

import sqlalchemy as sa

from moln.identity.model.keystone.reading import Left
from moln.kernel.db import Query, Reader

SHOWN = 20  # conflicts in one message


class Report:
    """brought, there, differing: rows by kind that came, that were here as they are, and that are here otherwise and stayed so."""

    def __init__(self, left: list[Left]) -> None:
        self.brought: Counter[str] = Counter()
        self.there: Counter[str] = Counter()
        self.differing: list[dict[str, Any]] = []
        self.left = list(left)
        self.conflicts: list[str] = []
        self.notes: list[str] = []
        self.new_users: set[str] = set()

    def message(self) -> str:
        """Why nothing was brought."""
        more = len(self.conflicts) - SHOWN
        return "Nothing was imported, because of " + "; ".join(self.conflicts[:SHOWN]) + (f"; and {more} more" if more > 0 else "") + "."

    def view(self) -> dict[str, Any]:
        return {
            "brought": dict(self.brought), "there": dict(self.there), "differing": self.differing, "left": self.left, "conflicts": self.conflicts,
            "notes": self.notes,
        }  # fmt: skip


@cache
def _known(table: sa.Table, by: tuple[str, ...], nulls: tuple[str, ...]) -> Query[dict[str, Any]]:
    where = [table.c[name].is_(None) if name in nulls else table.c[name] == sa.bindparam(name) for name in by]
    return Query(sa.select(*[c for c in table.c if c.name != "rowid"]).where(*where), dict)


async def find(db: Reader, table: sa.Table, **values: Any) -> dict[str, Any] | None:
    """The row with these columns' values."""
    query = _known(table, tuple(values), tuple(name for name, value in values.items() if value is None))
    return await db.one(query, **{name: value for name, value in values.items() if value is not None})
