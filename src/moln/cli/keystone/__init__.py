"""Reading a Keystone's database, live or from a dump: tables as lists of rows, numbers and texts as the database says them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from moln.cli.keystone import dump, keys, live
from moln.identity.model.keystone import STAYING, WANTED

Tables = dict[str, list[dict[str, Any]]]
LIVE = ("mysql://", "mysql+", "mariadb://", "mariadb+")


def read(source: str, database: str, credential_keys: Path | None, note: Callable[[str], None]) -> Tables:
    """source: a URL of MariaDB or MySQL, or a dump's file. credential_keys: the folder of Keystone's `[credential] key_repository`.

    Raises: HostError, Invalid.
    """
    wanted = frozenset((*WANTED, *STAYING))
    tables = live.read(source, wanted, note) if source.startswith(LIVE) else dump.read(Path(source), database, wanted)
    for row in tables.get("revocation_event", []):
        row.clear()  # only counted, and there may be many
    keys.open_credentials(tables.get("credential", []), keys.load(credential_keys))
    return tables
