"""The tables of moln.toml that the node itself reads."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TypeVar

import msgspec

from moln.host.settings import NodeSettings
from moln.kernel.errors import Invalid
from moln.kernel.tracing import TracingSettings

S = TypeVar("S")


def load(path: Path) -> NodeSettings:
    """`[node]`. Raises: Invalid."""
    return _table(path, "node", NodeSettings)


def load_tracing(path: Path) -> TracingSettings:
    """`[tracing]`. Raises: Invalid."""
    return _table(path, "tracing", TracingSettings)


def _table(path: Path, name: str, shape: type[S]) -> S:
    """One table alone: the rest of the file is the controller's."""
    try:
        table = tomllib.loads(path.read_text("utf-8")).get(name, {}) if path.exists() else {}
        return msgspec.convert(table, shape)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise Invalid(f"{path}: {error}") from None
