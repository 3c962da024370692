"""A cloud of many machines under load: `moln bench --scale` (docs/scale.md).

Real are controllers, PostgreSQL, nats-server, TLS, credentials, links and fences; hypervisors, pools and the network engine only remember.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import uvloop
from msgspec import Struct

from moln.bench import scale
from moln.bench.boots import Boots, Outcome, Project, boots, projects
from moln.bench.engines import nats_program, postgres_programs
from moln.bench.machines import Cloud, cloud, eventually
from moln.bench.overload import TIMEOUT_S, TIMES
from moln.bench.process import folder
from moln.bench.rows import Row
from moln.host import packages

IDLE_S, FLOOD_S, FILL_S = 10.0, 15.0, 180.0
FLOODING = 1600  # connections that ask for too much
Step = Callable[[str], object]


class Size(Struct, frozen=True):
    """nodes, servers, controllers: how many. boots: those of the servers that are measured; at_once: of them under way."""

    nodes: int = 1000
    servers: int = 10_000
    controllers: int = 2
    boots: int = 2000
    at_once: int = 32
    projects: int = 100


def measure(size: Size, step: Step = print) -> list[Row]:
    """Raises: RuntimeError, AssertionError, TimeoutError. step: told what is being done."""
    ensure_engines(step)
    with leaving_nothing(), folder("moln-scale-") as place:
        with folder("moln-pick-") as home:
            took = sorted(scale.pick_times(home))
        rows = [Row(f"pick a host among {scale.HOSTS:,}, 99 % within", 10, "ms", 1000 * took[int(len(took) * 0.99)],
                    f"half within {1000 * statistics.median(took):.2f} ms, all within {1000 * took[-1]:.2f} ms")]  # fmt: skip
        with cloud(place, controllers=size.controllers) as running:
            step(f"{size.nodes} nodes join {size.controllers} controllers")
            rows.append(_joined(running, size.nodes))
            among = projects(running, size.projects)
            rows += uvloop.run(_boots(running, among, size, step))
            step("a controller is killed and begins again")
            rows.append(_restarted(running, size.nodes))
            step("every invariant of moln doctor")
            wrong = [v for controller in running.controllers for v in controller.violations()]
            rows.append(Row("what moln doctor has against the cloud at the end", 0, "", len(wrong), "; ".join(wrong[:3])))
            return rows


@contextlib.contextmanager
def leaving_nothing() -> Iterator[None]:
    """SIGTERM ends this process as Ctrl-C does: what was begun is ended and removed."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def ensure_engines(step: Step) -> None:
    """Raises: RuntimeError, with what to install."""
    absent = {"postgresql": postgres_programs(), "nats-server": nats_program(), "psql": shutil.which("psql")}
    if all(absent.values()):
        return
    try:
        row = packages.here()
        wanted = packages.missing(row, ["postgresql", "nats-server"]) if row.tool == "apt" else []
    except (OSError, subprocess.SubprocessError, RuntimeError):
        wanted = []
    if not wanted or os.geteuid() != 0:
        raise RuntimeError("it needs PostgreSQL and nats-server: apt-get install postgresql nats-server")
    step(f"installing {', '.join(wanted)}")
    with tempfile.NamedTemporaryFile(suffix=".log") as log:
        packages.install(row, wanted, Path(log.name))


class Use(Struct):
    """Seconds of processor time so far, by who took it."""

    controllers: float
    postgres: float
    nats: float
    nodes: float
    asking: float

    @classmethod
    def of(cls, cloud: Cloud) -> Use:
        controllers = sum(c.cpu_s() for c in cloud.controllers)
        return cls(controllers, cloud.postgres.cpu_s(), cloud.nats.cpu_s(), cloud.nodes.cpu_s(), time.process_time())

    def since(self, before: Use, each: float) -> Use:
        """What was taken since then, by `each`."""
        return Use(*((getattr(self, f) - getattr(before, f)) / each for f in self.__struct_fields__))

    @property
    def whole(self) -> float:
        return sum(getattr(self, f) for f in self.__struct_fields__)

    def told(self, unit: str) -> str:
        """nodes and the asking process are no part of a real machine's load."""
        return (f"{unit}: controllers {self.controllers:.1f}, PostgreSQL {self.postgres:.1f}, NATS {self.nats:.1f}; "
                f"the simulated nodes {self.nodes:.1f}, who asks {self.asking:.1f}")  # fmt: skip


