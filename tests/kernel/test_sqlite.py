"""Writes are all or nothing, answered after the commit, and one that fails leaves the others alone."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from msgspec import Struct

from moln.kernel.db import INT, Duplicate, Query, Statement, Transaction, column, in_list, sqlite, table
from moln.kernel.db.sqlite import SqliteDatabase
from moln.kernel.errors import Conflict, Invalid, Unavailable

BOXES = table("test_boxes", column("id", unique=True), column("size", INT), column("note", null=True), history=True)
LIDS = table("test_lids", column("box_id", sa.Text(), sa.ForeignKey("test_boxes.id")))


class Box(Struct, frozen=True):
    id: str
    size: int
    note: str | None = None


BY_ID = Query(sa.select(BOXES.c.id, BOXES.c.size, BOXES.c.note).where(BOXES.c.id == sa.bindparam("id")), Box)
EVERY = Query(sa.select(BOXES.c.id, BOXES.c.size, BOXES.c.note).order_by(BOXES.c.id), Box)
SOME = Query(sa.select(BOXES.c.id).where(in_list(BOXES.c.id, "ids")).order_by(BOXES.c.id), str)
BROKEN = Statement(sa.text("UPDATE no_such_table SET a = 1"))
KEPT = Query(sa.select(sa.func.count()).select_from(sa.table("test_boxes_history")), int)


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[SqliteDatabase]:
    db = SqliteDatabase(tmp_path / "cloud.db")
    yield db
    await db.close()


async def add(tx: Transaction, id: str, size: int = 1, then: Exception | None = None) -> str:
    await tx.insert(BOXES, Box(id, size))
    tx.changed("boxes", id)
    if then:
        raise then
    return id


async def broken(tx: Transaction) -> None:
    await tx.run(BROKEN)


async def test_a_write_that_raises_leaves_nothing_and_publishes_nothing(db: SqliteDatabase) -> None:
    told: list[str] = []
    db.feed.subscribe("boxes", told.extend)
    with pytest.raises(Conflict):
        await db.write(add, "a", then=Conflict("no"))
    assert await db.one(BY_ID, id="a") is None
    assert told == []
    await db.write(add, "b")
    assert told == ["b"]


async def test_one_failing_write_of_a_group_leaves_the_others_alone(db: SqliteDatabase) -> None:
    writes = [db.write(add, f"x{i}", then=Conflict("no") if i % 3 == 0 else None) for i in range(30)] + [db.write(broken)]
    results = await asyncio.gather(*writes, return_exceptions=True)
    assert isinstance(results.pop(), sqlite3.OperationalError)
    assert [isinstance(r, Conflict) for r in results] == [i % 3 == 0 for i in range(30)]
    assert len(await db.all(EVERY)) == 20


async def test_an_answer_comes_after_the_commit(db: SqliteDatabase, tmp_path: Path) -> None:
    await db.write(add, "a")
    with sqlite3.connect(tmp_path / "cloud.db") as other:
        assert other.execute("SELECT id FROM test_boxes").fetchall() == [("a",)]


async def test_a_cancelled_caller_leaves_a_whole_write_and_a_working_writer(db: SqliteDatabase) -> None:
    task = asyncio.create_task(db.write(add, "a"))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await db.write(add, "b")
    assert [box.id for box in await db.all(EVERY)] in (["a", "b"], ["b"])


async def test_a_duplicate_names_its_columns(db: SqliteDatabase) -> None:
    await db.write(add, "a")
    with pytest.raises(Duplicate) as caught:
        await db.write(add, "a")
    assert caught.value.columns == ("test_boxes.id",)


async def test_what_is_referred_to_cannot_be_deleted(db: SqliteDatabase) -> None:
    async def fill(tx: Transaction) -> None:
        await add(tx, "a")
        await tx.insert(LIDS, {"box_id": "a"})

    async def drop(tx: Transaction) -> None:
        await tx.delete(BOXES, id="a")

    await db.write(fill)
    with pytest.raises(Conflict):
        await db.write(drop)


@pytest.mark.parametrize("size", [2**63, -(2**63) - 1, 10**30])
async def test_a_number_beyond_64_bits_is_refused(db: SqliteDatabase, size: int) -> None:
    with pytest.raises(Invalid):
        await db.write(add, "a", size)


async def test_a_lone_surrogate_is_refused(db: SqliteDatabase) -> None:
    with pytest.raises(Invalid):
        await db.write(add, "a\ud800")
    with pytest.raises(Invalid):
        await db.one(BY_ID, id="\udfff")


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


async def test_a_subscriber_that_raises_keeps_no_writer_waiting(db: SqliteDatabase) -> None:
    def bad(keys: list[str]) -> None:
        raise ValueError("a bug")

    told: list[str] = []
    db.feed.subscribe("boxes", bad)
    db.feed.subscribe("boxes", told.extend)
    assert await asyncio.wait_for(db.write(add, "a"), 5) == "a"
    assert told == ["a"]


async def test_a_write_that_awaits_something_else_is_refused(db: SqliteDatabase) -> None:
    async def sleepy(tx: Transaction) -> None:
        await add(tx, "a")
        await asyncio.sleep(0)

    with pytest.raises(RuntimeError, match="only its transaction"):
        await db.write(sleepy)
    assert await db.all(EVERY) == []


async def test_a_deleted_row_stays_in_history(db: SqliteDatabase) -> None:
    async def drop(tx: Transaction) -> int:
        return await tx.delete(BOXES, id="a")

    await db.write(add, "a", 7)
    assert await db.write(drop) == 1
    assert await db.one(BY_ID, id="a") is None
    assert await db.one(KEPT) == 1
    assert await db.write(drop) == 0
    assert await db.one(KEPT) == 1


async def test_a_delete_without_a_choice_of_rows_is_refused(db: SqliteDatabase) -> None:
    async def drop(tx: Transaction) -> int:
        return await tx.delete(BOXES)

    await db.write(add, "a")
    with pytest.raises(TypeError):
        await db.write(drop)
    assert len(await db.all(EVERY)) == 1


async def test_a_long_read_sees_one_moment(db: SqliteDatabase) -> None:
    loop = asyncio.get_running_loop()

    async def twice(reader) -> tuple[int, int]:
        before = len(await reader.all(EVERY))
        asyncio.run_coroutine_threadsafe(db.write(add, "b"), loop).result(5)
        return before, len(await reader.all(EVERY))

    await db.write(add, "a")
    assert await db.read(twice) == (1, 1)
    assert len(await db.all(EVERY)) == 2


async def test_a_list_parameter_of_any_length_is_one_statement(db: SqliteDatabase) -> None:
    await asyncio.gather(*(db.write(add, f"{i:04}") for i in range(50)))
    assert await db.all(SOME, ids=[]) == []
    assert len(await db.all(SOME, ids=[f"{i:04}" for i in range(10_000)])) == 50


async def test_too_many_waiting_writes_are_refused_not_kept(db: SqliteDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(db._jobs, "maxsize", 4)
    results = await asyncio.gather(*(db.write(add, str(i)) for i in range(200)), return_exceptions=True)
    refused = [r for r in results if isinstance(r, Unavailable)]
    assert refused
    assert len(await db.all(EVERY)) == 200 - len(refused)


async def test_closing_finishes_what_waits_and_refuses_what_comes(tmp_path: Path) -> None:
    db = SqliteDatabase(tmp_path / "cloud.db")
    waiting = [asyncio.create_task(db.write(add, str(i))) for i in range(10)]
    await asyncio.sleep(0)
    await db.close()
    assert await asyncio.gather(*waiting) == [str(i) for i in range(10)]
    with pytest.raises(Unavailable):
        await db.write(add, "late")


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


async def test_a_read_sees_what_a_finished_write_wrote(db: SqliteDatabase) -> None:
    for i in range(50):
        assert await db.one(BY_ID, id=f"b{i}") is None
        await db.write(add, f"b{i}")
        assert (await db.one(BY_ID, id=f"b{i}")) == Box(f"b{i}", 1)
