"""Calls to nodes end in an answer, a refusal or "unreachable", in bounded time, whatever the node does."""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import pytest
from msgspec import Struct

from moln.kernel import log
from moln.kernel.clock import Clock
from moln.kernel.db.sqlite import SqliteDatabase
from moln.kernel.errors import BackendRefused, BackendUnreachable, StaleGeneration, Unavailable
from moln.kernel.link import Hello, InProcessLinks, MemoryFences, NodeEnd, NodeLinks, SocketEnd, SocketLinks, Verbs, frames
from moln.kernel.link.frames import Call, pack, receive, send, unpack
from moln.kernel.link.leases import DatabaseLeases


class Shape(Struct, frozen=True):
    name: str
    sizes: list[int] = []


class PotDriver(Protocol):
    """A driver for these tests."""

    async def echo(self, shape: Shape, times: int = 1) -> list[Shape]: ...
    async def slow(self, s: float) -> None: ...
    async def refuse(self) -> None: ...
    async def lose(self) -> None: ...
    async def crash(self) -> None: ...
    async def large(self, size: int) -> bytes: ...
    async def request_id(self) -> str: ...


class Pot:
    calls = 0

    async def echo(self, shape: Shape, times: int = 1) -> list[Shape]:
        self.calls += 1
        return [shape] * times

    async def slow(self, s: float) -> None:
        await asyncio.sleep(s)

    async def refuse(self) -> None:
        raise BackendRefused("the pot is full")

    async def lose(self) -> None:
        raise Unavailable("the stove is out")

    async def crash(self) -> None:
        raise ValueError("secret words")

    async def large(self, size: int) -> bytes:
        return b"x" * size

    async def request_id(self) -> str:
        return log.request_id.get()


NOW = Clock().now_us


