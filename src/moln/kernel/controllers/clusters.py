"""Engines of which each controller runs a member: what a controller does to all of them when others come and go (docs/adr/0045-quorum.md)."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Protocol

from msgspec import Struct

from moln.kernel.errors import Failure
from moln.kernel.module import Violation
from moln.kernel.work import Periodic, Work

NAMES = ("ovn", "etcd", "nats")
FILE = "controllers/clusters"  # in the home of each controller: it is the whole cloud's choice, which whoever joins takes over
EVERY_S = 5.0
_log = logging.getLogger("moln.controllers")


def names(home: Path) -> tuple[str, ...]:
    """Which engines are clusters here; none where the first controller has them alone."""
    try:
        found = (home / FILE).read_text().split()
    except FileNotFoundError:
        return ()
    return tuple(name for name in NAMES if name in found)


class Member(Struct, frozen=True):
    """address: of its controller. leads: it is the one that orders writes. learns: it has no vote yet."""

    address: str
    up: bool
    leads: bool = False
    learns: bool = False


class Standing(Struct, frozen=True):
    """How a cluster is. votes: whether more than half of its members have to be there for a write."""

    name: str
    members: list[Member]
    votes: bool = True

    @property
    def voters(self) -> list[Member]:
        return [member for member in self.members if not member.learns]

    @property
    def spare(self) -> int:
        """How many more may go before writes stop; under 0: they have stopped."""
        up = sum(member.up for member in self.voters)
        return up - (len(self.voters) // 2 + 1) if self.votes else up - 1

    @property
    def text(self) -> str:
        """For people."""
        up, leader = sum(m.up for m in self.members), next((m.address for m in self.members if m.leads), "")
        said = [f"{up} of {len(self.members)} members are up"]
        if self.votes:
            said += [f"{leader} leads" if leader else "none leads", *(f"{m.address} has no vote yet" for m in self.members if m.learns)]
        lost = "nothing can be written" if self.votes else "no node can be reached"
        if self.spare < 0:
            said += [f"too few are: {lost}"]
        else:
            said += [f"if one goes, {lost}" if self.spare == 0 else f"{self.spare} more may go"]
        return "; ".join(said) + "."


class Cluster(Protocol):
    """One engine's. addresses: of all controllers, this one's first."""

    async def admit(self, address: str) -> list[str] | None:
        """A controller there joins in a moment. Where the members are that it joins; None: it need not know. Raises: Failure."""
        ...

    async def keep(self, addresses: Sequence[str]) -> None:
        """Now and then: what has to follow from who is there. Raises: Failure."""
        ...

    async def remove(self, address: str) -> None:
        """Its member is gone for good; none there is fine. Raises: Failure, when the cluster cannot agree on it."""
        ...

    async def look(self, addresses: Sequence[str]) -> list[Standing]:
        """Raises: Failure."""
        ...


class Clusters:
    """All of this controller's. addresses: asks the database who is there."""

    def __init__(self, each: Sequence[Cluster], addresses: Callable[[], Awaitable[list[str]]]):
        self.each = each
        self.addresses = addresses

    async def admit(self, address: str) -> list[str]:
        """Where the members are that it joins; controllers of an older version have none. Raises: Failure."""
        found = [await cluster.admit(address) for cluster in self.each]
        return next((members for members in found if members is not None), await self.addresses())

    async def remove(self, address: str) -> None:
        """Raises: Failure."""
        for cluster in self.each:
            await cluster.remove(address)

    @property
    def periodics(self) -> list[Periodic]:
        async def keep(_: Work) -> None:
            await self.keep()

        return [Periodic("clusters", keep, every_s=EVERY_S, everywhere=True)] if self.each else []

    async def keep(self) -> None:
        """One that cannot be reached is tried again by itself."""
        addresses = await self.addresses()
        for cluster in self.each:
            try:
                await cluster.keep(addresses)
            except Failure as failure:
                _log.info("%s", failure.message)

    async def look(self) -> list[Standing]:
        """Raises: Failure."""
        addresses = await self.addresses()
        return [standing for cluster in self.each for standing in await cluster.look(addresses)]

    async def incomplete(self) -> list[Violation]:
        """Raises: Failure."""
        mend = "Start what is down there; or, if that machine is gone for good, have it forgotten: moln controller remove NAME (where too few are left to agree: recover)"
        return [Violation(f"{found.name}: {found.text} Down: {', '.join(m.address for m in found.members if not m.up)}.", mend)
                for found in await self.look() if not all(m.up for m in found.members)]  # fmt: skip
