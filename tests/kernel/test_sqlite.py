"""What is SQLite's own: groups of writes, its file and its log."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import stat
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from tests import databases
from tests.kernel.boxes import BY_ID, EVERY, add

from moln.kernel.db import Query, Transaction, sqlite, sqlite_schema
from moln.kernel.db.sqlite import SqliteDatabase
from moln.kernel.errors import Unavailable


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[SqliteDatabase]:
    db = SqliteDatabase(tmp_path / "cloud.db")
    yield db
    await db.close()


async def test_an_answer_comes_after_the_commit(db: SqliteDatabase, tmp_path: Path) -> None:
    await db.write(add, "a")
    with sqlite3.connect(tmp_path / "cloud.db") as other:
        assert other.execute("SELECT id FROM test_boxes").fetchall() == [("a",)]


async def test_a_full_disk_is_unavailable_and_passes(db: SqliteDatabase) -> None:
    async def cap(tx: Transaction, pages: int) -> None:
        await tx.all(Query(sa.text(f"PRAGMA max_page_count={pages}").columns(sa.column("n")), int))

    await db.write(cap, 1)
    with pytest.raises(Unavailable):
        for i in range(200):
            await db.write(add, "x" * 3000 + str(i))
    await db.write(cap, 1 << 30)
    assert await db.write(add, "a") == "a"


async def test_another_process_that_holds_the_file_makes_writes_unavailable_then_they_work(db: SqliteDatabase, tmp_path: Path) -> None:
    async def hurry(tx: Transaction) -> None:
        await tx.all(Query(sa.text("PRAGMA busy_timeout=50").columns(sa.column("n")), int))

    await db.write(hurry)
    other = sqlite3.connect(tmp_path / "cloud.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable):
        await db.write(add, "a")
    other.execute("ROLLBACK")
    other.close()
    assert await db.write(add, "a") == "a"


async def test_without_a_thread_writes_happen_in_a_turn_of_the_loop_and_in_groups_too(tmp_path: Path) -> None:
    threads, commits = threading.active_count(), []

    def hook(kind: str, text: str) -> None:
        if (kind, text) == ("sql", "COMMIT"):
            commits.append(threading.current_thread())

    db = SqliteDatabase(tmp_path / "cloud.db", hook=hook, threaded=False)
    assert await asyncio.gather(*(db.write(add, str(i)) for i in range(5))) == list("01234")
    assert commits == [threading.main_thread()] and threading.active_count() == threads
    with pytest.raises(ZeroDivisionError):
        await db.write(fails)
    assert await db.write(add, "a") == "a"
    await db.close()


async def fails(tx: Transaction) -> None:
    await add(tx, "b")  # type: ignore[arg-type]
    raise ZeroDivisionError


async def test_an_error_at_commit_is_told_to_every_writer_and_the_next_write_works(tmp_path: Path) -> None:
    fail = ["COMMIT"]

    def hook(kind: str, text: str) -> None:
        if kind == "sql" and text in fail:
            raise sqlite3.OperationalError("disk I/O error")

    db = SqliteDatabase(tmp_path / "cloud.db", hook=hook)
    told: list[str] = []
    db.feed.subscribe("boxes", told.extend)
    results = await asyncio.gather(*(db.write(add, str(i)) for i in range(5)), return_exceptions=True)
    assert all(isinstance(r, Unavailable) for r in results)
    fail.clear()
    assert await db.all(EVERY) == []
    assert told == []
    assert await db.write(add, "a") == "a"
    await db.close()


async def test_a_write_that_awaits_something_else_is_refused(db: SqliteDatabase) -> None:
    async def sleepy(tx: Transaction) -> None:
        await add(tx, "a")
        await asyncio.sleep(0)

    with pytest.raises(RuntimeError, match="only its transaction"):
        await db.write(sleepy)
    assert await db.all(EVERY) == []


async def test_too_many_waiting_writes_are_refused_not_kept(db: SqliteDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(db._jobs, "maxsize", 4)
    results = await asyncio.gather(*(db.write(add, str(i)) for i in range(200)), return_exceptions=True)
    refused = [r for r in results if isinstance(r, Unavailable)]
    assert refused
    assert len(await db.all(EVERY)) == 200 - len(refused)


async def test_only_the_owner_can_read_the_file(db: SqliteDatabase, tmp_path: Path) -> None:
    await db.write(add, "a")
    for path in tmp_path.iterdir():
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600, path


async def test_the_log_stays_bounded_under_reads_and_writes_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "TIDY_ROWS", 50)
    monkeypatch.setattr(sqlite, "LONG_LOG", 200)
    db = SqliteDatabase(tmp_path / "cloud.db")
    log = tmp_path / "cloud.db-wal"
    for i in range(1500):
        reading = asyncio.create_task(db.one(BY_ID, id="x"))
        await db.write(add, f"{i:06}{'x' * 500}")
        await reading
        assert await db.one(BY_ID, id=f"{i:06}{'x' * 500}")
    assert log.stat().st_size < 5 << 20
    assert len(await db.all(EVERY)) == 1500
    await db.close()


@pytest.mark.parametrize("read_only", [False, True])
def test_what_is_answered_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read_only: bool) -> None:
    monkeypatch.setattr(sqlite_schema, "SYNCHRONOUS", databases.LASTING)
    with contextlib.closing(sqlite_schema.connect(tmp_path / "cloud.db", read_only=read_only)) as conn:
        assert conn.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
        assert conn.execute("PRAGMA journal_mode").fetchone() == ("wal",)
