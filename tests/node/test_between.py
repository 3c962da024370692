"""How hosts of several machines reach one another to move servers: real TLS and real sockets, with a file for a disk and an echo for a libvirtd."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from moln.compute.drivers.reach import Way
from moln.host.places import Places
from moln.kernel.clock import Clock
from moln.kernel.errors import BackendRefused, BackendUnreachable
from moln.kernel.http.certificates import Authority, member_host
from moln.kernel.link import Streams
from moln.kernel.nodes.passport import Passport
from moln.node.between import ARRIVAL, Between, Place, place_of
from moln.node.guard import AUTH, CALL, HEAD, LENGTH, REMOTE
from moln.node.moves import NoFences
from moln.node.tls_streams import TlsStreamServer

NOW = datetime.now(UTC)
DISK = "aaaaaaaa-0000-4000-8000-000000000001"
SERVER = "bbbbbbbb-0000-4000-8000-000000000001"
SIZE = 1 << 20
FOLDER = Path("/srv") / SERVER
HEARD = LENGTH.pack(LENGTH.size + HEAD.size) + HEAD.pack(*REMOTE, AUTH, CALL, 1, 0)  # what libvirtd may be told


class Host:
    """A node's end of moves, and the port where it is found. role, name: what its certificate says."""

    def __init__(self, folder: Path, authority: Authority, name: str, role: str = "node") -> None:
        self.authority, self.name, self.role, self.folder = authority, name, role, folder
        self.passport = Passport(authority.ensure_member(folder / f"{name}.pem", role, name, NOW), authority.public)
        self.reach = Between(Places(folder / name), self.passport, "", member_host(role, name), Clock().now_us, qemu=None)
        self.reach.prepare()
        self.reach.libvirtd = short(self.reach.libvirtd)
        streams = Streams(self.reach.openers, NoFences(), Clock().now_us)
        self.server = TlsStreamServer("127.0.0.1:0", streams, self.passport, streams)

    async def start(self) -> None:
        await self.server.start()
        self.reach.address = self.server.address

    async def echo(self, path: Path) -> asyncio.Server:
        """Something that listens there, and says what it hears with its host's name before."""

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while said := await reader.read(1000):
                writer.write(f"{self.name}: ".encode() + said)
            writer.close()

        return await asyncio.start_unix_server(answer, short(path))


@pytest.fixture
async def hosts(tmp_path: Path) -> AsyncIterator[dict[str, Host]]:
    """A controller, two nodes, and one whose certificate is of another authority."""
    ours, other = Authority(tmp_path / "tls", NOW), Authority(tmp_path / "other", NOW)
    made = {name: Host(tmp_path, by, name, role) for name, role, by in (
        ("c1", "controller", ours), ("n1", "node", ours), ("n2", "node", ours), ("stranger", "node", other))}  # fmt: skip
    for host in made.values():
        await host.start()
    yield made
    for host in made.values():
        await host.server.stop()


async def offered(host: Host) -> tuple[str, bytes]:
    """A disk's address, and its bytes."""
    disk = host.folder / "disk"
    with disk.open("wb") as file:
        file.write(os.urandom(5000))
        file.truncate(SIZE)
    return await host.reach.offer(DISK, disk), disk.read_bytes()


@pytest.mark.parametrize(("source", "dest"), [("c1", "n1"), ("n1", "c1"), ("n1", "n2")])
async def test_an_offered_disk_comes_whole_until_it_is_withdrawn(hosts: dict[str, Host], tmp_path: Path, source: str, dest: str) -> None:
    address, data = await offered(hosts[source])
    target = tmp_path / "fetched"
    for _ in range(2):
        await hosts[dest].reach.fetch(DISK, address, SIZE, target)
    assert target.read_bytes() == data and target.stat().st_mode & 0o777 == 0o600
    assert target.stat().st_blocks < SIZE // 512
    assert await hosts[source].reach.offer(DISK, hosts[source].folder / "disk") == address
    await hosts[source].reach.withdraw(DISK)
    with pytest.raises(BackendRefused):
        await hosts[dest].reach.fetch(DISK, address, SIZE, target)


