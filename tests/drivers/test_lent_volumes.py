"""A volume of one host in guests of another: real nbdkits, libvirts and QEMUs. What a guest would write, its QEMU writes when it is asked."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from msgspec.structs import replace
from tests.drivers.lending import NOBODY
from tests.drivers.test_moves_contract import IMAGE, MOVE_S, as_members, two_hosts
from tests.node import bench
from tests.node.test_exports import peek
from tests.node.turns import GUESTS

from moln.compute.drivers.base import Disk, ServerSpec
from moln.compute.drivers.domain_xml import disk_alias
from moln.compute.drivers.moves import Target
from moln.node.exports import SEEN, NbdExports
from moln.volume.drivers.pool import PoolDriver

pytestmark = [pytest.mark.engines, GUESTS, pytest.mark.asyncio, pytest.mark.timeout(600)]
GIB = 1 << 30
__all__ = ["two_hosts"]


class Side:
    """One host: its hypervisor, its pool, and what it lends and opens."""

    def __init__(self, host: bench.Host, compute: Any) -> None:
        places = host.places
        self.compute, self.pool = compute, PoolDriver(places.pool, places.pool / "images", lent=True)
        self.exports = NbdExports(
            places.host / "lent", places.pool / "volumes", places.libvirt / "run" / SEEN.name, "127.0.0.1", boot="first", user=NOBODY
        )

    async def disk(self, volume: str, lender: Side) -> Disk:
        """The volume as this side's hypervisor opens it."""
        if lender is self:
            return Disk(volume, str(self.pool.volumes / volume), "vdb", volume[:20])
        found = await self.exports.ensure_import(await lender.exports.ensure_export(volume, str(id(self))))
        return Disk(volume, found.path, "vdb", volume[:20], protocol="nbd")

    async def ask(self, server_id: str, command: str, **arguments: Any) -> Any:
        """QEMU, by libvirt."""
        import libvirt_qemu

        text = json.dumps({"execute": command, "arguments": arguments})
        said = await self.compute.link.call(lambda c: libvirt_qemu.qemuMonitorCommand(c.lookupByUUIDString(server_id), text, 0))
        return json.loads(said)["return"]

    async def io(self, server_id: str, volume: str, words: str) -> str:
        line = f'qemu-io -d /machine/peripheral/{disk_alias(volume)}/virtio-backend "{words}"'
        return str(await self.ask(server_id, "human-monitor-command", **{"command-line": line}))

    async def size(self, server_id: str, volume: str) -> int:
        [found] = [b for b in await self.ask(server_id, "query-block") if disk_alias(volume) in b.get("qdev", "")]
        return int(found["inserted"]["image"]["virtual-size"])


@pytest.fixture
async def sides(two_hosts: tuple[bench.Host, bench.Host], tmp_path: Path) -> AsyncIterator[tuple[Side, Side]]:
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(as_members(two_hosts, tmp_path))
        found = [Side(host, await stack.enter_async_context(host.compute())) for host in two_hosts]
        for side in found:
            await side.pool.start()
            await side.exports.start()
            tending = asyncio.create_task(side.exports.run())
            stack.callback(tending.cancel)
        yield found[0], found[1]
        for side in found:
            lent = await side.exports.lent()
            for volume, host in lent.exports:
                await side.exports.remove_export(volume, host)
            for volume in lent.imports:
                await side.exports.remove_import(volume)
            held = await side.compute.inventory()
            for server_id in {*held.servers, *held.folders}:
                await side.compute.remove_server(server_id)
            for disk_id in held.disks:
                await side.compute.remove_disk(disk_id)
            for volume in (await side.pool.inventory()).volumes:
                await side.pool.remove_volume(volume)


async def boot(side: Side) -> ServerSpec:
    disk = await side.compute.ensure_disk(str(uuid4()), 1, IMAGE)
    spec = ServerSpec(str(uuid4()), "vm", 1, 1, 128, (Disk(disk.id, disk.path, "vda", boot_index=0),))
    await side.compute.ensure_server(spec, "running")
    return spec


