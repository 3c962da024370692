"""Kill the controller at every point of a piece of work, start it again, and see what is left.

A point is a statement of a transaction or a call to a node; at each the process dies before it and, in another run, after it
(SIGKILL: nothing is flushed, no `finally` runs). `python -m tests.faults.killing SCENARIO FOLDER [STEP]` does every point of a scenario
(each STEP-th of them) and prints a JSON object. Processes are forked from one that has everything imported, so that a point costs a tenth of a second.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import signal
import sys
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from msgspec import Struct
from tests.faults import lifecycle, moves, scenes, storage

from moln.app import load_settings, modules
from moln.compute.drivers.base import ComputeDriver
from moln.compute.drivers.fake import FakeCompute
from moln.compute.model.servers import VmState
from moln.compute.store import leftovers
from moln.compute.store import servers as store
from moln.image.store import images
from moln.kernel.clock import Clock, Ids
from moln.kernel.cloud import Cloud
from moln.kernel.db.sqlite import SqliteDatabase
from moln.kernel.errors import BackendUnreachable
from moln.kernel.link import InProcessLinks
from moln.kernel.module import Module
from moln.kernel.policy import Policy
from moln.kernel.work import Workers
from moln.simulation import start_nodes
from moln.volume.model.volumes import AT_WORK
from moln.volume.store import snapshots, volumes

Hook = Callable[[str, str], None]
LIMIT_S = 60
POLICY = Policy.load()


class Points:
    """Counts points once it is armed, and at number `die_at` does `deed`. kinds: of all that passed."""

    def __init__(self, die_at: int = 0, deed: Callable[[], None] | None = None, only: str = ""):
        self.armed = False
        self.passed: list[str] = []
        self._die_at = die_at
        self._deed = deed
        self._only = only

    def __call__(self, kind: str, what: str) -> None:
        if not self.armed or not kind.startswith(self._only):
            return
        self.passed.append(f"{kind}: {' '.join(what.split())[:70]}")
        if len(self.passed) == self._die_at and self._deed:
            self._deed()


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def lose() -> None:
    raise BackendUnreachable("The call was lost on its way, or its answer.")


class Controller(Struct):
    """A cloud and its work, without its HTTP, which would take half of the time."""

    cloud: Cloud
    areas: list[Module]
    workers: Workers
    nodes: dict[str, FakeCompute]

    async def stop(self) -> None:
        for area in reversed(self.areas):
            if area.close:
                await area.close(self.cloud)
        await self.cloud.links.close()
        await self.cloud.db.close()


async def start(home: Path, seed: str, points: Points | None = None, nodes: int = 1) -> Controller:
    """A simulated cloud on a home that may have lived before. seed: of its identities and addresses, so that it comes to the same points each time."""
    settings, clock, ids = load_settings(home, simulate=True), Clock(), Ids(random.Random(seed).randbytes)
    areas = modules(settings)
    db = SqliteDatabase(home / "cloud.db", now_us=clock.now_us, hook=points)
    links = InProcessLinks(clock.now_us, points)
    cloud = Cloud(settings=settings, db=db, policy=POLICY, links=links, home=home, clock=clock, ids=ids)
    for area in areas:
        if area.setup:
            await area.setup(cloud)
    hosts = await start_nodes(cloud, nodes)
    return Controller(cloud, areas, Workers(cloud, [r for a in areas for r in a.reconcilers]), hosts)


async def prepare(home: Path, scene: scenes.Scene) -> None:
    """What the scenario begins with."""
    app = await start(home, "before", nodes=scene.nodes)
    await scene.prepare(app)
    await app.workers.settle()
    assert await problems(app) == []
    await app.stop()


async def act(home: Path, scene: scenes.Scene, points: Points) -> None:
    """The request and all the work that follows from it."""
    app = await start(home, "meanwhile", points, scene.nodes)
    points.armed = True
    await scene.act(app)
    await app.workers.settle()
    points.armed = False
    await app.stop()


async def afterwards(home: Path, scene: scenes.Scene) -> None:
    """Start again, do what is left to do, and look. Raises: AssertionError, with what is wrong."""
    app = await start(home, "afterwards", nodes=scene.nodes)
    for _ in range(3):
        await app.workers.settle()
    assert (found := await problems(app)) == [], found
    await app.stop()


async def problems(app: Controller) -> list[str]:
    """Broken invariants of every area, and servers that are neither settled nor in ERROR with a reason."""
    found = []
    for area in app.areas:
        for invariant in area.invariants:
            found += [f"{invariant.name}: {v.message}" for v in await invariant.check(app.cloud)]
    for server in await app.cloud.db.all(store.ALL):
        if server.unsettled:
            found.append(f"server {server.id} is still {server.vm_state} ({server.task_state})")
        if server.vm_state is VmState.ERROR and not (server.fault and server.fault.message):
            found.append(f"server {server.id} is in ERROR without a reason")
    return found + await unfinished_storage(app) + await twice(app)


async def twice(app: Controller) -> list[str]:
    """Servers that run on more than one host, and what is still to be removed somewhere though every host is there."""
    running: dict[str, list[str]] = {}
    for node in sorted(app.cloud.links.nodes):
        for state in await app.cloud.links.driver(node, "compute", ComputeDriver).list_servers():
            if state.power == "running":
                running.setdefault(state.id, []).append(node)
    found = [f"server {id} runs on {' and '.join(nodes)}" for id, nodes in running.items() if len(nodes) > 1]
    return found + [f"server {x.server_id} left something on {x.host}" for x in await leftovers.everywhere(app.cloud.db) if x.host in app.cloud.links.nodes]


async def unfinished_storage(app: Controller) -> list[str]:
    """Volumes and snapshots to which work is still owed, or that ended in error without having had to."""
    db = app.cloud.db
    found = [f"volume {v.id} is {v.status}" for v in await db.all(volumes.ON_HOSTS) if v.status in AT_WORK or "error" in v.status]
    found += [f"snapshot {s.id} is {s.status}" for s in await db.all(snapshots.ON_HOSTS) if s.status != "available"]
    waiting = await db.all(images.SAVING, before=app.cloud.clock.now_us())
    return found + [f"image {i.id} still waits for a node" for i in waiting if i.from_node]


def forked(work: Callable[[], Awaitable[Any]], report: Path) -> int:
    """Run a coroutine in a process of its own; its wait status. What it raised is in `report`."""
    child = os.fork()
    if child == 0:
        signal.alarm(LIMIT_S)
        try:
            asyncio.run(work())  # type: ignore[arg-type]
        except BaseException:
            report.write_text(traceback.format_exc())
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1]


def run(scene: scenes.Scene, folder: Path, step: int = 1) -> dict[str, Any]:
    """Every point of one scenario: killed before and after it; calls to nodes also lost, themselves or their answers.

    step: only each so many-th of them.
    """
    template, home, report = folder / "template", folder / "home", folder / "report"
    template.mkdir(parents=True)
    if forked(lambda: prepare(template, scene), report):
        raise SystemExit(f"{scene.name} cannot begin: {report.read_text()}")

    def fresh() -> None:
        shutil.rmtree(home, ignore_errors=True)
        shutil.copytree(template, home)

    fresh()
    points = Points()
    asyncio.run(act(home, scene, points))  # undisturbed, and here: what it compiles, every fork has
    asyncio.run(afterwards(home, scene))
    passed = points.passed
    failures = []
    runs = [(n, die, "") for n in range(1, len(passed) + 1)]
    runs += [(n, lose, "link") for n in range(1, sum(p.startswith("link") for p in passed) + 1)]
    runs = runs[::step]
    for number, deed, only in runs:
        fresh()
        report.unlink(missing_ok=True)
        status = forked(lambda n=number, d=deed, o=only: act(home, scene, Points(n, d, o)), report)  # type: ignore[misc]
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        if deed is die and not killed:
            failures.append({"point": number, "what": "it did not come to this point", "why": report.read_text() if report.exists() else ""})
            continue
        if forked(lambda: afterwards(home, scene), report):
            why = report.read_text() if report.exists() else "it took too long"
            failures.append({"point": number, "deed": deed.__name__, "what": only or passed[number - 1], "why": why[-2000:]})
    kinds: dict[str, int] = {}
    for p in passed:
        kinds[p.partition(":")[0]] = kinds.get(p.partition(":")[0], 0) + 1
    return {"scene": scene.name, "points": len(passed), "runs": len(runs), "kinds": kinds, "failures": failures}


if __name__ == "__main__":
    known = scenes.BY_NAME | storage.BY_NAME | lifecycle.BY_NAME | moves.BY_NAME
    print(json.dumps(run(known[sys.argv[1]], Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 1)))
