"""Streams between controller and node: fenced like commands, bounded, and closed at both ends."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from moln.kernel.clock import Clock
from moln.kernel.errors import BackendRefused, BackendUnreachable, StaleGeneration
from moln.kernel.link import InProcessLinks, MemoryFences, NodeLinks, SocketEnd, SocketLinks, Stream, Streams, Verbs
from moln.kernel.link.frames import pack
from moln.kernel.link.streams import of_socket
from moln.node.streams import StreamServer


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


@pytest.fixture(params=["in-process", "sockets"])
async def links(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[NodeLinks, Guest]]:
    guest, fences, now_us = Guest(), MemoryFences(), Clock().now_us
    streams, verbs = Streams({"guest.open": (guest.open, tuple[str])}, fences, now_us), Verbs({}, fences, now_us)
    if request.param == "in-process":
        inside = InProcessLinks(now_us)
        await inside.join("one", verbs, {}, streams)
        yield inside, guest
        await inside.close()
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
