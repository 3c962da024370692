"""Where nodes on other machines ask controllers: connections of their own, each for one question, by mutual TLS.

The other way round from streams (link/streams.py), in the same frames: a Call and its Answer, then bytes. Who asks is what the
certificate says; what is asked is answered for that node alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Callable
from typing import Any

from moln.kernel.errors import BackendRefused, BackendUnreachable, Failure
from moln.kernel.http.certificates import member_host
from moln.kernel.link.frames import Answer, Call, pack, receive, send
from moln.kernel.link.streams import CHUNK, OPEN_S, Opener, Stream, Streams
from moln.kernel.link.verbs import MemoryFences
from moln.kernel.nodes.passport import Passport, peer_of

PORT_AFTER = 11  # the gate's port is so many after the APIs'
AT_ONCE = 256  # connections
ANY_CONTROLLER = member_host("controller")
_log = logging.getLogger("moln.nodes")

Openers = Callable[[str], dict[str, tuple[Opener, Any]]]


class Gate:
    """The controller's end. openers: what a node may open, by its name; peers: what another controller may. admits: see Membership."""

    def __init__(self, host: str, port: int, passport: Passport, openers: Openers, admits: Callable[[str, int], bool], now_us: Callable[[], int],
                 peers: Openers | None = None):  # fmt: skip
        self._host, self._port = host, port
        self._passport = passport
        self._openers, self._peers, self._admits, self._now_us = openers, peers, admits, now_us
        self._server: asyncio.Server | None = None
        self._running: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Raises: OSError, when the port cannot be had."""
        self._server = await asyncio.start_server(
            self._serve, self._host, self._port, ssl=self._passport.server(), ssl_handshake_timeout=OPEN_S, limit=CHUNK
        )

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        openers = self._openers_of(writer.get_extra_info("peercert") or {})
        if openers is None or len(self._running) >= AT_ONCE:
            writer.close()
            return
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        try:
            await Streams(openers, MemoryFences(), self._now_us).serve(reader, writer)
        finally:
            self._running.discard(task)

    def _openers_of(self, shown: dict[str, Any]) -> dict[str, tuple[Opener, Any]] | None:
        """What whoever has this certificate may open; None: nothing."""
        who = peer_of(shown)
        if who is not None and who[0] == "node" and self._admits(who[1], int(shown.get("serialNumber", "0"), 16)):
            return self._openers(who[1])
        if who is not None and who[0] == "controller" and self._peers is not None:
            return self._peers(who[1])
        _log.warning("%s may not ask", who)
        return None

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)


class GateClient:
    """A node's end. peer: who it must be that is asked, as its certificate says (member_host): any controller, wherever it is, unless told.

    others: where else to ask, when nobody answers there. Whoever answered last is asked first.
    """

    def __init__(self, host: str, port: int, passport: Passport, now_us: Callable[[], int], peer: str = ANY_CONTROLLER):
        self._host, self._port = host, port
        self._passport, self._now_us, self._peer = passport, now_us, peer
        self._first = (host, port)
        self.others: list[tuple[str, int]] = []

    async def open(self, verb: str, *args: object, deadline_s: float = 15.0) -> Stream:
        """Raises: BackendUnreachable, BackendRefused."""
        places = list(dict.fromkeys([(self._host, self._port), self._first, *self.others]))
        lost: BackendUnreachable | None = None
        for self._host, self._port in places:
            try:
                return await self._open(verb, args, deadline_s / len(places))
            except BackendUnreachable as unreachable:
                lost = lost or unreachable
        assert lost is not None
        raise lost

    async def _open(self, verb: str, args: tuple[object, ...], deadline_s: float) -> Stream:
        stream = None
        try:
            async with asyncio.timeout(deadline_s):
                stream = Stream(*await asyncio.open_connection(
                    self._host, self._port, ssl=self._passport.client(), server_hostname=self._peer, limit=CHUNK
                ))  # fmt: skip
                send(stream.writer, Call(1, verb, pack(args), self._now_us() + int(deadline_s * 1e6)))
                answer = await receive(stream.reader)
            if not isinstance(answer, Answer) or answer.kind == "unreachable":
                raise BackendUnreachable(getattr(answer, "message", "") or f"{self._host} did not open {verb}.")
            if answer.kind != "ok":
                raise BackendRefused(answer.message)
            return stream
        except BaseException as error:
            if stream is not None:
                stream.close()
            if isinstance(error, ssl.SSLCertVerificationError):
                raise BackendUnreachable(f"{self._host} port {self._port} is no controller." if self._peer == ANY_CONTROLLER
                                         else f"{self._host} port {self._port} is another than it should be.", detail=repr(error)) from None
            if isinstance(error, OSError | asyncio.IncompleteReadError):  # TimeoutError is an OSError
                raise BackendUnreachable(f"{self._host} port {self._port} does not answer.", detail=repr(error)) from None
            raise

    async def read(self, verb: str, *args: object, most: int) -> bytes:
        """All that comes, at most so many bytes. Raises: BackendUnreachable, BackendRefused."""
        stream = await self.open(verb, *args)
        try:
            async with asyncio.timeout(OPEN_S * 2):
                parts, size = [], 0
                while data := await stream.reader.read(CHUNK):
                    parts.append(data)
                    size += len(data)
                    if size > most:
                        raise BackendRefused(f"The answer to {verb} is too long.")
                return b"".join(parts)
        except OSError as error:
            raise BackendUnreachable(f"The answer to {verb} did not end.", detail=repr(error)) from None
        finally:
            stream.close()


def address_of(url_host: str, url_port: int) -> tuple[str, int]:
    """Where the gate of the controller at an API's URL is."""
    return url_host, url_port + PORT_AFTER


async def of_bytes(data: bytes) -> Stream:
    """A stream that says this and ends."""
    return await written(lambda writer: _say(writer, data))


async def _say(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(data)
    await writer.drain()


async def written(write: Callable[[asyncio.StreamWriter], Any]) -> Stream:
    """A stream of what a coroutine writes, as it is taken; it ends with the coroutine."""
    return await spoken(lambda _, writer: write(writer))


async def spoken(speak: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]) -> Stream:
    """The same for one that listens, too."""
    ours, theirs = socket.socketpair()
    for end in (ours, theirs):
        end.setblocking(False)
    reader, writer = await asyncio.open_connection(sock=ours, limit=CHUNK)
    stream = Stream(*await asyncio.open_connection(sock=theirs, limit=CHUNK))

    async def run() -> None:
        try:
            await speak(reader, writer)
        except (OSError, Failure) as lost:
            _log.info("who asked has gone: %r", lost)
        finally:
            with contextlib.suppress(OSError, RuntimeError):
                writer.close()

    task = asyncio.create_task(run(), name="gate-answer")
    _answers.add(task)
    task.add_done_callback(_answers.discard)
    return stream


_answers: set[asyncio.Task[None]] = set()

__all__ = ["Gate", "GateClient", "address_of", "of_bytes", "spoken", "written"]
