"""What every compute driver does. The fake runs always; libvirt runs real (emulated) guests where engines may (`engines`)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from msgspec.structs import replace
from tests.node.turns import GUESTS

from moln.compute.drivers.base import (
    Card,
    ComputeDriver,
    Consoles,
    CrashDumps,
    Disk,
    DiskCopies,
    ServerSpec,
    ServerState,
    Snapshots,
    Suspension,
)
from moln.compute.drivers.fake import FakeCompute
from moln.compute.drivers.fake_guests import FakeGuests
from moln.compute.drivers.guests import Guests
from moln.kernel.errors import BackendRefused

pytestmark = GUESTS
IMAGE = "11111111-1111-4111-8111-111111111111"
BOOT_S = 150
DRIVERS = ["fake", pytest.param("libvirt", marks=pytest.mark.engines)]
wherever_disks_are = pytest.mark.parametrize("driver", [*DRIVERS, pytest.param("libvirt-rbd", marks=pytest.mark.engines)], indirect=True)
"""For what is done to disks and by them: all else is one code, whatever holds them."""


@pytest.fixture(params=DRIVERS)
async def driver(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Any]:
    images = tmp_path / "images"
    for folder in ("base", "incoming"):
        (images / folder).mkdir(parents=True)
    if request.param == "fake":
        (images / "base" / IMAGE).write_bytes(b"x" * (1 << 20))
        made: Any = FakeCompute("fake-1", tmp_path / "state.db", images)
        await made.start()
        yield made
        await made.stop()
        return
    host = request.getfixturevalue("engine_host")
    host.add_image(IMAGE)
    async with host.compute(request.getfixturevalue("seen_ceph") if request.param == "libvirt-rbd" else None) as made:
        yield made


@pytest.fixture
async def server(driver: ComputeDriver) -> AsyncIterator[ServerSpec]:
    """A server that is not made yet, with its disk and card; gone afterwards."""
    disk = await driver.ensure_disk(str(uuid4()), 1, IMAGE)
    spec = ServerSpec(
        str(uuid4()),
        "<name> & 'quotes' \"\n]]>",
        1,
        vcpus=1,
        ram_mib=128,
        disks=(Disk(disk.id, disk.path, "vda", serial=disk.id[:20], boot_index=0, protocol=disk.protocol),),
        cards=(Card(str(uuid4()), "fa:16:3e:00:00:01", str(uuid4()), 1442),),
    )
    yield spec
    await driver.remove_server(spec.id)
    await driver.remove_disk(disk.id)
    inventory = await driver.inventory()
    assert spec.id not in inventory.servers
    assert disk.id not in inventory.disks
    assert not {card.port_id for card in spec.cards} & set(inventory.ports)


@pytest.fixture
def guests(driver: Any) -> Guests:
    if isinstance(driver, FakeCompute):
        return FakeGuests(driver)
    from moln.compute.drivers.libvirt_guests import LibvirtGuests

    return LibvirtGuests(driver.link, "qemu")


async def power_of(driver: ComputeDriver, server_id: str) -> str | None:
    state = await driver.find_server(server_id)
    return state.power if state else None


async def console_says(driver: ComputeDriver, server_id: str, text: str, count: int = 1) -> str:
    async with asyncio.timeout(BOOT_S):
        while (said := await driver.console_output(server_id)).count(text) < count:
            await asyncio.sleep(0.5)
    return said


async def test_a_server_is_made_started_paused_stopped_and_removed(driver: ComputeDriver, server: ServerSpec) -> None:
    assert await driver.find_server(server.id) is None
    await driver.ensure_server(server, "running")
    await driver.ensure_server(server, "running")
    assert await power_of(driver, server.id) == "running"
    await driver.ensure_server(server, "paused")
    await driver.ensure_server(server, "paused")
    assert await power_of(driver, server.id) == "paused"
    await driver.ensure_server(server, "running")
    assert await power_of(driver, server.id) == "running"
    assert ServerState(server.id, "running", 1) in await driver.list_servers()
    await driver.ensure_server(server, "stopped")
    await driver.ensure_server(server, "stopped")
    assert await power_of(driver, server.id) == "stopped"
    await driver.remove_server(server.id)
    await driver.remove_server(server.id)
    assert await driver.find_server(server.id) is None


async def test_a_server_can_start_paused_or_stay_off(driver: ComputeDriver, server: ServerSpec) -> None:
    await driver.ensure_server(server, "stopped")
    assert await power_of(driver, server.id) == "stopped"
    await driver.ensure_server(server, "paused")
    assert await power_of(driver, server.id) == "paused"


async def test_an_older_generation_is_refused(driver: ComputeDriver, server: ServerSpec) -> None:
    await driver.ensure_server(replace(server, generation=5), "stopped")
    with pytest.raises(BackendRefused):
        await driver.ensure_server(replace(server, generation=4), "running")
    assert await driver.find_server(server.id) == ServerState(server.id, "stopped", 5)


async def test_a_running_server_is_told_in_numbers(driver: ComputeDriver, guests: Guests, server: ServerSpec) -> None:
    await driver.ensure_server(server, "stopped")
    assert await guests.find_diagnostics(server.id) is None
    with pytest.raises(BackendRefused):
        await guests.set_password(server.id, "root", "secret")
    await driver.ensure_server(replace(server, properties={"hw_qemu_guest_agent": "no"}), "running")
    told = await guests.find_diagnostics(server.id)
    assert told is not None and told.driver == "libvirt" and len(told.cpu_times_ns) == 1 and told.memory_kib == 128 * 1024
    assert [d.device for d in told.disks] == ["vda"] and [c.mac for c in told.cards] == ["fa:16:3e:00:00:01"]
    assert told.memory_stats["actual"] > 0


async def test_a_guest_without_an_agent_takes_no_password(driver: ComputeDriver, guests: Guests, server: ServerSpec) -> None:
    await driver.ensure_server(server, "running")
    assert await guests.set_password(server.id, "root", "secret") is False
    assert await guests.find_diagnostics(str(uuid4())) is None


async def test_a_power_change_is_told(driver: ComputeDriver, server: ServerSpec) -> None:
    heard: asyncio.Queue[ServerState] = asyncio.Queue()
    driver.on_power_change(heard.put_nowait)
    await driver.ensure_server(server, "running")
    async with asyncio.timeout(10):
        while (await heard.get()).power != "running":
            pass
        await driver.ensure_server(server, "stopped")
        while (await heard.get()).power != "stopped":
            pass


@wherever_disks_are
async def test_disks_and_cards_come_and_go_while_it_is_off(driver: ComputeDriver, server: ServerSpec) -> None:
    await driver.ensure_server(server, "stopped")
    await plug_and_unplug(driver, server)


async def plug_and_unplug(driver: ComputeDriver, server: ServerSpec) -> None:
    volume = await driver.ensure_disk(str(uuid4()), 1)
    extra = Disk(volume.id, volume.path, "vdb", serial=volume.id[:20], protocol=volume.protocol)
    card = Card(str(uuid4()), "fa:16:3e:00:00:02", str(uuid4()))
    try:
        for _ in range(2):
            await driver.attach_disk(server.id, extra)
            await driver.attach_card(server.id, card)
        for _ in range(2):
            await driver.detach_disk(server.id, extra.id)
            await driver.detach_card(server.id, card.port_id)
        assert card.port_id not in (await driver.inventory()).ports
    finally:
        await driver.remove_disk(volume.id)


async def test_nothing_can_be_attached_to_no_server(driver: ComputeDriver) -> None:
    with pytest.raises(BackendRefused):
        await driver.attach_disk(str(uuid4()), Disk(str(uuid4()), "/nowhere", "vdb"))
    with pytest.raises(BackendRefused):
        await driver.attach_card(str(uuid4()), Card(str(uuid4()), "fa:16:3e:00:00:02", str(uuid4())))
    await driver.detach_disk(str(uuid4()), str(uuid4()))
    await driver.detach_card(str(uuid4()), str(uuid4()))


@wherever_disks_are
async def test_a_disk_is_made_once_from_an_image_that_fits(driver: ComputeDriver) -> None:
    id = str(uuid4())
    first = await driver.ensure_disk(id, 1, IMAGE)
    assert first.size_bytes == 1 << 30
    assert await driver.ensure_disk(id, 1, IMAGE) == first
    await driver.remove_disk(id)
    await driver.remove_disk(id)
    small = await driver.ensure_disk(id, 0, IMAGE)
    assert 0 < small.size_bytes < 1 << 30
    await driver.remove_disk(id)
    with pytest.raises(BackendRefused):
        await driver.ensure_disk(id, 1, str(uuid4()))
    assert id not in (await driver.inventory()).disks


@wherever_disks_are
@pytest.mark.parametrize("id", ["../../etc/passwd", "", "a/b", "11111111-1111-4111-8111-11111111111\n"])
async def test_what_is_no_id_names_no_file(driver: ComputeDriver, id: str) -> None:
    with pytest.raises(BackendRefused):
        await driver.ensure_disk(id, 1)


async def test_console_output_of_a_server_that_never_ran_is_empty(driver: ComputeDriver) -> None:
    assert await driver.console_output(str(uuid4())) == ""


async def test_consoles_are_open_while_it_runs(driver: Any, server: ServerSpec) -> None:
    assert isinstance(driver, Consoles)
    for kind in ("vnc", "serial"):
        with pytest.raises(BackendRefused):
            await driver.open_console(server.id, kind)
    await driver.ensure_server(server, "running")
    screens = [await driver.open_console(server.id, "vnc") for _ in range(2)]
    for screen in screens:
        async with asyncio.timeout(20):
            assert await screen.reader.readexactly(12) == b"RFB 003.008\n"
            screen.writer.write(b"RFB 003.008\n")
            assert b"\x01" in await screen.reader.read(16)  # among the security types: None
    first = await driver.open_console(server.id, "serial")
    second = await driver.open_console(server.id, "serial")
    async with asyncio.timeout(20):
        while await first.reader.read(1 << 16):
            pass  # it was taken away
    assert "READY" in await console_says(driver, server.id, "READY")  # the log goes on beside it
    second.writer.write(b"\r")
    async with asyncio.timeout(60):
        heard = b""
        while b"login:" not in heard:
            heard += await second.reader.readuntil(b":")
    await driver.remove_server(server.id)
    async with asyncio.timeout(20):
        for stream in (*screens, second):
            while await stream.reader.read(1 << 16):
                pass
            stream.writer.close()
    with pytest.raises(BackendRefused):
        await driver.open_console(server.id, "vnc")


@wherever_disks_are
async def test_a_reboot_starts_it_again(driver: ComputeDriver, server: ServerSpec) -> None:
    server = replace(server, config_drive=True)
    metadata = json.dumps({"uuid": server.id, "hostname": "one"}).encode()
    await driver.ensure_config_drive(server.id, {"openstack/latest/meta_data.json": metadata})
    await driver.ensure_server(server, "running")
    assert "source=configdrive" in await console_says(driver, server.id, "READY")
    await driver.reboot_server(replace(server, generation=2), grace_s=60)
    assert await driver.find_server(server.id) == ServerState(server.id, "running", 2)
    await console_says(driver, server.id, "READY", 2)
    assert len((await driver.console_output(server.id, 3)).splitlines()) == 3
    await plug_and_unplug(driver, server)  # a running guest lets go of devices
    assert isinstance(driver, Snapshots)
    image = str(uuid4())
    size = await driver.ensure_image_data(image, server.id, server.disks[0].id)
    assert size >= 1 << 20
    assert await power_of(driver, server.id) == "running"
    await driver.ensure_server(replace(server, generation=3), "stopped", grace_s=60)
    assert await power_of(driver, server.id) == "stopped"


async def test_a_suspended_guest_keeps_its_memory(driver: Any, server: ServerSpec) -> None:
    assert isinstance(driver, Suspension)
    assert isinstance(driver, CrashDumps)
    with pytest.raises(BackendRefused):
        await driver.suspend_server(server.id)
    await driver.ensure_server(server, "running")
    await console_says(driver, server.id, "READY")
    for _ in range(2):
        await driver.suspend_server(server.id)
        assert await power_of(driver, server.id) == "stopped"
    with pytest.raises(BackendRefused):
        await driver.trigger_crash_dump(server.id)
    for _ in range(2):
        await driver.resume_server(replace(server, generation=2))
        assert await driver.find_server(server.id) == ServerState(server.id, "running", 2)
    assert (await driver.console_output(server.id)).count("READY") == 1  # it did not boot
    await driver.trigger_crash_dump(server.id)
    await console_says(driver, server.id, "NMI received")  # it goes on
    await driver.suspend_server(server.id)
    with pytest.raises(BackendRefused):
        await driver.resume_server(server)
    await driver.reboot_server(replace(server, generation=3))
    await console_says(driver, server.id, "READY", 2)  # it did: the memory is forgotten
    await driver.ensure_server(replace(server, generation=4), "stopped")
    with pytest.raises(BackendRefused):
        await driver.suspend_server(server.id)


@wherever_disks_are
@pytest.mark.parametrize("bus", [None, "scsi", "usb"])
async def test_a_rescued_guest_boots_from_the_disk_that_comes_first(driver: ComputeDriver, server: ServerSpec, bus: Any) -> None:
    """Its own root disk is empty: it boots only if the other one is booted."""
    empty = await driver.ensure_disk(str(uuid4()), 1)
    rescue = await driver.ensure_disk(str(uuid4()), 0, IMAGE)
    own = Disk(empty.id, empty.path, "vda", serial=empty.id[:20], boot_index=0, protocol=empty.protocol)
    first = Disk(rescue.id, rescue.path, "vda", serial=rescue.id[:20], boot_index=0, protocol=rescue.protocol)
    disks = (first, replace(own, device="vdb", boot_index=None))
    if bus is not None:  # the stable way: its own disk stays where it is
        disks = (replace(own, boot_index=1), replace(first, device="sda", bus=bus))
    try:
        await driver.ensure_server(replace(server, disks=(own,)), "running")
        await driver.reboot_server(replace(server, disks=disks, generation=2))
        if bus != "usb":  # the small guest knows no USB: it is the machine that must have it
            await console_says(driver, server.id, "READY")
        await driver.reboot_server(replace(server, disks=(own,), generation=3))
        assert await driver.find_server(server.id) == ServerState(server.id, "running", 3)
    finally:
        await driver.remove_server(server.id)
        await driver.remove_disk(empty.id)
        await driver.remove_disk(rescue.id)


@wherever_disks_are
async def test_a_disk_is_copied_grown_and_put_back(driver: Any, server: ServerSpec) -> None:
    assert isinstance(driver, DiskCopies)
    disk, copy = server.disks[0], str(uuid4())
    for _ in range(2):
        await driver.ensure_disk_copy(copy, disk.id)
        await driver.grow_disk(disk.id, 2)
    await driver.grow_disk(disk.id, 1)
    assert (await driver.ensure_disk(disk.id, 1, IMAGE)).size_bytes == 2 << 30
    assert (await driver.ensure_disk(copy, 1)).size_bytes == 1 << 30
    path = Path(disk.path)
    before = path.read_bytes()[:512] if path.exists() else b""
    if path.exists():
        with path.open("r+b") as file:
            file.write(b"new" * 100)
    for _ in range(2):
        await driver.restore_disk(disk.id, copy)
    assert (await driver.ensure_disk(disk.id, 1, IMAGE)).size_bytes == 1 << 30
    assert not path.exists() or path.read_bytes()[:512] == before
    inventory = await driver.inventory()
    assert copy not in inventory.disks
    assert disk.id in inventory.disks
    for missing in (driver.ensure_disk_copy(copy, str(uuid4())), driver.grow_disk(str(uuid4()), 1)):
        with pytest.raises(BackendRefused):
            await missing
    assert copy not in (await driver.inventory()).disks


@wherever_disks_are
async def test_a_server_that_was_off_has_its_new_shape_and_the_grown_disk(driver: Any, server: ServerSpec) -> None:
    await driver.ensure_server(server, "running")
    await driver.ensure_server(server, "stopped")
    await driver.grow_disk(server.disks[0].id, 2)
    grown = replace(server, generation=2, vcpus=2, ram_mib=160)
    for _ in range(2):
        await driver.ensure_server(grown, "running")
    assert await driver.find_server(server.id) == ServerState(server.id, "running", 2)
    await console_says(driver, server.id, "READY")
    if hasattr(driver, "link"):
        assert await driver.link.call(shape_of, server.id, server.disks[0].device) == (2, 160 << 10, 2 << 30)


def shape_of(connection: Any, server_id: str, path: str) -> tuple[int, int, int]:
    """vCPUs, KiB of memory and the bytes of a disk, as the running QEMU has them."""
    from moln.compute.drivers import libvirt_domains

    domain = libvirt_domains.get(connection, server_id)
    return domain.vcpusFlags(0), domain.info()[1], domain.blockInfo(path)[0]


async def test_facts_are_plausible(driver: ComputeDriver) -> None:
    facts = await driver.host_facts()
    assert facts.vcpus > 0
    assert facts.ram_mib > facts.ram_used_mib
    assert facts.version > 0


async def test_a_simulated_snapshot_is_raw_whatever_its_image_was(tmp_path: Path) -> None:
    for folder in ("base", "incoming"):
        (tmp_path / folder).mkdir()
    (tmp_path / "base" / IMAGE).write_bytes(b"QFI\xfb" + bytes(512))
    fake, server, image = FakeCompute("fake-1", None, tmp_path), str(uuid4()), str(uuid4())
    disk = await fake.ensure_disk(str(uuid4()), 1, IMAGE)
    assert await fake.ensure_image_data(image, server, disk.id) == 1 << 20
    assert (tmp_path / "incoming" / image).read_bytes() == bytes(1 << 20)
