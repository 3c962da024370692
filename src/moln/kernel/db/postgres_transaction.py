"""Reads and writes on one connection to PostgreSQL."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import asyncpg
import msgspec
import sqlalchemy as sa
from asyncpg import Connection

from moln.kernel.db.postgres_errors import failure
from moln.kernel.db.statement import PLAIN, Numbered, Query, Statement, Step, adding, deleting, encode, encoder, together, updating

T = TypeVar("T")
Hook = Callable[[str, str], None]
TOGETHER = 32  # statements that go as one, at most: the server takes 32,767 parameters, and plans each of them


def _values(numbered: Numbered, params: dict[str, Any]) -> list[Any]:
    """The parameters in the statement's order, as the driver takes them."""
    values = []
    for name in numbered.names:
        value = params[name] if name in params else numbered.fixed.get(name)
        if name in numbered.lists:
            value = [encode(v) for v in value or ()]
        elif type(value) not in PLAIN:
            value = encoder(type(value))(value)
        values.append(value)
    return values


def _touched(status: str) -> int:
    """Rows touched, of `INSERT 0 1`, `UPDATE 3`…"""
    last = status.rpartition(" ")[2]
    return int(last) if last.isdigit() else 0


class Reads:
    """Reads on one connection. hook: called with ("sql", text) before each statement, for fault tests."""

    def __init__(self, conn: Connection, hook: Hook | None = None):
        self._conn = conn
        self._hook = hook

    async def _fetch(self, statement: Statement, params: dict[str, Any]) -> list[asyncpg.Record]:
        numbered = statement.numbered
        return await self._told(numbered.text, self._conn.fetch, _values(numbered, params))

    async def _execute(self, statement: Statement, params: dict[str, Any]) -> int:
        numbered = statement.numbered
        return _touched(await self._told(numbered.text, self._conn.execute, _values(numbered, params)))

    async def _told(self, text: str, call: Callable[..., Awaitable[T]], values: list[Any]) -> T:
        if self._hook:
            self._hook("sql", text)
        try:
            answer = await call(text, *values)
        except Exception as error:
            if (known := failure(error)) is not None:
                raise known from error
            raise
        if self._hook:
            self._hook("sql-done", text)
        return answer

    async def one(self, query: Query[T], **params: Any) -> T | None:
        rows = await self._fetch(query, params)
        return query.decode(rows[0]) if rows else None

    async def all(self, query: Query[T], **params: Any) -> list[T]:
        rows = await self._fetch(query, params)
        return list(map(query.decode, rows))


class PostgresTransaction(Reads):
    """A write in progress."""

    def __init__(self, conn: Connection, now_us: Callable[[], int], hook: Hook | None):
        super().__init__(conn, hook)
        self._now_us = now_us
        self.changes: list[tuple[str, str]] = []

    async def run(self, statement: Statement, **params: Any) -> int:
        return await self._execute(statement, params)

    async def several(self, *steps: Step) -> list[int]:
        if len(steps) < 2:
            return [await self._execute(*step) for step in steps]
        touched: list[int] = []
        for at in range(0, len(steps), TOGETHER):
            some = steps[at : at + TOGETHER]
            text = together(tuple(statement for statement, _ in some))
            values = [value for statement, params in some for value in _values(statement.numbered, params)]
            touched += (await self._told(text, self._conn.fetch, values))[0]
        return touched

    async def insert(self, table: sa.Table, row: msgspec.Struct | dict[str, Any], *, if_absent: bool = False) -> bool:
        return await self._execute(*adding(table, row, if_absent=if_absent)) == 1

    async def update(self, table: sa.Table, values: dict[str, Any], **by: Any) -> int:
        params = values | {f"by_{k}": v for k, v in by.items()}
        return await self._execute(updating(table, tuple(values), tuple(by)), params)

    async def delete(self, table: sa.Table, **by: Any) -> int:
        moving, removing = deleting(table.name, tuple(by))
        if moving:
            await self._execute(moving, by | {"_now": self._now_us()})
        return await self._execute(removing, by)

    def changed(self, topic: str, key: str = "") -> None:
        self.changes.append((topic, key))

    def wake(self, reconciler: str, key: str = "") -> None:
        self.changes.append((f"wake.{reconciler}", key))
