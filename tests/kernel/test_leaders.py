"""What a leader's token is shown to: the database lets the newest leader write, and nobody who led before."""

from __future__ import annotations

import asyncio

import pytest
import sqlalchemy as sa

from moln.kernel.cloud import Cloud
from moln.kernel.db import Query, Reader, Transaction
from moln.kernel.link import leases
from moln.kernel.nodes import declare_tables
from moln.kernel.work import Later, Periodic, Reconciler, Work, Workers
from moln.kernel.work.leaders import Deposed, LedWork

POSTGRESQL = "fast"
declare_tables()
NODES = Query(sa.select(leases.leases.c.node).order_by(leases.leases.c.node), str)


async def write(tx: Transaction, node: str) -> None:
    await tx.insert(leases.leases, {"node": node, "ends_us": 1})


async def test_a_leader_whose_time_is_over_writes_nothing(cloud: Cloud) -> None:
    first, second = LedWork(cloud, "job", 7), LedWork(cloud, "job", 9)
    await first.write(write, "of-the-first")
    await second.write(write, "of-the-second")
    with pytest.raises(Deposed):
        await first.write(write, "late")
    await second.write(write, "again")
    await LedWork(cloud, "another-job", 1).write(write, "of-another-job")  # each has terms of its own
    assert await cloud.db.all(NODES) == ["again", "of-another-job", "of-the-first", "of-the-second"]


async def test_what_fails_shows_no_token(cloud: Cloud) -> None:
    async def fail(tx: Transaction) -> None:
        raise ValueError

    with pytest.raises(ValueError):
        await LedWork(cloud, "job", 9).write(fail)
    await LedWork(cloud, "job", 7).write(write, "n1")


class Elections:
    """Who leads what, and the highest token so far: what etcd is to controllers."""

    def __init__(self) -> None:
        self.leader: dict[str, Elected] = {}
        self.given = 0


class Elected:
    """One controller's side of it (`Leaders`)."""

    trouble = ""

    def __init__(self, elections: Elections) -> None:
        self.elections = elections
        self.terms: dict[str, int] = {}
        self.resigned: list[str] = []

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    def on_change(self, callback: object) -> None: ...

    async def lead(self, name: str) -> int | None:
        if name not in self.terms and self.elections.leader.setdefault(name, self) is self:
            self.elections.given += 1
            self.terms[name] = self.elections.given
        return self.terms.get(name)

    def token(self, name: str) -> int | None:
        return self.terms.get(name)

    def resign(self, name: str) -> None:
        self.terms.pop(name, None)
        self.resigned.append(name)


def controllers(cloud: Cloud) -> tuple[Cloud, Cloud, Elections]:
    """Two of them, on one database."""
    elections, made = Elections(), []
    for _ in range(2):
        made.append(Cloud(settings=cloud.settings, db=cloud.db, policy=cloud.policy, links=cloud.links, home=cloud.home, clock=cloud.clock))
        made[-1].leaders = Elected(elections)
    return made[0], made[1], elections


async def test_a_job_is_its_leaders_and_one_that_was_deposed_writes_nothing_and_resigns(cloud: Cloud) -> None:
    one, two, elections = controllers(cloud)
    ran: list[Cloud] = []

    async def job(work: Work) -> None:
        ran.append(work.cloud)
        await work.write(write, f"run-{len(ran)}")

    periodic = Periodic("job", job, 0.01)
    workers = [Workers(each, [], [periodic]) for each in (one, two)]
    workers[0].start()
    async with asyncio.timeout(20):
        while not ran:
            await asyncio.sleep(0.01)
        workers[1].start()
        while len(ran) < 5:
            await asyncio.sleep(0.01)
        assert set(ran) == {one}
        elections.leader["periodic/job"] = two.leaders  # type: ignore[assignment]  # one stood still, and does not know yet
        while two not in ran:
            await asyncio.sleep(0.01)
        while "periodic/job" not in one.leaders.resigned:  # type: ignore[union-attr]
            await asyncio.sleep(0.01)
        at = len(ran)
        while len(ran) < at + 3:
            await asyncio.sleep(0.01)
    for each in workers:
        await each.stop()
    assert set(ran[at:]) == {two}
    written, refused = set(await cloud.db.all(NODES)), len(ran)
    assert 0 < refused - len(written) <= 2, "what one wrote late is not there"


async def test_what_one_controller_keeps_is_settled_by_its_leader(cloud: Cloud) -> None:
    one, two, elections = controllers(cloud)
    settled: list[Cloud] = []

    async def find(db: Reader, now_us: int) -> list[str]:
        return ["engine"]

    async def settle(work: Work, resource: str) -> None:
        settled.append(work.cloud)
        raise Later("more", 0.01)

    async def fail(work: Work, resource: str, reason: str) -> None: ...

    engine = Reconciler("engine", find=find, settle=settle, fail=fail, key=str, every_s=0.05, deadline=lambda _: None, keeps=True)
    workers = [Workers(each, [engine]) for each in (one, two)]
    async with asyncio.timeout(20):
        for each in workers:
            each.start()
        while len(settled) < 5:
            await asyncio.sleep(0.01)
        [leader] = set(settled)
        other = two if leader is one else one
        leader.leaders.resign("engine")  # type: ignore[union-attr]
        elections.leader["engine"] = other.leaders  # type: ignore[assignment]
        at = len(settled)
        while other not in settled[at:]:
            await asyncio.sleep(0.01)
        at = len(settled)
        while len(settled) < at + 3:
            await asyncio.sleep(0.01)
    for each in workers:
        await each.stop()
    assert set(settled[at:]) == {other}
