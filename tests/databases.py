"""Which database a test runs on: SQLite in its home, or a fresh one of this process's private PostgreSQL.

The fixture `database` (tests/conftest.py) runs a test on both: on PostgreSQL in a part of its own, or in the fast one too, when its module
says `POSTGRESQL = "fast"`. Tests of the whole app run there only if their module says so ("fast" or "second"), and none of a module that says "".
MOLN_TEST_DATABASE=postgresql runs everything on PostgreSQL. Neither waits for a disk: no test takes the machine's power away.
"""

from __future__ import annotations

import functools
import os
import sqlite3
from pathlib import Path

import asyncpg
from tests import postgres

from moln.kernel.clock import Clock
from moln.kernel.db import Database, metadata, sqlite_schema
from moln.kernel.db.sqlite import SqliteDatabase

ALWAYS = os.environ.get("MOLN_TEST_DATABASE", "sqlite")
LASTING, sqlite_schema.SYNCHRONOUS = sqlite_schema.SYNCHRONOUS, "OFF"


class Chosen:
    """The one of the running test. kind: sqlite or postgresql. urls: of the homes that it has used."""

    def __init__(self) -> None:
        self.kind = ALWAYS
        self.urls: dict[Path, str] = {}


chosen = Chosen()


@functools.cache
def server() -> postgres.Server:
    """This process's PostgreSQL, started at the first use."""
    return postgres.Server()


async def url(home: Path) -> str:
    """What the setting `database_url` of a home is: the same whenever it is asked for in a test."""
    if chosen.kind == "sqlite":
        return ""
    if home not in chosen.urls:
        chosen.urls[home] = await server().fresh()
    return chosen.urls[home]


async def opened(home: Path, clock: Clock | None = None) -> Database:
    """The database of a home, ready for use."""
    now_us = (clock or Clock()).now_us
    if at := await url(home):
        from moln.kernel.db.postgres import PostgresDatabase

        db: Database = PostgresDatabase(at, now_us=now_us)
    else:
        db = SqliteDatabase(home / "cloud.db", now_us=now_us)
    await db.open()
    return db


async def contents(home: Path) -> str:
    """Every row of every table, as text."""
    tables = list(metadata.sorted_tables)
    if at := await url(home):
        conn = await asyncpg.connect(at)
        try:
            found = [await conn.fetch(f'SELECT t::text AS row FROM "{table.name}" t') for table in tables]
        finally:
            await conn.close()
        return "\n".join(row["row"] for rows in found for row in rows)
    with sqlite3.connect(home / "cloud.db") as db:
        return "\n".join(str(row) for table in tables for row in db.execute(f'SELECT * FROM "{table.name}"'))


async def run_sql(home: Path, *texts: str) -> None:
    """Do something to a database behind its back."""
    if at := await url(home):
        conn = await asyncpg.connect(at)
        try:
            for text in texts:
                await conn.execute(text)
        finally:
            await conn.close()
        return
    with sqlite3.connect(home / "cloud.db") as db:
        for text in texts:
            db.execute(text)


async def drop() -> None:
    """Forget what the test had."""
    for at in chosen.urls.values():
        await server().drop(at)
    chosen.urls.clear()
    chosen.kind = ALWAYS
