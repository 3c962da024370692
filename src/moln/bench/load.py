"""Requests over kept connections, a few at once, and what they cost the server."""

from __future__ import annotations

import socket
import ssl
import statistics
from collections.abc import Callable

from msgspec import Struct

from moln.bench.process import Measured

CONNECTIONS = 8
ROUNDS = 25


class Cost(Struct, frozen=True):
    """ratio: to what it is compared with. cpu_us: µs of processor time of one request; bare_us: of one of the other's."""

    ratio: float
    cpu_us: float
    bare_us: float
    size: int


class Wire:
    """Connections to one server. Sends one request on each, then reads every answer: what a few busy clients look like.

    The last answer is read first, so that this process is woken once for all of them. Woken by each, it sleeps between answers that
    take long and not between short ones: the server would pay for its sleeping neighbour (7 µs each time), which remote clients never are.

    tls: speak https. kept: use the connections again; otherwise each request comes over a new one, as most command lines do.
    """

    def __init__(self, port: int, *, tls: ssl.SSLContext | None = None, kept: bool = True):
        self._port, self._tls, self._kept = port, tls, kept
        self._sockets: list[socket.socket] = []
        self._connect()

    def _connect(self) -> None:
        self.close()
        self._sockets = [socket.create_connection(("127.0.0.1", self._port), timeout=60) for _ in range(CONNECTIONS)]
        if self._tls is not None:
            self._sockets = [self._tls.wrap_socket(plain, server_hostname="127.0.0.1") for plain in self._sockets]

    def send(self, requests: list[bytes], status: int) -> int:
        """The size of the last answer's body. Raises: AssertionError, for another status."""
        size = 0
        for at in range(0, len(requests), CONNECTIONS):
            batch = requests[at:at + CONNECTIONS]
            if not self._kept:
                self._connect()
            for connection, request in zip(self._sockets, batch, strict=False):
                connection.sendall(request)
            for connection in reversed(self._sockets[:len(batch)]):
                size = self._answer(connection, status)
        return size

    def _answer(self, connection: socket.socket, status: int) -> int:
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._more(connection)
        head, _, body = data.partition(b"\r\n\r\n")
        assert head.split(b" ", 2)[1] == str(status).encode(), data[:2000].decode(errors="replace")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        got = len(body)
        while got < length:
            got += len(self._more(connection))
        return length

    @staticmethod
    def _more(connection: socket.socket) -> bytes:
        data = connection.recv(1 << 18)
        assert data, "the server closed the connection"
        return data

    def close(self) -> None:
        for connection in self._sockets:
            connection.close()


def request(method: str, path: str, body: bytes = b"", **headers: str) -> bytes:
    """An HTTP/1.1 request with the headers that openstacksdk sends."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", "User-Agent: openstacksdk/4.4", "Accept-Encoding: gzip, deflate",
             "Accept: application/json", "Connection: keep-alive"]  # fmt: skip
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


class Side(Struct):
    """One of two that are compared. make: the next request; count: of them in a round."""

    server: Measured
    wire: Wire
    make: Callable[[], bytes]
    count: int
    status: int = 200
    size: int = 0

    def round(self) -> float:
        """Seconds of the server's processor time for one request."""
        wanted = [self.make() for _ in range(self.count)]
        before = self.server.cpu_s()
        self.size = self.wire.send(wanted, self.status)
        return (self.server.cpu_s() - before) / self.count


def turn_by_turn(first: Side, second: Side) -> list[tuple[float, float]]:
    """Seconds of processor time for a request of each, in every round; one that only warms up goes before."""
    first.round(), second.round()
    return [(first.round(), second.round()) for _ in range(ROUNDS)]


def best(rounds: list[tuple[float, float]], size: int) -> Cost:
    """By the best round of each: for costs that are a multiple of what they are compared with."""
    base, found = (min(of) for of in zip(*rounds, strict=True))
    return Cost(found / base, found * 1e6, base * 1e6, size)


def typical(rounds: list[tuple[float, float]], size: int) -> Cost:
    """By the median of the rounds' ratios: for two that cost nearly the same, where a lucky round would decide."""
    base, found = (statistics.median(of) for of in zip(*rounds, strict=True))
    return Cost(statistics.median(second / first for first, second in rounds), found * 1e6, base * 1e6, size)


def cost(server: Measured, baseline: Measured, make: Callable[[], bytes], *, count: int, status: int = 200, bare: int = 800) -> Cost:
    """What a request costs, measured against `bare` bare requests a round."""
    ours, theirs = Wire(server.port), Wire(baseline.port)
    plain = request("GET", "/bare")
    try:
        side = Side(server, ours, make, count, status)
        return best(turn_by_turn(Side(baseline, theirs, lambda: plain, bare), side), side.size)
    finally:
        ours.close()
        theirs.close()
