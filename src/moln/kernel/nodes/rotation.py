"""Another authority for the cloud while it works: both are trusted for as long as it takes, and everybody is told and given another certificate.

succession.py says how far an authority is; this is what has to be so before each step. All controllers trust both (states.py) before anybody is signed
by the new one; all members are signed by it, and engines of all controllers show it (showing.py), before the old one counts no more, unless told otherwise.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Struct

from moln.kernel.cloud import Cloud
from moln.kernel.controllers import showing, states
from moln.kernel.controllers.heritage import HOSTS
from moln.kernel.controllers.membership import Controllers
from moln.kernel.errors import Conflict, Failure
from moln.kernel.http import certificates, succession
from moln.kernel.link.links import NodeLinks
from moln.kernel.link.nats_authority import NatsAuthority
from moln.kernel.module import Invariant, Violation
from moln.kernel.nodes.membership import Certified, Membership

FOLDERS = ("tls", "controllers")  # in the home: the authority of members, and of controllers among themselves
NATS = "nats"
CALL_S, AT_ONCE = 10.0, 64
_log = logging.getLogger("moln.nodes")


class Standing(Struct, frozen=True):
    """step: "", or a file's name of certificates.py. before, after: fingerprints. untold: controllers that do not trust the new one. old: members whose
    certificate is of the old one; away: nodes that cannot be asked."""

    step: str
    before: str
    after: str
    untold: list[str]
    old: list[str]
    away: list[str]


class Facts(Struct, frozen=True):
    """What a node says of this when it comes. trusts: digest of the authorities that it trusts; empty: it is beside its controller, or older."""

    trusts: str = ""


_facts = msgspec.msgpack.Decoder(Facts).decode


class Rotation:
    """Of one controller. ensure: has it renew its own certificates where they are not of the newest authority."""

    def __init__(self, cloud: Cloud, controllers: Controllers, membership: Membership, links: NodeLinks, ensure: Callable[[], None]):
        self._cloud, self._controllers, self._membership, self._links = cloud, controllers, membership, links
        self._ensure = ensure
        self._engines = showing.Showing(cloud.home, controllers.address)
        self._sayings = states.Sayings(cloud.db, controllers.name)
        self._places = asyncio.Semaphore(AT_ONCE)
        self._going = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        links.on_report("node.up", self._came)
        self._unsubscribe = cloud.db.feed.subscribe(states.STATES, lambda _: self._spawn(self.go_on()))

    @property
    def step(self) -> str:
        """Of the authority that is furthest behind the end: whoever died between two of them goes on."""
        return next((found for name in FOLDERS if (found := succession.step(self._cloud.home / name))), "")

    @property
    def newest(self) -> str:
        return succession.newest(self._cloud.home / FOLDERS[0])

    # ---- the steps

    async def begin(self) -> None:
        """Another authority, which this controller and all nodes trust beside the one that there is. Raises: Failure."""
        for name in FOLDERS if self.step != certificates.NEXT else ():
            succession.begin(self._cloud.home / name, self._now())
        await self.spread()

    async def start(self) -> None:
        """Say that this controller and its engines trust the newest authority, and go on. Raises: Failure."""
        await self._say(states.TRUSTS, self.newest)
        await self.go_on()

    async def go_on(self, *, alone: bool = False) -> None:
        """Do what can be done now. alone: whatever other controllers trust. Raises: Failure."""
        async with self._going:
            await self._go_on(alone)

    async def _go_on(self, alone: bool) -> None:
        if self.step == certificates.COMING and (alone or not await self._untold()):
            for name in FOLDERS:
                succession.go(self._cloud.home / name)
            self._membership.read_authority()
            _log.info("members are signed by another authority, %s", self.newest)
        self._ensure()
        told = self.step == certificates.NEXT and not await self._untold()  # else others would refuse what engines here show, and etcd lose its majority
        shown = not told or await self._engines.keep(self._now(), showing.AMONG)
        await self._say(states.PROVES, self._own() if shown else "")
        if self.step == certificates.NEXT:
            await self._each(self._renew)

    async def keep_engines(self) -> None:
        """Now and then: engines here show certificates that last. It asks no database, which may be the one that shows them. Raises: Failure."""
        mine = showing.ENGINES if self.step != certificates.NEXT else showing.SERVING  # `go_on` has the others wait until everybody trusts whose they are
        await self._engines.keep(self._now(), mine)

    async def finish(self, *, force: bool) -> Standing:
        """The new one alone counts here; nodes are told by `spread`. force: whoever is on the old one is cut off. Raises: Conflict; Failure."""
        found = await self.standing()
        if not found.step:
            raise Conflict("There is one authority, and no other in its place: moln certificates rotate")
        if (late := sorted({*found.untold, *found.old, *found.away})) and not force:
            raise Conflict(f"Of the old authority, or not heard of: {', '.join(late[:10])}{' …' if late[10:] else ''}. Without it they are cut off; "
                           "have them come back, remove them, or say --force.")  # fmt: skip
        cut_off = sorted({*found.untold, *found.old} & {c.name for c in await self._controllers.all()} - {self._controllers.name})
        if cut_off and (self._cloud.home / HOSTS).exists():
            raise Conflict(f"PostgreSQL is on each controller, and {', '.join(cut_off)} would be cut off: without them it may take no writes. Have them take the "
                           "new authority (moln controller join URL --token … --again), or remove them.")  # fmt: skip
        if found.step == certificates.COMING:
            await self.go_on(alone=True)
        for name in FOLDERS:
            succession.finish(self._cloud.home / name, self._now())
        self._membership.read_authority()
        self._ensure()
        await self._say(states.TRUSTS, self.newest)
        await self._say(states.PROVES, self._own())
        _log.info("the authority %s alone counts", self.newest)
        return found

    async def spread(self) -> list[str]:
        """Tell every node whom to trust. Names of those that did not take it."""
        missed: list[str] = []

        async def tell(node: str) -> None:
            if not await self._tell(node):
                missed.append(node)

        await self._each(tell)
        return sorted(missed)

    async def change_nats_keys(self) -> list[str]:
        """Other keys for NATS, as somebody else has these. Nodes that are there are given claims by the new ones, for when the server is begun anew with
        them, as this controller has to be. Names of nodes that did not take theirs. Raises: Failure.
        """
        folder = self._cloud.home / NATS
        coming, missed, now_s = NatsAuthority(folder / "coming"), list[str](), self._cloud.clock.now_us() // 1_000_000

        async def give(node: str) -> None:
            of = self._membership.get(node)
            claims = coming.node(node, of.nats_key, now_s=now_s, expires_s=of.expires_at // 1_000_000)
            try:
                async with self._places:
                    await self._driver(node).claim(claims)
            except Failure as failure:
                _log.warning("node %s was not given claims: %s", node, failure.message)
                missed.append(node)

        await self._each(give)
        try:
            for file in (folder / "coming").glob("*.pem"):
                file.replace(folder / file.name)
            (folder / "coming").rmdir()
        except OSError as error:
            raise Failure(f"The keys for NATS in {folder} cannot be replaced ({error.strerror}).") from None
        return sorted(missed)

    # ---- what is

    async def standing(self) -> Standing:
        newest, before = self.newest, succession.fingerprint(self._membership.authority.certificate)
        if not self.step:
            return Standing("", before, newest, [], [], [])
        nodes = sorted(member.node for member in self._membership.members)
        signed = dict(zip(nodes, await asyncio.gather(*(self._asked(node) for node in nodes)), strict=True))
        proved = await self._said(states.PROVES)
        old = [c.name for c in await self._controllers.all() if proved.get(c.name) != newest]
        return Standing(self.step, before, newest, await self._untold(), old + [n for n, by in signed.items() if by not in (None, newest)],
                        [n for n, by in signed.items() if by is None])  # fmt: skip

    @property
    def invariant(self) -> Invariant:
        async def all_trust_one(_: Cloud) -> list[Violation]:
            trusted, own = await self._said(states.TRUSTED), self._trusted()
            late = [c.name for c in await self._controllers.all() if trusted.get(c.name, own) != own]
            mend = "On each of them: moln controller join URL --token … --again (docs/operations.md, Certificates)."
            return [Violation(f"Controllers do not trust the same authorities as this one: {', '.join(late)}.", mend)] if late else []

        return Invariant("controllers-trust-one-authority", all_trust_one)

    def _own(self) -> str:
        """Whose this controller's own certificate is."""
        _, found = certificates.read(self._cloud.home / "tls/controller.pem")
        return succession.issuer(found, self._membership.authority.public.read_bytes()) if found else ""

    async def _untold(self) -> list[str]:
        trusted, newest = await self._said(states.TRUSTS), self.newest
        return [c.name for c in await self._controllers.all() if trusted.get(c.name) != newest]

    async def _said(self, what: str) -> dict[str, str]:
        query, by = states.of(what)
        return {state.controller: state.value for state in await self._cloud.db.all(query, **by)}

    async def _say(self, what: str, value: str) -> None:
        await self._sayings.say({what: value, states.TRUSTED: self._trusted()})

    def _trusted(self) -> str:
        return succession.digest(self._membership.authority.public.read_bytes())

    # ---- nodes

    async def _came(self, node: str, raw: bytes) -> None:
        """One that was away hears what it missed."""
        said = _facts(raw)
        if said.trusts and said.trusts != self._trusted():
            self._spawn(self._caught_up(node))

    async def _caught_up(self, node: str) -> None:
        await self._tell(node)
        if self.step == certificates.NEXT:
            await self._renew(node)

    async def _each(self, do: Callable[[str], Awaitable[None]]) -> None:
        there = self._links.nodes & {member.node for member in self._membership.members}
        await asyncio.gather(*(do(node) for node in there))

    async def _tell(self, node: str) -> bool:
        try:
            async with self._places:
                await self._driver(node).trust(self._membership.authority.public.read_text())
                return True
        except Failure as failure:
            _log.warning("node %s was not told whom to trust: %s", node, failure.message)
            return False

    async def _renew(self, node: str) -> None:
        try:
            if await self._asked(node) not in (None, self.newest) and await self._tell(node):  # who missed it at the beginning would refuse what it is given
                await self.give(node)
        except Failure as failure:
            _log.warning("node %s was not given another certificate: %s", node, failure.message)

    async def give(self, node: str) -> None:
        """Another certificate, by this controller. Others hear reports, too, and may sign by another authority. Raises: NotFound, BackendUnreachable, BackendRefused."""
        async with self._places:
            given = await self._membership.renew(node, await self._driver(node).request())
            await self._driver(node).admit(given.certificate, given.claims)

    async def _asked(self, node: str) -> str | None:
        """Whose its certificate is; None: it does not say."""
        if node not in self._links.nodes:
            return None
        try:
            async with self._places:
                return await self._driver(node).authority()
        except Failure:
            return None

    def _driver(self, node: str) -> Certified:
        return self._links.driver(node, "node", Certified, deadline_s=CALL_S)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(self._safely(work), name="authority")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _safely(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Failure as failure:
            _log.warning("the change of the authority waits: %s", failure.message)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._cloud.clock.now_us() / 1e6, UTC)

    async def close(self) -> None:
        self._unsubscribe()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
