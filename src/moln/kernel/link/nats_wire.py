"""A connection to NATS that is made again whenever it is lost. What is sent meanwhile fails at once: nothing waits to act later."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import nats
import nats.errors
from msgspec import Struct
from nats.aio.client import Client
from nats.aio.msg import Msg

from moln.kernel.errors import Failure
from moln.kernel.link import subjects
from moln.kernel.link.nats_keys import NatsKey

CONNECT_S = 5.0
PING_S = 5.0  # seconds between signs of life: a server that is gone without a word is noticed before whoever used it is missed (20 s)
LONGEST_PAUSE_S = 3.0  # seconds between attempts
QUEUED = 64 << 20  # bytes that wait to be sent, at most
_log = logging.getLogger("moln.link")
TROUBLE = (nats.errors.Error, OSError, TimeoutError, EOFError)


class Badge(Struct, frozen=True):
    """Where one connects, and what proves who one is. Asked at each connection, so that what was renewed is used.

    urls: of servers, tried one after the other; they may change. claims: what an account signed for the key (nats_keys).
    """

    name: str
    urls: Sequence[str]
    tls: Callable[[], ssl.SSLContext]
    key: NatsKey
    claims: Callable[[], str]


class Heard(Struct, frozen=True):
    """A message. nobody: it is the server's word that nobody listens where we spoke."""

    subject: str
    data: bytes
    reply: str
    nobody: bool


Hears = Callable[[Heard], None]


async def connect(badge: Badge, url: str, closed: Callable[[], Awaitable[None]]) -> Client:
    """One connection, which ends for good when it is lost. Raises: TROUBLE."""

    last: list[Exception] = []

    async def complain(error: Exception) -> None:
        last[:] = [error]
        _log.info("NATS: %r", error)

    def sign(drawn: str) -> bytes:
        return base64.b64encode(badge.key.sign(drawn.encode()))

    try:
        return await nats.connect(
            url, name=badge.name, tls=badge.tls(), user_jwt_cb=lambda: bytearray(badge.claims(), "ascii"), signature_cb=sign, error_cb=complain,
            closed_cb=closed, inbox_prefix=subjects.inbox(badge.name).encode(), allow_reconnect=False, connect_timeout=CONNECT_S,
            ping_interval=PING_S, max_outstanding_pings=2, max_reconnect_attempts=1, reconnect_time_wait=0,  # or it stays with this server for minutes
        )  # fmt: skip
    except nats.errors.NoServersError as given_up:
        raise (last[0] if last and isinstance(last[0], TROUBLE) else given_up) from None


class NatsWire:
    """hear: what is listened to, by subject. up, lost: called after each connection and loss. before: awaited before each attempt."""

    def __init__(self, badge: Badge, hear: Mapping[str, Hears], *, up: Callable[[], None], lost: Callable[[], None],
                 before: Callable[[str], Awaitable[None]] | None = None):  # fmt: skip
        self._badge = badge
        self._hear = hear
        self._up = up
        self._lost = lost
        self._before = before
        self._client: Client | None = None
        self._queue: asyncio.Queue[tuple[str, bytes, str] | None] = asyncio.Queue()
        self._queued = 0
        self._attempts = 0
        self.why = "not connected yet"

    async def run(self, retry_s: float) -> None:
        """Until cancelled. Who is refused again and again asks less often."""
        pause_s, said = retry_s, ""
        while True:
            if await self._once():
                pause_s, said = retry_s, ""
            elif self.why != said:
                said = self.why
                _log.warning("NATS cannot be reached: %s", said)
            await asyncio.sleep(pause_s)
            pause_s = max(retry_s, min(pause_s * 1.5, LONGEST_PAUSE_S))

    async def _once(self) -> bool:
        """One connection, to its end; whether there was one."""
        url = self._badge.urls[self._attempts % len(self._badge.urls)]
        self._attempts += 1
        client, self._queue, self._queued = None, asyncio.Queue(), 0
        queue = self._queue

        async def closed() -> None:
            queue.put_nowait(None)

        try:
            if self._before:
                await self._before(url)
            client = await connect(self._badge, url, closed)
            for subject, hears in self._hear.items():
                await client.subscribe(subject, cb=_passing(hears))
            await client.flush(timeout=int(CONNECT_S))
            self._client = client
            _log.info("connected to NATS at %s", url)
            self.why = "the connection was lost"
            self._up()
            await self._carry(client, queue)
            return True
        except (*TROUBLE, Failure) as error:
            self.why = str(error) or type(error).__name__
            return self._client is not None
        finally:
            if self._client is not None:
                self._client = None
                _log.warning("NATS at %s is lost: %s", url, self.why)
                self._lost()
            if client is not None:
                with contextlib.suppress(*TROUBLE):
                    async with asyncio.timeout(CONNECT_S):  # a server that takes nothing must not keep us
                        await client.close()

    async def _carry(self, client: Client, queue: asyncio.Queue[tuple[str, bytes, str] | None]) -> None:
        """Send what is queued until the connection is closed."""
        while (item := await queue.get()) is not None:
            subject, data, reply = item
            self._queued -= len(data)
            await client.publish(subject, data, reply=reply)

    @property
    def connected(self) -> bool:
        return self._client is not None

    def send(self, subject: str, data: bytes, reply: str = "") -> None:
        """Queue a message. Raises: ConnectionError, with the reason; ValueError, for one that the server would not take."""
        client = self._client
        if client is None or client.is_closed:
            if client is not None:  # to a server that is silent it says goodbye for 30 s, and tells us only then
                self._queue.put_nowait(None)
            raise ConnectionError(self.why)
        if len(data) > client.max_payload:
            raise ValueError(f"a message of {len(data)} bytes")
        if self._queued + len(data) > QUEUED:
            raise ConnectionError("too much waits to be sent")
        self._queued += len(data)
        self._queue.put_nowait((subject, data, reply))


def _passing(hears: Hears) -> Callable[[Msg], Awaitable[None]]:
    """What is not understood is logged and forgotten: it must not end the listening."""

    async def take(message: Msg) -> None:
        headers: dict[str, Any] = message.headers or {}
        try:
            hears(Heard(message.subject, message.data, message.reply, headers.get("Status") == "503" and not message.data))
        except (ConnectionError, ValueError) as error:
            _log.warning("a message on %s is not understood: %s", message.subject, error)

    return take
