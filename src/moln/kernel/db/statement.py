"""Statements in SQLAlchemy Core, compiled to text once, and rows decoded straight into Structs."""

from __future__ import annotations

import enum
import re
import types
import typing
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from typing import Any, Generic, NamedTuple, TypeVar, get_args, get_origin

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from moln.kernel.db.schema import metadata

T = TypeVar("T")
Row = Sequence[Any]


@cache
def dialect(name: str) -> sa.Dialect:
    """How a database says things; its module is imported at first use."""
    if name == "sqlite":
        return sqlite.dialect(paramstyle="named")
    from sqlalchemy.dialects.postgresql import asyncpg  # SQLAlchemy's own module: it imports no driver

    return asyncpg.dialect(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]


class Numbered(NamedTuple):
    """A statement whose parameters are `$1`, `$2`…: names in that order. lists: those of `in_list`. fixed: values that it sets itself."""

    text: str
    names: tuple[str, ...]
    fixed: dict[str, Any]
    lists: frozenset[str]


class Statement:
    """A statement that answers no rows. Its text is made at first use and kept. suffix: what is said behind the element."""

    def __init__(self, element: Any, suffix: str = ""):
        self.element = element
        self.suffix = suffix
        self._texts: dict[str, tuple[str, dict[str, Any]]] = {}
        self._numbered: Numbered | None = None

    def text(self, name: str) -> tuple[str, dict[str, Any]]:
        """(SQL text, values of the parameters that the statement itself fixes)."""
        found = self._texts.get(name)
        if found is None:
            compiled = self.element.compile(dialect=dialect(name))
            fixed = {k: encode(v) for k, v in compiled.params.items() if v is not None}
            found = self._texts[name] = (str(compiled) + self.suffix, fixed)
        return found

    @property
    def numbered(self) -> Numbered:
        """As PostgreSQL's driver takes it."""
        if self._numbered is None:
            compiled = self.element.compile(dialect=dialect("postgresql"))
            fixed = {k: encode(v) for k, v in compiled.params.items() if v is not None}
            lists = frozenset(name for name, bind in compiled.binds.items() if isinstance(bind.type, sa.ARRAY))
            self._numbered = Numbered(str(compiled) + self.suffix, tuple(compiled.positiontup or ()), fixed, lists)
        return self._numbered


class Query(Statement, Generic[T]):
    """A statement whose rows become `shape`: a Struct (columns by its field names), `dict`, or a plain type (first column).

    Raises TypeError at first use, when the columns are not the Struct's fields.
    """

    def __init__(self, element: Any, shape: type[T]):
        super().__init__(element)
        self.shape = shape
        self._decode: Callable[[Row], T] | None = None

    @property
    def decode(self) -> Callable[[Row], T]:
        if self._decode is None:
            columns = [c.name for c in getattr(self.element, "selected_columns", None) or self.element._returning]
            self._decode = decoder(self.shape, columns)
        return self._decode


class QueryBeside(Query[tuple[T, Any]], Generic[T]):
    """A Query whose last column is no field of `shape` but stands beside it, as what must not be kept with the rest."""

    def __init__(self, element: Any, shape: type[T]):
        super().__init__(element, shape)  # type: ignore[arg-type]

    @property
    def decode(self) -> Callable[[Row], tuple[T, Any]]:
        if self._decode is None:
            columns = [c.name for c in self.element.selected_columns]
            inner: Any = decoder(self.shape, columns[:-1])
            self._decode = lambda row: (inner(row), row[-1])
        return self._decode


Step = tuple[Statement, dict[str, Any]]
"""A statement and its parameters."""


@lru_cache(256)
def together(statements: tuple[Statement, ...]) -> str:
    """One statement for PostgreSQL that does all of these at once, in this order; its row is how many rows each touched.

    Raises: TypeError, where one of them answers rows.
    """
    parts, before = [], 0
    for i, statement in enumerate(statements):
        if isinstance(statement, Query):
            raise TypeError(f"a query cannot go together with others: {statement.numbered.text[:64]}")
        numbered = statement.numbered
        text = re.sub(r"\$(\d+)", lambda found, before=before: f"${int(found[1]) + before}", numbered.text)  # type: ignore[misc]
        parts.append(f"s{i} AS ({text} RETURNING 1)")
        before += len(numbered.names)
    counts = ", ".join(f"(SELECT count(*) FROM s{i})" for i in range(len(statements)))
    return f"WITH {', '.join(parts)} SELECT {counts}"


_json = msgspec.json.Encoder().encode
PLAIN = frozenset({str, int, float, bytes, type(None)})  # what a driver takes as it is


def encode(value: Any) -> Any:
    """A Python value as the driver takes it: 0/1 for bool, JSON text for what is nested."""
    return encoder(type(value))(value)


