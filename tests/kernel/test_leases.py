"""What leases of nodes promise, in whatever store: one suite for the table and for etcd."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests import databases

from moln.kernel.clock import Clock
from moln.kernel.link.leases import DatabaseLeases, Leases
from moln.kernel.nodes import declare_tables

declare_tables()
NOW, SECOND = Clock().now_us, 1_000_000


@pytest.fixture(params=["table", pytest.param("etcd", marks=pytest.mark.engines)])
async def leases(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Leases]:
    if request.param == "table":
        db = await databases.opened(tmp_path)
        yield DatabaseLeases(db)
        await db.close()
        return
    from tests.kernel.etcd_server import EtcdServer

    from moln.kernel.etcd.leases import EtcdLeases

    server = EtcdServer(tmp_path)
    server.start()
    yield EtcdLeases(server.client(), NOW)
    server.stop()


def about(found: int, wanted: int) -> bool:
    """Never earlier, and not more than etcd's seconds later."""
    return wanted <= found <= wanted + 2 * SECOND


async def test_nodes_live_until_the_latest_end_that_anybody_said(leases: Leases) -> None:
    now = NOW()
    assert await leases.ends_us("n1") == 0
    await leases.renew({"n1", "n2"}, now + 60 * SECOND)
    await leases.renew({"n1", "n3"}, now + 30 * SECOND)  # another controller's, late
    assert about(await leases.ends_us("n1"), now + 60 * SECOND) and about(await leases.ends_us("n2"), now + 60 * SECOND)
    assert about(await leases.ends_us("n3"), now + 30 * SECOND)
    await leases.renew({"n1"}, now + 90 * SECOND)
    assert about(await leases.ends_us("n1"), now + 90 * SECOND)


async def test_one_that_is_ended_lives_no_more(leases: Leases) -> None:
    await leases.renew({"n1", "n2"}, NOW() + 60 * SECOND)
    await leases.end("n2")
    assert await leases.ends_us("n2") == 0 and await leases.ends_us("n1") > NOW()


async def test_one_that_nobody_renews_lives_no_more(leases: Leases) -> None:
    await leases.renew({"n1"}, NOW() + SECOND // 2)
    async with asyncio.timeout(30):
        while await leases.ends_us("n1") > NOW():
            await asyncio.sleep(0.1)


async def test_many_nodes_at_once(leases: Leases) -> None:
    names = {f"node-{n}.example" for n in range(450)}
    ends = NOW() + 60 * SECOND
    await leases.renew(names, ends)
    await leases.renew([], ends)
    assert about(await leases.ends_us("node-449.example"), ends) and about(await leases.ends_us("node-0.example"), ends)
