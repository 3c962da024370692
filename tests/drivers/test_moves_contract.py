"""What every compute driver does that gives servers to another host and takes them over. Two hosts: each test names the one that it asks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4
from xml.etree.ElementTree import fromstring

import pytest
from msgspec.structs import replace
from tests.node import bench
from tests.node.turns import GUESTS

from moln.compute.drivers.base import Card, Disk, ServerSpec
from moln.compute.drivers.fake import FakeCompute
from moln.compute.drivers.moves import DiskOffer, Sending, Target
from moln.kernel.clock import Clock
from moln.kernel.errors import BackendRefused, BackendUnreachable
from moln.kernel.http.certificates import Authority, member_host
from moln.kernel.link import Streams
from moln.kernel.nodes.passport import Passport
from moln.node.between import Between
from moln.node.moves import NoFences
from moln.node.tls_streams import TlsStreamServer

pytestmark = GUESTS
IMAGE = "11111111-1111-4111-8111-111111111111"
MOVE_S = 120
ENDED = ("done", "failed", "absent")


class Pair:
    """source and dest: two drivers."""

    def __init__(self, source: Any, dest: Any) -> None:
        self.source, self.dest = source, dest

    async def slow(self, server_id: str, mib_s: int = 2) -> None:
        """It is sent too slowly to end while a test looks; mib_s: on real hosts."""
        if isinstance(self.source, FakeCompute):
            self.source.busy.add(server_id)
        else:
            await self.source.link.call(lambda connection: connection.lookupByUUIDString(server_id).migrateSetMaxSpeed(mib_s))

    async def clear(self) -> None:
        for driver in (self.source, self.dest):
            held = await driver.inventory()
            for server_id in held.servers:
                await driver.keep_server(server_id)
            for server_id in {*held.servers, *held.folders}:
                await driver.remove_server(server_id)
            for disk_id in held.disks:
                await driver.withdraw_disk(disk_id)
                await driver.remove_disk(disk_id)
            left = await driver.inventory()
            assert (left.servers, left.disks, left.ports) == ((), (), ())


@pytest.fixture(scope="module")
def two_hosts() -> Iterator[tuple[bench.Host, bench.Host]]:
    """Two hosts on one machine, each with its own libvirtd and switch."""
    if not bench.available():
        pytest.skip("needs root and engines")
    with bench.guests_alone(), bench.real_host("moln-src") as source, bench.real_host("moln-dst") as dest:
        for host in (source, dest):
            host.add_image(IMAGE)
        yield source, dest


@asynccontextmanager
async def as_members(hosts: tuple[bench.Host, bench.Host], folder: Path) -> AsyncIterator[None]:
    """As hosts of several machines reach one another: they see no file of each other's."""
    now = datetime.now(UTC)
    authority = Authority(folder / "tls", now)
    async with AsyncExitStack() as stack:
        for host in hosts:
            name = host.netns
            passport = Passport(authority.ensure_member(folder / f"{name}.pem", "node", name, now), authority.public)
            host.reach = reach = Between(host.places, passport, "", member_host("node", name), Clock().now_us)
            reach.prepare()
            streams = Streams(reach.openers, NoFences(), Clock().now_us)
            server = TlsStreamServer("127.0.0.1:0", streams, passport, streams)
            await server.start()
            stack.push_async_callback(server.stop)
            reach.address = server.address
        yield


@pytest.fixture(params=["fake", pytest.param("libvirt", marks=pytest.mark.engines)])
async def pair(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Pair]:
    if request.param == "libvirt":
        source, dest = request.getfixturevalue("two_hosts")
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(as_members((source, dest), tmp_path))
            first, second = [await stack.enter_async_context(host.compute()) for host in (source, dest)]
            yield (made := Pair(first, second))
            await made.clear()
        return
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / IMAGE).write_bytes(b"x" * (1 << 20))
    peers: dict[str, FakeCompute] = {}
    drivers = [FakeCompute(name, tmp_path / f"{name}.db", tmp_path, peers=peers) for name in ("fake-1", "fake-2")]
    yield Pair(*drivers)
    for driver in drivers:
        await driver.stop()