async def test_who_was_not_told_the_secret_reads_nothing(hosts: dict[str, Host], tmp_path: Path) -> None:
    address, _ = await offered(hosts["n1"])
    guessed = msgspec.json.encode(msgspec.structs.replace(place_of(address), secret="")).decode()
    other = await hosts["n1"].reach.offer(DISK.replace("a", "c"), hosts["n1"].folder / "disk")
    for wrong in (guessed, other):
        with pytest.raises(BackendRefused):
            await hosts["n2"].reach.fetch(DISK, wrong, SIZE, tmp_path / "fetched")
    assert not (tmp_path / "fetched").exists()


async def test_who_is_no_member_reads_nothing_whatever_it_was_told(hosts: dict[str, Host], tmp_path: Path) -> None:
    address, _ = await offered(hosts["n1"])
    with pytest.raises(BackendUnreachable):  # it does not trust us either
        await hosts["stranger"].reach.fetch(DISK, address, SIZE, tmp_path / "fetched")
    thief = hosts["stranger"]
    thief.passport.ca = hosts["n1"].passport.ca
    with pytest.raises(BackendUnreachable):
        await thief.reach.fetch(DISK, address, SIZE, tmp_path / "fetched")
    assert not (tmp_path / "fetched").exists()


async def test_a_disk_is_taken_from_the_host_that_was_meant_alone(hosts: dict[str, Host], tmp_path: Path) -> None:
    address, _ = await offered(hosts["n1"])
    await offered(hosts["n2"])
    led_away = msgspec.json.encode(msgspec.structs.replace(place_of(address), address=hosts["n2"].server.address)).decode()
    with pytest.raises(BackendUnreachable, match="another than it should be"):
        await hosts["c1"].reach.fetch(DISK, led_away, SIZE, tmp_path / "fetched")


async def test_more_than_was_said_is_not_taken(hosts: dict[str, Host], tmp_path: Path) -> None:
    address, _ = await offered(hosts["n1"])
    with pytest.raises(BackendUnreachable, match="longer"):
        await hosts["n2"].reach.fetch(DISK, address, SIZE - 1, tmp_path / "fetched")
    assert (tmp_path / "fetched").stat().st_size < SIZE


async def test_what_is_no_address_is_refused(hosts: dict[str, Host], tmp_path: Path) -> None:
    for wrong in ("nowhere", "{}", msgspec.json.encode(Place("10.0.0.1", "x", "y")).decode()):
        with pytest.raises(BackendRefused):
            await hosts["n1"].reach.fetch(DISK, wrong, SIZE, tmp_path / "fetched")
        with pytest.raises(BackendRefused):
            await hosts["n1"].reach.way(SERVER, wrong)


def seen(host: Host, way: Way) -> list[Path]:
    """The sockets of a way to libvirtd, memory and disks, as our own file system has them."""
    named = (way.uri.partition("socket=")[2], f"{way.sockets}/{SERVER}-m", f"{way.sockets}/{SERVER}-d")
    return [short(host.folder / host.name / "host/libvirt/run" / Path(name).relative_to("/run/libvirt")) for name in named]


def short(path: Path) -> Path:
    """The same in few bytes, as a socket's path needs it. The folder's descriptor is the test process's until it ends."""
    return Path(f"/proc/self/fd/{os.open(path.parent, os.O_PATH)}") / path.name


async def said(path: Path, word: bytes) -> bytes:
    """Empty: it hung up."""
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        writer.write(word)
        return await reader.read(1000)
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def test_a_likeness_leads_to_what_it_is_like(hosts: dict[str, Host]) -> None:
    source, dest = hosts["n1"], hosts["c1"]
    own = (dest.reach.libvirtd, dest.reach.sockets / f"{SERVER}-m", dest.reach.sockets / f"{SERVER}-d")
    listening = [await dest.echo(path) for path in own]
    way = await source.reach.way(SERVER, await dest.reach.expect(SERVER, FOLDER, ()))
    paths = seen(source, way)
    assert [await said(path, HEARD) for path in paths] == [b"c1: " + HEARD] * 3
    assert await said(paths[0], b"a word that libvirt does not know") == b""
    way.close()
    assert not any(path.exists() for path in paths)
    for server in listening:
        server.close()


