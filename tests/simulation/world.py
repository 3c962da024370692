"""The whole cloud in one loop: a controller that dies and starts again on its database, nodes, and the network between them."""

from __future__ import annotations

import asyncio
import contextvars
import hashlib
import logging
import shutil
from collections.abc import Callable, Coroutine
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from tests.simulation.loop import Machine, VirtualClock, VirtualLoop, machine
from tests.simulation.network import Network, SimLinks, Weather
from tests.simulation.nodes import Disk, MakeFences, SimNode, disk_fences

from moln.app import load_settings, modules
from moln.image.drivers.sandbox import Sandbox
from moln.kernel.clock import Clock, Ids
from moln.kernel.cloud import Cloud
from moln.kernel.db.sqlite import SqliteDatabase
from moln.kernel.module import Module
from moln.kernel.policy_files import default_policy
from moln.kernel.work import Workers
from moln.volume.drivers.fake import FakeVolumes

T = TypeVar("T")


class Dead(BaseException):
    """The process ends at this statement."""


class Trace:
    """Everything that happened, in order: its digest tells whether two runs went the same way. Kept as text only on demand."""

    def __init__(self, loop: VirtualLoop, keep: bool):
        self._loop = loop
        self._hash = hashlib.blake2b(digest_size=16)
        self.lines: list[str] | None = [] if keep else None

    def __call__(self, kind: str, *what: Any) -> None:
        line = f"{self._loop.now_s:.6f} {kind} {' '.join(map(str, what))}"
        self._hash.update(line.encode())
        if self.lines is not None:
            self.lines.append(line)

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()


class Ears(logging.Handler):
    """What the product logs as an error is a failure of the run, unless its process is dead by then."""

    def __init__(self, heard: list[str]):
        super().__init__(logging.ERROR)
        self.heard = heard

    def emit(self, record: logging.LogRecord) -> None:
        whose = machine()
        if whose is None or whose.alive:
            self.heard.append(logging.Formatter("%(name)s: %(message)s").format(record))


class Sniffed(Sandbox):
    """Without a child process: what this simulation's guests write is zeros."""

    async def run(self, *args: Any, **kwargs: Any) -> tuple[int, bytes]:
        return 0, b'{"formats": ["raw"], "virtual_size": 0, "unsafe": []}'


