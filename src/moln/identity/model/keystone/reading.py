"""What was read of a Keystone so far, what stays behind, and how its columns say things."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Struct

Row = dict[str, Any]
Tables = Mapping[str, list[Row]]


class Left(Struct, frozen=True):
    """Something that stays behind. kind: as in `Reading.rows`, or a table of Keystone's. count: of rows that are only counted."""

    kind: str
    id: str
    name: str
    why: str
    count: int = 1


class Reading:
    """rows: columns of ours by kind, in the order in which they refer to each other. left: what stays behind, and why."""

    def __init__(self, tables: Tables, now_us: int):
        self._tables = tables
        self.now_us = now_us
        self.rows: dict[str, list[Row]] = defaultdict(list)
        self.left: list[Left] = []
        self._ids: dict[str, set[str]] = defaultdict(set)

    def table(self, name: str) -> list[Row]:
        return self._tables.get(name, [])

    def by(self, name: str, column: str) -> dict[Any, list[Row]]:
        """A table's rows by the value of a column."""
        found: dict[Any, list[Row]] = defaultdict(list)
        for row in self.table(name):
            found[row[column]].append(row)
        return found

    def add(self, kind: str, thing: Struct | Row, *, known_as: str = "", **more: Any) -> None:
        """Keep something. known_as: the kind that others look for, where that is not its own. more: columns that the thing itself does not have."""
        row = dict(thing) if isinstance(thing, dict) else msgspec.structs.asdict(thing)
        self.rows[kind].append(row | more)
        if "id" in row:
            self._ids[known_as or kind].add(row["id"])

    def has(self, id_: str | None, *kinds: str) -> bool:
        return any(id_ in self._ids[kind] for kind in kinds)

    def leave(self, kind: str, id_: object, name: object, why: str) -> None:
        self.left.append(Left(kind, str(id_), str(name or ""), why))

    def leave_all(self, table: str, why: str) -> None:
        """Count the rows of a table that stays behind."""
        if self.table(table):
            self.left.append(Left(table, "", "", why, len(self.table(table))))


def nested(text: Any) -> Any:
    """A column of JSON; None, where it is none."""
    if not isinstance(text, str):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return None


def extra(row: Row) -> dict[str, Any]:
    found = nested(row.get("extra"))
    return found if isinstance(found, dict) else {}


def truth(value: Any) -> bool:
    """A BOOLEAN column: 0, 1, or nothing, which counts as no."""
    return bool(int(value)) if value is not None else False


def number(value: Any) -> int | None:
    return None if value is None else int(value)


def when(micros: Any, text: Any) -> int | None:
    """µs UTC of a time that is kept as a number, or before that as text; 0 is no time."""
    if micros is not None and int(micros):
        return int(micros)
    if not text:
        return None
    try:
        return round(datetime.fromisoformat(str(text)).replace(tzinfo=UTC).timestamp() * 1e6)
    except ValueError:
        return None


def options(rows: list[Row], names: Mapping[str, str]) -> dict[str, Any]:
    """Resource options by their names; names: by Keystone's four letters."""
    found = {names[row["option_id"]]: nested(row["option_value"]) for row in rows if row["option_id"] in names}
    return {name: value for name, value in found.items() if value is not None}
