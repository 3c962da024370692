"""Streams of bytes between controller and node: a connection of its own for each, never the command link.

A connection begins with one Call and its Answer, as frames; after "ok" it is the bytes of what was opened, both ways.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, NamedTuple

import msgspec

from moln.kernel import log
from moln.kernel.errors import Failure, Unavailable
from moln.kernel.link.frames import Answer, Call, receive, send
from moln.kernel.link.verbs import Fences

OPEN_S = 10.0  # seconds for a connection to say what it wants
STUCK_S = 30.0  # seconds that a peer may take nothing; then its stream is cut
CHUNK = 32 << 10  # bytes carried at a time; no more than a few of them wait in any place
AT_ONCE = 512  # streams of one node, at most
_log = logging.getLogger("moln.link")


class Stream(NamedTuple):
    """Both directions of something open."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def close(self) -> None:
        with contextlib.suppress(OSError, RuntimeError):
            self.writer.close()


Opener = Callable[..., Awaitable[Stream]]


async def of_socket(connected: socket.socket) -> Stream:
    """A connected stream socket, with bounded buffers."""
    connected.setblocking(False)
    return Stream(*await asyncio.open_connection(sock=connected, limit=CHUNK))


async def of_path(path: str) -> Stream:
    """What listens at a unix socket. Raises: OSError."""
    return Stream(*await asyncio.open_unix_connection(path, limit=CHUNK))


async def of_tls(address: str, context: ssl.SSLContext, host: str) -> Stream:
    """Who listens at an address with a port, and proves that it is `host`. Raises: OSError."""
    name, _, port = address.rpartition(":")
    if not (port.isascii() and port.isdigit() and int(port) < 1 << 16):
        raise OSError(f"{address} is no address with a port")
    return Stream(*await asyncio.open_connection(name.strip("[]"), int(port), ssl=context, server_hostname=host, limit=CHUNK))


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Until the reader's end. Raises: OSError, TimeoutError when the writer's peer takes nothing for STUCK_S."""
    while data := await reader.read(CHUNK):
        writer.write(data)
        async with asyncio.timeout(STUCK_S):
            await writer.drain()


async def splice(one: Stream, other: Stream) -> None:
    """Carry bytes both ways until either end is closed; then both are."""
    try:
        await until_one_ends(copy(one.reader, other.writer), copy(other.reader, one.writer))
    finally:
        one.close()
        other.close()


async def until_one_ends(*carriers: Coroutine[Any, Any, None]) -> None:
    """However it does; the others are cut off then."""
    tasks = [asyncio.create_task(carrier) for carrier in carriers]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Streams:
    """What a node opens, by verb. An opener takes the call's arguments; `shapes` says their types. Fenced as commands are."""

    def __init__(self, openers: dict[str, tuple[Opener, Any]], fences: Fences, now_us: Callable[[], int]):
        self._openers = openers
        self._fences = fences
        self._now_us = now_us
        self._running = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, to its end."""
        here = Stream(reader, writer)
        self._running += 1
        try:
            async with asyncio.timeout(OPEN_S):
                call = await receive(reader)
            if not isinstance(call, Call):
                return
            log.request_id.set(call.request_id)
            answer, there = await self._open(call)
            try:
                send(writer, answer)
                if there is not None:
                    await splice(here, there)
            finally:
                if there is not None:
                    there.close()
        except (asyncio.IncompleteReadError, OSError, TimeoutError) as lost:
            _log.info("a stream's controller is gone: %r", lost)
        finally:
            self._running -= 1
            here.close()

    async def _open(self, call: Call) -> tuple[Answer, Stream | None]:
        found = self._openers.get(call.verb)
        if found is None:
            return Answer(call.id, "refused", message=f"This node has no {call.verb}."), None
        if self._running > AT_ONCE:
            return Answer(call.id, "unreachable", message="This node has too many streams open."), None
        if call.resource and not self._fences.admit(call.resource, call.generation):
            return Answer(call.id, "stale", message=f"{call.resource} is at a higher generation than {call.generation}."), None
        opener, shape = found
        try:
            arguments = msgspec.msgpack.decode(call.args, type=shape)
            async with asyncio.timeout(max(0.0, (call.not_after - self._now_us()) / 1e6)):
                return Answer(call.id, "ok"), await opener(*arguments)
        except (Unavailable, TimeoutError) as error:
            return Answer(call.id, "unreachable", message=getattr(error, "message", f"{call.verb} took longer than its deadline.")), None
        except Failure as error:
            return Answer(call.id, "refused", message=error.message), None
        except msgspec.ValidationError as error:
            return Answer(call.id, "refused", message=f"{call.verb}: {error}"), None
        except Exception as error:
            _log.exception("an unforeseen error in %s", call.verb)
            return Answer(call.id, "error", message=f"{call.verb} failed on the node ({type(error).__name__})."), None


__all__ = ["CHUNK", "STUCK_S", "Opener", "Stream", "Streams", "copy", "of_path", "of_socket", "of_tls", "splice"]
