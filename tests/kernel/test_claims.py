"""Claims on PostgreSQL: one controller at a time works on a resource, and another goes on when the first is gone."""

from __future__ import annotations

import asyncio
import collections
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests import databases
from tests.kernel.boxes import BOXES, EVERY, Box, add
from tests.postgres import binaries

from moln.kernel.clock import Clock
from moln.kernel.cloud import Cloud
from moln.kernel.config import Settings
from moln.kernel.db import Database, Reader, Transaction
from moln.kernel.link import InProcessLinks
from moln.kernel.policy import Policy
from moln.kernel.work import Periodic, Reconciler, Work, Workers

pytestmark = pytest.mark.skipif(binaries() is None, reason="no PostgreSQL here: Debian's package is `postgresql`")
Begin = Callable[..., Awaitable[Any]]


@pytest.fixture
async def begin() -> AsyncIterator[Begin]:
    """Begin another controller's claims, on a database of its own over the same tables."""
    from moln.kernel.db.postgres import PostgresDatabase
    from moln.kernel.db.postgres_claims import PostgresClaims

    url = await databases.server().fresh()
    open_now: list[tuple[Any, Database]] = []

    async def begin(lease_s: float = 600.0) -> Any:
        db = PostgresDatabase(url)
        await db.open()
        claims = PostgresClaims(db, lambda: str(uuid.uuid4()), "test", lease_s)
        await claims.start()
        open_now.append((claims, db))
        return claims

    yield begin
    for claims, db in open_now:
        await claims.stop()
        await db.close()
    await databases.server().drop(url)


async def test_one_of_two_has_a_claim(begin: Begin) -> None:
    one, two = await begin(), await begin()
    assert await one.take("servers", ["a", "b"], 8) == {"a": True, "b": True}
    assert await one.take("servers", ["a"], 8) == {"a": False}  # it has it already
    assert await two.take("servers", ["a", "b", "c"], 8) == {"c": True}
    assert await two.take("volumes", ["a"], 8) == {"a": True}


async def test_many_takers_share_without_overlap(begin: Begin) -> None:
    one, two = await begin(), await begin()
    keys = [f"{i:03}" for i in range(100)]
    found = await asyncio.gather(*(taker.take("servers", keys, 7) for _ in range(5) for taker in (one, two)))
    mine, theirs = set().union(*found[0::2]), set().union(*found[1::2])
    assert not mine & theirs and mine and theirs and all(len(f) <= 7 for f in found)


async def test_what_others_hold_does_not_fill_the_page(begin: Begin) -> None:
    one, two = await begin(), await begin()
    await one.take("servers", ["a", "b", "c"], 8)
    assert await two.take("servers", ["a", "b", "c", "d", "e"], 1) == {"d": True}


async def test_what_is_left_is_anybodys(begin: Begin) -> None:
    one, two = await begin(), await begin()
    await one.take("servers", ["a", "b"], 8)
    one.leave("servers", "a")
    await one._beat()
    assert await two.take("servers", ["a", "b"], 8) == {"a": True}
    assert await one.take("servers", ["a", "b"], 8) == {"b": False}


async def test_what_is_taken_again_before_it_was_left_stays(begin: Begin) -> None:
    one, two = await begin(), await begin()
    await one.take("servers", ["a"], 8)
    one.leave("servers", "a")
    assert await one.take("servers", ["a"], 8) == {"a": False}
    await one._beat()
    assert await two.take("servers", ["a"], 8) == {}


async def test_a_controller_that_ends_leaves_all_at_once_and_the_other_is_told(begin: Begin) -> None:
    one, two = await begin(), await begin()
    changes: list[bool] = []
    await two._beat()
    two.on_change(changes.append)
    await one.take("servers", ["a"], 8)
    await one.stop()
    assert await two.take("servers", ["a"], 8) == {"a": True}
    await two._beat()
    assert changes == [False]


async def test_one_that_shows_no_life_is_succeeded_and_gives_up_when_it_wakes(begin: Begin) -> None:
    one, two = await begin(), await begin()
    lost: list[bool] = []
    one.on_change(lost.append)
    await one.take("servers", ["a"], 8)
    assert await two.take("servers", ["a"], 8) == {}
    await two._db.plainly(lambda conn: conn.execute("UPDATE controllers SET until = now() - interval '1 s' WHERE id = $1", one.id))
    assert await two.take("servers", ["a"], 8) == {"a": True}
    before = one.id
    await one._beat()
    assert lost == [True] and one.id != before
    await one._beat()
    assert await one.take("servers", ["a", "b"], 8) == {"b": True}


async def test_a_server_that_forgot_all_claims_makes_everybody_take_them_anew(begin: Begin) -> None:
    """Unlogged tables are empty after a crash of PostgreSQL."""
    one = await begin()
    lost: list[bool] = []
    one.on_change(lost.append)
    await one.take("servers", ["a"], 8)
    await one._db.plainly(lambda conn: conn.execute("TRUNCATE controllers, work_claims"))
    await one._beat()
    assert lost == [True]


