"""Reads and writes on one connection to SQLite. Their coroutines never really wait."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
import sqlalchemy as sa

from moln.kernel.db.database import Duplicate
from moln.kernel.db.statement import PLAIN, Query, Statement, Step, adding, deleting, encoder, updating
from moln.kernel.errors import Conflict, Invalid

T = TypeVar("T")
Hook = Callable[[str, str], None]


class Reads:
    """Reads on one connection. hook: called with ("sql", text) before each statement, for fault tests."""

    def __init__(self, conn: sqlite3.Connection, hook: Hook | None = None):
        self._conn = conn
        self._hook = hook

    def _execute(self, statement: Statement, values: dict[str, Any]) -> sqlite3.Cursor:
        """values: the caller's to give away."""
        text, fixed = statement.text("sqlite")
        for name, value in values.items():
            if type(value) not in PLAIN:
                values[name] = encoder(type(value))(value)
        if fixed:
            values = fixed | values
        if self._hook:
            self._hook("sql", text)
        cursor = self._run(text, values)
        if self._hook:
            self._hook("sql-done", text)
        return cursor

    def _run(self, text: str, values: dict[str, Any]) -> sqlite3.Cursor:
        try:
            return self._conn.execute(text, values)
        except sqlite3.IntegrityError as error:
            if "UNIQUE" in str(error):
                columns = tuple(re.findall(r"\w+\.\w+", str(error)))
                raise Duplicate("It exists already.", columns) from error
            if "FOREIGN KEY" in str(error):
                raise Conflict("It is in use, or what it refers to is gone.", detail=text) from error
            raise
        except OverflowError as error:
            raise Invalid("A number is beyond 64 bits.") from error
        except UnicodeEncodeError as error:
            raise Invalid("A text is not valid Unicode.") from error

    def first(self, query: Query[T], params: dict[str, Any]) -> T | None:
        """`one`, which waits for nothing."""
        cursor = self._execute(query, params)
        row = cursor.fetchone()
        cursor.close()
        return None if row is None else query.decode(row)

    def every(self, query: Query[T], params: dict[str, Any]) -> list[T]:
        """`all`, which waits for nothing."""
        cursor = self._execute(query, params)
        decode = query.decode
        return [decode(row) for row in cursor.fetchall()]

    async def one(self, query: Query[T], **params: Any) -> T | None:
        return self.first(query, params)

    async def all(self, query: Query[T], **params: Any) -> list[T]:
        return self.every(query, params)


class SqliteTransaction(Reads):
    """A write in progress, on the writer thread."""

    def __init__(self, conn: sqlite3.Connection, now_us: Callable[[], int], hook: Hook | None):
        super().__init__(conn, hook)
        self._now_us = now_us
        self.changes: list[tuple[str, str]] = []

    async def run(self, statement: Statement, **params: Any) -> int:
        return self._execute(statement, params).rowcount

    async def several(self, *steps: Step) -> list[int]:
        return [self._execute(statement, params).rowcount for statement, params in steps]

    async def insert(self, table: sa.Table, row: msgspec.Struct | dict[str, Any], *, if_absent: bool = False) -> bool:
        return self._execute(*adding(table, row, if_absent=if_absent)).rowcount == 1

    async def update(self, table: sa.Table, values: dict[str, Any], **by: Any) -> int:
        params = values | {f"by_{k}": v for k, v in by.items()}
        return self._execute(updating(table, tuple(values), tuple(by)), params).rowcount

    async def delete(self, table: sa.Table, **by: Any) -> int:
        moving, removing = deleting(table.name, tuple(by))
        if moving:
            self._execute(moving, by | {"_now": self._now_us()})
        return self._execute(removing, by).rowcount

    def plain(self, text: str, *values: Any) -> list[tuple[Any, ...]]:
        """A statement of the database's own machinery; its rows."""
        return self._conn.execute(text, values).fetchall()

    def changed(self, topic: str, key: str = "") -> None:
        self.changes.append((topic, key))

    def wake(self, reconciler: str, key: str = "") -> None:
        self.changes.append((f"wake.{reconciler}", key))
