"""Answers guests' metadata requests by asking the controller who they are: unprivileged, stateless, standard library only.

    python -m moln.node.metadata_proxy FD SOCKET

FD: where the node hands over listening sockets, each already in its network's namespace: which socket a request came
through, and from which address, says who asks. Nothing else that a guest sends but the path goes further
(and the body, where it posts its password), so forged headers (X-Instance-ID, X-Forwarded-For…) mean nothing. SOCKET: the controller's.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import sys
from collections.abc import Awaitable, Callable

HEAD_BYTES = 16 << 10
BODY_BYTES = 1 << 20
POST_BYTES = 1020  # of a password (Nova's bound)
REQUEST_S = 10.0
ANSWER_S = 15.0
AT_ONCE = 256
AT_ONCE_PER_NETWORK = 32
TARGET = re.compile(r"/[A-Za-z0-9._~%/:@!$&'()*+,;=-]{0,2047}")
PASSWORD = re.compile(r"/openstack/[^/]+/password")
LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,9})[ \t]*(?=\r\n)", re.IGNORECASE)
REASONS = {
    200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 409: "Conflict", 503: "Service Unavailable",
}  # fmt: skip


class Refused(Exception):
    """The request ends with this status."""

    def __init__(self, status: int) -> None:
        self.status = status


def parse(head: bytes) -> tuple[str, str]:
    """Method and path of a request's head. Raises: Refused."""
    line = head.split(b"\r\n", 1)[0].decode("latin-1")
    parts = line.split(" ")
    if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
        raise Refused(400)
    method, target, _ = parts
    if method not in ("GET", "HEAD", "POST"):
        raise Refused(405)
    if target.startswith("http://"):  # a guest that believes us a proxy
        target = "/" + target.removeprefix("http://").partition("/")[2]
    path = target.partition("?")[0]
    if not TARGET.fullmatch(path):
        raise Refused(400)
    if method == "POST" and not PASSWORD.fullmatch(path):
        raise Refused(405)
    return method, path


def length_of(head: bytes) -> int:
    """How many bytes a POST says. Raises: Refused, when it does not tell, tells twice, or has too many."""
    told = LENGTH.findall(head)
    if len(told) != 1 or b"\r\ntransfer-encoding:" in head.lower() or int(told[0]) > POST_BYTES:
        raise Refused(400)
    return int(told[0])


def render(status: int, media_type: str, body: bytes, method: str = "GET") -> bytes:
    head = (
        f"HTTP/1.1 {status} {REASONS.get(status, 'Answer')}\r\nContent-Type: {media_type}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + (b"" if method == "HEAD" else body)


def parse_answer(data: bytes) -> tuple[int, str, bytes]:
    """Status, media type and body of the controller's answer. Raises: Refused."""
    head, blank, body = data.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    words = lines[0].split(" ")
    if not blank or len(words) < 2 or not words[1].isdigit():
        raise Refused(503)
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    if "transfer-encoding" in headers or int(headers.get("content-length", len(body))) != len(body):
        raise Refused(503)
    return int(words[1]), headers.get("content-type", "text/plain"), body


class Proxy:
    """All networks of this node."""

    def __init__(self, controller: str) -> None:
        self.controller = controller
        self.servers: dict[str, list[asyncio.Server]] = {}
        self.busy: dict[str, int] = {}

    async def take(self, network_id: str, sockets: list[socket.socket]) -> None:
        """Serve a network through these sockets from now on, instead of former ones."""
        for server in self.servers.pop(network_id, []):
            server.close()
        if sockets:
            handler = self.handler(network_id)
            self.servers[network_id] = [
                await asyncio.start_server(handler, sock=made, limit=HEAD_BYTES) for made in sockets
            ]

    def handler(self, network_id: str) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if self.busy.get(network_id, 0) >= AT_ONCE_PER_NETWORK or sum(self.busy.values()) >= AT_ONCE:
                writer.transport.abort()
                return
            self.busy[network_id] = self.busy.get(network_id, 0) + 1
            try:
                async with asyncio.timeout(REQUEST_S + ANSWER_S):
                    writer.write(await self.answer(network_id, reader, writer.get_extra_info("peername")[0]))
                    await writer.drain()
            except (OSError, TimeoutError, EOFError, asyncio.LimitOverrunError):
                pass
            finally:
                self.busy[network_id] -= 1
                if not self.busy[network_id]:
                    del self.busy[network_id]
                writer.close()

        return serve

    async def answer(self, network_id: str, reader: asyncio.StreamReader, peer: str) -> bytes:
        method = "GET"
        try:
            async with asyncio.timeout(REQUEST_S):
                head = await reader.readuntil(b"\r\n\r\n")
                method, path = parse(head)
                posted = await reader.readexactly(length_of(head)) if method == "POST" else None
            return render(*await self.ask(network_id, peer.partition("%")[0], path, posted), method)
        except Refused as refused:
            return render(refused.status, "text/plain", REASONS[refused.status].encode(), method)

    async def ask(self, network_id: str, address: str, path: str, posted: bytes | None = None) -> tuple[int, str, bytes]:
        """The controller's answer. Raises: Refused(503)."""
        try:
            async with asyncio.timeout(ANSWER_S):
                reader, writer = await asyncio.open_unix_connection(self.controller, limit=BODY_BYTES)
                try:
                    method, length = ("GET", "") if posted is None else ("POST", f"Content-Length: {len(posted)}\r\n")
                    request = f"{method} /{network_id}/{address}{path} HTTP/1.1\r\nHost: metadata\r\nConnection: close\r\n{length}\r\n"
                    writer.write(request.encode() + (posted or b""))
                    data = await reader.read(BODY_BYTES)
                    while chunk := await reader.read(BODY_BYTES):
                        data += chunk
                        if len(data) > BODY_BYTES:
                            raise Refused(503)
                finally:
                    writer.close()
        except (OSError, TimeoutError) as error:
            raise Refused(503) from error
        return parse_answer(data)


async def main(control_fd: int, controller: str) -> None:
    """Serve until the node closes the control socket."""
    proxy = Proxy(controller)
    control = socket.socket(fileno=control_fd)
    control.setblocking(False)
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    orders: asyncio.Queue[tuple[str, list[socket.socket]]] = asyncio.Queue()

    def hear() -> None:
        try:
            message, fds, _, _ = socket.recv_fds(control, 256, 4)
        except BlockingIOError:
            return
        if not message:
            over.set()
            return
        orders.put_nowait((message.decode(), [socket.socket(fileno=fd) for fd in fds]))

    async def obey() -> None:
        while True:
            await proxy.take(*await orders.get())

    loop.add_reader(control.fileno(), hear)
    obeying = asyncio.create_task(obey())
    await over.wait()
    obeying.cancel()


if __name__ == "__main__":
    os.umask(0o077)
    asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
