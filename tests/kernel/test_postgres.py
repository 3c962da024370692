"""What is PostgreSQL's own: writes run again, a feed between processes that skips nothing, and a server that comes and goes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import sqlalchemy as sa
from tests import databases
from tests.kernel.boxes import BOXES, BY_ID, EVERY, SIZE, add
from tests.postgres import Server, binaries

from moln.kernel.db import Database, Duplicate, Query, Transaction
from moln.kernel.errors import Failure, Unavailable
from moln.kernel.log import request_id

pytestmark = pytest.mark.skipif(binaries() is None, reason="no PostgreSQL here: Debian's package is `postgresql`")
SOON_S = 20


@pytest.fixture
async def url() -> AsyncIterator[str]:
    made = await databases.server().fresh()
    yield made
    await databases.server().drop(made)


class Processes:
    """Databases as several processes have them, each open on the same one."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._open: list[Database] = []

    async def begin(self, hook: Callable[[str, str], None] | None = None) -> Any:
        from moln.kernel.db.postgres import PostgresDatabase

        db = PostgresDatabase(self.url, hook=hook)
        await db.open()
        self._open.append(db)
        return db

    async def end(self) -> None:
        for db in self._open:
            await db.close()


@pytest.fixture
async def processes(url: str) -> AsyncIterator[Processes]:
    made = Processes(url)
    yield made
    await made.end()


async def until(what: Callable[[], Any]) -> None:
    """Wait for what the feed will bring."""
    async with asyncio.timeout(SOON_S):
        while not what():
            await asyncio.sleep(0.01)


async def grow(tx: Transaction, id: str) -> None:
    size = await tx.one(SIZE, id=id)
    assert size is not None
    await tx.update(BOXES, {"size": size + 1}, id=id)


async def test_writes_that_read_first_lose_no_update(processes: Processes) -> None:
    one, two = await processes.begin(), await processes.begin()
    await one.write(add, "a", 0)
    await asyncio.gather(*(db.write(grow, "a") for db in (one, two) for _ in range(20)))
    assert await one.one(SIZE, id="a") == 40


async def test_no_write_is_logged_in_the_name_of_another_request(processes: Processes) -> None:
    db = await processes.begin()

    async def asked(id: str) -> str:
        async def whose(tx: Transaction) -> str:
            await add(tx, id)
            return request_id.get()

        request_id.set(id)
        return await db.write(whose)

    assert await asyncio.gather(*(asyncio.create_task(asked(f"req-{i}")) for i in range(20))) == [""] * 20


async def test_many_writes_at_once_are_each_a_transaction_of_their_own(processes: Processes) -> None:
    sent: list[str] = []
    db = await processes.begin(lambda kind, text: sent.append(text) if kind == "sql" else None)
    serving: list[int] = []

    async def put(tx: Transaction, id: str, isolation: list[str]) -> None:
        isolation += await tx.all(Query(sa.select(sa.func.current_setting("transaction_isolation").label("level")), str))
        serving.extend(await tx.all(Query(sa.select(sa.func.pg_backend_pid().label("pid")), int)))
        await add(tx, id, then=RuntimeError("no") if id in ("x03", "x17") else None)

    found: list[str] = []
    results = await asyncio.gather(*(db.write(put, f"x{i:02}", found) for i in range(30)), return_exceptions=True)
    assert [i for i, r in enumerate(results) if isinstance(r, RuntimeError)] == [3, 17]
    assert [box.id for box in await db.all(EVERY)] == [f"x{i:02}" for i in range(30) if i not in (3, 17)]
    assert set(found) == {"serializable"} and len(set(serving)) <= 4 and sent.count("COMMIT") >= 28
    assert await db.plainly(lambda conn: conn.fetchval("SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in%'")) == 0


async def test_a_write_that_never_comes_first_is_given_up(processes: Processes, monkeypatch: pytest.MonkeyPatch) -> None:
    from moln.kernel.db import postgres_writers

    monkeypatch.setattr(postgres_writers, "TRIES", 3)
    one, two = await processes.begin(), await processes.begin()
    await one.write(add, "a", 0)
    tries = 0

    async def unlucky(tx: Transaction) -> None:
        nonlocal tries
        tries += 1
        await tx.one(SIZE, id="a")
        await two.write(grow, "a")  # what a write must not do: it stands for a neighbour who is always faster
        await grow(tx, "a")

    with pytest.raises(Unavailable):
        await one.write(unlucky)
    assert tries == 3 and await one.one(SIZE, id="a") == 3


async def test_a_write_that_goes_on_after_a_refused_statement_is_not_half_done(processes: Processes) -> None:
    db = await processes.begin()

    async def stubborn(tx: Transaction) -> None:
        await add(tx, "b")
        try:
            await add(tx, "a")
        except Duplicate:
            return

    await db.write(add, "a")
    with pytest.raises(RuntimeError, match="went on"):
        await db.write(stubborn)
    assert [box.id for box in await db.all(EVERY)] == ["a"]