async def test_nobody_is_led_to_a_host_that_does_not_expect_the_server_any_more(hosts: dict[str, Host]) -> None:
    source, dest = hosts["n1"], hosts["n2"]
    listening = await dest.echo(dest.reach.libvirtd)
    address = await dest.reach.expect(SERVER, FOLDER, ())
    assert await dest.reach.expect(SERVER, FOLDER, ()) == address
    way = await source.reach.way(SERVER, address)
    assert await said(seen(source, way)[0], HEARD) == b"n2: " + HEARD
    dest.reach.expect_no_more(SERVER)
    assert await said(seen(source, way)[0], HEARD) == b""
    again = await dest.reach.expect(SERVER, FOLDER, ())
    assert again != address
    assert await said(seen(source, way)[0], HEARD) == b""
    way.close()
    listening.close()


async def test_a_destination_that_is_not_reached_is_said_before_anything_begins(hosts: dict[str, Host]) -> None:
    source, dest = hosts["n1"], hosts["n2"]
    address = await dest.reach.expect(SERVER, FOLDER, ())
    with pytest.raises(BackendRefused, match="Nobody listens"):  # its libvirtd is down
        await source.reach.way(SERVER, address)
    await dest.server.stop()
    with pytest.raises(BackendRefused, match=f"port {dest.server.port} does not answer"):
        await source.reach.way(SERVER, address)
    assert [path for folder in (source.reach.sockets, source.reach.daemons) for path in folder.iterdir()] == []


async def test_what_a_guest_came_by_is_gone_when_it_is_there(hosts: dict[str, Host]) -> None:
    dest = hosts["n2"]
    listening = await dest.echo(dest.reach.sockets / f"{SERVER}-m")
    dest.reach.expect_no_more(SERVER)  # a server that leaves here by the same names is none of those that come
    assert (dest.reach.sockets / f"{SERVER}-m").exists()
    await dest.reach.expect(SERVER, FOLDER, ())
    dest.reach.expect_no_more(SERVER)
    assert list(dest.reach.sockets.iterdir()) == []
    listening.close()


async def test_a_secret_opens_its_own_server_alone(hosts: dict[str, Host]) -> None:
    source, dest = hosts["n1"], hosts["n2"]
    listening = await dest.echo(dest.reach.libvirtd)
    place = place_of(await dest.reach.expect(SERVER, FOLDER, ()))
    await dest.reach.expect(other := SERVER.replace("b", "d"), FOLDER, ())
    client = source.reach._client(place)
    for server, secret, part in ((other, place.secret, "libvirtd"), (SERVER, "", "libvirtd"), (SERVER, place.secret, "../../x")):
        with pytest.raises(BackendRefused):
            await client.open(ARRIVAL, server, secret, part)
    with pytest.raises(BackendUnreachable, match="Nobody listens"):
        await client.open(ARRIVAL, SERVER, place.secret, "memory")
    listening.close()


async def test_a_certificate_that_another_process_renewed_is_shown_from_the_second_handshake_on(hosts: dict[str, Host], tmp_path: Path) -> None:
    """A controller's node serves with a file that the controller renews."""
    host = hosts["c1"]
    before, shown = host.passport.certificate.read_bytes(), []
    host.passport.certificate.unlink()
    host.authority.ensure_member(host.passport.certificate, host.role, host.name, NOW)
    assert host.passport.certificate.read_bytes() != before
    address, _ = await offered(host)
    for _ in range(2):
        await hosts["n1"].reach.fetch(DISK, address, SIZE, tmp_path / "fetched")
        name, port = host.server.address.rsplit(":", 1)
        _, writer = await asyncio.open_connection(name, int(port), ssl=hosts["n1"].passport.client(), server_hostname=host.reach.host)
        shown.append(writer.get_extra_info("peercert")["serialNumber"])
        writer.close()
    assert shown[0] == shown[1] == f"{serial(host.passport.certificate):X}".zfill(len(shown[0]))


def serial(file: Path) -> int:
    from cryptography import x509

    return x509.load_pem_x509_certificate(file.read_bytes()).serial_number
