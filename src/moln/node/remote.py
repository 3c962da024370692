"""A node that joined a cloud on another machine: its link goes over NATS, its streams come over TLS, and it renews its certificate.

Imported only there: what it needs costs memory that the node of a single machine spares.
"""

from __future__ import annotations

import asyncio
import logging
import os
import pwd
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from moln.host.control import NotRunning, restart
from moln.host.places import USER, Places
from moln.kernel.clock import Clock
from moln.kernel.controllers.telling import AREA, Knows
from moln.kernel.errors import Failure
from moln.kernel.http.succession import digest
from moln.kernel.link import Streams, Verbs
from moln.kernel.link.streams import Opener
from moln.kernel.nodes.gate import GateClient, address_of
from moln.kernel.nodes.joining import FOLDER, Joined, Member
from moln.kernel.nodes.lending import AREA as IMAGES
from moln.kernel.nodes.lending import FETCHING, HELD, Fetches, Lends
from moln.kernel.nodes.membership import Certified
from moln.kernel.nodes.renewing import Renewing
from moln.node.bases import Bases, WithBases
from moln.node.controllers import KnownControllers
from moln.node.lending import Borrowing, Lending
from moln.node.moves import NoFences
from moln.node.ovsdb import Ovsdb
from moln.node.remote_metadata import RemoteMetadata
from moln.node.tls_streams import TlsStreamServer

log = logging.getLogger("moln.node")


class Remote:
    """Put together from what `moln node join` left in the node's folder. drivers: verbs that such a node has besides."""

    def __init__(self, member: Member, joined: Joined) -> None:
        try:
            from moln.kernel.link.nats import NatsEnd
            from moln.kernel.link.nats_wire import Badge
        except ModuleNotFoundError as error:
            raise Failure("A node of another machine's cloud needs more packages: pip install 'moln[scale]'", detail=str(error)) from None
        self.name = joined.name
        self.address = joined.streams
        self.passport = member.passport
        self.renewing = Renewing(member, joined.name, lambda topic, value: self.end.report(topic, value), dropped=self.forget_authority)
        self.places: Places | None = None
        self.drivers: dict[str, tuple[type, Any]] = {"node": (Certified, self.renewing)}
        nats = list(joined.nats)
        self.badge = Badge(joined.name, nats, self.passport.client, member.nats_key, member.claims)
        self.make_end = NatsEnd
        where = urlsplit(joined.controller)
        self.gate = GateClient(*address_of(where.hostname or "", where.port or 443), member.passport, Clock().now_us)
        self.known = KnownControllers(member.folder / "controllers.json", self.gate, nats)
        self.drivers[AREA] = (Knows, self.known)
        self.bases: Bases | None = None
        self.lending: Lending | None = None
        self.metadata: RemoteMetadata | None = None

    async def start(self, places: Places) -> None:
        """What guests here need of the controller: images, and answers to their metadata requests."""
        self.places = places
        self.known.switch = Ovsdb(places.ovs_socket)
        await self.known.look_there()  # what was told while Open vSwitch was away
        borrowing = Borrowing(self.passport, Clock().now_us)
        self.bases = Bases(places.pool / "images", self.gate, borrowing, changed=lambda names: self.end.report(HELD, names))
        self.lending = Lending(self.bases.folder)
        self.drivers |= {IMAGES: (Lends, self.lending), FETCHING: (Fetches, self.bases)}
        await asyncio.to_thread(self.bases.prepare)
        self.metadata = RemoteMetadata(places.run / "metadata.sock", self.gate, proxy_uid())
        await self.metadata.start()

    async def forget_authority(self) -> None:
        """ovn-controller reads certificates anew, but trusts an authority until it ends; flows stay meanwhile. On a machine without it there is none."""
        if self.places is None or not self.places.supervisor_socket.exists():
            return
        try:
            await asyncio.to_thread(restart, self.places, ["ovn-controller"])
        except (NotRunning, TimeoutError) as lost:
            log.warning("ovn-controller was not begun anew: %s", lost)

    async def stop(self) -> None:
        if self.metadata is not None:
            await self.metadata.stop()
        if self.bases is not None:
            await self.bases.stop()

    def with_images(self, driver: Any) -> Any:
        """The driver, with each image there before a disk or a volume begins as it."""
        return WithBases(driver, self.bases) if self.bases is not None else driver

    def link(self, facts: Callable[[], dict[str, Any]], verbs: Verbs) -> Any:
        self.end = self.make_end(self.badge, facts, verbs)
        return self.end

    def facts(self) -> dict[str, Any]:
        """What controllers are told of this node besides what its drivers say: the images that it has, and whom it trusts."""
        return {"trusts": digest(self.passport.ca.read_bytes()), **({"images": self.bases.held} if self.bases is not None else {})}

    def serving(self, streams: Streams, others: dict[str, tuple[Opener, Any]] | None = None) -> TlsStreamServer:
        """others: what other nodes may open here, besides images."""
        opened = {**(others or {}), **(self.lending.openers if self.lending is not None else {})}
        return TlsStreamServer(self.address, streams, self.passport, Streams(opened, NoFences(), Clock().now_us) if opened else None)

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.end.run())
            group.create_task(self.renewing.run(self.end.connected))


def proxy_uid() -> int | None:
    """Of the metadata proxy's user, where set-up made one and we may give it a socket."""
    try:
        return pwd.getpwnam(USER).pw_uid if os.geteuid() == 0 else None
    except KeyError:
        return None


def joined(folder: Path) -> Remote | None:
    """What a node with this folder joined; None: it is of this machine's own controller. Raises: Invalid, Failure."""
    member = Member(folder / FOLDER)
    found = member.joined()
    return Remote(member, found) if found else None
