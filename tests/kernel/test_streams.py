"""Streams between controller and node: fenced like commands, bounded, and closed at both ends."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from moln.kernel.clock import Clock
from moln.kernel.errors import BackendRefused, BackendUnreachable, StaleGeneration
from moln.kernel.http.certificates import Authority, member_host, read
from moln.kernel.link import InProcessLinks, MemoryFences, NodeLinks, SocketEnd, SocketLinks, Stream, Streams, Verbs
from moln.kernel.link.frames import Hello, pack
from moln.kernel.link.leases import DatabaseLeases
from moln.kernel.link.nats import NatsLinks, _NatsPeer
from moln.kernel.link.nats_keys import USER, NatsKey
from moln.kernel.link.nats_wire import Badge
from moln.kernel.link.streams import of_socket
from moln.kernel.nodes.passport import Passport
from moln.node.streams import StreamServer
from moln.node.tls_streams import TlsStreamServer


class Guest:
    """Opens a socket pair, whose far ends are kept."""

    def __init__(self) -> None:
        self.far: list[Stream] = []

    async def open(self, name: str) -> Stream:
        if name == "off":
            raise BackendRefused("It is off.")
        if name == "broken":
            raise RuntimeError("a secret")
        near, far = socket.socketpair()
        self.far.append(await of_socket(far))
        return await of_socket(near)


class Cloud:
    """Certificates of one authority."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.authority = Authority(folder, datetime.now(UTC))

    def passport(self, role: str, name: str) -> Passport:
        file = self.authority.ensure_member(self.folder / f"{role}-{name}.pem", role, name, datetime.now(UTC))
        return Passport(file, self.authority.public)

    def links(self, role: str, name: str, where: str, admits: Callable[[str, int], bool] = lambda node, serial: True) -> NodeLinks:
        """Links that have heard a node `one` say that it serves streams there."""
        badge = Badge(name, (), self.passport(role, name).client, NatsKey(USER), str)
        links = NatsLinks(badge, DatabaseLeases(None), Clock().now_us, admits=admits)  # type: ignore[arg-type]
        links._arrived("one", _NatsPeer(Hello("one", {"streams": where}), 0), {})
        return links


@contextlib.asynccontextmanager
async def serving(streams: Streams, passport: Passport) -> AsyncIterator[str]:
    server = TlsStreamServer("127.0.0.1:0", streams, passport)
    await server.start()
    yield server.address
    await server.stop()


@pytest.fixture(params=["in-process", "sockets", "tls"])
async def links(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[NodeLinks, Guest]]:
    guest, fences, now_us = Guest(), MemoryFences(), Clock().now_us
    streams, verbs = Streams({"guest.open": (guest.open, tuple[str])}, fences, now_us), Verbs({}, fences, now_us)
    if request.param == "in-process":
        inside = InProcessLinks(now_us)
        await inside.join("one", verbs, {}, streams)
        yield inside, guest
        await inside.close()
        return
    if request.param == "tls":
        cloud = Cloud(tmp_path / "tls")
        async with serving(streams, cloud.passport("node", "one")) as where:
            links = cloud.links("controller", "c1", where)
            yield links, guest
            await links.close()
        return
    links = SocketLinks(tmp_path / "c", now_us)
    await links.start()
    server = StreamServer(tmp_path / "s", streams, None)
    await server.start()
    assert (tmp_path / "s").stat().st_mode & 0o777 == 0o600
    up = asyncio.Event()

    async def heard(node: str, raw: bytes) -> None:
        up.set()

    links.on_report("node.up", heard)
    node = asyncio.create_task(SocketEnd(tmp_path / "c", "one", lambda: {"streams": str(server.path)}, verbs).run())
    await asyncio.wait_for(up.wait(), 10)
    yield links, guest
    node.cancel()
    await asyncio.gather(node, return_exceptions=True)
    await server.stop()
    await links.close()


async def test_bytes_go_both_ways_until_either_end_closes(links: tuple[NodeLinks, Guest]) -> None:
    nodes, guest = links
    async with asyncio.timeout(10):
        for closing in ("guest", "controller"):
            ours = await nodes.open_stream("one", "guest.open", pack(["on"]))
            far = guest.far.pop()
            ours.writer.write(b"to the guest")
            assert await far.reader.readexactly(12) == b"to the guest"
            far.writer.write(b"from the guest")
            assert await ours.reader.readexactly(14) == b"from the guest"
            first, last = (far, ours) if closing == "guest" else (ours, far)
            first.close()
            assert await last.reader.read() == b""
            last.close()


