"""A database as one SQLite file: of a moment, whatever database it is, while it is written. And back."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from moln.kernel.db import postgres_schema
from moln.kernel.db.journal import columns, tables
from moln.kernel.db.postgres_hosts import Hosts
from moln.kernel.db.sqlite_schema import connect, create_schema
from moln.kernel.errors import Failure

PAGE, CONNECT_S = 2000, 10
RAISED = 1 << 32
"""What restoring adds to generations and epochs: nodes and OVN have heard of higher ones than a backup knows, and would refuse its commands."""
FENCES = ("servers", "server_leftovers", "volumes", "volume_snapshots", "volume_backups", "volume_groups", "volume_group_snapshots")


def save_sqlite(source: Path, path: Path) -> None:
    """Raises: Failure, when the copy is not whole."""
    there, copy = connect(source, read_only=True), sqlite3.connect(path, isolation_level=None)
    try:
        there.backup(copy)  # in one step: writers go on beside it (WAL)
        copy.execute("PRAGMA journal_mode=DELETE")
        _check(copy)
    finally:
        there.close()
        copy.close()


async def save_postgres(hosts: Hosts, path: Path) -> None:
    """Raises: Failure, when it is another version's, or the copy is not whole."""
    from moln.kernel.db.moving import sums_in, sums_of_file

    conn = await hosts.connect(timeout=CONNECT_S, server_settings={"application_name": "moln backup", "timezone": "UTC"})
    copy = connect(path)
    try:
        create_schema(copy)
        copy.execute("PRAGMA foreign_keys=OFF")
        async with conn.transaction(isolation="repeatable_read", readonly=True):
            if (found := await conn.fetchval("SELECT stamp FROM moln_schema")) != postgres_schema.stamp():
                raise Failure(f"The database was made by another version of Moln (schema {found}).")
            for table in tables():
                names = ", ".join(f'"{name}"' for name in columns(table))
                filling = f'INSERT INTO "{table.name}" ({names}) VALUES ({", ".join("?" * len(table.columns))})'
                copy.execute("BEGIN")
                cursor = await conn.cursor(f'SELECT {names} FROM "{table.name}"')
                while rows := await cursor.fetch(PAGE):
                    copy.executemany(filling, map(tuple, rows))
                copy.execute("COMMIT")
            theirs = await sums_in(conn)
        copy.execute("PRAGMA journal_mode=DELETE")
        _check(copy)
        ours = sums_of_file(path, wal=False)
        if differing := sorted(name for name in ours if ours[name] != theirs[name]):
            raise Failure(f"The copy differs from the database in {', '.join(differing)}.")
    finally:
        copy.close()
        await conn.close()


def _check(copy: sqlite3.Connection) -> None:
    if (found := copy.execute("PRAGMA integrity_check").fetchone()[0]) != "ok":
        raise Failure(f"The database's file is damaged: {found}.")
    if broken := copy.execute("PRAGMA foreign_key_check").fetchone():
        raise Failure(f"A row of {broken[0]} refers to one of {broken[2]} that is not there.")


def check_file(path: Path) -> None:
    """Raises: Failure, unless it is whole and of this version."""
    copy = sqlite3.connect(path, isolation_level=None)
    try:
        if copy.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
            raise Failure("The backup holds an empty database.")
        create_schema(copy)
        _check(copy)
    except sqlite3.DatabaseError as error:
        raise Failure(f"The backup's database cannot be read ({error}).") from None
    finally:
        copy.close()


def raise_fences(path: Path) -> None:
    """Have what is restored outrank all that was commanded since the backup."""
    copy = sqlite3.connect(path, isolation_level=None)
    copy.execute("BEGIN IMMEDIATE")
    for name in FENCES:
        copy.execute(f'UPDATE "{name}" SET generation = generation + {RAISED}')
    copy.execute(f"UPDATE network_writers SET epoch = epoch + {RAISED}")
    copy.execute("COMMIT")
    copy.close()


async def load_postgres(path: Path, url: str) -> None:
    """Into an empty database. Raises: Failure."""
    from moln.kernel.db.moving import Target, unavailable

    target = Target(url, f"restored {path.name}")
    try:
        await target.reach()
        await target.prepare()
        await target.copy(path, lambda table, rows: None)
        await target.finish(path, {})
    except Failure:
        raise
    except Exception as error:
        raise (unavailable(error) or error) from error
    finally:
        await target.close()
