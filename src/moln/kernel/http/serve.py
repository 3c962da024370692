"""uvicorn with the bounds that it lacks: time for headers, progress of bodies and answers, size of headers, connections."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import math
import socket
import ssl
import time
from collections.abc import Iterator
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.wsproto_impl import WSProtocol

HEADER_S = 10.0  # seconds for a request's headers to arrive, from the connection or the request's first byte
IDLE_S = 30.0  # seconds that a body may pause (see SLOWEST), or an answer wait to be taken
SLOWEST = 1024  # bytes a second that a body must bring: each byte buys time, IDLE_S at most
KEEP_ALIVE_S = 30  # seconds that a connection may wait for its next request
HEADER_BOUND = 64 << 10  # bytes of a request line with its headers
MESSAGE_BOUND = 1 << 20  # bytes of a message on a websocket
LOOK_TICKS = 10  # looks at every connection once a second: uvicorn ticks ten times
ARRIVED = "moln.arrived"  # when a request's headers were complete, in its ASGI scope: seconds of time.monotonic()
CERTIFICATE = "moln.certificate"  # in the scope of a client that has shown one which is good: DER
ACCEPTS = 16  # connections taken in one turn of the loop
CONNECTIONS = 1024  # answered with 503 beyond
BUSY_S = 2  # seconds after which to ask again then: how long others stay connected is theirs to say, a request takes less
_PLAIN = [(b"content-type", b"text/plain; charset=utf-8"), (b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store")]
_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_BUSY = b"Too many connections. Try again soon."


async def _busy(scope: Any, receive: Any, send: Any) -> None:
    """What answers instead of the application, when there are too many connections."""
    headers = [*_PLAIN, (b"content-length", b"%d" % len(_BUSY)), (b"retry-after", b"%d" % BUSY_S), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": _BUSY})


YOUNG = 10_000  # objects made and still there, after which Python looks for cycles among them; its usual 700 is a few requests


def spare_collecting() -> None:
    """What there is when a server is ready is never garbage: requests need not pay for looking at it again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG)


class BoundedProtocol(HttpToolsProtocol):
    """One connection. due: when it has taken too long (the loop's time); the server looks once a second."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        session = transport.get_extra_info("ssl_object")
        self.certificate = session.getpeercert(True) if session is not None and session.context.verify_mode else None
        self.in_headers, self.taken, self.stuck_since = True, 0, math.inf
        self.due = self.loop.time() + HEADER_S

    def data_received(self, data: bytes) -> None:
        if self.in_headers:
            self.taken += len(data)
        super().data_received(data)
        if self.in_headers and self.taken > HEADER_BOUND and not self.transport.is_closing():
            self.transport.write(_TOO_LARGE)
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """uvicorn's, with the headers that every answer has."""
        head = [b"HTTP/1.1 400 Bad Request\r\n", *(b"%b: %b\r\n" % header for header in _PLAIN)]
        self.transport.write(b"".join([*head, b"content-length: %d\r\nconnection: close\r\n\r\n" % len(msg), msg.encode()]))
        self.transport.close()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.in_headers, self.taken = True, 0
        self.due = self.loop.time() + HEADER_S

    def on_headers_complete(self) -> None:
        full = len(self.connections) >= CONNECTIONS  # each has one request at once; uvicorn counts those that have just ended, too
        self.app = _busy if full else self.config.loaded_app
        super().on_headers_complete()
        if self.certificate is not None:
            self.scope[CERTIFICATE] = self.certificate  # type: ignore[literal-required]
        self.scope[ARRIVED] = time.monotonic()  # type: ignore[literal-required]  # its handler runs when its turn comes
        self.in_headers = False
        self.due = self.loop.time() + IDLE_S

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        if not self.cycle.response_complete:  # after the answer, what is left of the body gets no more time
            self.due = min(self.due + len(body) / SLOWEST, self.loop.time() + IDLE_S)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self.in_headers, self.taken = True, 0
        self.due = math.inf

    def pause_writing(self) -> None:
        super().pause_writing()
        self.stuck_since = self.loop.time()

    def resume_writing(self) -> None:
        super().resume_writing()
        self.stuck_since = math.inf

    def cut_if_late(self, now: float) -> None:
        """Drop the connection, if its peer keeps us waiting; not if it waits for us to read."""
        if self.due < now and self.flow.read_paused:
            self.due = now + IDLE_S
        if self.due < now or self.stuck_since + IDLE_S < now:
            self.transport.abort()


class BoundedSocket(WSProtocol):
    """One websocket. uvicorn asks it for a sign of life every 20 s; who takes nothing of what is sent is cut off."""

    stuck_since = math.inf

    def pause_writing(self) -> None:
        super().pause_writing()
        self.stuck_since = self.loop.time()

    def resume_writing(self) -> None:
        super().resume_writing()
        self.stuck_since = math.inf

    def cut_if_late(self, now: float) -> None:
        if self.stuck_since + IDLE_S < now:
            self.transport.abort()


class Server(uvicorn.Server):
    """uvicorn with the signals left to us; cuts off connections that take too long."""

    def __init__(self, config: uvicorn.Config, tls: ssl.SSLContext | None = None):
        super().__init__(config)
        self._tls = tls

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """uvicorn's; on the sockets given with TLS and a bound on a handshake's time, and with newcomers not kept waiting.

        libuv takes one connection for each handle that listens and turn of the loop, and under load a turn lasts as long as all
        requests of the others: so a few handles listen.
        """
        if not sockets:
            return await super().startup(sockets)
        await super().startup([])
        loop, config = asyncio.get_running_loop(), self.config

        def connection() -> BoundedProtocol:
            return BoundedProtocol(config=config, server_state=self.server_state, app_state=self.lifespan.state, _loop=loop)

        tls: dict[str, Any] = {}
        if self._tls is not None:
            tls = {"ssl": self._tls, "ssl_handshake_timeout": HEADER_S, "ssl_shutdown_timeout": 5}
        for sock in sockets:
            for _ in range(ACCEPTS):
                self.servers.append(await loop.create_server(connection, sock=sock.dup(), backlog=config.backlog, **tls))

    def install_signal_handlers(self) -> None:
        return

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def on_tick(self, counter: int) -> bool:
        if counter % LOOK_TICKS == 0:
            now = asyncio.get_running_loop().time()
            for connection in list(self.server_state.connections):
                if isinstance(connection, BoundedProtocol | BoundedSocket):
                    connection.cut_if_late(now)
        return await super().on_tick(counter)


def http_server(app: Any, *, tls: ssl.SSLContext | None = None, websockets: bool = False, **where: Any) -> Server:
    """A server of `app`, not yet serving. websockets: whether a connection may become one. where: host and port, uds or fd, as uvicorn has them. tls: for the sockets given to serve()."""
    return Server(uvicorn.Config(
        app, interface="asgi3", loop="none", http=BoundedProtocol, ws=BoundedSocket if websockets else "none", ws_max_size=MESSAGE_BOUND,
        ws_per_message_deflate=False, lifespan="off", log_config=None, access_log=False, server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S, backlog=512, proxy_headers=False,
        timeout_graceful_shutdown=5, **where,
    ), tls)  # fmt: skip
