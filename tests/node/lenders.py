"""Nodes that lend one another images, and the controller's end of it: real TLS and real files in one process."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
from tests.node.members import Members

from moln.kernel.clock import Clock
from moln.kernel.errors import NotFound
from moln.kernel.link import Streams, Verbs
from moln.kernel.link.links import InProcessLinks
from moln.kernel.link.streams import Stream
from moln.kernel.link.verbs import MemoryFences
from moln.kernel.nodes import lending, sparse
from moln.kernel.nodes.gate import PORT_AFTER, Gate, GateClient, of_bytes, written
from moln.kernel.nodes.lending import FETCHING, LENT, Fetches, Lends
from moln.lenders import Lenders
from moln.node.bases import Bases
from moln.node.lending import Borrowing, Lending
from moln.node.moves import NoFences
from moln.node.room import Room
from moln.node.tls_streams import TlsStreamServer

NAME, OTHER = (f"{letter * 8}-0000-4000-8000-000000000001" for letter in "ab")
DISK = "dddddddd-0000-4000-8000-000000000001"
ROOMY = 1 << 40, 1 << 40


class Machine:
    """A node: what it has, where it lends, and how it asks."""

    def __init__(self, home: Home, name: str) -> None:
        self.home, self.name = home, name
        self.passport = home.passport("node", name)
        images = home.folder / name / "pool/images"
        gate = GateClient("127.0.0.1", home.port, self.passport, Clock().now_us)
        borrowing = Borrowing(self.passport, Clock().now_us)
        self.bases = Bases(images, gate, borrowing, room=Room(images, lambda _: ROOMY), changed=self.tell)
        self.bases.prepare()
        self.lending = Lending(self.bases.folder)
        streams = Streams(self.lending.openers, NoFences(), Clock().now_us)
        self.server = TlsStreamServer("127.0.0.1:0", streams, self.passport, streams)
        self.told: list[list[str]] = []

    def tell(self, names: list[str]) -> None:
        self.told.append(names)

    async def heard(self) -> None:
        """The controller hears what the node said meanwhile."""
        for names in self.told:
            await self.home.links.publish(self.name, lending.HELD, msgspec.msgpack.encode(names))
        self.told.clear()

    async def join(self) -> None:
        await self.server.start()
        verbs = Verbs({lending.AREA: (Lends, self.lending), FETCHING: (Fetches, self.bases)}, MemoryFences(), Clock().now_us)
        await self.home.links.join(self.name, verbs, {"streams": self.server.address, "images": self.bases.held})

    def base(self, name: str = NAME) -> Path:
        return self.bases.folder / name

    async def has(self, name: str = NAME) -> bytes:
        await self.bases.ensure(name)
        await self.heard()
        return self.base(name).read_bytes()


class Home(Members):
    """The controller's end. needs: which node needs which image. served: what it sent itself."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.links = InProcessLinks(Clock().now_us)
        self.lenders = Lenders(Cloudlet(self.links))  # type: ignore[arg-type]
        self.images = folder / "images"
        self.images.mkdir()
        self.needs: set[tuple[str, str]] = set()
        self.served: list[tuple[str, str]] = []
        self.gate = Gate("127.0.0.1", self.port, self.passport("controller", "c1"), self.openers, lambda *_: True, Clock().now_us)

    def opened(self, node: str, name: str) -> int:
        if (node, name) not in self.needs:
            raise NotFound("No server there begins as this.")
        return os.open(self.images / name, os.O_RDONLY)

    def openers(self, node: str) -> dict[str, tuple[Callable[..., Awaitable[Stream]], Any]]:
        async def loan(name: str) -> Stream:
            file = self.opened(node, name)
            try:
                return await of_bytes(msgspec.msgpack.encode(await self.lenders.loan(node, name, file)))
            finally:
                os.close(file)

        async def base(name: str) -> Stream:
            return await sent(name, self.opened(node, name))

        async def sent(name: str, file: int) -> Stream:
            self.served.append((node, name))

            async def write(writer: asyncio.StreamWriter) -> None:
                await sparse.send(file, writer)
                os.close(file)

            return await written(write)

        async def lent(name: str, secret: str) -> Stream:
            self.lenders.take(node, name, secret)
            return await sent(name, os.open(self.images / name, os.O_RDONLY))

        return {lending.LOAN: (loan, tuple[str]), LENT: (lent, tuple[str, str]), "image.base": (base, tuple[str])}

    async def prefetch(self, node: str, name: str = NAME) -> None:
        file = os.open(self.images / name, os.O_RDONLY)
        try:
            await self.lenders.prefetch(node, name, file, f"https://127.0.0.1:{self.port - PORT_AFTER}")
        finally:
            os.close(file)


class Cloudlet:
    """Of a cloud, what lenders need."""

    def __init__(self, links: InProcessLinks) -> None:
        self.links = links
