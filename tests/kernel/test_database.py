"""What every database does: writes are all or nothing, and one that fails leaves the others alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from tests import databases
from tests.kernel.boxes import BESIDE, BOXES, BY_ID, EVERY, KEPT, LIDS, SOME, Box, add, broken

from moln.kernel.db import Database, Duplicate, Statement, Transaction, adding
from moln.kernel.errors import Conflict, Invalid, Unavailable

POSTGRESQL = "fast"


@pytest.fixture
async def db(tmp_path: Path, database: str) -> AsyncIterator[Database]:
    db = await databases.opened(tmp_path)
    yield db
    await db.close()


async def test_a_write_that_raises_leaves_nothing_and_publishes_nothing(db: Database) -> None:
    told: list[str] = []
    db.feed.subscribe("boxes", told.extend)
    with pytest.raises(Conflict):
        await db.write(add, "a", then=Conflict("no"))
    assert await db.one(BY_ID, id="a") is None
    assert told == []
    await db.write(add, "b")
    assert told == ["b"]


async def test_one_failing_write_of_a_group_leaves_the_others_alone(db: Database) -> None:
    writes = [db.write(add, f"x{i}", then=Conflict("no") if i % 3 == 0 else None) for i in range(30)] + [db.write(broken)]
    results = await asyncio.gather(*writes, return_exceptions=True)
    assert type(results.pop()).__name__ in ("OperationalError", "UndefinedTableError")
    assert [isinstance(r, Conflict) for r in results] == [i % 3 == 0 for i in range(30)]
    assert len(await db.all(EVERY)) == 20


async def test_a_cancelled_caller_leaves_a_whole_write_and_a_working_writer(db: Database) -> None:
    task = asyncio.create_task(db.write(add, "a"))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await db.write(add, "b")
    assert [box.id for box in await db.all(EVERY)] in (["a", "b"], ["b"])


async def test_statements_that_go_together_say_what_each_touched(db: Database) -> None:
    grow = Statement(sa.update(BOXES).where(BOXES.c.id == sa.bindparam("id")).values(size=BOXES.c.size + sa.bindparam("more")))

    async def together(tx: Transaction) -> list[int]:
        steps = ((grow, {"id": "a", "more": 4}), (grow, {"id": "nobody", "more": 5}), adding(BOXES, Box("c", 3)), adding(BOXES, Box("b", 9), if_absent=True))
        return [*await tx.several(*steps), *await tx.several(steps[0]), *await tx.several()]

    await db.write(add, "a")
    await db.write(add, "b")
    assert await db.write(together) == [1, 0, 1, 0, 1]
    assert [(box.id, box.size) for box in await db.all(EVERY)] == [("a", 9), ("b", 1), ("c", 3)]
    with pytest.raises(Duplicate) as caught:
        await db.write(together)
    assert caught.value.columns == ("test_boxes.id",)
    assert (await db.all(EVERY))[0].size == 9


async def test_however_many_statements_go_together(db: Database) -> None:
    async def together(tx: Transaction) -> list[int]:
        return await tx.several(*(adding(BOXES, Box(f"{i:03}", i)) for i in range(100)), *[adding(BOXES, Box("099", 0), if_absent=True)] * 2)

    assert await db.write(together) == [1] * 100 + [0, 0]
    assert [box.size for box in await db.all(EVERY)] == list(range(100))


async def test_a_duplicate_names_its_columns(db: Database) -> None:
    await db.write(add, "a")
    with pytest.raises(Duplicate) as caught:
        await db.write(add, "a")
    assert caught.value.columns == ("test_boxes.id",)


async def test_what_is_referred_to_cannot_be_deleted(db: Database) -> None:
    async def fill(tx: Transaction) -> None:
        await add(tx, "a")
        await tx.insert(LIDS, {"box_id": "a"})

    async def drop(tx: Transaction) -> None:
        await tx.delete(BOXES, id="a")

    await db.write(fill)
    with pytest.raises(Conflict):
        await db.write(drop)


@pytest.mark.parametrize("size", [2**63, -(2**63) - 1, 10**30])
async def test_a_number_beyond_64_bits_is_refused(db: Database, size: int) -> None:
    with pytest.raises(Invalid):
        await db.write(add, "a", size)


async def test_a_lone_surrogate_is_refused(db: Database) -> None:
    with pytest.raises(Invalid):
        await db.write(add, "a\ud800")
    with pytest.raises(Invalid):
        await db.one(BY_ID, id="\udfff")


async def test_who_stops_listening_hears_no_more_and_may_say_so_twice(db: Database) -> None:
    heard: list[str] = []
    stop = db.feed.subscribe("boxes", heard.extend)
    await db.write(add, "a")
    stop()
    stop()
    await db.write(add, "b")
    assert heard == ["a"]


async def test_a_subscriber_that_raises_keeps_no_writer_waiting(db: Database) -> None:
    def bad(keys: list[str]) -> None:
        raise ValueError("a bug")

    told: list[str] = []
    db.feed.subscribe("boxes", bad)
    db.feed.subscribe("boxes", told.extend)
    assert await asyncio.wait_for(db.write(add, "a"), 5) == "a"
    assert told == ["a"]


async def test_a_deleted_row_stays_in_history(db: Database) -> None:
    async def drop(tx: Transaction) -> int:
        return await tx.delete(BOXES, id="a")

    await db.write(add, "a", 7)
    assert await db.write(drop) == 1
    assert await db.one(BY_ID, id="a") is None
    assert await db.one(KEPT) == 1
    assert await db.write(drop) == 0
    assert await db.one(KEPT) == 1


async def test_a_delete_without_a_choice_of_rows_is_refused(db: Database) -> None:
    async def drop(tx: Transaction) -> int:
        return await tx.delete(BOXES)

    await db.write(add, "a")
    with pytest.raises(TypeError):
        await db.write(drop)
    assert len(await db.all(EVERY)) == 1


async def test_a_list_parameter_of_any_length_is_one_statement(db: Database) -> None:
    await asyncio.gather(*(db.write(add, f"{i:04}") for i in range(50)))
    assert await db.all(SOME, ids=[]) == []
    assert len(await db.all(SOME, ids=[f"{i:04}" for i in range(10_000)])) == 50


async def test_a_read_sees_what_a_finished_write_wrote(db: Database) -> None:
    for i in range(50):
        assert await db.one(BY_ID, id=f"b{i}") is None
        await db.write(add, f"b{i}")
        assert (await db.one(BY_ID, id=f"b{i}")) == Box(f"b{i}", 1)


async def test_a_long_read_sees_one_moment(db: Database) -> None:
    loop = asyncio.get_running_loop()

    async def twice(reader) -> tuple[int, int]:
        before = len(await reader.all(EVERY))
        if asyncio._get_running_loop() is loop:  # no thread of its own: another task writes meanwhile
            await db.write(add, "b")
        else:
            asyncio.run_coroutine_threadsafe(db.write(add, "b"), loop).result(5)
        return before, len(await reader.all(EVERY))

    await db.write(add, "a")
    assert await db.read(twice) == (1, 1)
    assert len(await db.all(EVERY)) == 2


async def test_closing_finishes_what_waits_and_refuses_what_comes(tmp_path: Path, database: str) -> None:
    db = await databases.opened(tmp_path)
    waiting = [asyncio.create_task(db.write(add, str(i))) for i in range(10)]
    await asyncio.sleep(0)
    await db.close()
    assert await asyncio.gather(*waiting) == [str(i) for i in range(10)]
    with pytest.raises(Unavailable):
        await db.write(add, "late")


async def test_what_stands_beside_a_row_is_not_in_it(db: Database) -> None:
    await db.write(add, "a", 7)
    assert await db.one(BESIDE, id="a") == (Box("a", 7), "a of 7")
    assert await db.all(BESIDE, id="b") == []
