"""The one process of a node that reads what guests send."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from moln.node.metadata_proxy import AT_ONCE_PER_NETWORK, Proxy, Refused, parse, parse_answer


class Bench:
    """A proxy between a real listening socket and a pretended controller."""

    def __init__(self, folder: Path) -> None:
        self.controller = folder / "metadata.sock"
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self.answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/x-moln\r\nContent-Length: 2\r\n\r\nhi"
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.proxy = Proxy(str(self.controller))

    async def start(self) -> None:
        self.server = await asyncio.start_unix_server(self.serve, self.controller)
        await self.proxy.take("net-1", [self.listening])

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heads.append(await reader.readuntil(b"\r\n\r\n"))
        if self.heads[-1].startswith(b"POST"):
            self.bodies.append(await reader.readexactly(6))
        writer.write(self.answer)
        writer.close()

    async def get(self, request: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(*self.listening.getsockname()[:2])
        writer.write(request)
        answer = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        return answer


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(tmp_path)
    await made.start()
    yield made
    await made.proxy.take("net-1", [])
    made.server.close()


async def test_the_controller_learns_network_address_and_path_and_no_header(bench: Bench) -> None:
    answer = await bench.get(b"GET /openstack/latest?x=1 HTTP/1.1\r\nX-Instance-ID: other\r\nX-Forwarded-For: 9.9.9.9\r\n\r\n")
    assert answer.endswith(b"\r\n\r\nhi")
    assert b"Content-Type: text/x-moln" in answer
    assert bench.heads == [b"GET /net-1/127.0.0.1/openstack/latest HTTP/1.1\r\nHost: metadata\r\nConnection: close\r\n\r\n"]


async def test_a_password_and_nothing_behind_it_is_passed_on(bench: Bench) -> None:
    bench.answer = b"HTTP/1.1 409 Conflict\r\nContent-Length: 0\r\n\r\n"
    answer = await bench.get(b"POST /openstack/latest/password HTTP/1.1\r\ncontent-length: 6\r\nX-Instance-ID: other\r\n\r\nsecretGET / HTTP/1.1\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 409 Conflict\r\n")
    head = b"POST /net-1/127.0.0.1/openstack/latest/password HTTP/1.1\r\nHost: metadata\r\nConnection: close\r\nContent-Length: 6\r\n\r\n"
    assert bench.heads == [head]
    assert bench.bodies == [b"secret"]


async def test_head_has_no_body(bench: Bench) -> None:
    answer = await bench.get(b"HEAD / HTTP/1.0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"POST / HTTP/1.1\r\n\r\n", b"405"),
        (b"PUT /openstack/latest/password HTTP/1.1\r\n\r\n", b"405"),
        (b"POST /openstack/latest/meta_data.json HTTP/1.1\r\nContent-Length: 1\r\n\r\nx", b"405"),
        (b"POST /openstack/latest/password HTTP/1.1\r\n\r\n", b"400"),
        (b"POST /openstack/latest/password HTTP/1.1\r\nContent-Length: 1021\r\n\r\n", b"400"),
        (b"POST /openstack/latest/password HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx", b"400"),
        (b"POST /openstack/latest/password HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\nx", b"400"),
        (b"GET / HTTP/1.1 extra\r\n\r\n", b"400"),
        (b"GET nowhere HTTP/1.1\r\n\r\n", b"400"),
        (b"GET /a\x00b HTTP/1.1\r\n\r\n", b"400"),
        (b"GET /" + b"a" * 3000 + b" HTTP/1.1\r\n\r\n", b"400"),
        (b"\r\n\r\n", b"400"),
    ],
)
async def test_what_is_no_plain_get_ends_here(bench: Bench, request_: bytes, status: bytes) -> None:
    assert (await bench.get(request_)).startswith(b"HTTP/1.1 " + status)
    assert bench.heads == []


async def test_an_endless_head_is_cut_off(bench: Bench) -> None:
    try:
        answer = await bench.get(b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 10_000)
    except ConnectionError:
        answer = b""
    assert answer == b""
    assert bench.heads == []


async def test_a_lost_controller_is_a_503(bench: Bench) -> None:
    bench.server.close()
    bench.controller.unlink(missing_ok=True)
    assert (await bench.get(b"GET / HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 503 ")


async def test_a_cut_off_answer_is_a_503(bench: Bench) -> None:
    bench.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhi"
    assert (await bench.get(b"GET / HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 503 ")


async def test_one_network_cannot_take_all_connections(bench: Bench) -> None:
    idle = [await asyncio.open_connection(*bench.listening.getsockname()[:2]) for _ in range(AT_ONCE_PER_NETWORK)]
    async with asyncio.timeout(10):
        while bench.proxy.busy.get("net-1", 0) < AT_ONCE_PER_NETWORK:
            await asyncio.sleep(0.01)
    try:
        answer = await bench.get(b"GET / HTTP/1.1\r\n\r\n")
    except ConnectionError:
        answer = b""
    assert answer == b""
    for _, writer in idle:
        writer.close()
    async with asyncio.timeout(10):
        while bench.proxy.busy:
            await asyncio.sleep(0.01)
    assert (await bench.get(b"GET / HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 200 ")


def test_an_absolute_target_is_taken_for_its_path() -> None:
    assert parse(b"GET http://169.254.169.254/a/b?c HTTP/1.1\r\n\r\n") == ("GET", "/a/b")


@pytest.mark.parametrize("data", [b"", b"x", b"HTTP/1.1\r\n\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"])
def test_an_answer_that_is_none_is_refused(data: bytes) -> None:
    with pytest.raises(Refused):
        parse_answer(data)
