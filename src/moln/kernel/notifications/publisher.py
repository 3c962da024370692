"""Carries what waits in the outbox to JetStream: one controller at a time, each at least once, under an id by which the server knows repeats."""

from __future__ import annotations

import contextlib
import logging

import nats.js.errors
from msgspec import Struct
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, StorageType, StreamConfig

from moln.kernel.clock import iso
from moln.kernel.cloud import Cloud
from moln.kernel.controllers import clusters
from moln.kernel.db import Reader, Transaction
from moln.kernel.errors import Failure, Unavailable
from moln.kernel.link.nats_authority import STORE
from moln.kernel.link.nats_wire import TROUBLE, connect
from moln.kernel.link.subjects import STREAM
from moln.kernel.metrics import Family
from moln.kernel.module import Invariant, Violation
from moln.kernel.nodes.remote import RemoteNodes
from moln.kernel.notifications import SERVERS, tables
from moln.kernel.notifications.events import ROOT
from moln.kernel.notifications.noting import RECONCILER
from moln.kernel.work import Periodic, Reconciler, Work

BOUND = 50_000  # notifications that wait while NATS is away; then the oldest are dropped
LOOK_S = 30.0
KEPT_S, KEPT_BYTES = 7 * 24 * 3600, STORE - (STORE >> 3)  # in the stream; the oldest go first
REPEATS_S = 600.0  # within which the server knows a repeat by its id
ACK_S = 5.0
UNREAD = 1000  # that a consumer may have taken without saying that it is done with them
DAY_US = 86_400_000_000
_log = logging.getLogger("moln.notifications")


class Outbox(Struct, frozen=True):
    """All that waits: it is carried in the order in which it was written."""

    id: str = "outbox"


