"""Functions that the databases name differently: `sa.func.instr(…)`, `greatest(…)` and `each_of(…)` mean the same on all of them."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import functions


class instr(functions.GenericFunction[int]):
    """Where the second text begins in the first, from 1; 0: nowhere."""

    type = sa.BigInteger()
    inherit_cache = True


@compiles(instr, "postgresql")
def _instr_postgresql(element: Any, compiler: Any, **kw: Any) -> str:
    return f"strpos({compiler.process(element.clauses, **kw)})"


class greatest(functions.GenericFunction[int]):
    """The greater of two numbers."""

    type = sa.BigInteger()
    inherit_cache = True


@compiles(greatest, "sqlite")
def _greatest_sqlite(element: Any, compiler: Any, **kw: Any) -> str:
    return f"max({compiler.process(element.clauses, **kw)})"


@compiles(functions.sum, "postgresql")
def _sum_postgresql(element: Any, compiler: Any, **kw: Any) -> str:
    """Sums of integers are integers, not PostgreSQL's NUMERIC."""
    return f"CAST(sum({compiler.process(element.clauses, **kw)}) AS BIGINT)"


class each_of(functions.GenericFunction[str]):
    """The rows of a JSON list of texts, as a table of one column `value`."""

    inherit_cache = True


@compiles(each_of, "sqlite")
def _each_of_sqlite(element: Any, compiler: Any, **kw: Any) -> str:
    return f"json_each({compiler.process(element.clauses, **kw)})"


@compiles(each_of, "postgresql")
def _each_of_postgresql(element: Any, compiler: Any, **kw: Any) -> str:
    return f"jsonb_array_elements_text(CAST({compiler.process(element.clauses, **kw)} AS JSONB))"


class lower(functions.GenericFunction[str]):
    """In lower case as SQLite has it: A to Z only, whatever the database's collation."""

    type = sa.Text()
    inherit_cache = True


@compiles(lower, "postgresql")
def _lower_postgresql(element: Any, compiler: Any, **kw: Any) -> str:
    return f'lower(({compiler.process(element.clauses, **kw)}) COLLATE "C")'