async def test_a_reader_that_waits_makes_the_writer_wait(links: tuple[NodeLinks, Guest]) -> None:
    nodes, guest = links
    ours = await nodes.open_stream("one", "guest.open", pack(["on"]))
    far = guest.far.pop()
    written = 0
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            while True:
                far.writer.write(bytes(1 << 16))
                await far.writer.drain()
                written += 1 << 16
    assert written < 8 << 20  # what sockets and buffers hold
    async with asyncio.timeout(10):
        got = 0
        while got < written:
            got += len(await ours.reader.read(1 << 16))
    ours.close()
    far.close()


async def test_what_cannot_be_opened_says_why(links: tuple[NodeLinks, Guest]) -> None:
    nodes, _ = links
    with pytest.raises(BackendRefused, match="It is off"):
        await nodes.open_stream("one", "guest.open", pack(["off"]))
    with pytest.raises(BackendUnreachable) as broken:
        await nodes.open_stream("one", "guest.open", pack(["broken"]))
    assert "secret" not in broken.value.message
    for verb, arguments in (("guest.other", ["on"]), ("guest.open", [1]), ("guest.open", [])):
        with pytest.raises(BackendRefused):
            await nodes.open_stream("one", verb, pack(arguments))
    with pytest.raises(BackendUnreachable):
        await nodes.open_stream("two", "guest.open", pack(["on"]))


async def test_a_stream_of_an_older_generation_is_stale(links: tuple[NodeLinks, Guest]) -> None:
    nodes, _ = links
    for generation in (2, 2, 3):
        (await nodes.open_stream("one", "guest.open", pack(["on"]), resource="server:a", generation=generation)).close()
    with pytest.raises(StaleGeneration):
        await nodes.open_stream("one", "guest.open", pack(["on"]), resource="server:a", generation=2)


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[tuple[Cloud, str, list[str]]]:
    """A node `one` whose streams note who opened them."""
    opened: list[str] = []

    async def open_it(who: str) -> Stream:
        opened.append(who)
        return await of_socket(socket.socketpair()[0])

    cloud = Cloud(tmp_path / "tls")
    streams = Streams({"guest.open": (open_it, tuple[str])}, MemoryFences(), Clock().now_us)
    async with serving(streams, cloud.passport("node", "one")) as where:
        yield cloud, where, opened


async def test_only_a_controller_opens_a_nodes_streams(served: tuple[Cloud, str, list[str]]) -> None:
    cloud, where, opened = served
    for role, name in (("node", "two"), ("node", "one")):
        links = cloud.links(role, name, where)
        with pytest.raises(BackendUnreachable):
            await links.open_stream("one", "guest.open", pack([name]), deadline_s=5)
        await links.close()
    links = cloud.links("controller", "c1", where)
    (await links.open_stream("one", "guest.open", pack(["c1"]))).close()
    await links.close()
    assert opened == ["c1"]


async def test_who_has_no_certificate_of_the_cloud_is_hung_up_on(served: tuple[Cloud, str, list[str]], tmp_path: Path) -> None:
    cloud, where, opened = served
    bare = ssl.create_default_context(cafile=cloud.authority.public)
    stranger = Cloud(tmp_path / "stranger").passport("controller", "c1")
    bare_with = ssl.create_default_context(cafile=cloud.authority.public)
    bare_with.load_cert_chain(stranger.certificate)
    host, port = where.split(":")
    for context in (bare, bare_with):
        with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
            reader, writer = await asyncio.open_connection(host, int(port), ssl=context, server_hostname=member_host("node", "one"))
            await reader.readexactly(1)
    assert opened == []


async def test_a_node_that_answers_at_anothers_address_or_was_removed_gets_nothing(served: tuple[Cloud, str, list[str]]) -> None:
    cloud, where, opened = served
    links = cloud.links("controller", "c1", where)
    links._arrived("two", _NatsPeer(Hello("two", {"streams": where}), 0), {})
    with pytest.raises(BackendUnreachable):
        await links.open_stream("two", "guest.open", pack(["x"]), deadline_s=5)
    await links.close()
    shown: list[int] = []

    def admits(node: str, serial: int) -> bool:
        shown.append(serial)
        return False

    links = cloud.links("controller", "c1", where, admits)
    with pytest.raises(BackendUnreachable, match="removed"):
        await links.open_stream("one", "guest.open", pack(["x"]), deadline_s=5)
    await links.close()
    _, certificate = read(cloud.folder / "node-one.pem")
    assert certificate and shown == [certificate.serial_number] and opened == []


@pytest.mark.parametrize("where", ["", "here", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:-1", "127.0.0.1:99999", "127.0.0.1:1", "no.such.host.invalid:1"])
async def test_an_address_that_leads_nowhere_is_unreachable(tmp_path: Path, where: str) -> None:
    links = Cloud(tmp_path / "tls").links("controller", "c1", where)
    with pytest.raises(BackendUnreachable):
        await links.open_stream("one", "guest.open", pack(["x"]), deadline_s=5)
    await links.close()
