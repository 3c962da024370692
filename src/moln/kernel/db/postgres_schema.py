"""PostgreSQL's tables: the same as SQLite's, and those that only several processes need."""

from __future__ import annotations

import functools
import hashlib
from typing import Any

from asyncpg import Connection
from sqlalchemy.dialects.postgresql import base
from sqlalchemy.schema import CreateIndex, CreateTable

from moln.kernel.db.schema import metadata
from moln.kernel.errors import Failure

LOCK = 0x6D6F6C6E  # "moln": of whoever makes the schema
BEGUN = "moln_grow"  # the table of a database that a cloud is moved to, until a controller uses it
GROWING = "growing"  # its stamp before it is whole
OWN = (  # at: the database's time; xid: orders changes by the transactions that made them
    "CREATE TABLE moln_schema (stamp TEXT NOT NULL)",
    """CREATE TABLE changes (
        id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
        topic TEXT COLLATE "C" NOT NULL, key TEXT COLLATE "C" NOT NULL, at TIMESTAMPTZ NOT NULL DEFAULT now())""",
    "CREATE INDEX changes_xid ON changes (xid)",
    "CREATE INDEX changes_at ON changes (at)",
    """CREATE UNLOGGED TABLE controllers (
        id TEXT COLLATE "C" PRIMARY KEY, name TEXT COLLATE "C" NOT NULL, until TIMESTAMPTZ NOT NULL)""",
    """CREATE UNLOGGED TABLE work_claims (
        work TEXT COLLATE "C" NOT NULL, key TEXT COLLATE "C" NOT NULL, owner TEXT COLLATE "C" NOT NULL, PRIMARY KEY (work, key))""",
    "CREATE INDEX work_claims_owner ON work_claims (owner)",
)


class _Types(base.PGTypeCompiler):
    """Texts are compared byte by byte, as SQLite does."""

    def visit_text(self, type_: Any, **kw: Any) -> str:
        return 'TEXT COLLATE "C"'

    visit_TEXT = visit_text


@functools.cache
def statements(tables: int) -> list[str]:
    """What makes `tables` tables (all that are declared by now) and their indexes."""
    spoken = base.PGDialect()  # type: ignore[no-untyped-call]
    spoken.type_compiler_instance = _Types(spoken)
    texts = []
    for made in metadata.sorted_tables:
        texts.append(str(CreateTable(made).compile(dialect=spoken)))
        for index in sorted(made.indexes, key=lambda i: str(i.name)):
            if (where := index.info.get("where")) is not None:
                index.dialect_options["postgresql"]["where"] = where
            texts.append(str(CreateIndex(index).compile(dialect=spoken)))
    return [*texts, *OWN]


def stamp() -> str:
    """Names this version's tables."""
    return hashlib.sha256("".join(statements(len(metadata.tables))).encode()).hexdigest()[:16]


async def ensure(conn: Connection) -> bool:
    """Make every declared table in an empty database, stamped; one of several that begin together does it. False: it was there.

    Raises: Failure, when another version of Moln made it: nothing is touched then.
    """
    async with conn.transaction():
        await conn.execute(f"SELECT pg_advisory_xact_lock({LOCK})")
        if await conn.fetchval("SELECT to_regclass('moln_schema') IS NOT NULL"):
            found = await conn.fetchval("SELECT stamp FROM moln_schema")
            if found == GROWING:
                raise Failure("The database holds the beginning of a cloud's move, not a cloud: run `moln grow` again, or give Moln an empty one.")
            if found != stamp():
                raise Failure(
                    f"The database was made by another version of Moln (schema {found}, this one has {stamp()}). "
                    "Run that version, or give this one an empty database."
                )
            await conn.execute(f"DROP TABLE IF EXISTS {BEGUN}")  # in use from now on
            return False
        if await conn.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = current_schema()"):
            raise Failure("The database holds tables that are not Moln's. Give Moln an empty one.")
        await conn.execute(";\n".join(statements(len(metadata.tables))))
        await conn.execute("INSERT INTO moln_schema VALUES ($1)", stamp())
    return True
