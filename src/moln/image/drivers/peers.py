"""The other controllers of the cloud, as places to read images' files from: at their gates, by members' mutual TLS.

A peer gives what is on its own disk and asks nobody else. What a whole file must be is checked by whoever fetches it.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol
from urllib.parse import urlsplit

from moln.image.model.replicas import Keeper
from moln.kernel.errors import BackendRefused, BackendUnreachable, NotFound, Unavailable
from moln.kernel.link.streams import CHUNK, STUCK_S, Stream
from moln.kernel.nodes import sparse
from moln.kernel.nodes.gate import GateClient, address_of
from moln.kernel.nodes.passport import Passport

FILE, PART = "peer.image", "peer.part"  # of a kind and a name, the file (sparse.py); of a name, a start and a length, these bytes of data
OPEN_S = 5.0  # seconds that a peer may take to answer: a machine that is gone says nothing
Holders = Callable[[str], Awaitable[list[Keeper]]]
Good = Callable[[int], Awaitable[bool]]
_log = logging.getLogger("moln.image")


class Peers(Protocol):
    """What a FileStore asks for files that are not here. All raise Unavailable."""

    def read(self, data_id: str, start: int, length: int) -> AsyncIterator[bytes]:
        """The bytes [start, start+length) of an image's data; where a peer ends in the middle, another goes on."""

    async def fetch(self, kind: str, data_id: str, file: int, most: int, good: Good | None = None) -> None:
        """Fill an open file. kind: a folder of a FileStore's root. most: bytes. good: whether the file is what it must be.

        Raises: NotFound, when every holder answers and none has it; OSError.
        """

    async def open(self, kind: str, data_id: str) -> Stream:
        """The same as a stream (sparse.py), for somebody else."""


class GatePeers:
    """holders: who has data by the rows, whoever lives first."""

    def __init__(self, passport: Passport, now_us: Callable[[], int], holders: Holders) -> None:
        self.passport, self.now_us, self.holders = passport, now_us, holders

    async def ask(self, keeper: Keeper, verb: str, *args: object) -> Stream:
        """Raises: BackendUnreachable, BackendRefused."""
        where = urlsplit(keeper.url)
        client = GateClient(*address_of(where.hostname or "", where.port or 443), self.passport, self.now_us)
        return await client.open(verb, *args, deadline_s=OPEN_S)

    async def read(self, data_id: str, start: int, length: int) -> AsyncIterator[bytes]:
        """See Peers."""
        silent: list[str] = []
        for keeper in await self.holders(data_id) if length else []:
            try:
                stream = await self.ask(keeper, PART, data_id, start, length)
                try:
                    async for piece in pieces_of(stream, length):
                        yield piece
                        start, length = start + len(piece), length - len(piece)
                finally:
                    stream.close()
                return
            except BackendRefused:
                continue
            except (BackendUnreachable, OSError):
                silent.append(keeper.name)
        if length:
            raise lost(data_id, silent)

    async def fetch(self, kind: str, data_id: str, file: int, most: int, good: Good | None = None) -> None:
        """See Peers."""
        silent: list[str] = []
        for keeper in await self.holders(data_id):
            try:
                stream = await self.ask(keeper, FILE, kind, data_id)
                try:
                    await asyncio.to_thread(os.ftruncate, file, 0)
                    await sparse.take(stream.reader, file, most)
                finally:
                    stream.close()
                if good is None or await good(file):
                    return
                _log.warning("what controller %s gave is not image data %s: its file is broken", keeper.name, data_id)
            except BackendRefused:
                continue
            except (BackendUnreachable, ConnectionError):  # no other OSError: that is this machine's disk
                silent.append(keeper.name)
        raise lost(data_id, silent) if silent else NotFound("The image has no data.", detail=f"no controller has {data_id}")

    async def open(self, kind: str, data_id: str) -> Stream:
        """See Peers."""
        silent: list[str] = []
        for keeper in await self.holders(data_id):
            try:
                return await self.ask(keeper, FILE, kind, data_id)
            except BackendRefused:
                continue
            except BackendUnreachable:
                silent.append(keeper.name)
        raise lost(data_id, silent)


async def pieces_of(stream: Stream, length: int) -> AsyncIterator[bytes]:
    """So many bytes. Raises: BackendUnreachable, OSError, when fewer come."""
    while length:
        async with asyncio.timeout(STUCK_S):
            piece = await stream.reader.read(min(CHUNK, length))
        if not piece:
            raise BackendUnreachable("A controller ended before the image's data did.")
        length -= len(piece)
        yield piece


def lost(data_id: str, silent: list[str]) -> Unavailable:
    """silent: controllers that did not answer, or not to the end."""
    had = f": {', '.join(silent)} had it. Start one of these" if silent else ". Start one that had it"
    return Unavailable(f"The image's data is on no controller that answers now{had}, or upload the image again.", detail=data_id)


__all__ = ["FILE", "PART", "GatePeers", "Peers"]
