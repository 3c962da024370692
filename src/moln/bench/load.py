"""Requests over kept connections, a few at once, and what they cost the server."""

from __future__ import annotations

import socket
from collections.abc import Callable

from msgspec import Struct

from moln.bench.process import Measured

CONNECTIONS = 8
ROUNDS = 25


class Cost(Struct, frozen=True):
    """ratio: to the bare handler. cpu_us: µs of processor time of one request; bare_us: of a bare one. Each is the best round's:
    what else a machine does only ever adds (Python's timeit takes the best for the same reason).
    """

    ratio: float
    cpu_us: float
    bare_us: float
    size: int


class Wire:
    """Connections to one server. Sends one request on each, then reads every answer: what a few busy clients look like."""

    def __init__(self, port: int):
        self._sockets = [socket.create_connection(("127.0.0.1", port), timeout=60) for _ in range(CONNECTIONS)]

    def send(self, requests: list[bytes], status: int) -> int:
        """The size of the last answer's body. Raises: AssertionError, for another status."""
        size = 0
        for at in range(0, len(requests), CONNECTIONS):
            batch = requests[at:at + CONNECTIONS]
            for connection, request in zip(self._sockets, batch, strict=False):
                connection.sendall(request)
            for connection in self._sockets[:len(batch)]:
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


def cost(server: Measured, baseline: Measured, make: Callable[[], bytes], *, count: int, status: int = 200, bare: int = 800) -> Cost:
    """What a request costs, measured in rounds of `bare` bare requests and `count` of ours, turn by turn."""
    ours, theirs = Wire(server.port), Wire(baseline.port)
    plain = [request("GET", "/bare")] * bare
    costs, bases = [], []
    size = 0
    try:
        for _ in range(ROUNDS):
            wanted = [make() for _ in range(count)]
            bases.append(_spent(baseline, lambda: theirs.send(plain, 200)) / bare)
            before = server.cpu_s()
            size = ours.send(wanted, status)
            costs.append((server.cpu_s() - before) / count)
    finally:
        ours.close()
        theirs.close()
    return Cost(min(costs) / min(bases), min(costs) * 1e6, min(bases) * 1e6, size)


def _spent(server: Measured, do: Callable[[], object]) -> float:
    before = server.cpu_s()
    do()
    return server.cpu_s() - before