class Controller:
    """One life of the controller: the areas and their work, without HTTP (its routes take longer to compile than a whole run)."""

    def __init__(self, world: World, number: int):
        home, clock = world.home, world.clock
        self.machine = Machine(f"controller {number}")
        self._world = world
        settings = load_settings(home, simulate=True)
        self.areas: list[Module] = modules(settings)
        self.db = SqliteDatabase(home / "cloud.db", now_us=clock.now_us, hook=world.at_statement, threaded=False)
        self.links = SimLinks(world.network, self.machine, clock.now_us, world.at_command)
        ids = Ids(Random(f"{world.seed} {number}").randbytes)
        self.cloud = Cloud(settings=settings, db=self.db, policy=default_policy(), links=self.links, home=home, clock=clock, ids=ids)
        periodics = [p for a in self.areas for p in a.periodics]
        self.died: asyncio.Future[None] = world.loop.create_future()
        self.workers = Workers(self.cloud, [r for a in self.areas for r in a.reconcilers], periodics)

    async def start(self) -> None:
        for area in self.areas:
            if area.setup:
                await area.setup(self.cloud)
        self.cloud.areas["image"].sandbox = Sniffed()
        self.workers.start()
        self._world.network.controller = self.links

    def do(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run something in the controller's process. It never ends, when the process does not live to its end."""
        return self._world.loop.create_task(work, context=self.machine.context.copy())

    def bury(self) -> None:
        """What the system does for a process that is gone."""
        if self.db._writer.in_transaction:
            self.db._writer.rollback()
        self.db._writer.close()
        self.db._local.close()


class World:
    """home: a prepared one, for this run alone. fences: of the nodes. keep: the trace as text."""

    def __init__(self, seed: int, home: Path, loop: VirtualLoop, nodes: int = 3, *, fences: MakeFences = disk_fences, keep: bool = False):
        self.seed = seed
        self.home = home
        self.loop = loop
        self.clock: Clock = VirtualClock(loop)
        self.trace = Trace(loop, keep)
        self.failures: list[str] = []
        self.rng = Random(f"{seed} world")
        self.network = Network(loop, Random(f"{seed} network"), Weather.of(self.rng), self.trace)
        self.volumes = FakeVolumes(exports=home / "pool/images/incoming", shared="")
        images = home / load_settings(home, simulate=True).image.folder
        self.disks = []
        for number in range(1, nodes + 1):
            clock = VirtualClock(loop, int(self.rng.uniform(-0.5, 0.5) * 1e6))
            self.disks.append(Disk(f"sim-{number}", images, self.volumes, clock, Random(f"{seed} disk {number}"), fences))
        self.nodes: dict[str, SimNode] = {}
        self.controller: Controller | None = None
        self.lives = 0
        self.crash_in = 0  # points until the controller dies; 0: it lives

    # ---- machines

    async def start_controller(self) -> None:
        self.lives += 1
        controller = self.controller = Controller(self, self.lives)
        self.trace("start", controller.machine.name)
        started = controller.do(controller.start())
        while not started.done() and controller.machine.alive:
            await asyncio.sleep(0.01)
        if started.done():
            started.result()

    def kill_controller(self) -> None:
        controller = self.controller
        assert controller is not None
        self.trace("kill", controller.machine.name)
        self.loop.kill(controller.machine)
        self.crash_in = 0
        self.loop.call_soon(controller.bury, context=contextvars.Context())
        self.loop.call_soon(controller.died.set_result, None, context=contextvars.Context())
        for peer in controller.links.peers.values():
            self.network.end(peer, self.rng.choice([0.001, self.rng.uniform(1, 20)]))

    @property
    def alive(self) -> bool:
        return self.controller is not None and self.controller.machine.alive and self.network.controller is self.controller.links

    def start_node(self, disk: Disk) -> None:
        self.trace("start", disk.name)
        node = self.nodes[disk.name] = SimNode(disk, self.network, self.loop, Random(f"{self.seed} {disk.name} {self.loop.now_s}"))
        node.start()

    def kill_node(self, name: str, *, power: bool) -> None:
        """power: the host went down, and all its guests with it."""
        node = self.nodes[name]
        self.trace("kill", name, power)
        self.loop.kill(node.machine)
        if node.peer is not None:
            self.network.end(node.peer, self.rng.uniform(5, 20) if power else 0.001)
        if power:
            node.disk.lose_power()

    # ---- points at which the controller may die

    def _dies(self) -> bool:
        if self.crash_in > 0:
            self.crash_in -= 1
            if self.crash_in == 0:
                self.kill_controller()
                return True
        return False

    def at_statement(self, kind: str, text: str) -> None:
        whose = machine()
        if whose is not None and not whose.alive:
            raise Dead
        if kind == "sql":
            self.trace("sql", text)
        if self._dies():
            raise Dead

    def at_command(self, kind: str, verb: str) -> bool:
        return self._dies()


def fresh_home(template: Path, home: Path) -> Path:
    shutil.rmtree(home, ignore_errors=True)
    return Path(shutil.copytree(template, home))


def listen(failures: list[str]) -> Callable[[], None]:
    """Hear what is logged as an error. Returns how to stop."""
    ears, log = Ears(failures), logging.getLogger("moln")
    log.addHandler(ears)
    before, log.propagate = log.propagate, False

    def stop() -> None:
        log.removeHandler(ears)
        log.propagate = before

    return stop


__all__ = ["Controller", "Dead", "World", "fresh_home", "listen"]
