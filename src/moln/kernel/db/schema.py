"""How tables are declared: three column types, an integer rowid, a uuid beside it, and a history twin where rows are kept."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.elements import ColumnElement

metadata = sa.MetaData()

TEXT = sa.Text(collation=None)
INT = sa.BigInteger()  # counts, µs UTC, and booleans as 0/1
BLOB = sa.LargeBinary()
_ROWID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def column(name: str, type_: Any = TEXT, *constraints: Any, null: bool = False, **options: Any) -> sa.Column[Any]:
    """A column that refuses NULL unless told otherwise. JSON is kept as TEXT."""
    return sa.Column(name, type_, *constraints, nullable=null, **options)


def table(name: str, *items: Any, history: bool = False) -> sa.Table:
    """A table with an integer key `rowid` (the last sort key of every page). history: make `<name>_history` too."""
    made = sa.Table(name, metadata, sa.Column("rowid", _ROWID, primary_key=True, autoincrement=True), *items)
    if history:
        twins = [sa.Column(c.name, c.type, nullable=True) for c in made.columns if c.name != "rowid"]
        sa.Table(
            f"{name}_history", metadata,
            sa.Column("rowid", _ROWID, primary_key=True, autoincrement=True),
            *twins,
            sa.Column("retired_at", INT, nullable=False, index=True),
        )  # fmt: skip
    return made


def partial_index(name: str, *columns: Any, where: Any, unique: bool = False) -> sa.Index:
    """An index of the rows for which `where` holds. Each dialect has its own word; naming PostgreSQL's would import all of it."""
    return sa.Index(name, *columns, unique=unique, sqlite_where=where, info={"where": where})


def history_of(of: sa.Table) -> sa.Table:
    """The twin that `table(…, history=True)` made. Raises KeyError."""
    return metadata.tables[f"{of.name}_history"]


class in_list(ColumnElement[bool]):
    """`column IN <a list given at run time>`: one text for any length. param: the name of the parameter, a list."""

    inherit_cache = False
    type = sa.Boolean()

    def __init__(self, column: Any, param: str, *, negate: bool = False):
        self.column = column
        self.bind = sa.bindparam(param, type_=sa.Text())
        self.negate = negate

    def self_group(self, against: Any = None) -> in_list:
        """As it is: SQLAlchemy would write `… IN (…) = 1` for SQLite, and that uses no index."""
        return self


@compiles(in_list, "sqlite")
def _in_list_sqlite(element: in_list, compiler: Any, **kw: Any) -> str:
    word = "NOT IN" if element.negate else "IN"
    return f"{compiler.process(element.column, **kw)} {word} (SELECT value FROM json_each({compiler.process(element.bind, **kw)}))"


@compiles(in_list, "postgresql")
def _in_list_postgresql(element: in_list, compiler: Any, **kw: Any) -> str:
    word = "<> ALL" if element.negate else "= ANY"
    kind = sa.BigInteger() if isinstance(element.column.type, sa.Integer) else sa.Text()
    listed = sa.bindparam(element.bind.key, type_=sa.ARRAY(kind))
    return f"{compiler.process(element.column, **kw)} {word} ({compiler.process(listed, **kw)})"