async def test_a_claim_without_a_living_owner_is_not_had(begin: Begin) -> None:
    """One whose lease ran out takes nothing before it has said that it lives."""
    one = await begin()
    await one._db.plainly(lambda conn: conn.execute("UPDATE controllers SET until = now() - interval '1 s'"))
    assert await one.take("servers", ["a"], 8) == {}


async def test_what_one_hears_of_another_ones_is_passed_on(begin: Begin) -> None:
    one, two = await begin(), await begin()
    heard: dict[str, list[str]] = {"one": [], "two": []}
    one._db.feed.subscribe("wake.servers", heard["one"].extend)
    two._db.feed.subscribe("wake.servers", heard["two"].extend)
    await one.pass_on("servers", ["a"])
    async with asyncio.timeout(20):
        while not heard["two"]:
            await asyncio.sleep(0.01)
    assert heard == {"one": [], "two": ["a"]}


async def test_what_all_hear_of_a_change_is_not_passed_on_by_those_who_make_a_wake_of_it(begin: Begin) -> None:
    known: list[bool] = []
    for claims in (await begin(), await begin()):
        feed = claims._db.feed
        feed.subscribe("ports", lambda keys, feed=feed: feed.publish([("wake.boxes", key) for key in keys]))
        feed.subscribe("wake.boxes", lambda _, feed=feed: known.append(feed.known))
    feed.publish([("wake.boxes", "by itself")])

    async def change(tx: Transaction) -> None:
        tx.changed("ports", "p")

    await claims._db.write(change)
    async with asyncio.timeout(20):
        while len(known) < 3:
            await asyncio.sleep(0.01)
    assert known == [False, True, True] and feed.known


async def grown(tx: Transaction, id: str) -> None:
    await tx.update(BOXES, {"size": 1}, id=id)


def cloud_of(claims: Any, home: Path) -> Cloud:
    cloud = Cloud(settings=Settings(), db=claims._db, policy=Policy.load(), links=InProcessLinks(Clock().now_us), home=home)
    cloud.claims = claims
    return cloud


async def unsettled_ids(db: Reader, now_us: int) -> list[str]:
    return [box.id for box in await db.all(EVERY) if not box.size]


async def still(db: Reader, ids: list[str]) -> list[Box]:
    return [box for box in await db.all(EVERY) if box.id in ids and not box.size]


@pytest.mark.parametrize("by_id", [False, True], ids=["read whole", "found by their ids"])
async def test_no_resource_is_settled_by_two_controllers_at_once_nor_twice(begin: Begin, tmp_path: Path, by_id: bool) -> None:
    """Work found by both, as every wake reaches both."""
    at_work: set[str] = set()
    overlaps: list[str] = []
    settled: collections.Counter[str] = collections.Counter()

    async def find(db: Reader, now_us: int) -> list[Box]:
        return [box for box in await db.all(EVERY) if not box.size]

    async def settle(work: Work, box: Box) -> None:
        overlaps.extend({box.id} & at_work)
        at_work.add(box.id)
        await asyncio.sleep(0.02)  # long enough for the other to find the same
        await work.write(grown, box.id)
        at_work.discard(box.id)
        settled[box.id] += 1

    async def fail(work: Work, box: Box, reason: str) -> None:
        raise AssertionError(reason)

    async def fill(tx: Transaction) -> None:
        for number in range(40):
            await add(tx, f"{number:02}", 0)
        tx.wake("boxes")

    workers = []
    how: dict[str, Any] = {"ids": unsettled_ids, "load": still} if by_id else {}
    for claims in (await begin(), await begin()):
        boxes = Reconciler("boxes", find=find, settle=settle, fail=fail, at_once=4, every_s=600, **how)
        workers.append(Workers(cloud_of(claims, tmp_path), [boxes]))
    for one in workers:
        one.start()
    await workers[0]._cloud.db.write(fill)
    async with asyncio.timeout(60):
        while len(settled) < 40 or at_work:
            await asyncio.sleep(0.01)
    for one in workers:
        await one.stop()
    assert overlaps == [] and set(settled.values()) == {1}


async def test_a_periodic_job_is_run_by_one_controller_or_by_every_one_that_keeps_what_it_finds(begin: Begin, tmp_path: Path) -> None:
    once: list[Cloud] = []
    each: list[Cloud] = []
    enough = asyncio.Event()

    async def by_one(work: Work) -> None:
        once.append(work.cloud)

    async def by_all(work: Work) -> None:
        each.append(work.cloud)
        if each.count(work.cloud) >= 3 and len(set(map(id, each))) == 2:
            enough.set()

    jobs = [Periodic("one", by_one, every_s=0.01), Periodic("all", by_all, every_s=0.01, everywhere=True)]
    workers = [Workers(cloud_of(await begin(), tmp_path), [], jobs) for _ in range(2)]
    for one in workers:
        one.start()
    async with asyncio.timeout(60):
        await enough.wait()
        while not once:
            await asyncio.sleep(0.01)
    for one in workers:
        await one.stop()
    assert len(set(map(id, once))) == 1
