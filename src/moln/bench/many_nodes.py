"""Many simulated nodes in one process: `python -m moln.bench.many_nodes FOLDER`, a folder of homes that joined.

Each has its own link, credentials, fences and drivers, as `python -m moln.node --simulate` has; only streams are not served. It prints a
line when all are connected.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import signal
import sys
from pathlib import Path

import msgspec
import uvloop

from moln.compute.drivers.fake import FakeCompute
from moln.kernel import log
from moln.kernel.clock import Clock
from moln.kernel.controllers.telling import AREA, Knows
from moln.kernel.errors import Failure
from moln.kernel.link import MemoryFences, Verbs
from moln.kernel.link.nats import NatsEnd
from moln.kernel.link.nats_wire import Badge
from moln.kernel.nodes.joining import FOLDER, Member
from moln.node.simulated import STATES_EVERY_S, fake_drivers
from moln.volume.drivers.fake import FakeVolumes

AT_ONCE = 32  # nodes that connect at the same time


class Ear:
    """It asks controllers for nothing."""

    async def controllers(self, urls: list[str]) -> None:
        pass

    async def engines(self, nats: list[str], southbound: str) -> None:
        pass


async def node(home: Path, turns: asyncio.Semaphore, up: asyncio.Queue[str]) -> None:
    """One node, until it is cancelled."""
    member = Member(home / "host/node" / FOLDER)
    joined = member.joined()
    assert joined is not None, home
    now_us = Clock().now_us
    compute, volumes = FakeCompute(joined.name), FakeVolumes()
    facts = {"compute": msgspec.to_builtins(await compute.host_facts())}
    verbs = Verbs({**fake_drivers(compute, volumes), AREA: (Knows, Ear())}, MemoryFences(), now_us)
    tls, key, claims = member.passport.client(), member.nats_key, member.claims()
    end = NatsEnd(Badge(joined.name, tuple(joined.nats), lambda: tls, key, lambda: claims), lambda: facts, verbs)
    compute.on_power_change(lambda state: end.report("compute.power", [state]))
    async with asyncio.TaskGroup() as group:
        async with turns:
            group.create_task(end.run())
            await end.connected.wait()
        up.put_nowait(joined.name)
        while True:
            with contextlib.suppress(Failure):
                end.report("compute.servers", await compute.list_servers())
            await asyncio.sleep(STATES_EVERY_S)


async def serve(homes: list[Path]) -> None:
    """Until SIGTERM."""
    turns, up = asyncio.Semaphore(AT_ONCE), asyncio.Queue[str]()
    running = [asyncio.create_task(node(home, turns, up)) for home in homes]

    async def told() -> None:
        for _ in homes:
            await up.get()
        print("ready", flush=True)

    running.append(asyncio.create_task(told()))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, lambda: [task.cancel() for task in running])
    await asyncio.gather(*running, return_exceptions=True)


def main() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    log.configure("warning")
    uvloop.run(serve(sorted(Path(sys.argv[1]).iterdir())))


if __name__ == "__main__":
    main()
