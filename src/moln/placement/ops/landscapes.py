"""The landscape as a process keeps it in memory, once somebody asked for candidates (docs/adr/0009-scheduling.md does so for hosts).

Each commit names what it changed before its writer gets an answer; what was named is read again before the next search, in one view of
the database with it. What other controllers write is known a moment later, and while their changes cannot be followed nothing that was kept is used.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

import msgspec

from moln.kernel.cloud import Cloud
from moln.kernel.db import Reader
from moln.placement.model.allocations import Claim
from moln.placement.model.index import Index
from moln.placement.store.providers import landscape, part

T = TypeVar("T")
AREA = "placement-landscape"
MANY = 500  # providers that are read one by one, at most; of more all are
_claim = msgspec.json.Decoder(Claim).decode


class Kept:
    """The index, and what changed since it was true."""

    def __init__(self, cloud: Cloud):
        self.db = cloud.db
        self.index: Index | None = None
        self.changed: set[str] = set()
        self.turn = asyncio.Lock()
        self.gaps = 0
        cloud.db.feed.subscribe("placement.providers", self.changed.update)
        cloud.db.feed.subscribe("placement.claims", self._claimed)
        cloud.db.feed.on_gap(self._forget)

    def _claimed(self, claims: list[str]) -> None:
        self.changed.update(_claim(text).provider_id for text in claims)

    def _forget(self) -> None:
        self.index = None
        self.gaps += 1

    async def search(self, fn: Callable[[Index], T]) -> T:
        """`fn` upon what is true now. It runs in a reader thread, one at a time, and must keep nothing that it was given but values."""
        async with self.turn:
            index = self.index if self.db.feed.fresh else None
            changed, gaps = set(self.changed), self.gaps
            self.changed -= changed
            self.index = None  # until it is whole again: a caller who leaves meanwhile leaves it half
            found, answer = await self.db.read(_search, index, changed, fn)
            self.index = found if gaps == self.gaps else None
            return answer


async def _search(db: Reader, index: Index | None, changed: set[str], fn: Callable[[Index], T]) -> tuple[Index, T]:
    if index is None or len(changed) > MANY:
        index = Index(await landscape(db))
    elif changed:
        now = await part(db, sorted(changed))
        for id in sorted(changed - now.providers.keys()):
            index.drop(id)
        for id, provider in now.providers.items():
            index.put(provider, now.inventories[id], now.traits[id], now.aggregates[id])
    return index, fn(index)


def kept(cloud: Cloud) -> Kept:
    """Made when it is first asked for."""
    found: Kept | None = cloud.areas.get(AREA)
    if found is None:
        found = cloud.areas[AREA] = Kept(cloud)
    return found
