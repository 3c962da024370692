"""Which rows of an SQLite database are written from some moment on: what a copy that began then still lacks.

Triggers of the writer's connection alone (TEMP) note them in memory: they end with it, and the file knows nothing of them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import sqlalchemy as sa

from moln.kernel.db.schema import metadata
from moln.kernel.db.sqlite_transaction import SqliteTransaction

EVENTS = {"insert": ("NEW",), "update": ("OLD", "NEW"), "delete": ("OLD",)}


class Written(NamedTuple):
    """One table's: the rowids that were written, and those of the rows that are still there, as they are now."""

    rowids: list[int]
    rows: list[tuple[Any, ...]]


def tables() -> list[sa.Table]:
    return list(metadata.sorted_tables)


def columns(table: sa.Table) -> list[str]:
    return [column.name for column in table.columns]


def selecting(table: sa.Table) -> str:
    """All columns of the rows of a table, which may be followed by conditions."""
    names = ", ".join(f'"{table.name}"."{name}"' for name in columns(table))
    return f'SELECT {names} FROM "{table.name}"'


async def begin_in(tx: SqliteTransaction) -> None:
    """Note every row that is written after this write."""
    await end_in(tx)
    tx.plain('CREATE TEMP TABLE "moln_written" (of_table TEXT, id INTEGER, PRIMARY KEY (of_table, id)) WITHOUT ROWID')
    for table in tables():
        for event, sides in EVENTS.items():
            noting = " ".join(f"INSERT OR IGNORE INTO moln_written VALUES ('{table.name}', {side}.rowid);" for side in sides)
            tx.plain(f'CREATE TEMP TRIGGER "moln_{event}_{table.name}" AFTER {event} ON main."{table.name}" BEGIN {noting} END')


async def end_in(tx: SqliteTransaction) -> None:
    """Note nothing any more, and forget what was."""
    for (name,) in tx.plain("SELECT name FROM temp.sqlite_master WHERE type = 'trigger' AND name LIKE 'moln_%'"):
        tx.plain(f'DROP TRIGGER temp."{name}"')
    tx.plain('DROP TABLE IF EXISTS temp."moln_written"')


async def written_in(tx: SqliteTransaction) -> dict[str, Written]:
    """What was written since begin_in, by table."""
    found = {}
    for table in tables():
        rowids = [row[0] for row in tx.plain("SELECT id FROM moln_written WHERE of_table = ?", table.name)]
        if rowids:
            rows = tx.plain(f'{selecting(table)} JOIN moln_written w ON w.id = "{table.name}".rowid WHERE w.of_table = ?', table.name)
            found[table.name] = Written(rowids, rows)
    return found
