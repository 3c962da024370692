"""`--simulate`: nodes inside the controller's process, with fake drivers behind the same frames. No root, no VM, no OVN."""

from __future__ import annotations

import asyncio

import msgspec

from moln.compute.drivers.base import ServerState as State
from moln.compute.drivers.consoles import streams_of
from moln.compute.drivers.fake import FakeCompute
from moln.kernel.clock import Clock
from moln.kernel.cloud import Cloud
from moln.kernel.link import InProcessLinks, MemoryFences, NodeLinks, SeveralLinks, Verbs
from moln.kernel.link.frames import pack
from moln.node.simulated import fake_drivers
from moln.volume.drivers.fake import FakeVolumes


def simulated_links(clock: Clock) -> InProcessLinks:
    return InProcessLinks(clock.now_us)


async def start_nodes(cloud: Cloud, count: int) -> dict[str, FakeCompute]:
    """Nodes sim-1 … sim-`count` join; what they hold is kept in the home, so that they outlive the process as real ones do."""
    folder = cloud.home / "simulated"
    folder.mkdir(exist_ok=True)
    images = cloud.home / cloud.settings.image.folder
    volumes = FakeVolumes(state=folder / "volumes.db", exports=images / "incoming", shared="")  # one memory; nodes lend out of it what lies on them
    made: dict[str, FakeCompute] = {}
    peers: dict[str, FakeCompute] = {}
    for number in range(1, count + 1):
        name = f"sim-{number}"
        compute = FakeCompute(name, folder / f"{name}.db", images, peers=peers)
        await _join(cloud, name, compute, volumes)
        made[name] = compute
    return made


async def _join(cloud: Cloud, name: str, compute: FakeCompute, volumes: FakeVolumes) -> None:
    links = in_process(cloud.links)
    loop = asyncio.get_running_loop()
    reports: set[asyncio.Task[None]] = set()

    def report(state: State) -> None:
        task = loop.create_task(links.publish(name, "compute.power", pack([state])))
        reports.add(task)
        task.add_done_callback(reports.discard)

    compute.on_power_change(report)
    facts = msgspec.to_builtins(await compute.host_facts())
    fences, now_us = MemoryFences(), cloud.clock.now_us
    verbs = Verbs(fake_drivers(compute, volumes), fences, now_us, cloud.tracer)
    await links.join(name, verbs, {"compute": facts}, streams_of(compute, fences, now_us))


def in_process(links: NodeLinks) -> InProcessLinks:
    """The way to nodes inside this process. Raises: LookupError."""
    for way in links.ways if isinstance(links, SeveralLinks) else (links,):
        if isinstance(way, InProcessLinks):
            return way
    raise LookupError("no way to nodes inside this process")
