"""Engines, controllers and links fail while boots go on: what was answered 202 is there in the end, once, and every invariant holds.

Two controllers on a real PostgreSQL, nats-server and etcd; ten nodes in a process of their own, and one more whose link can be cut.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest

from moln.bench.boots import Boots, Outcome, Project, boots, projects
from moln.bench.engines import nats_program, postgres_programs
from moln.bench.machines import Cloud, Process, cloud, eventually
from moln.bench.process import lasting_port

pytestmark = [
    pytest.mark.engines,
    pytest.mark.skipif(not (postgres_programs() and nats_program()), reason="no PostgreSQL or nats-server here: `./moln test` installs them"),
]
NODES, RATE, AWAY_S, CUT_S = 10, 5.0, 20.0, 30.0
FIRST, AGAIN, WAIT_S = 8, 8, 120.0
FAR = "far-away"


class Machines:
    """The cloud, and what its one far node goes through."""

    def __init__(self, running: Cloud) -> None:
        self.cloud = running
        self.wire = lasting_port()
        home = running.folder / "machines" / FAR
        self.far = Process(running.folder / "far.log", "moln.node", "--home", home, "--simulate")
        running.join([f"node-{n}" for n in range(NODES)])
        running.join([FAR], "machines", (f"tls://127.0.0.1:{self.wire}",))
        (home / "pool").mkdir()
        (home / "pool/images").symlink_to(running.controllers[0].home / "pool/images")
        running.nodes.start()
        self.here(NODES)

    def here(self, nodes: int) -> None:
        eventually(lambda: all(c.nodes_here() >= nodes for c in self.cloud.controllers), f"{nodes} nodes", WAIT_S)


@pytest.fixture(scope="module")
def machines(as_installed: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    with cloud(tmp_path_factory.mktemp("under-load"), etcd=True) as running:
        made = Machines(running)
        try:
            yield made
        finally:
            made.far.stop()


@pytest.fixture(scope="module")
def among(machines: Machines) -> list[Project]:
    return projects(machines.cloud, 4)


class Wire:
    """The far node's link: a connection carried on, or held so that neither end hears anything."""

    def __init__(self, machines: Machines) -> None:
        self._machines = machines
        self._through = asyncio.Event()
        self._through.set()
        self._tasks: set[asyncio.Task[None]] = set()

    def cut(self) -> None:
        self._through.clear()

    def heal(self) -> None:
        self._through.set()

    async def _carry(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(1 << 16):
                await self._through.wait()
                target.write(data)
                await target.drain()
        await self._through.wait()
        target.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._through.wait()
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._machines.cloud.nats.port)
        except OSError:
            writer.close()
            return
        for work in (self._carry(reader, back), self._carry(there, writer)):
            task = asyncio.create_task(work)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Wire]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", self._machines.wire)
        await asyncio.to_thread(self._machines.far.start)
        await asyncio.to_thread(self._machines.here, NODES + 1)
        try:
            yield self
        finally:
            self.heal()
            server.close()
            for task in self._tasks:
                task.cancel()


async def until(condition: Callable[[], bool], what: str) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(WAIT_S):
            while not condition():
                await asyncio.sleep(0.05)
    assert condition(), what


async def survives(machines: Machines, among: list[Project], fault: Callable[[Boots], Awaitable[None]]) -> Outcome:
    """Boots go on before, during and after the fault; afterwards all is as it should be."""
    async with boots(machines.cloud, among) as load:
        load.patience_s, stop = WAIT_S, asyncio.Event()
        running = asyncio.create_task(load.steadily(RATE, stop))
        await until(lambda: len(load.outcome.promised) >= FIRST, "boots are promised")
        await fault(load)
        before = len(load.outcome.promised)
        await until(lambda: len(load.outcome.promised) >= before + AGAIN, f"boots are promised again: {load.outcome.answers}")
        stop.set()
        found = await running
        assert await load.missing() == [], "lost"
    assert found.other == {} and found.active.keys() == found.promised.keys(), found.other
    assert found.unsaid == 0
    await asyncio.to_thread(converged, machines.cloud)
    return found


def converged(cloud: Cloud) -> None:
    """Rows, nodes and counters agree: nothing is there twice, and nothing is left under way."""
    wrong: dict[str, list[str]] = {}

    def nothing() -> bool:
        wrong.update({c.home.name: c.violations() for c in cloud.controllers})
        return not any(wrong.values())

    with contextlib.suppress(RuntimeError):
        eventually(nothing, "no invariant is broken", WAIT_S, 1.0)
    assert not any(wrong.values()), f"{wrong} {cloud.errors()}"


async def test_nats_killed_for_20_s(machines: Machines, among: list[Project]) -> None:
    async def fault(load: Boots) -> None:
        await asyncio.to_thread(machines.cloud.nats.stop)
        before = len(load.outcome.promised)
        await asyncio.sleep(AWAY_S)
        assert len(load.outcome.promised) > before, "requests are taken meanwhile"
        await asyncio.to_thread(machines.cloud.nats.start)

    found = await survives(machines, among, fault)
    assert set(found.answers) <= {"202", "429"}, found.answers


async def test_postgresql_killed_for_20_s(machines: Machines, among: list[Project]) -> None:
    async def fault(load: Boots) -> None:
        await asyncio.to_thread(machines.cloud.postgres.kill)
        await asyncio.sleep(AWAY_S)
        await asyncio.to_thread(machines.cloud.postgres.start)

    found = await survives(machines, among, fault)
    assert set(found.answers) <= {"202", "429", "503"} and found.answers["503"], found.answers


async def test_etcd_killed_for_20_s(machines: Machines, among: list[Project]) -> None:
    etcd = machines.cloud.etcd
    assert etcd is not None

    async def fault(load: Boots) -> None:
        await asyncio.to_thread(etcd.stop)
        before = len(load.outcome.promised)
        await asyncio.sleep(AWAY_S)
        assert len(load.outcome.promised) > before, "requests are taken meanwhile"
        await asyncio.to_thread(etcd.start)

    found = await survives(machines, among, fault)
    assert set(found.answers) <= {"202", "429"}, found.answers


@pytest.mark.parametrize("which", [0, 1])
async def test_a_controller_killed_during_boots(machines: Machines, among: list[Project], which: int) -> None:
    killed = machines.cloud.controllers[which]

    async def fault(load: Boots) -> None:
        await asyncio.to_thread(killed.kill)
        before = len(load.outcome.active)
        await until(lambda: len(load.outcome.active) >= before + AGAIN, "the other one goes on")
        await asyncio.to_thread(killed.start)

    found = await survives(machines, among, fault)
    assert set(found.answers) <= {"202", "429", "cut"}, found.answers


async def test_a_link_cut_for_30_s(machines: Machines, among: list[Project]) -> None:
    async with Wire(machines).running() as wire:

        async def fault(load: Boots) -> None:
            wire.cut()
            await asyncio.sleep(CUT_S)
            states = await asyncio.to_thread(machines.cloud.controllers[0].nodes_here)
            wire.heal()
            assert states == NODES, "it was noticed"
            await asyncio.to_thread(machines.here, NODES + 1)

        found = await survives(machines, among, fault)
    assert set(found.answers) <= {"202", "429"}, found.answers