@pytest.fixture
async def server(pair: Pair) -> ServerSpec:
    """One that runs at the source."""
    disk = await pair.source.ensure_disk(str(uuid4()), 1, IMAGE)
    spec = ServerSpec(
        str(uuid4()), "vm", 1, 1, 128, (Disk(disk.id, disk.path, "vda", boot_index=0, protocol=disk.protocol),), (Card(str(uuid4()), "fa:16:3e:00:00:01", str(uuid4())),)
    )
    await pair.source.ensure_server(spec, "running")
    return spec


async def there(pair: Pair, server: ServerSpec) -> ServerSpec:
    """The same as its destination sees it, with disks made to be written over."""
    disks = []
    for disk in server.disks:
        made = await pair.dest.ensure_disk(disk.id, 1)
        disks.append(replace(disk, path=made.path))
    return replace(server, generation=server.generation + 1, disks=tuple(disks))


async def begin(pair: Pair, server: ServerSpec) -> Target:
    spec = await there(pair, server)
    target = Target(str(uuid4()), await pair.dest.await_server(spec), tuple(d.id for d in server.disks))
    for _ in range(2):
        await pair.source.send_server(spec, target)
    return target


async def end(pair: Pair, server: ServerSpec, target: Target) -> Sending:
    async with asyncio.timeout(MOVE_S):
        while (sending := await pair.source.follow_server(server.id, target.id)).state not in ENDED:
            await asyncio.sleep(0.2 if hasattr(pair.source, "link") else 0)
    return sending


async def test_a_disk_is_fetched_while_it_is_offered(pair: Pair, server: ServerSpec) -> None:
    disk = server.disks[0].id
    await pair.source.ensure_server(server, "stopped")
    for _ in range(2):
        offer = await pair.source.offer_disk(disk)
    assert (offer.id, offer.size_bytes) == (disk, 1 << 30)
    for _ in range(2):
        await pair.dest.fetch_disk(offer)
    assert (await pair.dest.ensure_disk(disk, 1)).size_bytes == 1 << 30
    assert disk in (await pair.source.inventory()).disks
    for _ in range(2):
        await pair.source.withdraw_disk(disk)
    await pair.dest.remove_disk(disk)
    with pytest.raises((BackendRefused, BackendUnreachable)):
        await pair.dest.fetch_disk(offer)
    assert disk not in (await pair.dest.inventory()).disks


async def test_what_is_not_there_cannot_be_offered(pair: Pair) -> None:
    with pytest.raises(BackendRefused):
        await pair.source.offer_disk(str(uuid4()))
    with pytest.raises(BackendRefused):
        await pair.source.offer_disk("../../etc/passwd")
    with pytest.raises((BackendRefused, BackendUnreachable)):
        await pair.dest.fetch_disk(DiskOffer(str(uuid4()), 1, "nowhere"))


async def test_a_running_server_goes_over_and_is_only_there(pair: Pair, server: ServerSpec) -> None:
    target = await begin(pair, server)
    sending = await end(pair, server, target)
    assert sending.state == "done"
    assert sending.progress.memory_remaining == 0
    assert await pair.source.find_server(server.id) is None
    state = await pair.dest.find_server(server.id)
    assert (state.power, state.generation) == ("running", 2)
    assert (await pair.source.follow_server(server.id, target.id)).state in ("done", "absent")
    assert await pair.source.keep_server(server.id) is False
    assert server.disks[0].id in (await pair.source.inventory()).disks  # whoever asked removes it


async def test_a_paused_server_is_paused_there(pair: Pair, server: ServerSpec) -> None:
    await pair.source.ensure_server(server, "paused")
    await end(pair, server, await begin(pair, server))
    assert (await pair.dest.find_server(server.id)).power == "paused"


