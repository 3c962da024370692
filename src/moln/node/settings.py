"""The `[node]` table of moln.toml, read by the node itself."""

from __future__ import annotations

import tomllib
from pathlib import Path

import msgspec

from moln.host.settings import NodeSettings
from moln.kernel.errors import Invalid


def load(path: Path) -> NodeSettings:
    """The node's table alone: the rest of the file is the controller's. Raises: Invalid."""
    try:
        table = tomllib.loads(path.read_text("utf-8")).get("node", {}) if path.exists() else {}
        return msgspec.convert(table, NodeSettings)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise Invalid(f"{path}: {error}") from None
