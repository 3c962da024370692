"""A node with fake drivers: inside the controller's process (`moln up --simulate`), or as a process of its own that joined a cloud
(`python -m moln.node --simulate`): real link, real fences, no root and no guest."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path

import msgspec

from moln.compute.drivers.base import ComputeDriver, CrashDumps, DiskCopies, Snapshots, Suspension
from moln.compute.drivers.consoles import streams_of
from moln.compute.drivers.fake import FakeCompute
from moln.compute.drivers.fake_guests import FakeGuests
from moln.compute.drivers.guests import Guests
from moln.compute.drivers.moves import Moves
from moln.host.places import Places
from moln.kernel.clock import Clock
from moln.kernel.errors import Failure
from moln.kernel.link import Verbs
from moln.network.drivers.node import NodeNetworkDriver
from moln.network.drivers.node_fake import FakeNodeNetwork
from moln.node.fences import DiskFences
from moln.volume.drivers.base import Exports, VolumeDriver
from moln.volume.drivers.fake import FakeVolumes
from moln.volume.drivers.fake_exports import FakeExports

STATES_EVERY_S = 10.0


def fake_drivers(compute: FakeCompute, volumes: FakeVolumes) -> dict[str, tuple[type, object]]:
    """What a simulated node may be asked for, by area."""
    return {
        "compute": (ComputeDriver, compute),
        "compute-snapshots": (Snapshots, compute),
        "compute-suspension": (Suspension, compute),
        "compute-crash-dumps": (CrashDumps, compute),
        "compute-guests": (Guests, FakeGuests(compute)),
        "compute-disks": (DiskCopies, compute),
        "compute-moves": (Moves, compute),
        "volume": (VolumeDriver, volumes),
        "volume-exports": (Exports, FakeExports(compute.hostname, volumes)),
        "network": (NodeNetworkDriver, FakeNodeNetwork()),
    }


async def run(home: Path) -> None:
    """A node that joined, until it is cancelled. Raises: Failure, when it has not."""
    from moln.node.remote import joined

    folder = Places(home).host / "node"
    remote = joined(folder)
    if remote is None:
        raise Failure(f"No node has joined in {home}: moln node join URL --token TOKEN --home {home}")
    now_us = Clock().now_us
    compute = FakeCompute(remote.name, folder / "servers.db", home / "pool/images")
    volumes = FakeVolumes(state=folder / "volumes.db", exports=home / "pool/images/incoming", shared="")
    facts = {"compute": msgspec.to_builtins(await compute.host_facts())}
    fences = DiskFences(folder / "fences.db", now_us)
    streams = remote.serving(streams_of(compute, fences, now_us))
    verbs = Verbs({**fake_drivers(compute, volumes), **remote.drivers}, fences, now_us)
    end = remote.link(lambda: {**facts, **remote.facts(), "streams": streams.address}, verbs)
    compute.on_power_change(lambda state: end.report("compute.power", [state]))

    async def tell_states() -> None:
        while True:
            with contextlib.suppress(Failure):
                end.report("compute.servers", await compute.list_servers())
            await asyncio.sleep(STATES_EVERY_S)

    await streams.start()
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(remote.run())
            group.create_task(tell_states())
            await end.connected.wait()
            tell_ready()
    finally:
        await streams.stop()
        fences.close()


async def serve(home: Path) -> None:
    """Until SIGTERM or SIGINT."""
    running = asyncio.create_task(run(home))
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, running.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await running


def tell_ready() -> None:
    """Write a line to whoever started us (MOLN_READY_FD)."""
    number = os.environ.pop("MOLN_READY_FD", "")
    if number.isdigit():
        with contextlib.suppress(OSError), os.fdopen(int(number), "w") as ready:
            ready.write("ready\n")
