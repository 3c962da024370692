"""The controller's side of nodes on other machines: their link, who may use it, and what NATS is told of whoever may not any more."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from nats.errors import NoRespondersError

from moln.kernel import notifications
from moln.kernel.cloud import Cloud
from moln.kernel.controllers import proof
from moln.kernel.controllers.alike import Alike
from moln.kernel.controllers.clusters import Cluster, names
from moln.kernel.controllers.database import OwnDatabase
from moln.kernel.controllers.ending import Ending
from moln.kernel.controllers.enrolment import ControllerEnrolmentResource
from moln.kernel.controllers.membership import Controllers
from moln.kernel.controllers.telling import Telling
from moln.kernel.errors import Failure, Unavailable
from moln.kernel.link.leases import DatabaseLeases, Leases
from moln.kernel.link.nats import NatsLinks
from moln.kernel.link.nats_authority import EXPEL, UPDATE
from moln.kernel.link.nats_keys import USER, NatsKey
from moln.kernel.link.nats_wire import TROUBLE, Badge, connect
from moln.kernel.metrics import Family
from moln.kernel.module import Invariant, Violation
from moln.kernel.nodes import checks
from moln.kernel.nodes.enrolment import AuthorityResource, EnrolmentResource
from moln.kernel.nodes.gate import Gate, Openers, address_of
from moln.kernel.nodes.membership import Certified, Membership
from moln.kernel.nodes.passport import Passport
from moln.kernel.nodes.renewing import RENEWAL
from moln.kernel.nodes.rotation import Rotation
from moln.kernel.work import Periodic, Work

CLAIMS_S = 30 * 24 * 3600  # seconds that a controller's claims are good; NATS hangs up then, and it comes back with others
LOOK_S = 60.0
TELL_S = 5.0
NO_MEMBER = 10044  # NATS: the server is not a member of the cluster
_log = logging.getLogger("moln.nodes")
_csr = msgspec.msgpack.Decoder(str)


class RemoteNodes:
    """Made by app.py where settings name NATS."""

    def __init__(self, cloud: Cloud, leases: Leases | None = None, clusters: Sequence[Cluster] = ()):
        """leases: instead of those in the database. clusters: see Controllers. Raises: Failure, when keys or certificates cannot be used."""
        self._cloud = cloud
        clock, settings = cloud.clock, cloud.settings.link
        self.name = settings.controller or socket.gethostname()
        self.membership = Membership(cloud.home, cloud.db, clock, lambda: self.controllers.engines())
        own = cloud.links
        self.controllers = Controllers(cloud, self.name, self.membership, lambda: own.nodes, clusters)
        if notifications.wanted(cloud.home) and "nats" in names(cloud.home):
            self.controllers.expel = self.expel
        self.database = OwnDatabase(cloud, self.controllers)
        self._passport = Passport(cloud.home / "tls" / "controller.pem", self.membership.authority.public)
        self._ensure_certificate()
        key = NatsKey(USER)
        self._badge = Badge(self.name, tuple(settings.nats), self._passport.client, key, lambda: self._claims(key.name))
        self.links = NatsLinks(
            self._badge, leases or DatabaseLeases(cloud.db), clock.now_us, before=self.tell_nats, admits=self.membership.admits
        )
        self.links.on_report(RENEWAL, self._renew)
        self._telling = Telling(cloud.db, self.links, self.controllers)
        self.rotation = Rotation(cloud, self.controllers, self.membership, self.links, self._ensure_certificate)
        self.ending = Ending(cloud, self.controllers)
        self._alike = Alike(cloud, self.controllers)
        self.gate: Gate | None = None
        self._unsubscribe: Callable[[], None] = cloud.db.feed.subscribe("nodes.members", self._changed)
        self._loading: asyncio.Task[None] | None = None
        self._changes = 0

    @property
    def certificate(self) -> Path:
        """The controller's own, as a member."""
        return self._passport.certificate

    @property
    def invariants(self) -> list[Invariant]:
        async def controllers_live(_: Cloud) -> list[Violation]:
            return await self.controllers.dead()

        async def members_live(_: Cloud) -> list[Violation]:
            return await self.controllers.clusters.incomplete()

        clustered = [Invariant("clusters-are-whole", members_live)] if self.controllers.clusters.each else []
        return [*checks.invariants(self.links, self.membership), Invariant("controllers-live", controllers_live), self.rotation.invariant,
                self.ending.invariant, self._alike.invariant, self._alike.tells, *clustered, *self.database.invariants]  # fmt: skip

    async def measure(self, _: Cloud) -> list[Family]:
        return checks.families(self.links, self.membership)

    @property
    def periodics(self) -> list[Periodic]:
        async def look(_: Work) -> None:
            await self.membership.forget()
            await self.tell_if_stale()
            await self.rotation.go_on()  # and this controller's own certificates
            await self._alike.tell()

        async def keep(_: Work) -> None:
            await self.rotation.keep_engines()

        mine = [Periodic(name, run, every_s=LOOK_S, everywhere=True) for name, run in (("nodes", look), ("engines-certificates", keep))]
        return [*mine, *self.database.periodics, *self.controllers.clusters.periodics]

    def serve(self, asgi: Any) -> None:
        """What machines that join ask, on the APIs' port."""
        asgi.add_route("/nodes/enrolment", EnrolmentResource(self.membership, self._cloud.clock, lambda: self._cloud.links.nodes))
        asgi.add_route("/nodes/ca.crt", AuthorityResource(self.membership))
        asgi.add_route("/controllers/enrolment", ControllerEnrolmentResource(self.controllers, self._cloud.clock))

    async def start(self) -> None:
        await self.membership.load()
        await self.controllers.start()
        await self.rotation.start()

    async def open_gate(self, openers: Openers, peers: Openers | None = None) -> None:
        """Nodes, and other controllers (peers), may ask from now on. Raises: Unavailable, when its port cannot be had."""
        settings = self._cloud.settings
        host, port = address_of(settings.listen, settings.port)
        self.gate = Gate(host, port, self._passport, openers, self.membership.admits, self._cloud.clock.now_us, peers)
        try:
            await self.gate.start()
        except OSError as error:
            raise Unavailable(f"{host} port {port}, where nodes ask, cannot be had ({error.strerror}).") from None

    async def remove(self, node: str) -> bool:
        """Refuse a node from now on. False: NATS cannot be told now; it is when it is back. Raises: NotFound."""
        await self.membership.remove(node)
        await self.links.expel(node)
        return await self.tell_if_stale()

    async def tell_if_stale(self) -> bool:
        """Whether NATS knows whom to refuse."""
        for url in self._badge.urls:  # servers of one cluster tell each other
            if not self.membership.stale:
                break
            try:
                await self.tell_nats(url)
            except (*TROUBLE, Failure) as error:
                _log.warning("NATS at %s cannot be told who was removed: %r", url, error)
        return not self.membership.stale

    async def tell_nats(self, url: str) -> None:
        """Give the server the account's newest claims: it hangs up on whoever they refuse. Raises: TROUBLE, Unavailable."""
        now_s = self._cloud.clock.now_us() // 1_000_000
        self.membership.stale = False  # what is removed meanwhile makes it true again
        try:
            await self.update(url, self.membership.nats_authority.account(self.membership.revoked(), now_s=now_s))
        except BaseException:
            self.membership.stale = True
            raise

    async def update(self, url: str, account: str) -> None:
        """Give the server the claims of an account. Raises: TROUBLE, Unavailable."""
        answer = await self._ask(url, UPDATE, account.encode())
        if msgspec.json.decode(answer).get("data", {}).get("code") != 200:
            raise Unavailable("NATS refuses an account of the cloud.", detail=answer.decode("utf-8", "replace"))

    async def expel(self, name: str) -> None:
        """JetStream no longer counts on the server of this controller. Raises: Unavailable, when those that are left cannot agree on it."""
        why = ""
        for url in (await self.controllers.engines())[0]:
            try:
                answer = msgspec.json.decode(await self._ask(url, EXPEL, msgspec.json.encode({"peer": name})))
                if answer.get("success") or answer.get("error", {}).get("err_code") == NO_MEMBER:
                    return
                why = answer.get("error", {}).get("description", "no answer")
            except NoRespondersError:
                return  # no server keeps anything
            except (*TROUBLE, Failure) as error:
                why = str(error) or type(error).__name__
        raise Unavailable(f"JetStream cannot be told that the server of {name} is gone: {why}.")

    async def _ask(self, url: str, subject: str, body: bytes) -> bytes:
        """As the system account. Raises: TROUBLE."""
        key, now_s = NatsKey(USER), self._cloud.clock.now_us() // 1_000_000
        claims = self.membership.nats_authority.system(self.name, key.name, now_s=now_s, expires_s=now_s + 60)
        client = await connect(Badge(self.name, (url,), self._passport.client, key, lambda: claims), url, _nothing)
        try:
            return (await client.request(subject, body, timeout=TELL_S)).data
        finally:
            await client.close()

    def publisher(self) -> Badge:
        """For a connection to where notifications are kept."""
        key, now_s = NatsKey(USER), self._cloud.clock.now_us() // 1_000_000
        claims = self.membership.nats_authority.publisher(self.name, key.name, now_s=now_s, expires_s=now_s + CLAIMS_S)
        return Badge(self.name, self._badge.urls, self._passport.client, key, lambda: claims)

    def _claims(self, key: str) -> str:
        now_s = self._cloud.clock.now_us() // 1_000_000
        return self.membership.nats_authority.controller(self.name, key, now_s=now_s, expires_s=now_s + CLAIMS_S)

    async def renew(self, node: str) -> None:
        """Have a node, or this controller by its own name, have another certificate now. Raises: NotFound, BackendUnreachable, BackendRefused."""
        if node == self.name:
            self._ensure_certificate(anew=True)
            self._passport.renewed()
        else:
            self.membership.get(node)
            await self.rotation.give(node)

    def _ensure_certificate(self, *, anew: bool = False) -> None:
        now = datetime.fromtimestamp(self._cloud.clock.now_us() / 1e6, UTC)
        self.membership.authority.ensure_member(self._passport.certificate, "controller", self.name, now, anew=anew)
        proof.ensure(self._cloud.home, self.name, now)

    def _changed(self, _: list[str]) -> None:
        self._changes += 1
        if self._loading is None or self._loading.done():
            self._loading = asyncio.create_task(self._load(), name="members")

    async def _load(self) -> None:
        """Until nothing has changed meanwhile. What fails is read again within a minute."""
        seen = -1
        while seen != self._changes:
            seen = self._changes
            try:
                await self.membership.load()
            except Failure as failure:
                _log.warning("it cannot be read which nodes belong to the cloud: %s", failure.message)
        await self.tell_if_stale()

    async def _renew(self, node: str, raw: bytes) -> None:
        """A node asks for another certificate; its link proves who it is."""
        given = await self.membership.renew(node, _csr.decode(raw))
        await self.links.driver(node, "node", Certified, deadline_s=10).admit(given.certificate, given.claims)

    async def close(self) -> None:
        if self.gate:
            await self.gate.close()
        self._unsubscribe()
        await self._telling.close()
        await self.rotation.close()
        if self._loading:
            self._loading.cancel()


async def _nothing() -> None:
    pass
