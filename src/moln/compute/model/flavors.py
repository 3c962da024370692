"""Flavors: sizes of servers, named by administrators (compute api-ref, "Flavors")."""

from __future__ import annotations

import re

from msgspec import Struct

EXTRA_SPEC_KEY = re.compile(r"^[a-zA-Z0-9-_:. ]{1,255}$")


class Flavor(Struct, frozen=True):
    """A size. id: the flavor id on the wire, any text. swap in MiB, disk and ephemeral in GiB. Times: µs UTC."""

    id: str
    name: str
    vcpus: int
    ram_mib: int
    disk_gib: int
    ephemeral_gib: int = 0
    swap_mib: int = 0
    is_public: bool = True
    description: str | None = None
    extra_specs: dict[str, str] = {}
    rxtx_factor: str = "1.0"
    created_at: int = 0
    updated_at: int | None = None
    rowid: int | None = None
