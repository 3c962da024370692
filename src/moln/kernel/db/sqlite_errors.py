"""What SQLite's losses are called here."""

from __future__ import annotations

import sqlite3

from moln.kernel.errors import Unavailable

# What ends a whole group: the file, the disk or the memory is at fault, not one write (sqlite.org/rescode.html).
_LOST = {
    sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_PROTOCOL,
}  # fmt: skip


def is_lost(error: BaseException) -> bool:
    """Whether the database itself failed, rather than one statement."""
    return isinstance(error, sqlite3.Error) and (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF in _LOST


def unavailable(error: BaseException) -> Unavailable:
    return Unavailable("The database cannot be used now. Try again soon.", detail=repr(error))
