"""Two controllers that share an etcd, which is killed: servers still boot, all is read, and only who leads cannot change until it is back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from tests.faults.test_two_controllers import END_S, Pair, prepare, whole
from tests.kernel.etcd_server import EtcdServer

from moln.host.places import Places

pytestmark = pytest.mark.engines


@pytest.fixture
async def etcd(tmp_path: Path) -> AsyncIterator[EtcdServer]:
    home = tmp_path / "one"
    home.mkdir()
    server = EtcdServer(home)
    server.start()
    (home / "moln.toml").write_text(f'[link]\netcd = ["{server.url}"]\n')
    yield server
    server.stop()


@pytest.fixture
async def pair(tmp_path: Path, etcd: EtcdServer) -> AsyncIterator[Pair]:
    made = Pair(tmp_path)
    try:
        await made.begin()
        yield made
    finally:
        await made.end()


async def boot(client: httpx.AsyncClient, body: dict[str, object]) -> str:
    answer = await client.post("/compute/v2.1/servers", json=body)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["server"]["id"])


async def doctor(pair: Pair, number: int) -> str:
    transport = httpx.AsyncHTTPTransport(uds=str(Places(pair.controllers[number].home).admin_socket))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as asked:
        return (await asked.get("/doctor", timeout=60)).text


async def leader_of(etcd: EtcdServer, job: str) -> int:
    item = await etcd.client().find(f"leaders/{job}")
    return item.created if item else 0


async def test_boots_go_on_without_etcd_and_the_next_leader_waits_for_it(pair: Pair, etcd: EtcdServer) -> None:
    one, two = (controller.client(pair.token) for controller in pair.controllers)
    body = await prepare(one)
    answered = {await boot(one, body), await boot(two, body)}
    await whole(pair, two, answered)
    assert (first := await leader_of(etcd, "network-engine")) > 0

    await asyncio.to_thread(etcd.stop)
    answered |= {await boot(client, body) for client in (one, two) * 4}
    await whole(pair, two, answered)  # the leader goes on writing the network engine
    assert "Nobody new can lead" in await doctor(pair, 1)

    pair.controllers[0].kill()  # it led: it began first
    late = await boot(two, body)
    shown = (await two.get(f"/compute/v2.1/servers/{late}")).json()["server"]
    assert shown["status"] == "BUILD"
    assert (await two.get("/readyz")).json()["checks"]["database"] == "ok"

    await asyncio.to_thread(etcd.start)
    await asyncio.wait_for(whole(pair, two, {*answered, late}), END_S)
    assert await leader_of(etcd, "network-engine") > first
    assert "etcd" not in (await doctor(pair, 1)).partition("violations")[2]
    await one.aclose()
    await two.aclose()
