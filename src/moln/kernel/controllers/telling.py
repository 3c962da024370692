"""Nodes ask controllers for images and metadata: those that joined at one that is dead have to know where the others are."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Protocol

from moln.kernel.controllers.membership import CHANGED, Controllers
from moln.kernel.db import Database
from moln.kernel.errors import Failure
from moln.kernel.link.links import NodeLinks

AREA, TELL_S, AT_ONCE = "node-controllers", 10.0, 64
_log = logging.getLogger("moln.controllers")


class Knows(Protocol):
    """A node's side."""

    async def controllers(self, urls: list[str]) -> None:
        """Where the APIs of all controllers are."""
        ...

    async def engines(self, nats: list[str], southbound: str) -> None:
        """Where NATS is, URLs; and OVN's southbound database (ovsdb(7))."""
        ...


class Telling:
    """Each node hears it when it comes, and when another controller joins. Where there is one controller, it knows that one already."""

    def __init__(self, db: Database, links: NodeLinks, controllers: Controllers):
        self._links = links
        self._controllers = controllers
        self._places = asyncio.Semaphore(AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()
        links.on_report("node.up", self._came)
        self._unsubscribe = db.feed.subscribe(CHANGED, self._changed)

    async def _came(self, node: str, raw: bytes) -> None:
        self._spawn([node])

    def _changed(self, _: list[str]) -> None:
        self._spawn(self._links.nodes)

    def _spawn(self, nodes: Iterable[str]) -> None:
        task = asyncio.create_task(self._tell(list(nodes)), name="where controllers are")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _tell(self, nodes: list[str]) -> None:
        try:
            urls = [found.url for found in await self._controllers.all()]
            if len(urls) > 1 or self._controllers.clusters.each:
                engines = await self._controllers.engines()
                await asyncio.gather(*(self._tell_one(node, urls, engines) for node in nodes))
        except Failure as failure:
            _log.info("nodes cannot be told where controllers are: %s", failure.message)

    async def _tell_one(self, node: str, urls: list[str], engines: tuple[list[str], str]) -> None:
        """One that cannot be reached hears it when it comes back; an older one has no ear for it."""
        try:
            async with self._places:
                knows = self._links.driver(node, AREA, Knows, deadline_s=TELL_S)
                await knows.controllers(urls)
                if self._controllers.clusters.each:
                    await knows.engines(*engines)
        except Failure as failure:
            _log.info("node %s was not told where controllers are: %s", node, failure.message)

    async def close(self) -> None:
        self._unsubscribe()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
