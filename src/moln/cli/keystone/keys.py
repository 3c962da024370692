"""Keystone's credential keys: what opens the blobs of its credentials."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from moln.kernel.errors import Invalid


def load(folder: Path | None) -> MultiFernet | None:
    """The keys of a folder, each a file with a number for its name. Raises: Invalid."""
    if folder is None:
        return None
    try:
        found = [Fernet(path.read_bytes().strip()) for path in sorted(folder.iterdir()) if path.name.isdigit()]
    except (OSError, ValueError) as error:
        raise Invalid(f"The credential keys in {folder} cannot be read: {error}") from None
    if not found:
        raise Invalid(f"{folder} holds no credential keys (files named 0, 1, …)")
    return MultiFernet(found)


def open_credentials(rows: list[dict[str, Any]], keys: MultiFernet | None) -> None:
    """Put `blob` in the encrypted one's place, where a key opens it."""
    for row in rows:
        sealed = row.pop("encrypted_blob", None)
        try:
            row["blob"] = keys.decrypt(str(sealed).encode()).decode() if keys else None
        except (InvalidToken, ValueError):
            row["blob"] = None
