"""Run a seed: minutes of requests and faults in a world of its own, then calm, and judgement.

Each seed is a process, forked from one that has everything imported, prepared and compiled: a run is cheap, and leaves nothing.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import shutil
import signal
import tempfile
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path
from random import Random

import msgspec
from msgspec import Struct
from tests.faults import scenes
from tests.simulation import judge
from tests.simulation.loop import BEGINNING_US, VirtualLoop
from tests.simulation.nodes import MakeFences, disk_fences
from tests.simulation.workload import Op, Workload, evacuation, fenced
from tests.simulation.world import World, fresh_home, listen

from moln.app import load_settings, modules
from moln.compute.model.flavors import Flavor
from moln.compute.ops import flavors
from moln.compute.store import servers
from moln.kernel.clock import Clock, Ids
from moln.kernel.cloud import Cloud
from moln.kernel.db.sqlite import SqliteDatabase
from moln.kernel.link import InProcessLinks
from moln.kernel.policy import Policy
from moln.kernel.work import Workers
from moln.network.ops import networks

FAULTS_S, REQUESTS = 160.0, 45
LIMIT_S = 60  # real seconds of a run, at most
WARM_UP = 0  # the seed that is run beforehand, so that what is compiled at first use is there

_graves: list[World] = []  # what is forgotten is closed, and its dead would run their `finally`


class Outcome(Struct):
    """digest: of the trace. failures: what was not as it must be; empty for a good run. virtual_s: how long it was inside."""

    seed: int
    digest: str = ""
    failures: list[str] = []
    asked: dict[str, int] = {}
    lives: int = 0
    virtual_s: float = 0.0
    trace: list[str] | None = None


class _Still(Clock):
    """The time at which every run begins."""

    def now_us(self) -> int:
        return BEGINNING_US


class _Prepared(Struct):
    cloud: Cloud
    workers: Workers


async def _prepare(home: Path) -> None:
    settings, clock = load_settings(home, simulate=True), _Still()
    db = SqliteDatabase(home / "cloud.db", now_us=clock.now_us)
    ids = Ids(random.Random("template").randbytes)
    cloud = Cloud(settings=settings, db=db, policy=Policy.load(), links=InProcessLinks(clock.now_us), home=home, clock=clock, ids=ids)
    areas = modules(settings)
    for area in areas:
        if area.setup:
            await area.setup(cloud)
    app = _Prepared(cloud, Workers(cloud, [r for a in areas for r in a.reconcilers]))
    await scenes.world(app)
    await flavors.create(scenes.ctx_of(app), Flavor("big", "big", 2, 256, 2, 1, 256, created_at=clock.now_us()))
    await app.workers.settle()
    for area in reversed(areas):
        if area.close:
            await area.close(cloud)
    await db.close()


def prepare(folder: Path) -> Path:
    """A home with an image, a network and flavors, and everything compiled that a run needs."""
    template = folder / "template"
    template.mkdir(parents=True)
    asyncio.run(_prepare(template))
    simulate(WARM_UP, fresh_home(template, folder / "warm"))
    gc.collect()
    gc.freeze()
    gc.disable()
    return template


def simulate(seed: int, home: Path, *, fences: MakeFences = disk_fences, keep: bool = False) -> Outcome:
    """One run in this process. fences: of the nodes. keep: the trace as text."""
    loop = VirtualLoop()
    world = World(seed, home, loop, fences=fences, keep=keep)
    _graves.append(world)
    workload = Workload(world, Random(f"{seed} workload"))
    deaf = listen(world.failures)
    try:
        loop.run_until_complete(_story(world, workload))
    except Exception:
        world.failures.append(traceback.format_exc())
    finally:
        deaf()
    failures = world.failures + loop.errors
    return Outcome(seed, world.trace.digest, failures, workload.asked, world.lives, loop.time(), world.trace.lines)


async def _story(world: World, workload: Workload) -> None:
    await world.start_controller()
    for disk in world.disks:
        world.start_node(disk)
    await asyncio.sleep(3)
    assert world.controller is not None
    ctx = workload.ctx(world.controller)
    workload.network = (await networks.visible(ctx.db, ctx))[0].id
    workload.image = await scenes.only_image(world.controller)  # type: ignore[arg-type]
    loop, rng = asyncio.get_running_loop(), Random(f"{world.seed} trouble")
    absence = loop.create_task(rng.choice([_absence, _loss])(world, workload, rng)) if rng.random() < 0.25 else None
    faults = loop.create_task(_trouble(world, rng))
    await workload.run(FAULTS_S, REQUESTS)
    faults.cancel()
    if absence is not None:
        await absence
    await _calm(world)
    world.failures += await judge.settle(world)
    world.failures += await judge.problems(world, workload.ledger)
    if not world.failures:
        world.failures += await _empty(world, workload)


async def _trouble(world: World, rng: Random) -> None:
    """Machines die and come back, links are cut and heal, guests stop by themselves: until cancelled."""
    pace = rng.choice([8.0, 25.0, 60.0])
    kinds = [k for k in (_controller_dies, _node_dies, _partition, _guest_stops) if rng.random() < 0.8]
    loop = asyncio.get_running_loop()
    while kinds:
        await asyncio.sleep(rng.expovariate(1 / pace))
        loop.create_task(rng.choice(kinds)(world, rng))


async def _controller_dies(world: World, rng: Random) -> None:
    if not world.alive or world.crash_in:
        return
    if rng.random() < 0.8:
        world.crash_in = int(rng.expovariate(1 / 40)) + 1
        controller = world.controller
        assert controller is not None
        await asyncio.wait({controller.died}, timeout=30)
        if controller.machine.alive:
            world.crash_in = 0
            return
    else:
        world.kill_controller()
    await asyncio.sleep(rng.choice([0.5, 5.0, 30.0]))
    await world.start_controller()


async def _node_dies(world: World, rng: Random) -> None:
    disk = rng.choice(world.disks)
    if not world.nodes[disk.name].machine.alive:
        return
    power = rng.random() < 0.3
    world.kill_node(disk.name, power=power)
    await asyncio.sleep(rng.uniform(20, 60) if power else rng.choice([0.5, 5.0]))
    world.start_node(disk)


async def _partition(world: World, rng: Random) -> None:
    await _cut(world, rng.choice(world.disks).name, rng.choice([2.0, 15.0, 60.0]))


async def _cut(world: World, name: str, seconds: float) -> None:
    if name in world.network.cut:
        return
    world.trace("cut", name)
    world.network.silence(name)
    await asyncio.sleep(seconds)
    world.trace("heal", name)
    world.network.cut.discard(name)


async def _absence(world: World, workload: Workload, rng: Random) -> None:
    """A node is away for longer than anybody waits for it: what was asked of it meanwhile ends in error."""
    await asyncio.sleep(rng.uniform(5, FAULTS_S))
    await _cut(world, rng.choice(world.disks).name, rng.uniform(700, 1000))


async def _loss(world: World, workload: Workload, rng: Random) -> None:
    """A host goes down, is fenced, and its servers are evacuated; then it comes back, and is to be used again."""
    await asyncio.sleep(rng.uniform(20, FAULTS_S))
    disk = rng.choice(world.disks)
    while not world.nodes[disk.name].machine.alive:
        await asyncio.sleep(1)
    world.kill_node(disk.name, power=True)
    if not await _insist(workload, fenced(disk.name, down=True)):  # it never came to the controller, which does not know it
        world.start_node(disk)
        return
    assert world.controller is not None
    for server in await world.controller.cloud.db.all(servers.ALL):
        if server.host == disk.name and rng.random() < 0.8:
            await workload.ask(evacuation(server.id))
    await asyncio.sleep(rng.choice([1.0, 60.0, 200.0]))
    world.start_node(disk)
    await _insist(workload, fenced(disk.name, down=False))


async def _insist(workload: Workload, op: Op) -> bool:
    """Ask until it is done; for some minutes, in which a controller that died is there again."""
    for _ in range(100):
        if await workload.ask(op):
            return True
        await asyncio.sleep(2)
    return False


async def _guest_stops(world: World, rng: Random) -> None:
    node = world.nodes[rng.choice(world.disks).name]
    running = sorted(id for id, s in node.disk.kept.servers.items() if s.power == "running")
    if running and node.machine.alive:
        node.machine.context.copy().run(node.compute.happen, rng.choice(running), rng.choice(["stopped", "crashed"]))


async def _calm(world: World) -> None:
    """Faults end: whoever is dead starts, what is cut heals, nothing is slow."""
    world.trace("calm")
    world.crash_in = 0
    world.network.calm()
    for disk in world.disks:
        disk.slow = 0.0
    while not (world.alive and all(node.machine.alive for node in world.nodes.values())):
        await asyncio.sleep(1)  # whoever died is about to start: that is its fault's last part
    await asyncio.sleep(5)


async def _empty(world: World, workload: Workload) -> list[str]:
    """Remove everything: afterwards hosts and pool are empty, and nothing is charged."""
    await workload.clear()
    left = await judge.settle(world)
    found = left + await judge.problems(world, workload.ledger) + await judge.leftovers(world)
    return [f"after all was deleted: {what}" for what in found]


def forked(seed: int, template: Path, home: Path, fences: MakeFences = disk_fences) -> Outcome:
    """One run in a process of its own."""
    report = home.with_suffix(".json")
    child = os.fork()
    if child == 0:
        signal.alarm(LIMIT_S)
        try:
            fresh_home(template, home)
            report.write_bytes(msgspec.json.encode(simulate(seed, home, fences=fences)))
        except BaseException:
            report.write_bytes(msgspec.json.encode(Outcome(seed, failures=[traceback.format_exc()])))
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    if not os.WIFEXITED(status):
        return Outcome(seed, failures=[f"The run ended by signal {os.WTERMSIG(status)}; it may take {LIMIT_S} s."])
    try:
        return msgspec.json.decode(report.read_bytes(), type=Outcome)
    finally:
        report.unlink(missing_ok=True)


def folder() -> Path:
    """In memory, where there is such a place: a run writes its database a thousand times."""
    return Path(tempfile.mkdtemp(prefix="moln-simulation-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None))


def run(seeds: Iterable[int], fences: MakeFences = disk_fences) -> Iterator[Outcome]:
    """Each in its turn."""
    place = folder()
    try:
        template = prepare(place)
        for seed in seeds:
            yield forked(seed, template, place / "home", fences)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def describe(outcome: Outcome) -> str:
    """What went wrong, and how to see it again."""
    told = "\n".join(f"  {f}" for f in outcome.failures)
    return f"seed {outcome.seed} failed:\n{told}\nreplay: python -m tests.simulation {outcome.seed} --trace"
