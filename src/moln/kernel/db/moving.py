"""The rows of an SQLite database brought to an empty PostgreSQL: a first copy while they are written, then what was written meanwhile (ADR 35).

`moln_grow` is a table of the target that says whose beginning it holds; it goes when a controller first uses the database.
"""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import sqlalchemy as sa
from asyncpg import Connection

from moln.kernel.db import postgres_schema
from moln.kernel.db.journal import Written, columns, selecting, tables
from moln.kernel.db.postgres import CONNECT_S
from moln.kernel.db.postgres_errors import is_lost
from moln.kernel.db.postgres_hosts import Hosts
from moln.kernel.db.postgres_schema import BEGUN, GROWING
from moln.kernel.db.sqlite_schema import connect
from moln.kernel.errors import Conflict, Failure, Unavailable

LOCK = 0x67726F77  # "grow": one at a time
SETTINGS = {"application_name": "moln grow", "jit": "off", "timezone": "UTC", "lock_timeout": "10s"}
OURS = "SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = current_schema()"
FOREIGN = """SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
    WHERE contype = 'f' AND connamespace = current_schema()::regnamespace ORDER BY 1, 2"""
Sums = dict[str, tuple[int, int]]
"""By table: how many rows, and the sum of their digests, whatever their order."""


class Target:
    """The database that a cloud moves to. cloud: the id of this move, the same when it is begun anew."""

    def __init__(self, url: str, cloud: str):
        self._url = url
        self._cloud = cloud
        self._conn: Connection | None = None
        self._foreign: list[tuple[str, str, str]] = []

    @property
    def conn(self) -> Connection:
        assert self._conn is not None
        return self._conn

    async def reach(self) -> None:
        """Raises: Failure, with what is wrong with the database."""
        try:
            self._conn = await Hosts(self._url).connect(timeout=CONNECT_S, server_settings=SETTINGS)
        except (OSError, asyncpg.PostgresError, TimeoutError, ValueError) as error:
            raise Failure(f"The database cannot be reached: {error or 'no answer'}.") from None
        try:  # a connection that was lost a moment ago may hold it still
            await self.conn.execute(f"SET lock_timeout = '2s'; SELECT pg_advisory_lock({LOCK}); RESET lock_timeout")
        except asyncpg.LockNotAvailableError:
            raise Conflict("Another cloud is being moved to this database.") from None
        if (found := await self.conn.fetchval("SHOW server_encoding")) != "UTF8":
            raise Failure(f"The database has to be in UTF8, and is in {found}.")

    async def prepare(self) -> None:
        """Empty tables, without foreign keys as yet. What an interrupted move of this cloud left is removed.

        Raises: Failure, when the database holds anything else.
        """
        async with self.conn.transaction():
            there = [row[0] for row in await self.conn.fetch(OURS)]
            if there:
                whose = await self.conn.fetchval(f"SELECT cloud FROM {BEGUN}") if BEGUN in there else None
                if whose != self._cloud:
                    raise Failure("The database is not empty, and what it holds is not what an interrupted move of this cloud left. Give it an empty one.")
                await self.conn.execute(f"DROP TABLE {', '.join(there)} CASCADE")
            await self.conn.execute(";\n".join(postgres_schema.statements(len(tables()))))
            self._foreign = [tuple(row) for row in await self.conn.fetch(FOREIGN)]
            for table, name, _ in self._foreign:
                await self.conn.execute(f'ALTER TABLE {table} DROP CONSTRAINT "{name}"')
            await self.conn.execute(f"CREATE TABLE {BEGUN} (cloud TEXT NOT NULL)")
            await self.conn.execute(f"INSERT INTO {BEGUN} VALUES ($1)", self._cloud)
            await self.conn.execute("INSERT INTO moln_schema VALUES ($1)", GROWING)

    async def copy(self, path: Path, tell: Callable[[str, int], None]) -> None:
        """Every row of one view of the file. tell: called with each table and the number of its rows."""
        source = connect(path, read_only=True)
        try:
            source.execute("BEGIN")
            for table in tables():
                tell(table.name, await self._fill(table, source.execute(selecting(table))))
        finally:
            source.close()
        await self.conn.execute("ANALYZE")

    async def _fill(self, table: sa.Table, rows: Any) -> int:
        done = await self.conn.copy_records_to_table(table.name, records=rows, columns=columns(table))
        return int(done.rpartition(" ")[2])

    async def finish(self, path: Path, written: dict[str, Written]) -> Sums:
        """What was written since the copy, foreign keys, and the version's stamp, in one transaction that ends when all is proven equal.

        Nobody may write the file meanwhile. Raises: Failure, when something differs: then nothing of it happened.
        """
        async with self.conn.transaction():
            for name, (rowids, _) in written.items():
                await self.conn.execute(f'DELETE FROM "{name}" WHERE rowid = ANY($1::bigint[])', rowids)
            for table in tables():
                if table.name in written:
                    await self._fill(table, written[table.name].rows)
            for of_table, name, definition in self._foreign:
                await self.conn.execute(f'ALTER TABLE {of_table} ADD CONSTRAINT "{name}" {definition}')
            await self.conn.execute(";".join(_numbering(table) for table in tables()))
            ours, theirs = await asyncio.gather(asyncio.to_thread(sums_of_file, path), self.sums())
            if differing := sorted(name for name in ours if ours[name] != theirs[name]):
                raise Failure(f"The copy differs from the cloud's database in {', '.join(differing)}; the cloud stays where it is.")
            await self.conn.execute("UPDATE moln_schema SET stamp = $1", postgres_schema.stamp())
        return ours

    async def sums(self) -> Sums:
        return await sums_in(self.conn)

    async def close(self) -> None:
        if self._conn is not None:
            await self._conn.close(timeout=5)
            self._conn = None