async def test_a_volume_is_attached_elsewhere_heals_grows_and_is_detached(sides: tuple[Side, Side]) -> None:
    here, there = sides
    volume = str(uuid4())
    await here.pool.ensure_volume(volume, 1)
    file = here.pool.volumes / volume
    server = await boot(there)
    await there.compute.attach_disk(server.id, await there.disk(volume, here))
    await there.io(server.id, volume, "write -P 0x41 0 64k")
    assert peek(file, 0, 2) == b"AA"

    os.kill(next(iter(here.exports.processes.values())).pid, signal.SIGKILL)
    await there.io(server.id, volume, "write -P 0x42 1M 64k")
    assert peek(file, 1 << 20, 2) == b"BB"

    for gib in (2, 3):
        await here.pool.extend_volume(volume, gib)
        for _ in range(2):
            await there.compute.resize_attached_disk(server.id, volume, gib * GIB)
        assert await there.size(server.id, volume) == gib * GIB
        await there.io(server.id, volume, f"write -P 0x43 {gib * 1024 - 1}M 64k")
        assert peek(file, (gib * 1024 - 1) << 20, 2) == b"CC"

    await there.compute.detach_disk(server.id, volume)
    assert not [b for b in await there.ask(server.id, "query-named-block-nodes", flat=True) if b["drv"] == "nbd"], "nothing of it is left in QEMU"
    await there.exports.remove_import(volume)
    await here.exports.remove_export(volume, str(id(there)))
    assert file.stat().st_uid == 0 and peek(file, 0, 2) == b"AA"


@pytest.mark.parametrize("half", ["a node that is not used yet", "a node that is used already"])
async def test_a_disk_that_was_half_opened_anew_grows_all_the_same(sides: tuple[Side, Side], half: str) -> None:
    here, there = sides
    volume = str(uuid4())
    await here.pool.ensure_volume(volume, 1)
    server = await boot(there)
    await there.compute.attach_disk(server.id, disk := await there.disk(volume, here))
    [above] = [b["inserted"] for b in await there.ask(server.id, "query-block") if disk_alias(volume) in b.get("qdev", "")]
    below = above["node-name"].replace("-format", "-storage")
    cache = {"direct": above["cache"]["direct"], "no-flush": above["cache"]["no-flush"]}
    await there.ask(server.id, "blockdev-add", **{"driver": "nbd", "node-name": f"moln-{below}", "server": {"type": "unix", "path": disk.path}, "cache": cache,
                                                  "discard": "unmap", "auto-read-only": True})  # fmt: skip
    if half == "a node that is used already":
        await there.ask(server.id, "blockdev-reopen", options=[{"driver": "raw", "node-name": above["node-name"], "file": f"moln-{below}", "read-only": False,
                                                                "discard": "unmap", "cache": cache}])  # fmt: skip
    await here.pool.extend_volume(volume, 2)
    await there.compute.resize_attached_disk(server.id, volume, 2 * GIB)
    assert await there.size(server.id, volume) == 2 * GIB
    assert [b["node-name"] for b in await there.ask(server.id, "query-named-block-nodes", flat=True) if b["drv"] == "nbd"] == [below]
    await there.compute.detach_disk(server.id, volume)


async def test_a_server_moves_live_and_its_volume_stays_where_it_is(sides: tuple[Side, Side]) -> None:
    """To the volume's own host and away from it: lent and a file in turns."""
    here, there = sides
    volume = str(uuid4())
    await here.pool.ensure_volume(volume, 1)
    file = here.pool.volumes / volume
    server = await boot(there)
    await there.compute.attach_disk(server.id, await there.disk(volume, here))
    for turn, (source, dest) in enumerate([(there, here), (here, there), (there, here)]):
        pattern = 0x61 + turn
        await source.io(server.id, volume, f"write -P {pattern:#x} {turn}M 64k")
        root = await dest.compute.ensure_disk(server.disks[0].id, 1)
        spec = replace(server, generation=2 + turn, disks=(replace(server.disks[0], path=root.path), await dest.disk(volume, here)))
        target = Target(str(uuid4()), await dest.compute.await_server(spec), (server.disks[0].id,))
        await source.compute.send_server(spec, target)
        async with asyncio.timeout(MOVE_S):
            while (how := await source.compute.follow_server(server.id, target.id)).state == "running":
                pass
        assert how.state == "done", how.reason
        await source.compute.remove_server(server.id)
        await source.compute.remove_disk(server.disks[0].id)
        if source is there:
            await there.exports.remove_import(volume)
            await here.exports.remove_export(volume, str(id(there)))
        assert "wrote" not in await dest.io(server.id, volume, f"read -P {pattern:#x} {turn}M 64k")
        await dest.io(server.id, volume, f"write -P {pattern + 1:#x} {turn + 8}M 64k")
        assert peek(file, turn << 20) == bytes([pattern])
        assert peek(file, (turn + 8) << 20) == bytes([pattern + 1])