async def test_each_process_is_told_each_change_once(processes: Processes) -> None:
    one, two = await processes.begin(), await processes.begin()
    told: dict[str, list[str]] = {"one": [], "two": []}
    one.feed.subscribe("boxes", told["one"].extend)
    two.feed.subscribe("boxes", told["two"].extend)
    names = [f"{i:03}" for i in range(60)]
    await asyncio.gather(*((one, two)[i % 2].write(add, name) for i, name in enumerate(names)))
    await until(lambda: len(told["one"]) >= 60 and len(told["two"]) >= 60)
    for db in (one, two):
        await db._tail.stop()
        await db._tail.start()  # it looks once more: what is told twice, is by now
    assert sorted(told["one"]) == names and sorted(told["two"]) == names


async def test_the_writer_itself_is_told_before_its_answer(processes: Processes) -> None:
    db = await processes.begin()
    told: list[str] = []
    db.feed.subscribe("boxes", told.extend)
    await db.write(add, "a")
    assert told == ["a"]


async def test_a_change_that_is_committed_late_is_not_skipped(processes: Processes) -> None:
    one, two = await processes.begin(), await processes.begin()
    told: list[str] = []
    two.feed.subscribe("boxes", told.extend)
    go, wrote = asyncio.Event(), asyncio.Event()

    async def slow(tx: Transaction) -> None:
        await add(tx, "early")
        await one._tail.record(tx._conn, [("boxes", "written down early")])  # type: ignore[attr-defined]
        wrote.set()
        await go.wait()

    waiting = asyncio.create_task(one.write(slow))
    await wrote.wait()
    await one.write(add, "late")
    await until(lambda: told == ["late"])  # nobody waits for the slow one
    go.set()
    await waiting
    await until(lambda: sorted(told) == ["early", "late", "written down early"])


async def test_a_write_whose_answer_was_lost_is_told_all_the_same(processes: Processes) -> None:
    """The connection ends between the server's COMMIT and its answer: the caller hears 503, and the feed the truth."""
    lose: list[str] = []

    def hook(kind: str, text: str) -> None:
        if kind == "sql-done" and text in lose:
            raise ConnectionResetError("the answer is lost")

    db = await processes.begin(hook)
    told: list[str] = []
    db.feed.subscribe("boxes", told.extend)
    lose.append("COMMIT")
    with pytest.raises(Unavailable):
        await db.write(add, "a")
    lose.clear()
    assert await db.one(BY_ID, id="a") is not None
    await until(lambda: told == ["a"])


async def test_controllers_that_begin_together_make_the_tables_once() -> None:
    made = Processes(await databases.server().empty())
    found = await asyncio.gather(*(made.begin() for _ in range(4)))
    assert [db.created for db in found].count(True) == 1
    await made.end()


async def test_another_version_of_the_schema_is_refused(processes: Processes) -> None:
    db = await processes.begin()
    await db.plainly(lambda conn: conn.execute("UPDATE moln_schema SET stamp = 'older'"))
    with pytest.raises(Failure, match="another version"):
        await processes.begin()


@pytest.mark.slow
async def test_a_server_that_dies_is_unavailable_then_all_goes_on() -> None:
    server = Server(lasting=True)
    made = Processes(await server.fresh())
    one, two = await made.begin(), await made.begin()
    told: list[str] = []
    two.feed.subscribe("boxes", told.extend)
    await one.write(add, "before")
    server.stop()
    for use in (one.write(add, "lost"), one.one(BY_ID, id="before"), one.all(EVERY), two.read(one_box)):
        with pytest.raises(Unavailable):
            await use
    await until(lambda: not two.feed.fresh)  # and no cache of this process is trusted
    server.start()
    await until(lambda: two.feed.fresh and one.feed.fresh)
    await one.write(add, "after")
    assert [box.id for box in await two.all(EVERY)] == ["after", "before"]
    await until(lambda: told == ["before", "after"])
    await made.end()
    server.remove()


async def one_box(reader: Any) -> Any:
    return await reader.one(BY_ID, id="before")


async def test_who_was_away_for_longer_than_changes_are_kept_learns_all_anew(processes: Processes, monkeypatch: pytest.MonkeyPatch) -> None:
    db = await processes.begin()
    gaps: list[int] = []
    db.feed.on_gap(lambda: gaps.append(1))
    await db.write(add, "a")
    await db._tail.stop()
    db.feed.looked(db.feed._looked - 3600)
    await db._tail.start()
    assert gaps == [1]


async def test_old_changes_are_forgotten(processes: Processes) -> None:
    from moln.kernel.db import postgres_feed

    db = await processes.begin()
    await db.write(add, "a")
    await db.plainly(lambda conn: conn.execute("UPDATE changes SET at = at - interval '1 hour'"))
    await db.write(add, "b")
    await db.plainly(lambda conn: conn.execute(postgres_feed.PURGE))
    assert await db.plainly(lambda conn: conn.fetchval("SELECT array_agg(key) FROM changes")) == ["b"]


async def test_how_long_a_write_would_wait_is_known_while_many_do(processes: Processes) -> None:
    db = await processes.begin()
    slow = Query(sa.select(sa.cast(sa.func.pg_sleep(0.02), sa.Text).label("slept")), str)

    async def take_time(tx: Transaction) -> None:
        await tx.one(slow)

    assert db.wait_s() == 0
    await db.write(take_time)
    writes = [asyncio.create_task(db.write(take_time)) for _ in range(60)]
    await asyncio.wait(writes, return_when=asyncio.FIRST_COMPLETED)
    assert 0 < db.wait_s() < 60
    await asyncio.gather(*writes)
    assert db.wait_s() == 0
