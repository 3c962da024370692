"""Queries that several resources share the shape of: by id, by ids, all, by a column."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Generic, TypeVar

import sqlalchemy as sa
from msgspec import Struct, structs

from moln.kernel.db import INT, Query, Reader, Statement, Transaction, in_list
from moln.kernel.db.listing import Listing

T = TypeVar("T", bound=Struct)
CHUNK = 500  # ids in one IN list


class Table(Generic[T]):
    """One resource's table: reads as Structs, and the writes that every resource has.

    computed: columns of the table that the Struct does not have, from the Struct. constants: those that start as something.
    """

    def __init__(self, table: sa.Table, shape: type[T], computed: dict[str, Any] | None = None,
                 extra: dict[str, Any] | None = None, constants: dict[str, Any] | None = None):  # fmt: skip
        self.table, self.shape, self.computed, self.constants = table, shape, computed or {}, constants or {}
        self.columns = [table.c[field.name] for field in structs.fields(shape)]
        self.select = sa.select(*self.columns)
        self._get = Query(self.select.where(table.c.id == sa.bindparam("id")), shape)
        self._some = Query(self.select.where(in_list(table.c.id, "ids")), shape)
        self._all = Query(self.select.order_by(table.c.rowid), shape)
        self._by: dict[str, Query[T]] = {}
        self._by_list: dict[str, Query[T]] = {}
        self._count: dict[str, Query[int]] = {}
        self.listing = Listing(self.select, shape, table, extra=extra)
        self._bump = Statement(
            sa.update(table)
            .where(table.c.id == sa.bindparam("id"))
            .values(revision_number=table.c.revision_number + 1, updated_at=sa.bindparam("now", type_=INT))
        )

    async def find(self, db: Reader, id: str) -> T | None:
        return await db.one(self._get, id=id)

    async def some(self, db: Reader, ids: Iterable[str]) -> list[T]:
        """Those of the ids that exist."""
        wanted, found = sorted(set(ids)), []
        for start in range(0, len(wanted), CHUNK):
            found += await db.all(self._some, ids=wanted[start : start + CHUNK])
        return found

    async def all(self, db: Reader) -> list[T]:
        """Every row, in order of creation."""
        return await db.all(self._all)

    async def by(self, db: Reader, column: str, value: Any) -> list[T]:
        """Rows whose column equals the value, in order of creation."""
        query = self._by.get(column)
        if query is None:
            where = self.table.c[column] == sa.bindparam("value")
            query = self._by[column] = Query(self.select.where(where).order_by(self.table.c.rowid), self.shape)
        return await db.all(query, value=value)

    async def by_any(self, db: Reader, column: str, values: Iterable[str]) -> list[T]:
        """Rows whose column is one of the values."""
        query = self._by_list.get(column)
        if query is None:
            where = in_list(self.table.c[column], "values")
            query = self._by_list[column] = Query(self.select.where(where).order_by(self.table.c.rowid), self.shape)
        wanted, found = sorted(set(values)), []
        for start in range(0, len(wanted), CHUNK):
            found += await db.all(query, values=wanted[start : start + CHUNK])
        return found

    async def add(self, tx: Transaction, thing: T, *, if_absent: bool = False) -> bool:
        """False: something that must be unique was there (if_absent). Raises: Duplicate."""
        values = structs.asdict(thing)
        if self.computed or self.constants:
            values |= {name: function(thing) for name, function in self.computed.items()} | self.constants
        return await tx.insert(self.table, values, if_absent=if_absent)

    async def save(self, tx: Transaction, thing: T, now_us: int, **changes: Any) -> T:
        """Write changed fields; the revision goes up by one whoever else wrote meanwhile."""
        new = structs.replace(thing, **changes)
        values = dict(changes) | {name: function(new) for name, function in self.computed.items()}
        if values:
            await tx.update(self.table, values, id=thing.id)  # type: ignore[attr-defined]
        return await self.bump(tx, new, now_us)

    async def bump(self, tx: Transaction, thing: T, now_us: int) -> T:
        """Raise the revision only. Raises nothing when the row is gone: the caller's own write said so."""
        await tx.run(self._bump, id=thing.id, now=now_us)  # type: ignore[attr-defined]
        return await self.find(tx, thing.id) or thing  # type: ignore[attr-defined]

    async def remove(self, tx: Transaction, id: str) -> bool:
        """Whether it was there."""
        return bool(await tx.delete(self.table, id=id))
