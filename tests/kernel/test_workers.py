"""Reconcilers: woken or periodic, bounded, patient up to a deadline, never busy and never stuck."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from msgspec import Struct

from moln.kernel.cloud import Cloud
from moln.kernel.db import Reader, Transaction
from moln.kernel.errors import BackendRefused, BackendUnreachable, Conflict, OverQuota
from moln.kernel.work import Later, Periodic, Reconciler, Work, Workers
from moln.kernel.work import workers as module


class Thing(Struct, frozen=True):
    id: str


class World:
    """Things that want settling, kept in memory: what a database would say."""

    def __init__(self, cloud: Cloud, *ids: str):
        self.cloud = cloud
        self.unsettled = list(ids)
        self.settled: list[str] = []
        self.failed: dict[str, str] = {}
        self.looks = 0
        self.running = self.most = 0
        self.then: Callable[[str], Awaitable[None]] | None = None
        self.changed = asyncio.Event()

    async def find(self, db: Reader, now_us: int) -> list[Thing]:
        self.looks += 1
        self.changed.set()
        return [Thing(i) for i in self.unsettled]

    async def settle(self, work: Work, thing: Thing) -> None:
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            if self.then:
                await self.then(thing.id)
            self.settled.append(thing.id)
            self.unsettled.remove(thing.id)
        finally:
            self.running -= 1
            self.changed.set()

    async def fail(self, work: Work, thing: Thing, reason: str) -> None:
        self.failed[thing.id] = reason
        self.unsettled.remove(thing.id)
        self.changed.set()

    async def wake(self, key: str = "") -> None:
        async def fn(tx: Transaction) -> None:
            tx.wake("things", key)

        await self.cloud.db.write(fn)

    async def until(self, condition: Callable[[], bool], s: float = 10) -> None:
        async with asyncio.timeout(s):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    def workers(self, **options: Any) -> Workers:
        found = Reconciler("things", find=self.find, settle=self.settle, fail=self.fail, **{"every_s": 60.0, **options})
        return Workers(self.cloud, [found])


class Running:
    def __init__(self, workers: Workers):
        self.workers = workers

    async def __aenter__(self) -> None:
        self.workers.start()

    async def __aexit__(self, *_: object) -> None:
        await self.workers.stop()


async def test_what_is_there_at_start_is_settled(cloud: Cloud) -> None:
    world = World(cloud, "a", "b")
    async with Running(world.workers()):
        await world.until(lambda: world.settled == ["a", "b"])


async def test_a_wake_settles_long_before_the_period(cloud: Cloud) -> None:
    world = World(cloud)
    async with Running(world.workers()):
        await asyncio.sleep(0.05)
        world.unsettled.append("a")
        await world.wake("a")
        await world.until(lambda: world.settled == ["a"], 2)


async def test_what_a_look_saw_before_it_was_settled_is_not_settled_again(cloud: Cloud) -> None:
    world, begun, looking = World(cloud, "a"), asyncio.Event(), asyncio.Event()

    async def slowly(key: str) -> None:
        begun.set()
        await looking.wait()

    async def late(db: Reader, now_us: int) -> list[Thing]:
        found = await World.find(world, db, now_us)
        if world.looks == 2:  # it has read, and its answer comes once all is settled
            looking.set()
            await world.until(lambda: not world.unsettled)
            for _ in range(10):  # until whoever settled it has put it down
                await asyncio.sleep(0)
        return found

    world.then, world.find = slowly, late  # type: ignore[method-assign]
    async with Running(world.workers()):
        await begun.wait()
        await world.wake("a")
        await world.until(lambda: world.looks >= 3)
    assert world.settled == ["a"]


async def test_without_a_wake_the_period_settles(cloud: Cloud) -> None:
    world = World(cloud)
    async with Running(world.workers(every_s=0.1)):
        await asyncio.sleep(0.02)
        world.unsettled.append("a")
        await world.until(lambda: world.settled == ["a"], 2)


async def test_more_than_may_run_at_once_run_when_a_slot_frees(cloud: Cloud) -> None:
    world = World(cloud, *(f"t{i}" for i in range(20)))

    async def work(_: str) -> None:
        await asyncio.sleep(0.001)

    world.then = work
    async with Running(world.workers(at_once=3)):
        await world.until(lambda: len(world.settled) == 20, 5)
    assert world.most == 3


async def test_full_slots_are_waited_for_without_looking_again_and_again(cloud: Cloud) -> None:
    world = World(cloud, "slow", "failing")
    gate = asyncio.Event()

    async def work(id: str) -> None:
        if id == "failing":
            raise BackendUnreachable("gone")
        await gate.wait()

    world.then = work
    async with Running(world.workers(at_once=1)):
        await asyncio.sleep(0.3)
        assert world.looks <= 2
        gate.set()
        await world.until(lambda: world.settled == ["slow"])


async def test_a_wake_while_it_settles_makes_it_settle_again(cloud: Cloud) -> None:
    world = World(cloud, "a")
    entered, gate = asyncio.Event(), asyncio.Event()
    times = []

    async def work(id: str) -> None:
        times.append(id)
        entered.set()
        await gate.wait()
        if len(times) == 1:
            raise Later("the port is not up", 60)

    world.then = work
    async with Running(world.workers()):
        await entered.wait()
        await world.wake("a")
        gate.set()
        await world.until(lambda: world.settled == ["a"], 2)


@pytest.mark.parametrize("key", ["a", ""])
async def test_a_wake_ends_a_wait_early(cloud: Cloud, key: str) -> None:
    world = World(cloud, "a")
    waited = asyncio.Event()

    async def work(_: str) -> None:
        if not waited.is_set():
            waited.set()
            raise Later("not yet", 60)

    world.then = work
    async with Running(world.workers()):
        await waited.wait()
        await asyncio.sleep(0.05)
        await world.wake(key)
        await world.until(lambda: world.settled == ["a"], 2)


async def test_an_unreachable_backend_is_tried_again_with_growing_pauses_until_it_answers(cloud: Cloud) -> None:
    world = World(cloud, "a")
    tries: list[float] = []

    async def work(_: str) -> None:
        tries.append(asyncio.get_running_loop().time())
        if len(tries) < 3:
            raise BackendUnreachable("gone")

    world.then = work
    async with Running(world.workers()):
        await world.until(lambda: world.settled == ["a"])
    assert tries[2] - tries[1] > 1.5 * (tries[1] - tries[0])
    assert world.failed == {}


async def test_what_stays_unreachable_ends_in_error_at_its_deadline(cloud: Cloud) -> None:
    world = World(cloud, "a")

    async def work(_: str) -> None:
        raise BackendUnreachable("node n1 is silent")

    world.then = work
    deadline = cloud.clock.now_us() + 700_000
    async with Running(world.workers(deadline=lambda _: deadline)):
        await world.until(lambda: bool(world.failed))
    assert world.failed == {"a": "node n1 is silent"}


@pytest.mark.parametrize("error", [Later("the port is not up", 0.05), Conflict("someone else"), ValueError("a bug")])
async def test_nothing_waits_beyond_its_deadline(cloud: Cloud, error: Exception) -> None:
    world = World(cloud, "a")

    async def work(_: str) -> None:
        raise error

    world.then = work
    deadline = cloud.clock.now_us() + 200_000
    async with Running(world.workers(deadline=lambda _: deadline)):
        await world.until(lambda: bool(world.failed))
    assert "bug" not in world.failed["a"]


@pytest.mark.parametrize("error", [BackendRefused("no such pool"), OverQuota("no room")])
async def test_a_refusal_ends_in_error_at_once_with_its_words(cloud: Cloud, error: Exception) -> None:
    world = World(cloud, "a")

    async def work(_: str) -> None:
        raise error

    world.then = work
    async with Running(world.workers()):
        await world.until(lambda: bool(world.failed), 2)
    assert world.failed == {"a": str(error)}


async def test_a_hung_settling_is_cut_off(cloud: Cloud) -> None:
    world = World(cloud, "a")
    tries: list[str] = []

    async def work(id: str) -> None:
        tries.append(id)
        if len(tries) == 1:
            await asyncio.Event().wait()

    world.then = work
    async with Running(world.workers(at_most_s=0.1)):
        await world.until(lambda: world.settled == ["a"])


async def test_one_that_fails_again_and_again_keeps_no_other_waiting(cloud: Cloud) -> None:
    world = World(cloud, "bad", "good")

    async def work(id: str) -> None:
        if id == "bad":
            raise ValueError("a bug")

    world.then = work
    async with Running(world.workers(at_once=1)):
        await world.until(lambda: world.settled == ["good"], 5)


async def test_a_look_that_raises_is_looked_again(cloud: Cloud) -> None:
    world = World(cloud, "a")
    find = world.find

    async def broken(db: Reader, now_us: int) -> list[Thing]:
        if not world.looks:
            world.looks += 1
            raise RuntimeError("the database is away")
        return await find(db, now_us)

    world.find = broken  # type: ignore[method-assign]
    async with Running(world.workers(every_s=0.1)):
        await world.until(lambda: world.settled == ["a"], 3)


@pytest.mark.parametrize("how", ["settles", "fails"])
async def test_one_that_is_found_for_ever_keeps_no_processor_busy(cloud: Cloud, how: str) -> None:
    world = World(cloud, "a")
    tries: list[str] = []

    async def settle(work: Work, thing: Thing) -> None:
        tries.append(thing.id)
        await world.wake("a")
        if how == "fails":
            raise BackendRefused("no")

    async def fail(work: Work, thing: Thing, reason: str) -> None:
        tries.append("fail")

    world.settle, world.fail = settle, fail  # type: ignore[method-assign]
    async with Running(world.workers()):
        await asyncio.sleep(1.0)
    assert len(tries) < 30


async def test_stopping_cancels_what_runs_and_waits_for_it(cloud: Cloud) -> None:
    world = World(cloud, "a")
    entered = asyncio.Event()
    ended = []

    async def work(_: str) -> None:
        entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(1)

    world.then = work
    workers = world.workers()
    workers.start()
    await entered.wait()
    await asyncio.wait_for(workers.stop(), 5)
    assert ended == [1]


async def test_settle_says_who_never_settles(cloud: Cloud) -> None:
    world = World(cloud, "a")

    async def settle(work: Work, thing: Thing) -> None:
        return

    world.settle = settle  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="things"):
        await world.workers().settle(rounds=3)


async def test_a_periodic_job_that_raises_runs_again(cloud: Cloud) -> None:
    runs: list[int] = []
    twice = asyncio.Event()

    async def run(work: Work) -> None:
        runs.append(1)
        if len(runs) == 2:
            twice.set()
        raise ValueError("a bug")

    workers = Workers(cloud, [], [Periodic("job", run, 0.01)])
    async with Running(workers):
        await asyncio.wait_for(twice.wait(), 5)


def test_pauses_are_bounded() -> None:
    assert 0 < module.RACE_PAUSE_S < module.FIRST_PAUSE_S < module.LONGEST_PAUSE_S <= 60
