"""Nodes that have an image lend it to those that need it: the controller knows who has which, and says what it must be.

A node asks at the gate, and is answered for images of its own servers alone (gate.py). Each lender is told first, and makes a secret
for that one time. Nothing of this is kept: a controller that begins anew hears from every node what it has.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import OrderedDict
from collections.abc import Iterable
from urllib.parse import urlsplit

import msgspec

from moln.kernel.cloud import Cloud
from moln.kernel.errors import Failure, NotFound
from moln.kernel.nodes import sparse
from moln.kernel.nodes.gate import address_of
from moln.kernel.nodes.lending import AREA, FETCHING, HELD, Fetches, Lender, Lends, Loan, Promises, State

ASKED = 3  # nodes for one loan
LEND_S = 1.5  # seconds that they may take to answer
DIGEST_S = 2.5  # seconds that a loan waits for its digest; if that takes longer, the next one finds it
PREFETCHES, PREFETCH_S = 64, 10.0  # that are begun within a minute; seconds that a node may take to begin one
DIGESTS, AT_ONCE = 1024, 2  # that are remembered; that are made at a time
NAMES = 1024  # of images of one node that are believed to be there


class Facts(msgspec.Struct):
    """Of a node's hello. Others, as older ones, say less."""

    streams: str = ""
    images: list[str] = []


_facts = msgspec.msgpack.Decoder(Facts)
_names = msgspec.msgpack.Decoder(list[str])


class Lenders:
    """Of one controller."""

    def __init__(self, cloud: Cloud) -> None:
        self._links = cloud.links
        self._held: dict[str, frozenset[str]] = {}
        self._streams: dict[str, str] = {}
        self._digests: OrderedDict[str, asyncio.Task[bytes]] = OrderedDict()
        self._making = asyncio.Semaphore(AT_ONCE)
        self._promises = Promises(PREFETCHES)
        for topic, handler in (("node.up", self._came), (HELD, self._holds), ("node.down", self._gone)):
            self._links.on_report(topic, handler)

    async def _came(self, node: str, raw: bytes) -> None:
        facts = _facts.decode(raw)
        self._streams[node] = facts.streams
        self._hold(node, facts.images)

    async def _holds(self, node: str, raw: bytes) -> None:
        self._hold(node, _names.decode(raw))

    def _hold(self, node: str, names: Iterable[str]) -> None:
        self._held[node] = frozenset(list(names)[:NAMES])

    async def _gone(self, node: str, raw: bytes) -> None:
        self._held.pop(node, None)
        self._streams.pop(node, None)

    async def loan(self, node: str, name: str, file: int) -> Loan:
        """For a node that may have the image of this name, which is the open file here. Raises: OSError."""
        there = os.fstat(file)
        loan = Loan(there.st_size, there.st_blocks * 512)
        holders = self._holders(node, name)
        if not holders:
            return loan
        try:
            async with asyncio.timeout(DIGEST_S):
                digest = await asyncio.shield(self._digest(name, file))
        except OSError:  # TimeoutError is one
            return loan
        return msgspec.structs.replace(loan, digest=digest, lenders=await self._promised(name, holders))

    async def _promised(self, name: str, holders: list[str]) -> tuple[Lender, ...]:
        asked = random.sample(holders, min(ASKED, len(holders)))
        return tuple(lender for lender in await asyncio.gather(*(self._ask(other, name) for other in asked)) if lender)

    async def prefetch(self, node: str, name: str, file: int, url: str) -> None:
        """Have the image, which is the open file here, come to a node that may not need it: an operator's word. url: of this controller.

        Raises: BackendUnreachable, BackendRefused, OSError.
        """
        there, digest = os.fstat(file), await asyncio.shield(self._digest(name, file))
        where = urlsplit(url)
        host, port = address_of(where.hostname or "", where.port or 443)
        ours = Lender("", f"[{host}]:{port}" if ":" in host else f"{host}:{port}", self._promises.make(f"{node} {name}"))
        lenders = (*await self._promised(name, self._holders(node, name)), ours)
        await self._fetching(node).prefetch(name, Loan(there.st_size, there.st_blocks * 512, digest, lenders))

    async def state(self, node: str, name: str) -> State:
        """Whether a node has it. Raises: BackendUnreachable, BackendRefused."""
        return await self._fetching(node).state(name)

    def _fetching(self, node: str) -> Fetches:
        return self._links.driver(node, FETCHING, Fetches, deadline_s=PREFETCH_S)

    def take(self, node: str, name: str, secret: str) -> None:
        """A node may have it once, as it was promised. Raises: NotFound."""
        self._promises.take(f"{node} {name}", secret)

    def _holders(self, node: str, name: str) -> list[str]:
        return [other for other, names in self._held.items() if other != node and name in names and self._streams.get(other)]

    async def _ask(self, node: str, name: str) -> Lender | None:
        """Where it is, is what the node's hello said; who it is, its link proves."""
        try:
            secret = await self._links.driver(node, AREA, Lends, deadline_s=LEND_S).lend(name)
        except Failure:
            return None
        address = self._streams.get(node)
        return Lender(node, address, secret) if address else None

    def _digest(self, name: str, file: int) -> asyncio.Task[bytes]:
        """Of an image, once: its bytes never change, and its name is never used again."""
        task = self._digests.get(name)
        if task is None:
            task = self._digests[name] = asyncio.create_task(self._make(os.dup(file)), name=f"digest of {name}")
            task.add_done_callback(lambda done: self._made(name, done))
            while len(self._digests) > DIGESTS:
                self._digests.popitem(last=False)
        self._digests.move_to_end(name)
        return task

    async def _make(self, file: int) -> bytes:
        try:
            async with self._making:
                return await sparse.digest(file)
        finally:
            os.close(file)

    def _made(self, name: str, task: asyncio.Task[bytes]) -> None:
        if (task.cancelled() or task.exception() is not None) and self._digests.get(name) is task:
            del self._digests[name]


async def open_base(cloud: Cloud, name: str) -> int:
    """The raw disk that servers begin as, here. Raises: NotFound."""
    folder = cloud.home / cloud.settings.image.folder / "base"  # type: ignore[attr-defined]
    try:
        return await asyncio.to_thread(os.open, folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        raise NotFound(f"Image {name} is not here.") from None


__all__ = ["Lenders", "open_base"]
