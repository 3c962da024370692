"""Which areas' tables have rows of a project or a user: for an area that must not read them."""

from __future__ import annotations

from functools import cache

import sqlalchemy as sa

from moln.kernel.db.database import Reader
from moln.kernel.db.schema import metadata
from moln.kernel.db.statement import Query

_USED_UP = frozenset({"quota_usages"})  # a row stays when nothing is used any more


@cache
def _queries(column: str, but: str, count: int) -> list[tuple[str, Query[str]]]:
    tables = [t for t in metadata.tables.values() if column in t.c and not t.name.startswith(but) and not t.name.endswith("_history")]
    return [(t.name, Query(sa.select(t.c[column]).where(t.c[column] == sa.bindparam("id")).limit(1), str)) for t in tables if t.name not in _USED_UP]


async def tables_of(db: Reader, column: str, id_: str, *, but: str) -> list[str]:
    """The tables in which some row's `column` is the id; but: whose names do not begin so."""
    return [name for name, query in _queries(column, but, len(metadata.tables)) if await db.one(query, id=id_) is not None]