def unavailable(error: BaseException) -> Failure | None:
    """What the operator is told of an error of the driver's; None: it is none of its."""
    if is_lost(error):
        return Unavailable(f"PostgreSQL was lost: {error or 'no answer'}.")
    return Failure(f"PostgreSQL refuses: {error}.") if isinstance(error, asyncpg.PostgresError) else None


def _numbering(table: sa.Table) -> str:
    """New rows come after those that are there."""
    return f"SELECT setval(pg_get_serial_sequence('\"{table.name}\"', 'rowid'), coalesce(max(rowid), 0) + 1, false) FROM \"{table.name}\""


def _row(table: sa.Table, hexadecimal: str, separator: str) -> str:
    """A row as one text, the same in both databases. hexadecimal: how bytes are written, with {} for them."""
    shown = [hexadecimal.format(f'"{c.name}"') if isinstance(c.type, sa.LargeBinary) else f'"{c.name}"' for c in table.columns]
    return f" || {separator} || ".join(f"coalesce('v' || {value}, 'n')" for value in shown)


def _summing(table: sa.Table) -> str:
    row = _row(table, "encode({}, 'hex')", "chr(31)")
    return f"SELECT '{table.name}', count(*), sum(('x' || substr(md5({row}), 1, 15))::bit(60)::bigint) FROM \"{table.name}\""


async def sums_in(conn: Connection) -> Sums:
    """Of what a connection sees."""
    found = await conn.fetch(" UNION ALL ".join(map(_summing, tables())))
    return {row[0]: (row[1], int(row[2] or 0)) for row in found}


def sums_of_file(path: Path, *, wal: bool = True) -> Sums:
    """The same of an SQLite database, in one view of it. wal: False leaves a file that nobody else uses a single one."""
    source = connect(path, read_only=True) if wal else sqlite3.connect(path, isolation_level=None)
    try:
        source.execute("BEGIN")
        rows = {table.name: _row(table, "lower(hex({}))", "char(31)") for table in tables()}
        return {name: _add(source.execute(f'SELECT {row} FROM "{name}"')) for name, row in rows.items()}
    finally:
        source.close()


def _add(rows: sqlite3.Cursor | Iterator[tuple[str]]) -> tuple[int, int]:
    count = total = 0
    for (text,) in rows:
        count += 1
        total += int(hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()[:15], 16)
    return count, total
