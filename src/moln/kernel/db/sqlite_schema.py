"""The file of an SQLite database: opened, and every declared table made in it."""

from __future__ import annotations

import contextlib
import functools
import os
import sqlite3
import zlib
from pathlib import Path

from sqlalchemy.schema import CreateIndex, CreateTable

from moln.kernel.db.schema import metadata
from moln.kernel.db.statement import dialect
from moln.kernel.errors import Failure

SYNCHRONOUS = "FULL"
"""What is answered is on the disk (sqlite.org/pragma.html#pragma_synchronous)."""


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """A connection in WAL mode. The file is its owner's alone (0600), as it holds hashes of passwords."""
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    conn = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10, cached_statements=1024)
    conn.execute("PRAGMA journal_mode=WAL")
    conn.execute(f"PRAGMA synchronous={SYNCHRONOUS}")
    conn.execute("PRAGMA foreign_keys=ON")
    conn.execute("PRAGMA cache_size=-8000")
    conn.execute("PRAGMA temp_store=MEMORY")
    if read_only:
        conn.execute("PRAGMA query_only=ON")
    return conn


def create_schema(conn: sqlite3.Connection) -> bool:
    """Make every declared table in an empty database, stamped (PRAGMA user_version). False, when it has this schema already.

    Raises: Failure, when another version of Moln made it: nothing is touched then.
    """
    texts = _schema(len(metadata.tables))
    stamp = zlib.crc32("".join(texts).encode()) >> 1
    if conn.execute("SELECT 1 FROM sqlite_master WHERE type='table' LIMIT 1").fetchone():
        found = conn.execute("PRAGMA user_version").fetchone()[0]
        if found != stamp:
            raise Failure(
                f"The database was made by another version of Moln (schema {found:x}, this one has {stamp:x}). "
                "Run that version, or begin anew with `moln down --purge`."
            )
        return False
    conn.execute("BEGIN IMMEDIATE")
    for text in texts:
        conn.execute(text)
    conn.execute(f"PRAGMA user_version = {stamp}")
    conn.execute("COMMIT")
    return True


@functools.cache
def _schema(tables: int) -> list[str]:
    """The statements that make `tables` tables (all that are declared by now) and their indexes."""
    spoken = dialect("sqlite")
    texts = []
    for made in metadata.sorted_tables:
        texts.append(str(CreateTable(made).compile(dialect=spoken)))
        texts += [str(CreateIndex(i).compile(dialect=spoken)) for i in sorted(made.indexes, key=lambda i: str(i.name))]
    return texts