async def test_one_that_is_kept_stays(pair: Pair, server: ServerSpec) -> None:
    await pair.slow(server.id)
    target = await begin(pair, server)
    assert (await pair.source.follow_server(server.id, target.id)).state == "running"
    for _ in range(2):
        assert await pair.source.keep_server(server.id) is True
    assert (await pair.source.find_server(server.id)).power == "running"
    assert (await pair.source.follow_server(server.id, target.id)).state in ("idle", "failed")
    await pair.dest.remove_server(server.id)
    assert (await pair.source.find_server(server.id)).power == "running"


async def test_one_that_is_hurried_ends(pair: Pair, server: ServerSpec) -> None:
    await pair.slow(server.id, 32)  # libvirt hurries the memory, not the disks
    target = await begin(pair, server)
    for _ in range(2):
        assert (await pair.source.follow_server(server.id, target.id)).state == "running"
    for _ in range(2):
        await pair.source.hurry_server(server.id)
    assert (await end(pair, server, target)).state == "done"
    await pair.source.hurry_server(str(uuid4()))


async def test_only_what_runs_can_be_sent(pair: Pair, server: ServerSpec) -> None:
    await pair.source.ensure_server(server, "stopped")
    with pytest.raises(BackendRefused):
        await begin(pair, server)
    gone = str(uuid4())
    assert (await pair.source.follow_server(gone, str(uuid4()))).state == "absent"
    assert (await pair.source.follow_server(server.id, str(uuid4()))).state == "idle"
    assert await pair.source.keep_server(gone) is False


async def test_a_destination_that_is_lost_leaves_the_server_where_it_was(pair: Pair, server: ServerSpec) -> None:
    if not isinstance(pair.source, FakeCompute):
        pytest.skip("the destination's libvirtd is the other tests', too")
    target = await begin(pair, server)
    del pair.source.peers["fake-2"]
    sending = await end(pair, server, target)
    assert sending.state == "failed" and sending.reason
    assert (await pair.source.find_server(server.id)).power == "running"
    assert await pair.source.keep_server(server.id) is True


async def test_its_description_there_names_its_own_devices_only(pair: Pair, server: ServerSpec) -> None:
    """SEC-16 (OSSA-2020-006): what it would be started from again is what it runs with."""
    target = await begin(pair, server)
    assert (await end(pair, server, target)).state == "done"
    made = await pair.dest.ensure_disk(server.disks[0].id, 1)
    if isinstance(pair.dest, FakeCompute):
        assert [d.path for d in pair.dest.spec_of(server.id).disks] == [made.path]
        return
    running, kept = await pair.dest.link.call(descriptions, server.id)
    assert running == kept == [made.path]


def descriptions(connection: Any, server_id: str) -> tuple[list[str], list[str]]:
    """The files that a running server has open as disks, and those that its definition names."""
    import libvirt

    domain = connection.lookupByUUIDString(server_id)
    found = [fromstring(domain.XMLDesc(flags)).iterfind("devices/disk/source") for flags in (0, libvirt.VIR_DOMAIN_XML_INACTIVE)]
    running, kept = ([source.get("file", "") for source in sources] for sources in found)
    return running, kept


async def test_each_disk_arrives_as_itself(pair: Pair, server: ServerSpec) -> None:
    """SEC-18 (OSSA-2014-003): two disks of other content, and not a byte of the one in the other."""
    second = await pair.source.ensure_disk(str(uuid4()), 1)
    path = Path(second.path)
    if path.exists():
        with path.open("r+b") as file:
            file.write(b"second" * 1000)
    server = replace(server, generation=2, disks=(*server.disks, Disk(second.id, second.path, "vdb")))
    await pair.source.reboot_server(server)
    target = await begin(pair, server)
    assert (await end(pair, server, target)).state == "done"
    await pair.dest.ensure_server(replace(await there(pair, server), generation=4), "stopped")
    for disk in server.disks:
        arrived = await pair.dest.ensure_disk(disk.id, 1)
        if isinstance(pair.dest, FakeCompute):
            assert pair.dest.kept.origins.get(disk.id) == pair.source.kept.origins.get(disk.id)
        elif disk.id == second.id:
            assert Path(arrived.path).read_bytes() == path.read_bytes()
        else:
            assert Path(arrived.path).read_bytes()[:512] == Path(disk.path).read_bytes()[:512]
