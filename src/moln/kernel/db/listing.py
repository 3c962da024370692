"""Lists as the APIs have them: filters, sort keys and keyset paging over one table, each shape compiled once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import sqlalchemy as sa

from moln.kernel.db.database import Reader
from moln.kernel.db.schema import in_list
from moln.kernel.db.statement import Query
from moln.kernel.errors import Invalid

T = TypeVar("T")
SHAPES = 512  # compiled shapes kept, at most

Where = tuple[str, str, Any]  # column, operator (eq ne lt le gt ge in notin like prefix null notnull), value


def _clause(column: Any, op: str, name: str) -> Any:
    match op:
        case "eq":
            return column == sa.bindparam(name)
        case "ne":
            return column != sa.bindparam(name)
        case "lt":
            return column < sa.bindparam(name)
        case "le":
            return column <= sa.bindparam(name)
        case "gt":
            return column > sa.bindparam(name)
        case "ge":
            return column >= sa.bindparam(name)
        case "in":
            return in_list(column, name)
        case "notin":
            return in_list(column, name, negate=True)
        case "like":  # a substring, case-insensitive; the value is taken literally
            return sa.func.instr(sa.func.lower(column), sa.func.lower(sa.bindparam(name))) > 0
        case "prefix":
            return sa.func.substr(column, 1, sa.func.length(sa.bindparam(name))) == sa.bindparam(name)
        case "null":
            return column.is_(None)
        case "notnull":
            return column.is_not(None)
    raise ValueError(op)


class Listing(Generic[T]):
    """Pages of one table (or join) as `shape`.

    source: the SELECT without WHERE, ORDER BY and LIMIT. id: the column that markers name.
    extra: further conditions by name, each a function from a parameter name to a clause.
    """

    def __init__(self, source: sa.Select[Any], shape: type[T], table: sa.Table, *, id: str = "id",
                 extra: dict[str, Callable[[str], Any]] | None = None):  # fmt: skip
        self.source = source
        self.shape = shape
        self.table = table
        self.id = id
        self.extra = extra or {}
        self._queries: OrderedDict[Any, Query[T]] = OrderedDict()
        self._markers: dict[tuple[str, ...], Query[dict[str, Any]]] = {}

    async def page(self, db: Reader, where: Sequence[Where] = (), *, sort: Sequence[tuple[str, str]] = (),
                   marker: str | None = None, limit: int | None = None, reverse: bool = False) -> list[T]:  # fmt: skip
        """One page. sort: (column, "asc"|"desc") pairs; the rowid is always the last key, NULLs sort first.

        marker: the id of the last row of the page before. Raises: Invalid, when no row has it.
        """
        keys = tuple(sort)
        shape = (tuple((c, op) for c, op, _ in where), keys, marker is not None, limit is not None, reverse)
        query = self._queries.get(shape)
        if query is None:
            query = self._queries[shape] = self._compile(*shape)
            if len(self._queries) > SHAPES:
                self._queries.popitem(last=False)
        params = {f"w{i}": value for i, (_, op, value) in enumerate(where) if op not in ("null", "notnull")}
        if marker is not None:
            params |= await self._marker(db, keys, marker)
        if limit is not None:
            params["limit"] = limit
        return await db.all(query, **params)

    async def _marker(self, db: Reader, keys: tuple[tuple[str, str], ...], marker: str) -> dict[str, Any]:
        names = tuple(k for k, _ in keys)
        query = self._markers.get(names)
        if query is None:
            columns = [self.table.c[n].label(f"m{i}") for i, n in enumerate(names)] + [self.table.c.rowid.label("mr")]
            if len(self._markers) >= SHAPES:
                self._markers.clear()
            query = self._markers[names] = Query(sa.select(*columns).where(self.table.c[self.id] == sa.bindparam("marker")), dict)
        row = await db.one(query, marker=marker)
        if row is None:
            raise Invalid(f"marker [{marker}] not found", field="marker")
        return row

    def _compile(self, filters: tuple[tuple[str, str], ...], keys: tuple[tuple[str, str], ...], marked: bool, limited: bool,
                 reverse: bool) -> Query[T]:  # fmt: skip
        select = self.source
        for i, (name, op) in enumerate(filters):
            if name in self.extra:
                select = select.where(self.extra[name](f"w{i}"))
            else:
                select = select.where(_clause(self.table.c[name], op, f"w{i}"))
        columns = [(self.table.c[n], d == "desc", f"m{i}") for i, (n, d) in enumerate(keys)]
        last_desc = columns[-1][1] if columns else False
        columns.append((self.table.c.rowid, last_desc, "mr"))
        if reverse:
            columns = [(c, not desc, name) for c, desc, name in columns]
        if marked:
            select = select.where(_after(columns))
        for column, desc, _ in columns:
            ordered = column.desc() if desc else column.asc()
            if column.nullable:  # else an index has the order already, and PostgreSQL's has its NULLs elsewhere
                ordered = sa.nulls_last(ordered) if desc else sa.nulls_first(ordered)
            select = select.order_by(ordered)
        if limited:
            select = select.limit(sa.bindparam("limit", type_=sa.Integer()))
        return Query(select, self.shape)


def _after(columns: Sequence[tuple[Any, bool, str]]) -> Any:
    """The rows behind the marker: (a > m0) or (a is m0 and (b > m1 or …)), NULL being the smallest.

    Where there is no NULL it begins with a >= m0, which says the same and lets an index begin there.
    """
    column, desc, name = columns[0]
    mark: Any = sa.bindparam(name)
    if not column.nullable:
        beyond = column < mark if desc else column > mark
        if len(columns) == 1:
            return beyond
        return sa.and_(column <= mark if desc else column >= mark, sa.or_(beyond, _after(columns[1:])))
    if desc:
        beyond = sa.or_(column < mark, sa.and_(column.is_(None), mark.is_not(None)))
    else:
        beyond = sa.or_(column > mark, sa.and_(mark.is_(None), column.is_not(None)))
    if len(columns) == 1:
        return beyond
    return sa.or_(beyond, sa.and_(column.is_not_distinct_from(mark), _after(columns[1:])))
