"""Two controllers on one PostgreSQL, both taking requests; one is killed in the middle: nothing that was answered 202 is lost or made twice."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from tests.postgres import Server, binaries

from moln.compute.drivers.base import ComputeDriver
from moln.compute.drivers.fake import FakeCompute
from moln.kernel.clock import Clock
from moln.kernel.link import MemoryFences, Verbs
from moln.kernel.link.sockets import SocketEnd
from moln.network.drivers.node import NodeNetworkDriver
from moln.network.drivers.node_fake import FakeNodeNetwork
from moln.volume.drivers.base import VolumeDriver
from moln.volume.drivers.fake import FakeVolumes

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(binaries() is None, reason="no PostgreSQL here: Debian's package is `postgresql`"),
]
SERVERS, NODES, END_S = 40, 3, 150
UNDONE = httpx.TransportError


class Node:
    """A hypervisor in the test's own process, connected to every controller: what was asked of it is seen here."""

    def __init__(self, name: str, volumes: FakeVolumes) -> None:
        self.name = name
        self.compute = FakeCompute(name)
        drivers: dict[str, tuple[type, object]] = {
            "compute": (ComputeDriver, self.compute), "volume": (VolumeDriver, volumes), "network": (NodeNetworkDriver, FakeNodeNetwork()),
        }  # fmt: skip
        self._verbs = Verbs(drivers, MemoryFences(), Clock().now_us)  # one fence: whoever commands, the newest generation counts
        self._tasks: list[asyncio.Task[None]] = []
        self._ends: list[SocketEnd] = []

    async def join(self, homes: list[Path]) -> None:
        facts = {"compute": msgspec.to_builtins(await self.compute.host_facts())}
        self._ends = [SocketEnd(home / "run/controller.sock", self.name, lambda: facts, self._verbs) for home in homes]
        self._tasks = [asyncio.create_task(end.run(0.1)) for end in self._ends]
        self.compute.on_power_change(lambda state: [end.report("compute.power", [state]) for end in self._ends])
        await asyncio.gather(*(end.connected.wait() for end in self._ends))

    async def leave(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class Controller:
    def __init__(self, home: Path, url: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.home = home
        ready, told = os.pipe()
        with open(home / "log", "ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.controllers", str(home), url, str(self.port)], stdout=log, stderr=log,
                env={**os.environ, "PYTHONPATH": "src:.", "MOLN_READY_FD": str(told)}, pass_fds=[told],
            )  # fmt: skip
        os.close(told)
        self._ready = ready

    async def ready(self) -> None:
        said = await asyncio.to_thread(os.read, self._ready, 16)
        os.close(self._ready)
        assert said == b"ready\n", (self.home / "log").read_text()

    def client(self, token: str = "") -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}", headers={"X-Auth-Token": token}, timeout=60)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


class Pair:
    """Two controllers with the same keys, and nodes that both command."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server = Server(lasting=True)
        self.controllers: list[Controller] = []
        volumes = FakeVolumes()
        self.nodes = [Node(f"node-{n}", volumes) for n in range(1, NODES + 1)]

    async def begin(self) -> None:
        self.url = await self.server.empty()
        homes = [self.folder / "one", self.folder / "two"]
        homes[0].mkdir(exist_ok=True)
        self.controllers.append(Controller(homes[0], self.url))
        await self.controllers[0].ready()
        shutil.copytree(homes[0], homes[1], ignore=shutil.ignore_patterns("run", "log", "pool"))
        (homes[0] / "pool").mkdir(exist_ok=True)
        (homes[1] / "pool").symlink_to(homes[0] / "pool")
        self.controllers.append(Controller(homes[1], self.url))
        await self.controllers[1].ready()
        for node in self.nodes:
            await node.join(homes)
        self.token = await self._sign_in((homes[0] / "admin.password").read_text().strip())

    async def _sign_in(self, password: str) -> str:
        user = {"name": "admin", "domain": {"id": "default"}, "password": password}
        scope = {"project": {"name": "admin", "domain": {"id": "default"}}}
        body = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}}
        async with self.controllers[0].client() as client:
            answer = await client.post("/identity/v3/auth/tokens", json=body)
        assert answer.status_code == 201, answer.text
        return answer.headers["X-Subject-Token"]

    def errors(self) -> list[str]:
        """What the controllers' logs say of internal errors."""
        return [line[-1500:] for c in self.controllers for line in (c.home / "log").read_text().splitlines() if '"level":"error"' in line][:6]

    async def end(self) -> None:
        for node in self.nodes:
            await node.leave()
        for controller in self.controllers:
            controller.kill()
        self.server.remove()


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    made = Pair(tmp_path)
    try:
        await made.begin()
        yield made
    finally:
        await made.end()


