"""A database whose writes also write down what is to be told of them: the same transaction commits both, or neither.

Put around the real one where notifications are wanted, so that nobody pays for it where they are not.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Concatenate, ParamSpec, TypeVar

import msgspec
import sqlalchemy as sa

from moln.kernel.db import Database, Query, Statement, Transaction
from moln.kernel.notifications.events import Kind, envelope, subject
from moln.kernel.notifications.tables import outbox

T = TypeVar("T")
P = ParamSpec("P")
RECONCILER = "notifications"


class NotifiedDatabase:
    """Everything but `write` is the real one's own method. controller: who publishes what no node did."""

    def __init__(self, db: Database, kinds: Iterable[Kind], controller: str, new_id: Callable[[], str], now_us: Callable[[], int]):
        self.real = db
        self._kinds = {kind.table.name: kind for kind in kinds}
        self._controller, self._new_id, self._now_us = controller, new_id, now_us
        self.feed = db.feed
        self.one, self.all, self.read = db.one, db.all, db.read
        self.open, self.wait_s, self.families, self.close = db.open, db.wait_s, db.families, db.close

    async def write(self, fn: Callable[Concatenate[Any, P], Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        async def noted(tx: Transaction) -> T:
            noting = Noting(tx, self._kinds)
            result = await fn(noting, *args, **kwargs)
            await self._tell(tx, noting)
            return result

        return await self.real.write(noted)

    async def _tell(self, tx: Transaction, noting: Noting) -> None:
        told = False
        for (name, key), before in noting.before.items():
            kind = self._kinds[name]
            after = await tx.one(kind.query, **dict(zip(kind.key, key, strict=True)))
            if before == after:
                continue
            for event in await kind.tell(tx, before, after):
                id = self._new_id()
                body = envelope(kind, event, message_id=id, controller=self._controller, now_us=self._now_us())
                await tx.insert(outbox, {"message_id": id, "subject": subject(kind, event), "body": body})
                told = True
        if told:
            tx.wake(RECONCILER)


class Noting:
    """A transaction that remembers how rows were before they were first touched. Only rows that are named by their keys are told of."""

    def __init__(self, tx: Transaction, kinds: dict[str, Kind]):
        self._tx, self._kinds = tx, kinds
        self.before: dict[tuple[str, tuple[Any, ...]], Any] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tx, name)

    async def _note(self, table: sa.Table, by: dict[str, Any]) -> None:
        kind = self._kinds.get(table.name)
        if kind is None or not all(name in by for name in kind.key):
            return
        key = tuple(by[name] for name in kind.key)
        if (table.name, key) not in self.before:
            self.before[table.name, key] = await self._tx.one(kind.query, **{name: by[name] for name in kind.key})

    async def one(self, query: Query[T], **params: Any) -> T | None:
        return await self._tx.one(query, **params)

    async def all(self, query: Query[T], **params: Any) -> list[T]:
        return await self._tx.all(query, **params)

    async def run(self, statement: Statement, **params: Any) -> int:
        return await self._tx.run(statement, **params)

    async def insert(self, table: sa.Table, row: msgspec.Struct | dict[str, Any], *, if_absent: bool = False) -> bool:
        if table.name in self._kinds:
            await self._note(table, row if isinstance(row, dict) else msgspec.structs.asdict(row))
        return await self._tx.insert(table, row, if_absent=if_absent)

    async def update(self, table: sa.Table, values: dict[str, Any], **by: Any) -> int:
        await self._note(table, by)
        return await self._tx.update(table, values, **by)

    async def delete(self, table: sa.Table, **by: Any) -> int:
        await self._note(table, by)
        return await self._tx.delete(table, **by)

    def changed(self, topic: str, key: str = "") -> None:
        self._tx.changed(topic, key)

    def wake(self, reconciler: str, key: str = "") -> None:
        self._tx.wake(reconciler, key)
