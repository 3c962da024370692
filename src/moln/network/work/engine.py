"""The one writer of the network engine: tells it what changed, everything at start and periodically, and hears what came up.

It is a reconciler of one resource, the engine. What is to be looked at lives in memory only: losing it costs a period, never a row.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from msgspec import Struct

from moln.kernel.cloud import Cloud
from moln.kernel.db import Reader
from moln.kernel.errors import BackendUnreachable
from moln.kernel.work import Later, Reconciler, Work
from moln.kernel.work.leaders import Deposed
from moln.network.drivers.base import ChassisChanged, Event, Fenced, NetworkDriver, PortUp
from moln.network.model.ports import OWN_OWNERS, PortStatus
from moln.network.model.topology import Change, Desired, Topology
from moln.network.ops import ports as port_ops
from moln.network.ops.common import ENGINE, METADATA
from moln.network.store import rows, segments
from moln.network.work.topology import everything, expand, partial

log = logging.getLogger("moln.network")
ASK_S = 30.0  # seconds between two questions to nodes whether they are there
ROUNDS = 4  # applies of one pass that wait for each other, at most


class Pass(Struct, frozen=True):
    """The engine has something to do."""

    id: str = "engine"


class Engine:
    """What the writer knows: the driver, what changed since the last pass, and which ports came or went."""

    def __init__(self, recompute_s: float):
        self.recompute_s = recompute_s
        self.driver: NetworkDriver | None = None
        self.changed: set[Change] = set()
        self.heard: dict[str, bool] = {}
        self.whole = True  # everything is to be compared
        self.whole_at = 0.0  # monotonic seconds of the last time
        self.period_s = recompute_s  # longer where comparing takes long: it may take a hundredth of a core
        self.asked_at = float("-inf")  # monotonic seconds
        self.connected = False
        self.token: int | None = None  # a leader's, with which it connected
        self.passive = False  # a newer writer has taken over
        self.wrote = False  # of several controllers: whether this one was the writer, at its last pass
        self._cloud: Cloud | None = None
        self._stops: list[Callable[[], None]] = []

    @property
    def cloud(self) -> Cloud:
        if self._cloud is None:
            raise RuntimeError("the network area is not set up")
        return self._cloud

    def begin(self, cloud: Cloud, driver: NetworkDriver) -> None:
        """Listen to the change feed and to the driver."""
        self._cloud, self.driver = cloud, driver
        self._stops = [cloud.db.feed.subscribe(ENGINE, self._note), cloud.db.feed.on_gap(self.lost), driver.listen(self._hear)]
        if cloud.claims is not None:
            cloud.claims.on_change(self._others_changed)

    @property
    def leads(self) -> bool:
        """Whether it is this controller that writes the network, as far as it knows."""
        cloud = self.cloud
        if cloud.leaders is not None and cloud.leaders.token(ENGINE) is None:
            return False
        return cloud.claims is None or self.wrote

    def _others_changed(self, lost: bool) -> None:
        if lost:
            self.wrote = False

    async def end(self) -> None:
        """Let go of both."""
        for stop in self._stops:
            stop()
        if self.driver is not None:
            await self.driver.stop()

    def _note(self, keys: list[str]) -> None:
        if self.whole:
            return  # everything is looked at anyway; one that only waits to become the writer keeps nothing
        for key in keys:
            kind, _, id = key.partition(":")
            self.changed.add(Change(kind, id))

    def _hear(self, event: Event) -> None:
        if isinstance(event, PortUp):
            self.heard[event.port_id] = event.up
        elif isinstance(event, ChassisChanged):
            self.whole = True
        self.cloud.db.feed.publish([(f"wake.{ENGINE}", "engine")])

    async def ready(self, cloud: Cloud) -> str:
        """Why the engine cannot be used now (Module.ready). Raises: BackendUnreachable."""
        if self.passive:
            return "another controller writes the network"
        if not self.connected and self.may_be_anothers:
            return ""
        if self.driver is None or not self.connected:
            return "the network engine is not connected"
        await self.driver.chassis()
        return ""

    @property
    def may_be_anothers(self) -> bool:
        """Whether another controller may be the writer: what it cannot do, it says itself."""
        leaders = self.cloud.leaders
        return self.cloud.claims is not None if leaders is None else leaders.token(ENGINE) is None

    def lost(self) -> None:
        """Look at everything again."""
        self.whole = True

    async def find(self, db: Reader, now_us: int) -> list[Pass]:
        """The engine, if there is anything to do."""
        if self._cloud is None or self.passive:
            return []
        due = self.cloud.clock.monotonic() - self.whole_at >= self.period_s
        return [Pass()] if self.whole or self.changed or self.heard or due or self._asks() else []

    def _asks(self) -> bool:
        """Whether it is time to ask the nodes again."""
        return self.cloud.clock.monotonic() - self.asked_at >= ASK_S

    async def settle(self, work: Work, _: Pass) -> None:
        """One pass. Raises: BackendUnreachable; what was to be done stays to be done."""
        driver = self.driver
        if driver is None:
            return
        try:
            await self._connect(work, driver)
            if not self.leads:
                self.wrote = True
                work.db.feed.publish([(f"wake.{METADATA}", "")])
            if self.whole or work.cloud.clock.monotonic() - self.whole_at >= self.period_s:
                await self._everything(work, driver)
            else:
                await self._changes(work, driver)
            await self._statuses(work)
            if self._asks():
                self.asked_at = work.cloud.clock.monotonic()
                await driver.ask_chassis()
        except (Fenced, Deposed) as fenced:
            log.warning("another writer of the network has taken over: %s", fenced.message)
            self.whole, self.connected, self.wrote = True, False, False
            self.passive = work.cloud.claims is None and work.cloud.leaders is None  # with them, it may become the writer again
            if work.cloud.leaders is not None:
                work.cloud.leaders.resign(ENGINE)
        except BackendUnreachable:
            self.whole, self.connected = True, False
            raise

    async def _connect(self, work: Work, driver: NetworkDriver) -> None:
        """As the writer with a new epoch: a leader's is its term's token."""
        leaders = work.cloud.leaders
        token = leaders.token(ENGINE) if leaders is not None else None
        if leaders is not None and token is None:
            raise Later("Another controller writes the network engine.")
        if not self.connected or token != self.token:
            epoch = await (work.write(rows.next_epoch, work.now_us // 1_000_000) if token is None else work.write(rows.take_epoch, token))
            await driver.start(epoch)
            self.connected, self.whole, self.token = True, True, token

    async def _everything(self, work: Work, driver: NetworkDriver) -> None:
        self.changed.clear()
        self.whole, self.whole_at = False, work.cloud.clock.monotonic()
        topology = await work.db.read(everything)
        applied = await driver.apply(Desired(topology=topology, complete=True))
        if applied.written:
            log.info("the network engine was brought up to date: %d rows", applied.written)
        await self._know_hosts(work, driver)
        carried = await driver.ups()
        for port in topology.ports.values():
            if port.device_owner not in OWN_OWNERS and (port.status == PortStatus.ACTIVE) != (port.id in carried and port.admin_state_up):
                self.heard.setdefault(port.id, port.id in carried)
        self.period_s = max(self.recompute_s, 100 * (work.cloud.clock.monotonic() - self.whole_at))

    async def _know_hosts(self, work: Work, driver: NetworkDriver) -> None:
        """Write down which physical networks each node reaches, where that has changed."""
        hosts = segments.hosts_of(await driver.chassis())
        if hosts != await work.db.read(segments.all_hosts):
            await work.write(segments.know_hosts, hosts)

    async def _changes(self, work: Work, driver: NetworkDriver) -> None:
        changes, self.changed = self.changed, set()
        try:
            for _ in range(ROUNDS):
                if not changes:
                    return
                wanted = await work.db.read(expand, frozenset(changes))
                topology = await work.db.read(partial, wanted)
                applied = await driver.apply(Desired(topology=topology, changes=wanted))
                self._notice(driver, topology, wanted)
                if not applied.missing:
                    return
                changes |= applied.missing
            self.whole = True  # something it refers to never came: compare everything
        except BaseException:
            self.changed |= changes
            raise

    def _notice(self, driver: NetworkDriver, topology: Topology, wanted: frozenset[Change]) -> None:
        """A port that was enabled again is carried already: no event will tell."""
        for change in wanted:
            port = topology.ports.get(change.id) if change.kind == "port" else None
            if port is not None and (port.host_id or port.id in topology.subports) and port.admin_state_up and port.status == PortStatus.DOWN and driver.carried(port.id):
                self.heard.setdefault(port.id, True)

    async def _statuses(self, work: Work) -> None:
        heard, self.heard = self.heard, {}
        if heard:
            await work.write(port_ops.heard_in, work.now_us, heard)

    async def fail(self, work: Work, _: Pass, reason: str) -> None:
        """Never given up: the engine comes back."""

    def reconciler(self) -> Reconciler[Any]:
        return Reconciler(
            ENGINE, find=self.find, settle=self.settle, fail=self.fail, every_s=min(self.recompute_s, ASK_S), at_once=1, deadline=lambda _: None,
            keeps=True,
        )  # fmt: skip