def _joined(cloud: Cloud, nodes: int) -> Row:
    cloud.join([f"node-{n:04}" for n in range(1, nodes + 1)])
    began = time.monotonic()
    cloud.nodes.start()
    _all_back(cloud, nodes)
    return Row(f"{nodes:,} nodes connected, from the first", None, "s", time.monotonic() - began)


def _all_back(cloud: Cloud, nodes: int) -> None:
    eventually(lambda: all(c.nodes_here() == nodes for c in cloud.controllers), f"{nodes} nodes at every controller", 120)


async def _boots(cloud: Cloud, among: list[Project], size: Size, step: Step) -> list[Row]:
    async with boots(cloud, among) as load:
        step(f"{size.servers - size.boots:,} servers, as fast as they come")
        made, per_s = await load.fill(size.servers - size.boots, FILL_S)
        step(f"{made:,} servers are there ({per_s:.0f} a second); {size.boots:,} boots, {size.at_once} at a time")
        before = Use.of(cloud)
        found = await load.one_after_the_other(size.boots, size.at_once)
        rows = _rate(found, Use.of(cloud).since(before, size.boots / 1000), size, made)
        step("nobody asks for anything")
        before = Use.of(cloud)
        await asyncio.sleep(IDLE_S)
        idle = Use.of(cloud).since(before, IDLE_S / 100)
        rows += [*_memory(cloud), Row("processor while nobody asks, of one core", None, "%", idle.controllers + idle.postgres + idle.nats, idle.told("%"))]
        step(f"{TIMES} times as many boots as it can do, for {FLOOD_S:g} s")
        return [*rows, *await _flooded(load, found.per_s)]


def _rate(found: Outcome, use: Use, size: Size, before: int) -> list[Row]:
    boots = f"{size.boots:,} boots, {size.at_once} at a time, {size.projects} projects, {size.controllers} controllers, {before:,} servers there"
    return [
        Row("boots to ACTIVE a second, sustained", 50, "/s", found.per_s, boots, least=True),
        Row("a boot, from the request to ACTIVE: half within", None, "s", found.quantile(0.5)),
        Row("a boot, from the request to ACTIVE: 99 % within", None, "s", found.quantile(0.99)),
        Row("boots that did not become ACTIVE", 0, "", found.other.total() + found.answers.total() - found.answers["202"], str(dict(found.other) or "")),
        Row("processor time of a boot", None, "ms", use.whole, use.told("ms")),
    ]  # fmt: skip


def _memory(cloud: Cloud) -> Iterator[Row]:
    for name, mib in [*((c.home.name, c.pss_mib()) for c in cloud.controllers), ("PostgreSQL", cloud.postgres.pss_mib()),
                      ("NATS", cloud.nats.pss_mib()), ("all simulated nodes", cloud.nodes.pss_mib())]:  # fmt: skip
        yield Row(f"memory (PSS): {name.replace('c', 'controller ') if name[0] == 'c' else name}", None, "MiB", mib)


async def _flooded(load: Boots, peak: float) -> list[Row]:
    began = time.monotonic()
    found = await load.flood(TIMES * peak, FLOOD_S, FLOODING)
    lost = await load.missing()
    answers = found.answers
    refused = answers["429"] + answers["503"]
    served = f"{answers['202']:,} promised, {refused:,} refused, all of the promised ACTIVE {time.monotonic() - began:.0f} s after the first"
    times = f"at {TIMES} × the boots"
    return [
        Row(f"{times}: answers other than 202, 429 and 503", 0, "", answers.total() - answers["202"] - refused - answers["cut"] - answers["timeout"],
            f"of {answers.total():,}; {served}"),
        Row(f"{times}: requests without an answer in {TIMEOUT_S:g} s, or cut off", 0, "", answers["cut"] + answers["timeout"]),
        Row(f"{times}: refusals that do not say when to come back", 0, "", found.unsaid, f"of {refused:,}"),
        Row(f"{times}: servers promised and lost, or not ACTIVE", 0, "", len(lost) + found.other.total()),
    ]  # fmt: skip


def _restarted(cloud: Cloud, nodes: int) -> Row:
    killed = cloud.controllers[0]
    killed.kill()
    began = time.monotonic()
    killed.start()
    answers = time.monotonic() - began
    _all_back(cloud, nodes)
    return Row("a controller killed: all nodes back after", 60, "s", time.monotonic() - began, f"it answers after {answers:.1f} s")
