"""Real guests on a real Ceph: one boots from a clone and writes to a volume; one goes on at another host with the disk where it is."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from tests.drivers.ceph_hosts import ceph_seen_by
from tests.drivers.test_moves_contract import ENDED, IMAGE, MOVE_S, Pair, as_members, two_hosts
from tests.node import bench
from tests.node.turns import GUESTS

from moln.compute.drivers.base import ComputeDriver, Disk, ServerSpec
from moln.compute.drivers.moves import Target
from moln.kernel.errors import BackendUnreachable
from moln.kernel.rbd import Access, RbdPool
from moln.volume.drivers.base import Connection, VolumeDriver
from moln.volume.drivers.rbd import RbdVolumes

__all__ = ["two_hosts"]
pytestmark = [pytest.mark.engines, GUESTS]
BOOT_S = 200
WRITES = """#!/bin/sh
while [ ! -b /dev/vdb ]; do sleep 1; done
printf 'written by the guest' > /dev/vdb
sync
while [ "$(cat /sys/block/vdb/size)" -lt 4194304 ]; do sleep 1; done
"""


@pytest.fixture(scope="module")
def seen_by_two(two_hosts: tuple[bench.Host, bench.Host]) -> Iterator[Access]:
    with ceph_seen_by(*two_hosts) as found:
        yield found


async def console_says(driver: Any, server_id: str, text: str) -> None:
    async with asyncio.timeout(BOOT_S):
        while text not in await driver.console_output(server_id):
            await asyncio.sleep(0.5)


def command_line(server_id: str) -> str:
    found = subprocess.run(
        ["pgrep", "-f", f"qemu-system.*guest=moln-{server_id}"], capture_output=True, text=True, check=True
    ).stdout.split()
    return Path(f"/proc/{found[0]}/cmdline").read_text()


async def test_a_guest_boots_from_a_clone_and_writes_to_a_volume(engine_host: bench.Host, seen_ceph: Access, tmp_path: Path) -> None:
    import libvirt  # where guests are tried it is there

    from moln.compute.drivers.libvirt_secrets import id_of

    engine_host.add_image(IMAGE)
    images, pool = engine_host.places.pool / "images", RbdPool(seen_ceph)
    volumes = RbdVolumes(pool, tmp_path, images)
    await volumes.start()
    async with engine_host.compute(seen_ceph) as driver:
        root = await driver.ensure_disk(str(uuid4()), 1, IMAGE)
        server = ServerSpec(
            str(uuid4()), "vm", 1, 1, 128, (Disk(root.id, root.path, "vda", boot_index=0, protocol=root.protocol),), config_drive=True
        )
        await driver.ensure_config_drive(server.id, {
            "openstack/latest/meta_data.json": json.dumps({"uuid": server.id, "hostname": "one"}).encode(),
            "openstack/latest/user_data": WRITES.encode(),
        })  # fmt: skip
        await driver.ensure_server(server, "running")
        await console_says(driver, server.id, "running user-data")

        await volumes.ensure_volume(volume := str(uuid4()), 1)
        reached = await volumes.find_connection(volume)
        assert reached is not None
        await driver.attach_disk(server.id, Disk(volume, reached.path, "vdb", serial=volume[:20], protocol=reached.protocol))
        await volumes.extend_volume(volume, 2)
        await driver.resize_attached_disk(server.id, volume, 2 << 30)
        await console_says(driver, server.id, "user-data exit=0")

        xml = await driver.link.call(lambda c: c.lookupByUUIDString(server.id).XMLDesc(libvirt.VIR_DOMAIN_XML_SECURE))
        assert seen_ceph.key not in xml and seen_ceph.key not in command_line(server.id)
        secret = await driver.link.call(lambda c: c.secretLookupByUUIDString(id_of(seen_ceph)))
        with pytest.raises(libvirt.libvirtError, match="private"):
            secret.value()
        assert base64.b64decode(seen_ceph.key)

        await driver.detach_disk(server.id, volume)
        await volumes.ensure_image_data(image := str(uuid4()), volume)
        with open(images / "incoming" / image, "rb") as file:
            assert file.read(20) == b"written by the guest"
        (images / "incoming" / image).unlink()
        await driver.remove_server(server.id)
        await driver.remove_disk(root.id)
        await volumes.remove_volume(volume)
        assert (await driver.inventory()).disks == () and (await volumes.inventory()).volumes == []
    await volumes.stop()


async def test_a_guest_goes_on_elsewhere_and_its_disk_stays(
    two_hosts: tuple[bench.Host, bench.Host], seen_by_two: Access, tmp_path: Path
) -> None:
    async with as_members(two_hosts, tmp_path), two_hosts[0].compute(seen_by_two) as source, two_hosts[1].compute(seen_by_two) as dest:
        root = await source.ensure_disk(str(uuid4()), 1, IMAGE)
        server = ServerSpec(str(uuid4()), "vm", 1, 1, 128, (Disk(root.id, root.path, "vda", boot_index=0, protocol="rbd"),))
        await source.ensure_server(server, "running")
        await console_says(source, server.id, "READY")

        assert await dest.ensure_disk(root.id, 1) == root
        target = Target(str(uuid4()), await dest.await_server(server), (root.id,))
        await source.send_server(server, target)
        async with asyncio.timeout(MOVE_S):
            while (sending := await source.follow_server(server.id, target.id)).state not in ENDED:
                assert sending.progress.disk_total == 0
        assert (sending.state, sending.reason) == ("done", "")
        found = await dest.find_server(server.id)
        assert found is not None and found.power == "running" and await source.find_server(server.id) is None

        await dest.reboot_server(server, grace_s=60)
        await console_says(dest, server.id, "READY")
        await source.remove_server(server.id)
        with pytest.raises(BackendUnreachable, match="in use"):
            await source.remove_disk(root.id)
        await dest.remove_server(server.id)
        await dest.remove_disk(root.id)
        await Pair(source, dest).clear()


async def test_a_node_whose_settings_name_a_pool_keeps_disks_and_volumes_there(engine_host: bench.Host, seen_ceph: Access) -> None:
    engine_host.add_image(IMAGE)
    disks = {"pool": seen_ceph.pool, "user": seen_ceph.user, "conf": seen_ceph.conf, "keyring": seen_ceph.keyring}
    told = ", ".join(f'{name} = "{value}"' for name, value in disks.items())
    settings = engine_host.places.home / "moln.toml"
    settings.write_text(f"[node]\ndisks = {{ {told} }}\n")
    controller, process = bench.Controller(engine_host.places), bench.NodeProcess(engine_host)
    await controller.start()
    process.start()
    try:
        await asyncio.wait_for(controller.up.wait(), 60)
        (node,) = controller.links.nodes
        compute = controller.links.driver(node, "compute", ComputeDriver, deadline_s=60)
        volumes = controller.links.driver(node, "volume", VolumeDriver, deadline_s=60)
        made = await compute.ensure_disk(str(uuid4()), 1, IMAGE)
        assert (made.path, made.protocol) == (f"{seen_ceph.pool}/disk-{made.id}", "rbd")
        await volumes.ensure_volume(volume := str(uuid4()), 1, "image", IMAGE)
        assert await volumes.find_connection(volume) == Connection("shared", f"{seen_ceph.pool}/volume-{volume}", protocol="rbd")
        assert (await compute.host_facts()).shared_disks == (await volumes.pool()).shared == seen_ceph.name
        await compute.remove_disk(made.id)
        await volumes.remove_volume(volume)
        assert (await compute.inventory()).disks == () and (await volumes.inventory()).volumes == []
    finally:
        process.stop()
        await controller.stop()
        settings.unlink()
