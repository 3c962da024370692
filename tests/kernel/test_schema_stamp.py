"""A database of another version is refused before anything touches it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from moln.kernel.db.sqlite import SqliteDatabase
from moln.kernel.errors import Failure


async def test_a_database_of_this_version_is_opened_again(tmp_path: Path) -> None:
    for created in (True, False):
        db = SqliteDatabase(tmp_path / "cloud.db")
        assert db.created is created
        await db.close()


async def test_a_database_of_another_version_is_refused(tmp_path: Path) -> None:
    await SqliteDatabase(tmp_path / "cloud.db").close()
    with sqlite3.connect(tmp_path / "cloud.db") as conn:
        conn.execute("PRAGMA user_version = 1")
    with pytest.raises(Failure, match="another version of Moln"):
        SqliteDatabase(tmp_path / "cloud.db")