class Pair:
    """A controller's links and one node, joined by a real transport. Subclasses make `links` and `node`, as often as they are asked."""

    def __init__(self, path: Path):
        self.path = path
        self.links = self.make_links("c1")
        self.pot = Pot()
        self.node = self.make_node(Verbs({"pot": (PotDriver, self.pot)}, MemoryFences(), NOW))
        self.seen: list[tuple[str, str, Any]] = []
        self.news = asyncio.Event()
        for topic in ("node.up", "node.down", "pot.power"):
            self.links.on_report(topic, self._note(topic))

    def make_links(self, name: str) -> NodeLinks:
        raise NotImplementedError

    def make_node(self, verbs: Verbs) -> NodeEnd:
        raise NotImplementedError

    def cut(self) -> None:
        """Break the connection under both."""
        raise NotImplementedError

    def bound(self, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
        """Have frames be no longer."""
        raise NotImplementedError

    def _note(self, topic: str) -> Any:
        async def handler(node: str, raw: bytes) -> None:
            self.seen.append((topic, node, unpack(raw)))
            self.news.set()

        return handler

    async def until(self, *topics: str) -> None:
        async with asyncio.timeout(20):
            while [t for t, *_ in self.seen] != list(topics):
                self.news.clear()
                await self.news.wait()

    def driver(self, **options: Any) -> PotDriver:
        return self.links.driver("n1", "pot", PotDriver, **options)

    async def start(self) -> None:
        await self.links.start()
        self.task = asyncio.create_task(self.node.run(retry_s=0.02))
        await self.until("node.up")

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        await self.links.close()


class SocketPair(Pair):
    largest = frames.FRAME_BOUND
    after_a_cut = ("node.up", "node.down", "node.up")

    def make_links(self, name: str) -> NodeLinks:
        return SocketLinks(self.path / "s", NOW)

    def make_node(self, verbs: Verbs) -> NodeEnd:
        return SocketEnd(self.path / "s", "n1", lambda: {"cpus": 2}, verbs)

    def cut(self) -> None:
        self.node._writer.transport.abort()

    def bound(self, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
        monkeypatch.setattr(frames, "FRAME_BOUND", size)


class NatsPair(Pair):
    """A node that loses NATS is not known to be gone before its lease ends: it comes back before."""

    after_a_cut = ("node.up", "node.up")

    def __init__(self, path: Path, server: Any, leases: DatabaseLeases):
        from moln.kernel.link.nats_authority import FRAME_BOUND

        self.server = server
        self.leases = leases
        self.largest = FRAME_BOUND
        super().__init__(path)

    def make_links(self, name: str) -> NodeLinks:
        from moln.kernel.link.nats import NatsLinks

        return NatsLinks(self.server.badge("controller", name), self.leases, NOW, beat_s=0.1, lease_s=0.5, retry_s=0.02)

    def make_node(self, verbs: Verbs) -> NodeEnd:
        from moln.kernel.link.nats import NatsEnd

        return NatsEnd(self.server.badge("node", "n1"), lambda: {"cpus": 2}, verbs, beat_s=0.1)

    def cut(self) -> None:
        self.node._wire._client._transport._io_writer.transport.abort()

    def bound(self, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
        monkeypatch.setattr("moln.kernel.link.nats.FRAME_BOUND", size)


@pytest.fixture(scope="module")
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from tests.kernel.nats_server import NatsServer

    server = NatsServer(tmp_path_factory.mktemp("nats"))
    try:
        server.start()
        with ThreadPoolExecutor() as threads:  # the loop of this thread runs already
            threads.submit(asyncio.run, server.tell_account()).result()
        yield server
    finally:
        server.stop()


@pytest.fixture
async def sockets(tmp_path: Path) -> AsyncIterator[Pair]:
    pair = SocketPair(tmp_path)
    await pair.start()
    yield pair
    await pair.stop()


@pytest.fixture(params=["socket", pytest.param("nats", marks=pytest.mark.engines)])
async def pair(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Pair]:
    if request.param == "socket":
        pair: Pair = SocketPair(tmp_path)
    else:
        db = SqliteDatabase(tmp_path / "cloud.db")
        pair = NatsPair(tmp_path, request.getfixturevalue("nats_server"), DatabaseLeases(db))
    await pair.start()
    yield pair
    await pair.stop()
    if request.param != "socket":
        await db.close()


async def test_a_call_carries_structs_and_defaults(pair: Pair) -> None:
    assert await pair.driver().echo(Shape("a", [1])) == [Shape("a", [1])]
    assert await pair.driver().echo(Shape("a"), 2) == [Shape("a")] * 2
    assert pair.seen == [("node.up", "n1", {"cpus": 2})]


async def test_a_call_carries_its_request_id(pair: Pair) -> None:
    log.request_id.set("req-1")
    assert await pair.driver().request_id() == "req-1"


async def test_each_way_to_fail_is_refused_or_unreachable(pair: Pair) -> None:
    with pytest.raises(BackendRefused, match="the pot is full"):
        await pair.driver().refuse()
    with pytest.raises(BackendUnreachable, match="the stove is out"):
        await pair.driver().lose()
    with pytest.raises(BackendUnreachable, match="ValueError") as caught:
        await pair.driver().crash()
    assert "secret" not in str(caught.value)
    with pytest.raises(BackendUnreachable, match="not connected"):
        await pair.links.driver("n2", "pot", PotDriver).refuse()
    with pytest.raises(BackendRefused, match=r"pan\.refuse"):
        await pair.links.driver("n1", "pan", PotDriver).refuse()


async def test_a_call_ends_at_its_deadline(pair: Pair) -> None:
    async with asyncio.timeout(5):
        with pytest.raises(BackendUnreachable):
            await pair.driver(deadline_s=0.1).slow(60)
    assert await pair.driver().echo(Shape("a"))


async def test_an_older_generation_is_stale_and_does_nothing(pair: Pair) -> None:
    await pair.driver(resource="pot:1", generation=5).echo(Shape("a"))
    await pair.driver(resource="pot:1", generation=5).echo(Shape("a"))
    with pytest.raises(StaleGeneration):
        await pair.driver(resource="pot:1", generation=4).echo(Shape("a"))
    assert pair.pot.calls == 2


async def test_a_late_command_is_not_begun() -> None:
    pot = Pot()
    verbs = Verbs({"pot": (PotDriver, pot)}, MemoryFences(), NOW)
    answer = await verbs.answer(Call(1, "pot.echo", pack([Shape("a"), 1]), NOW() - 1))
    assert (answer.kind, pot.calls) == ("unreachable", 0)


async def test_arguments_of_a_wrong_shape_are_refused() -> None:
    verbs = Verbs({"pot": (PotDriver, Pot())}, MemoryFences(), NOW)
    for args in (pack([1, 1]), pack([]), pack({"a": 1})):
        assert (await verbs.answer(Call(1, "pot.echo", args, NOW() + 10**6))).kind == "refused"


async def test_a_slow_call_keeps_no_other_waiting(pair: Pair) -> None:
    slow = asyncio.create_task(pair.driver(deadline_s=5).slow(3))
    async with asyncio.timeout(1):
        assert await pair.driver().echo(Shape("a"))
    slow.cancel()


async def test_a_lost_connection_ends_its_calls_at_once_and_comes_back(pair: Pair) -> None:
    call = asyncio.create_task(pair.driver().slow(30))
    await asyncio.sleep(0.05)
    pair.cut()
    async with asyncio.timeout(3):
        with pytest.raises(BackendUnreachable):
            await call
    await pair.until(*pair.after_a_cut)
    assert await pair.driver().echo(Shape("a"))


async def test_a_node_outlives_its_controller(pair: Pair) -> None:
    await pair.links.close()
    await pair.until("node.up", "node.down")
    again = pair.make_links("c2")
    up = asyncio.Event()

    async def note(node: str, raw: bytes) -> None:
        up.set()

    again.on_report("node.up", note)
    await again.start()
    await asyncio.wait_for(up.wait(), 5)
    assert again.nodes == {"n1"}
    await again.close()


async def test_a_report_handler_may_call_the_node_and_its_failure_stays_its_own(pair: Pair) -> None:
    answered: list[Any] = []
    done = asyncio.Event()

    async def calls(node: str, raw: bytes) -> None:
        answered.append(await pair.driver(deadline_s=2).echo(Shape("a")))
        done.set()
        raise ValueError("a bug")

    pair.links.on_report("pot.power", calls)
    assert pair.node.report("pot.power", "on")
    await asyncio.wait_for(done.wait(), 5)
    assert answered == [[Shape("a")]]
    assert pair.node.report("pot.power", "off")
    async with asyncio.timeout(5):
        while len(answered) < 2:
            await asyncio.sleep(0.01)


async def test_reports_keep_their_order(pair: Pair) -> None:
    for i in range(50):
        pair.node.report("pot.power", i)
    await pair.until("node.up", *["pot.power"] * 50)
    assert [value for topic, _, value in pair.seen if topic == "pot.power"] == list(range(50))


async def test_frames_that_are_too_large_are_refused_and_the_link_lives(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    pair.bound(monkeypatch, 100_000)
    with pytest.raises(BackendRefused, match="too large"):
        await pair.driver().echo(Shape("x" * 200_000))
    with pytest.raises(BackendRefused, match="too large"):
        await pair.driver().large(200_000)
    assert await pair.driver().echo(Shape("a"))
    assert [t for t, *_ in pair.seen] == ["node.up"]


async def test_a_frame_of_half_the_bound_passes(pair: Pair) -> None:
    assert len(await pair.driver().large(pair.largest // 2)) == pair.largest // 2


async def test_a_peer_that_does_not_read_is_unreachable_not_endless_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "FRAME_BOUND", 1 << 20)
    links = SocketLinks(tmp_path / "s", NOW)
    await links.start()
    reader, writer = await asyncio.open_unix_connection(tmp_path / "s")
    send(writer, Hello("n1"))
    async with asyncio.timeout(5):
        while not links.nodes:
            await asyncio.sleep(0.01)
    driver = links.driver("n1", "pot", PotDriver, deadline_s=5)
    calls = [asyncio.create_task(driver.echo(Shape("x" * 500_000))) for _ in range(20)]
    done, _ = await asyncio.wait(calls, timeout=3, return_when=asyncio.FIRST_EXCEPTION)
    assert any(isinstance(task.exception(), BackendUnreachable) for task in done)
    for task in calls:
        task.cancel()
    writer.close()
    await links.close()


@pytest.mark.parametrize("garbage", [b"\xff\xff\xff\xff", b"\x00\x00\x00\x01\xc1", b"\x00\x00\x00\x02\x80\x80", b"GET / HTTP/1.1\r\n\r\n"])
async def test_garbage_ends_the_connection_and_nothing_else(sockets: Pair, tmp_path: Path, garbage: bytes) -> None:
    reader, writer = await asyncio.open_unix_connection(tmp_path / "s")
    writer.write(garbage)
    async with asyncio.timeout(3):
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
    writer.close()
    assert await sockets.driver().echo(Shape("a"))
    assert sockets.links.nodes == {"n1"}


async def test_a_second_connection_of_a_node_replaces_the_first(sockets: Pair, tmp_path: Path) -> None:
    sockets.task.cancel()
    await sockets.until("node.up", "node.down")
    first = await asyncio.open_unix_connection(tmp_path / "s")
    second = await asyncio.open_unix_connection(tmp_path / "s")
    for n, (_, writer) in enumerate((first, second)):
        send(writer, Hello("n1"))
        await sockets.until("node.up", "node.down", *["node.up"] * (n + 1))
    call = asyncio.create_task(sockets.driver(deadline_s=5).refuse())
    async with asyncio.timeout(3):
        assert await first[0].read() == b""
        assert isinstance(await receive(second[0]), Call)
    second[1].close()
    with pytest.raises(BackendUnreachable):
        await call


async def test_only_the_owner_may_open_the_socket(sockets: Pair, tmp_path: Path) -> None:
    assert stat.S_IMODE(os.stat(tmp_path / "s").st_mode) == 0o600


async def test_a_simulated_node_that_leaves_is_unreachable() -> None:
    links = InProcessLinks(NOW)
    await links.join("sim-1", Verbs({"pot": (PotDriver, Pot())}, MemoryFences(), NOW), {})
    driver = links.driver("sim-1", "pot", PotDriver)
    assert await driver.echo(Shape("a"))
    await links.leave("sim-1")
    with pytest.raises(BackendUnreachable):
        await driver.echo(Shape("a"))
