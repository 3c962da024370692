"""Nodes of the simulation: the real node's verbs and fences around drivers that only remember, slow ones among them.

What a node keeps on its disk outlives its process: guests, disks, fences.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from random import Random
from typing import Any

import msgspec
from tests.simulation.loop import Machine, VirtualClock, VirtualLoop
from tests.simulation.network import Network, Peer

from moln.compute.drivers.base import ServerState
from moln.compute.drivers.fake import FakeCompute
from moln.kernel.errors import Failure
from moln.kernel.link import Fences, Verbs
from moln.kernel.link.frames import Answer, Call
from moln.node.fences import DiskFences
from moln.node.simulated import fake_drivers
from moln.volume.drivers.fake import FakeVolumes

MakeFences = Callable[[VirtualClock], Fences]
AT_ONCE = 64  # commands, as moln.kernel.link.node has it
STATES_EVERY_S, FACTS_EVERY_S, RETRY_S = 10.0, 60.0, 0.5  # as moln.node.main has them, which needs libvirt


def disk_fences(clock: VirtualClock) -> Fences:
    """The node's own, on a disk that lasts as long as the run."""
    return DiskFences(Path(":memory:"), clock.now_us)


class NoFences:
    """What a node would be without them: every command may act, however old it is."""

    def __init__(self, clock: VirtualClock) -> None:
        pass

    def admit(self, resource: str, generation: int) -> bool:
        return True


class Disk:
    """What a node's host keeps over restarts. slow: seconds a verb may take at most."""

    def __init__(self, name: str, images: Path, volumes: FakeVolumes, clock: VirtualClock, rng: Random, fences: MakeFences = disk_fences):
        self.name = name
        self.clock = clock
        self.images = images
        self.volumes = volumes
        self.kept = FakeCompute(name).kept
        self.fences = fences(clock)
        self.slow = rng.choice([0.0, 0.0, 2.0, 40.0])

    def lose_power(self) -> None:
        """The host goes down: no guest runs any more."""
        for server_id, server in self.kept.servers.items():
            self.kept.put("server", server_id, msgspec.structs.replace(server, power="stopped"))


class Turns:
    """Verbs on one thing take turns and time. One whose caller has given up goes on, as a thread would."""

    def __init__(self, driver: Any, disk: Disk, rng: Random, begin: Callable[[Coroutine[Any, Any, Any]], asyncio.Task[Any]]):
        self._driver = driver
        self._disk = disk
        self._rng = rng
        self._begin = begin
        self._turns: dict[str, asyncio.Lock] = {}

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._driver, name)

        async def verb(*args: Any) -> Any:
            return await asyncio.shield(self._begin(self._one(method, args)))

        return verb

    async def _one(self, method: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        async with self._turn(args):
            slow = self._disk.slow
            if slow:
                await asyncio.sleep(self._rng.uniform(0, slow) * self._rng.random())
            result = await method(*args)
            if slow:
                await asyncio.sleep(self._rng.uniform(0, 0.1))
            return result

    @contextlib.asynccontextmanager
    async def _turn(self, args: tuple[Any, ...]) -> AsyncIterator[None]:
        first = args[0] if args else None
        key = first if isinstance(first, str) else getattr(first, "id", None)
        if key is None:
            yield
            return
        async with self._turns.setdefault(key, asyncio.Lock()):
            yield


class Peers(dict[str, FakeCompute]):
    """The hosts that one host can reach now."""

    def __init__(self, name: str, network: Network):
        super().__init__()
        self._name = name
        self._network = network

    def get(self, name: str, default: Any = None) -> Any:
        node = self._network.running.get(name)
        if node is None or not node.machine.alive or {name, self._name} & self._network.cut:
            return default
        return node.compute


class SimNode:
    """One life of a node's process."""

    def __init__(self, disk: Disk, network: Network, loop: VirtualLoop, rng: Random):
        self.name = disk.name
        self.disk = disk
        self.network = network
        self.loop = loop
        self.machine = Machine(disk.name)
        self.peer: Peer | None = None
        self.alone = asyncio.Event()
        self.bound = asyncio.Semaphore(AT_ONCE)
        self.compute = FakeCompute(disk.name, None, disk.images, peers=Peers(disk.name, network))
        self.compute.looks_per_move = rng.choice([1, 5, 30])
        self.compute.kept = disk.kept
        self.compute.on_power_change(lambda state: self.report("compute.power", [state]))
        drivers = {area: (protocol, Turns(driver, disk, rng, self.do)) for area, (protocol, driver) in fake_drivers(self.compute, disk.volumes).items()}
        self.verbs = Verbs(drivers, disk.fences, disk.clock.now_us)

    def start(self) -> None:
        self.network.running[self.name] = self
        for work in (self._connect(), self._tell_states(), self._tell_facts()):
            self.do(work)

    def do(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        return self.loop.create_task(work, context=self.machine.context.copy())

    async def answer(self, call: Call, reply: Callable[[Answer], None]) -> None:
        async with self.bound:
            reply(await self.verbs.answer(call))

    def disconnected(self) -> None:
        self.peer = None
        self.alone.set()

    def report(self, topic: str, value: Any) -> None:
        if self.peer is not None:
            self.network.report(self.peer, topic, value)

    async def _connect(self) -> None:
        facts = msgspec.to_builtins(await self.compute.host_facts())
        while True:
            while (peer := self.network.connect(self, {"compute": facts})) is None:
                await asyncio.sleep(RETRY_S)
            self.peer = peer
            self.alone.clear()
            await self.alone.wait()
            await asyncio.sleep(RETRY_S)

    async def _tell_states(self) -> None:
        while True:
            await asyncio.sleep(STATES_EVERY_S)
            with contextlib.suppress(Failure):
                states: list[ServerState] = await self.compute.list_servers()
                self.report("compute.servers", states)

    async def _tell_facts(self) -> None:
        while True:
            await asyncio.sleep(FACTS_EVERY_S)
            with contextlib.suppress(Failure):
                self.report("compute.facts", await self.compute.host_facts())
