"""A dump that mysqldump or mariadb-dump wrote: read statement by statement, never run."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from moln.kernel.errors import Invalid

_COLUMN = re.compile(r"^\s+`((?:[^`]|``)+)` ", re.M)
_NAMES = re.compile(r"`((?:[^`]|``)+)`")
_STATEMENT = re.compile(r"(CREATE TABLE|INSERT INTO|INSERT IGNORE INTO|USE) (?:IF NOT EXISTS )?`((?:[^`]|``)+)`")
_VALUE = re.compile(
    r"\s*(?:(?P<null>NULL)|(?:_\w+\s+)?'(?P<text>(?:[^'\\]|\\.|'')*)'|(?P<hex>0x[0-9A-Fa-f]+)|(?P<number>-?[0-9][0-9.eE+-]*))\s*(?P<end>[,)])", re.S
)
_ESCAPE = re.compile(r"\\(.)|''", re.S)
_ESCAPED = {"0": "\0", "b": "\b", "n": "\n", "r": "\r", "t": "\t", "Z": "\x1a"}


def read(path: Path, database: str, wanted: frozenset[str]) -> dict[str, list[dict[str, Any]]]:
    """The wanted tables of a dump, of the database where it holds several. A name that ends in .gz is unpacked. Raises: Invalid."""
    found: dict[str, list[dict[str, Any]]] = {}
    columns: dict[str, list[str]] = {}
    ours = True
    try:
        with gzip.open(path, "rt", encoding="utf-8", newline="\n") if path.suffix == ".gz" else path.open(encoding="utf-8", newline="\n") as file:
            for word, name, statement in _statements(file):
                if word == "USE":
                    ours = name == database
                elif not ours or name not in wanted:
                    continue
                elif word == "CREATE TABLE":
                    columns[name] = _COLUMN.findall(statement)
                    found.setdefault(name, [])
                else:
                    found.setdefault(name, []).extend(_rows(name, statement, columns.get(name, [])))
    except (OSError, UnicodeDecodeError, EOFError) as error:
        raise Invalid(f"The dump {path} cannot be read: {error}") from None
    return found


def _statements(file: TextIO) -> Iterator[tuple[str, str, str]]:
    """(what it does, the table or database, its text) for each that matters. A text's line breaks are escaped: lines end statements. Raises: Invalid."""
    held: list[str] = []
    begun: re.Match[str] | None = None
    for line in file:
        if not held:
            begun = _STATEMENT.match(line)
            if begun is None:
                continue
        held.append(line)
        if line.rstrip().endswith(";") and begun is not None:
            yield begun[1].replace(" IGNORE", ""), begun[2].replace("``", "`"), "".join(held)
            held = []
    if held:
        raise Invalid("The dump ends within a statement: it is not whole.")


def _rows(table: str, statement: str, columns: list[str]) -> Iterator[dict[str, Any]]:
    """Raises: Invalid, for what is no row, or has other columns than the table."""
    head, _, _ = statement.partition("VALUES")
    named = _NAMES.findall(head)[1:] if "(" in head else columns
    at = len(head) + len("VALUES")
    while True:
        at = statement.find("(", at) + 1
        if not at:
            raise Invalid(f"The dump's rows of {table} do not end: is it whole?")
        values: list[Any] = []
        end = ","
        while end == ",":
            value = _VALUE.match(statement, at)
            if value is None:
                raise Invalid(f"The dump has a value in {table} that cannot be read: {statement[at:at + 40]!r}")
            values.append(_value(value))
            at, end = value.end(), value["end"]
        if len(values) != len(named):
            raise Invalid(f"The dump has rows of {len(values)} values for {len(named)} columns in {table}.")
        yield dict(zip(named, values, strict=True))
        if statement[at:at + 3].lstrip()[:1] == ";":
            return


def _value(found: re.Match[str]) -> Any:
    if found["null"]:
        return None
    if found["hex"]:
        return bytes.fromhex(found["hex"][2:]).decode("utf-8", "replace")
    if found["number"]:
        return int(found["number"]) if found["number"].lstrip("-").isdigit() else float(found["number"])
    text = found["text"]
    return _ESCAPE.sub(lambda escape: _ESCAPED.get(escape[1], escape[1]) if escape[1] else "'", text) if "\\" in text or "''" in text else text