async def prepare(client: httpx.AsyncClient) -> dict[str, Any]:
    """What a server needs; the body that asks for one."""

    async def make(path: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = await client.post(path, json=body)
        assert answer.status_code in (200, 201), answer.text
        made: dict[str, Any] = answer.json()
        return made

    image = (await make("/image/v2/images", {"name": "cirros", "disk_format": "raw", "container_format": "bare"}))["id"]
    sent = await client.put(f"/image/v2/images/{image}/file", content=b"\0" * 4096, headers={"Content-Type": "application/octet-stream"})
    assert sent.status_code == 204, sent.text
    network = (await make("/network/v2.0/networks", {"network": {"name": "net"}}))["network"]["id"]
    await make("/network/v2.0/subnets", {"subnet": {"network_id": network, "cidr": "10.1.0.0/24", "ip_version": 4}})
    flavor = (await make("/compute/v2.1/flavors", {"flavor": {"name": "small", "vcpus": 1, "ram": 128, "disk": 1}}))["flavor"]["id"]
    project = (await client.get("/identity/v3/auth/projects")).json()["projects"][0]["id"]
    wide = {"quota_set": {"instances": -1, "cores": -1, "ram": -1}}
    assert (await client.put(f"/compute/v2.1/os-quota-sets/{project}", json=wide)).status_code == 200
    return {"server": {"name": "vm", "flavorRef": flavor, "imageRef": image, "networks": [{"uuid": network}]}}


async def until_settled(client: httpx.AsyncClient, wanted: set[str]) -> dict[str, str]:
    """Each server's status, when none is being built any more."""
    async with asyncio.timeout(END_S):
        while True:
            listed = (await client.get("/compute/v2.1/servers/detail?limit=1000")).json()["servers"]
            status = {s["id"]: s["status"] for s in listed}
            if wanted <= set(status) and "BUILD" not in status.values():
                return status
            await asyncio.sleep(0.2)


async def violations(pair: Pair) -> list[str]:
    """What a third controller's doctor says: in a process of its own, as this one has tables of other tests too."""
    command = [sys.executable, "-m", "tests.faults.controllers", str(pair.controllers[1].home), pair.url, "doctor"]
    done = await asyncio.to_thread(subprocess.run, command, env={**os.environ, "PYTHONPATH": "src:."}, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    found: list[str] = json.loads(done.stdout)
    return found


async def whole(pair: Pair, client: httpx.AsyncClient, answered: set[str]) -> None:
    """Every server that was promised is there, once, with all that belongs to it."""
    status = await until_settled(client, answered)
    assert set(status.values()) == {"ACTIVE"}, collections.Counter(status.values())
    on_nodes = collections.Counter(id for node in pair.nodes for id in node.compute.kept.servers)
    assert on_nodes == collections.Counter(dict.fromkeys(status, 1))
    ports = (await client.get("/network/v2.0/ports?device_owner=compute:nova")).json()["ports"]
    assert collections.Counter(p["device_id"] for p in ports) == collections.Counter(dict.fromkeys(status, 1))
    addresses = [fixed["ip_address"] for p in ports for fixed in p["fixed_ips"]]
    assert len(set(addresses)) == len(addresses) == len(status)
    assert {p["status"] for p in ports} == {"ACTIVE"}
    assert await violations(pair) == []


async def test_a_controller_killed_among_forty_boots_loses_none_and_doubles_none(pair: Pair) -> None:
    one, two = (controller.client(pair.token) for controller in pair.controllers)
    body = await prepare(one)
    answered: set[str] = set()
    enough = asyncio.Event()

    async def boot(client: httpx.AsyncClient) -> None:
        with contextlib.suppress(UNDONE):  # a request that nobody answered may or may not be there
            answer = await client.post("/compute/v2.1/servers", json=body)
            assert answer.status_code == 202, answer.text
            answered.add(answer.json()["server"]["id"])
            if len(answered) >= SERVERS // 2:
                enough.set()

    boots = [asyncio.create_task(boot((one, two)[n % 2])) for n in range(SERVERS)]
    await asyncio.wait_for(enough.wait(), END_S)
    pair.controllers[0].kill()
    await asyncio.gather(*boots)

    await whole(pair, two, answered)
    await one.aclose()
    await two.aclose()


async def test_a_database_that_is_killed_under_load_costs_503s_and_no_server(pair: Pair) -> None:
    one, two = (controller.client(pair.token) for controller in pair.controllers)
    body = await prepare(one)
    answers: collections.Counter[int] = collections.Counter()
    answered: set[str] = set()
    down, over = asyncio.Event(), asyncio.Event()

    async def boots(client: httpx.AsyncClient) -> None:
        while not over.is_set():
            answer = await client.post("/compute/v2.1/servers", json=body)
            answers[answer.status_code] += 1
            if answer.status_code == 202:
                answered.add(answer.json()["server"]["id"])
            if len(answered) >= 8:
                down.set()
            await asyncio.sleep(0.1)  # a client that is told 503 waits

    async def refused() -> None:
        while not answers[503]:
            await asyncio.sleep(0.05)

    running = [asyncio.create_task(boots(client)) for client in (one, two, one, two)]
    await asyncio.wait_for(down.wait(), END_S)
    await asyncio.to_thread(pair.server.stop)
    await asyncio.wait_for(refused(), END_S)
    await asyncio.to_thread(pair.server.start)
    before = len(answered)
    async with asyncio.timeout(END_S):
        while len(answered) < before + 8:  # both serve again
            await asyncio.sleep(0.1)
    over.set()
    await asyncio.gather(*running)

    assert set(answers) == {202, 503}, f"{answers} {pair.errors()}"
    await whole(pair, two, answered)
    await one.aclose()
    await two.aclose()