def _encoder(kind: type) -> Callable[[Any], Any]:
    if kind is bool:
        return int
    if issubclass(kind, enum.Enum):
        return lambda value: value._value_  # `value` itself is looked up by Python code, each time
    if issubclass(kind, (set, frozenset)):
        return lambda value: _json(sorted(value)).decode()
    if issubclass(kind, (dict, list, tuple, msgspec.Struct)):
        return lambda value: _json(value).decode()
    return lambda value: value


#: What `encode` does to values of a type: found once, as a wide row has dozens of them.
encoder: Callable[[type], Callable[[Any], Any]] = cache(_encoder)


def _strip_optional(hint: Any) -> tuple[Any, bool]:
    if get_origin(hint) in (typing.Union, types.UnionType):
        rest = [a for a in get_args(hint) if a is not type(None)]
        return (rest[0] if len(rest) == 1 else Any), len(rest) < len(get_args(hint))
    return hint, False


def _converter(hint: Any) -> tuple[str, Any]:
    """How one column's value becomes the field's: ("" as it is | "call", function)."""
    hint, _ = _strip_optional(hint)
    if get_origin(hint) is typing.Annotated:
        return _converter(get_args(hint)[0])
    if hint in (str, int, bytes, float, Any) or get_origin(hint) is typing.Literal:
        return "", None
    if hint is bool:
        return "call", bool
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return "call", hint
    return "call", msgspec.json.Decoder(hint).decode


def decoder(shape: type[T], columns: Sequence[str]) -> Callable[[Row], T]:
    """A function from a row to `shape`, written for these columns. Raises TypeError, when they do not fit."""
    if shape is dict:
        return lambda row: dict(zip(columns, row, strict=True))  # type: ignore[return-value]
    if not (isinstance(shape, type) and issubclass(shape, msgspec.Struct)):
        kind, call = _converter(shape)
        return (lambda row: call(row[0])) if kind else (lambda row: row[0])
    hints = typing.get_type_hints(shape, include_extras=True)
    names: dict[str, Any] = {"shape": shape}
    parts = []
    for field in msgspec.structs.fields(shape):
        if field.name not in columns:
            if field.required:
                raise TypeError(f"{shape.__name__}.{field.name} has no column among {list(columns)}")
            continue
        at = columns.index(field.name)
        kind, call = _converter(hints[field.name])
        if kind:
            names[f"c{at}"] = call
            empty = "{} if r[%d] == '{}' else " % at if get_origin(_strip_optional(hints[field.name])[0]) is dict else ""  # most are, and it is faster
            parts.append(f"{field.name}={empty}None if r[{at}] is None else c{at}(r[{at}])")
        else:
            parts.append(f"{field.name}=r[{at}]")
    return eval(f"lambda r: shape({', '.join(parts)})", names)  # type: ignore[no-any-return]


_inserts: dict[tuple[str, tuple[str, ...], bool], Statement] = {}


def inserting(table: sa.Table, names: tuple[str, ...], *, if_absent: bool = False) -> Statement:
    """The INSERT of these columns, made once. if_absent: ON CONFLICT DO NOTHING."""
    key = (table.name, names, if_absent)
    found = _inserts.get(key)
    if found is None:
        element = sa.insert(table).values({n: sa.bindparam(n) for n in names}).inline()
        found = _inserts[key] = Statement(element, " ON CONFLICT DO NOTHING" if if_absent else "")
    return found


def adding(table: sa.Table, row: msgspec.Struct | dict[str, Any], *, if_absent: bool = False) -> Step:
    """The INSERT of a row, fields by column name."""
    values = dict(row) if isinstance(row, dict) else msgspec.structs.asdict(row)
    return inserting(table, tuple(values), if_absent=if_absent), values


_updates: dict[tuple[str, tuple[str, ...], tuple[str, ...]], Statement] = {}


def updating(table: sa.Table, names: tuple[str, ...], by: tuple[str, ...]) -> Statement:
    """`UPDATE … SET names WHERE by`, made once. The `by` parameters are named `by_<column>`."""
    key = (table.name, names, by)
    found = _updates.get(key)
    if found is None:
        where = [table.c[b] == sa.bindparam(f"by_{b}") for b in by]
        found = _updates[key] = Statement(sa.update(table).where(*where).values({n: sa.bindparam(n) for n in names}))
    return found


@cache
def deleting(name: str, by: tuple[str, ...]) -> tuple[Statement | None, Statement]:
    """(how the rows move to the table's history, at `_now`; None when it has none; how they are deleted)."""
    if not by:
        raise TypeError("delete needs columns to choose rows by")
    table = metadata.tables[name]
    where = [table.c[c] == sa.bindparam(c) for c in by]
    moving = None
    if (history := metadata.tables.get(f"{name}_history")) is not None:
        names = [c.name for c in table.columns if c.name != "rowid"]
        rows = sa.select(*[table.c[n] for n in names], sa.bindparam("_now", type_=sa.BigInteger())).where(*where)
        moving = Statement(sa.insert(history).from_select([*names, "retired_at"], rows).inline())
    return moving, Statement(sa.delete(table).where(*where))
