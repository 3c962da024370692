"""SEC-42 (OSSA-2012-009, CVE-2012-3371, CVE-2014-3708): hints, filters, bodies and unknown addresses cost no more than they should."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc

from tests.compute.world import World, world  # noqa: F401 (a fixture)


async def test_hints_are_bounded(world: World):  # noqa: F811
    body = {"server": {"name": "x", "flavorRef": world.small, "imageRef": world.image, "networks": "none"}}
    many = {"os:scheduler_hints": {"different_host": ["11111111-1111-4111-8111-111111111111"] * 101}}
    refused = await world.call("POST", "/servers", 400, body | many)
    assert "different_host" in refused["badRequest"]["message"]


async def test_long_queries_and_bodies_are_refused(world: World):  # noqa: F811
    await world.call("GET", "/flavors?" + "&".join(f"sort_key=k{i}" for i in range(300)), 400)
    await world.call("GET", "/flavors?name=" + "x" * 20_000, 400)
    answer = await world.api.member.post("/compute/v2.1/servers", content=b"{" + b" " * (2 << 20))
    assert answer.status_code == 413


async def test_unknown_addresses_leave_nothing_in_memory(world: World):  # noqa: F811
    async def ask(first: int, count: int) -> None:
        for n in range(first, first + count):
            await world.api.member.get(f"/compute/v2.1/no-such-{n}/{n}")
            await asyncio.sleep(0)  # the client's own clean-up runs in the loop

    await ask(0, 300)
    gc.collect()
    tracemalloc.start()
    await ask(1000, 50)
    gc.collect()
    before = tracemalloc.get_traced_memory()[0]
    await ask(2000, 1000)
    gc.collect()
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 200_000  # a kept address would cost 300 bytes and more each
