"""What an operator may choose about a node: the `[node]` table of moln.toml."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from moln.kernel.errors import Invalid


class NodeSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """virt_type: `auto` takes hardware virtualisation where it works. disk_cache: QEMU's; `unsafe` loses data with the host's power."""

    virt_type: Literal["auto", "kvm", "qemu"] = "auto"
    disk_cache: Literal["none", "writeback", "directsync", "unsafe"] = "none"


def load(path: Path) -> NodeSettings:
    """The node's table alone: the rest of the file is the controller's. Raises: Invalid."""
    try:
        table = tomllib.loads(path.read_text("utf-8")).get("node", {}) if path.exists() else {}
        return msgspec.convert(table, NodeSettings)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise Invalid(f"{path}: {error}") from None