class Publisher:
    """Made by app.py where settings want notifications. published: by this process."""

    def __init__(self, cloud: Cloud, remote: RemoteNodes):
        self._cloud, self._remote = cloud, remote
        self._client: Client | None = None
        self._servers = SERVERS if "nats" in clusters.names(cloud.home) else 1
        self._waiting = 0
        self.published = 0
        self.trouble = ""

    @property
    def reconciler(self) -> Reconciler[Outbox]:
        async def find(db: Reader, now_us: int) -> list[Outbox]:
            return [Outbox()] if await db.one(tables.ANY) is not None else []

        async def settle(work: Work, _: Outbox) -> None:
            await self.carry()

        async def fail(work: Work, _: Outbox, reason: str) -> None:
            _log.error("notifications cannot be published: %s", reason)

        return Reconciler(RECONCILER, find=find, settle=settle, fail=fail, at_once=1, deadline=lambda _: None)

    @property
    def periodic(self) -> Periodic:
        async def look(work: Work) -> None:
            dropped = await work.write(_trim_in, BOUND, work.now_us)
            if dropped:
                _log.warning("%d notifications were dropped: NATS takes none", dropped)
            self._waiting = await work.db.one(tables.COUNT) or 0

        return Periodic("notifications-bound", look, every_s=LOOK_S)

    async def measure(self, cloud: Cloud) -> list[Family]:
        dropped = await cloud.db.one(tables.DROPPED)
        return [
            Family("moln_notifications_waiting", "gauge", "Notifications to be published, as of the last half minute.", [({}, self._waiting)]),
            Family("moln_notifications_published_total", "counter", "Notifications that JetStream has taken.", [({}, self.published)]),
            Family("moln_notifications_dropped_total", "counter", "Notifications dropped, as too many waited.", [({}, dropped or 0)]),
        ]

    @property
    def invariants(self) -> list[Invariant]:
        async def go_out(cloud: Cloud) -> list[Violation]:
            waiting = await cloud.db.one(tables.COUNT) or 0
            if not self.trouble or not waiting:
                return []
            return [Violation(f"{waiting} notifications wait, as NATS takes none: {self.trouble}", self._mend)]

        async def none_lost(cloud: Cloud) -> list[Violation]:
            at = await cloud.db.one(tables.DROPPED_AT)
            if at is None or at < cloud.clock.now_us() - DAY_US:
                return []
            count = await cloud.db.one(tables.DROPPED)
            return [Violation(f"Notifications were dropped, the last at {iso(at)}: {count} since the cloud began.",
                              "Whoever follows them should read the cloud's resources anew.")]  # fmt: skip

        return [Invariant("notifications-go-out", go_out), Invariant("no-notification-is-dropped", none_lost)]

    @property
    def _mend(self) -> str:
        if self._servers == 1:
            return "See that nats-server runs, with JetStream."
        return f"See that nats-server runs at more than half of the controllers, {SERVERS} at the beginning, and that each has notifications on."

    async def carry(self) -> None:
        """All that waits. Raises: Unavailable; what JetStream has not taken waits on."""
        try:
            stream = (await self.connected()).jetstream(timeout=ACK_S)
            while waiting := await self._cloud.db.all(tables.NEXT):
                taken: list[str] = []
                try:
                    for each in waiting:
                        await stream.publish(each.subject, each.body.encode(), stream=STREAM, headers={"Nats-Msg-Id": each.message_id})
                        taken.append(each.message_id)
                finally:
                    if taken:
                        await self._cloud.db.write(_done_in, taken)
                    self.published += len(taken)
            self.trouble = ""
        except (*TROUBLE, Failure) as error:
            self.trouble = str(error) or type(error).__name__
            await self.close()
            raise Unavailable(f"JetStream takes no notifications: {self.trouble}.") from error

    async def connected(self) -> Client:
        """With the stream there, and every consumer's place in it. Raises: TROUBLE, Failure."""
        if self._client is not None and self._client.is_connected:
            return self._client
        await self.close()
        why: Exception = OSError("no server is named")
        for url in await self.urls():
            try:
                self._client = await self._connect(url)
                return self._client
            except (*TROUBLE, Failure) as error:
                why = error
        raise why

    async def _connect(self, url: str) -> Client:
        await self._tell(url)
        client = await connect(self._remote.publisher(), url, _nothing)
        try:
            stream = client.jetstream(timeout=ACK_S)
            await _ensure_stream(stream, self._servers)
            for name in sorted({c.name for c in await self._cloud.db.all(tables.CONSUMERS) if c.refused_at is None}):
                await _ensure_consumer(stream, name)
        except BaseException:
            await client.close()
            raise
        return client

    async def urls(self) -> list[str]:
        """Of all servers, this controller's first."""
        return (await self._remote.controllers.engines())[0]

    async def admit(self, name: str) -> None:
        """Make a consumer's place in the stream. Raises: Unavailable."""
        try:
            await _ensure_consumer((await self.connected()).jetstream(timeout=ACK_S), name)
        except TROUBLE as error:
            raise Unavailable(f"JetStream cannot be reached: {error}") from error

    async def forget(self, name: str) -> None:
        """Hang up on a consumer whose key is refused, and take its place away. Raises: Unavailable."""
        try:
            await self._tell_one()
            with contextlib.suppress(nats.js.errors.NotFoundError):
                await (await self.connected()).jetstream(timeout=ACK_S).delete_consumer(STREAM, name)
        except TROUBLE as error:
            raise Unavailable(f"JetStream cannot be reached: {error}") from error

    async def _tell_one(self) -> None:
        """Servers of one cluster tell each other. Raises: TROUBLE, Failure, when all fail."""
        why: Exception = OSError("no server is named")
        for url in await self.urls():
            try:
                return await self._tell(url)
            except (*TROUBLE, Failure) as error:
                why = error
        raise why

    async def _tell(self, url: str) -> None:
        """Who belongs to the account of notifications, and who no more."""
        revoked = {c.nats_key: c.refused_at // 1_000_000 for c in await self._cloud.db.all(tables.CONSUMERS) if c.refused_at is not None}
        now_s = self._cloud.clock.now_us() // 1_000_000
        await self._remote.update(url, self._remote.membership.nats_authority.notifications(revoked, stored=STORE * self._servers, now_s=now_s))

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(*TROUBLE):
                await client.close()


async def _ensure_stream(stream: JetStreamContext, servers: int) -> None:
    """Nothing can be taken out of it or cleared but by its bounds, whoever asks."""
    wanted = StreamConfig(name=STREAM, subjects=[f"{ROOT}.>"], max_bytes=KEPT_BYTES, max_age=KEPT_S, storage=StorageType.FILE,
                          num_replicas=servers, duplicate_window=REPEATS_S, deny_delete=True, deny_purge=True)  # fmt: skip
    try:
        await stream.add_stream(wanted)
    except nats.js.errors.BadRequestError:  # it is there, made by another release, or with fewer servers
        await stream.update_stream(wanted)


async def _ensure_consumer(stream: JetStreamContext, name: str) -> None:
    """From what comes next on; later it goes on where it was."""
    try:
        await stream.consumer_info(STREAM, name)
    except nats.js.errors.NotFoundError:
        wanted = ConsumerConfig(durable_name=name, ack_policy=AckPolicy.EXPLICIT, deliver_policy=DeliverPolicy.NEW, max_ack_pending=UNREAD)
        await stream.add_consumer(STREAM, wanted)


async def _done_in(tx: Transaction, ids: list[str]) -> None:
    await tx.run(tables.DONE, ids=ids)


async def _trim_in(tx: Transaction, bound: int, now_us: int) -> int:
    """How many were dropped: the oldest beyond the bound."""
    beyond = (await tx.one(tables.COUNT) or 0) - bound
    if beyond <= 0:
        return 0
    dropped = await tx.run(tables.OLDEST, most=beyond)
    await tx.insert(tables.drops, {"name": "outbox", "count": 0, "last_at": now_us}, if_absent=True)
    before = await tx.one(tables.DROPPED) or 0
    await tx.update(tables.drops, {"count": before + dropped, "last_at": now_us}, name="outbox")
    return dropped


async def _nothing() -> None:
    pass
