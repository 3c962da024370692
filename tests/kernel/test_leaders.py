"""What a leader's token is shown to: the database lets the newest leader write, and nobody who led before."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from moln.kernel.cloud import Cloud
from moln.kernel.db import Query, Transaction
from moln.kernel.link import leases
from moln.kernel.nodes import declare_tables
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
