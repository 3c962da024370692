"""The host table: every host in memory, kept up to date by the change feed and by what nodes report."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import Callable

import msgspec
from msgspec import Struct

from moln.compute.model.facts import HostFacts
from moln.compute.model.hosts import ComputeHost, astray, hypervisors, lasting, offer, traits
from moln.compute.model.scheduling import Host
from moln.compute.store import aggregates
from moln.compute.store import hosts as store
from moln.kernel.cloud import Cloud
from moln.kernel.db import Reader, Transaction
from moln.placement.model.allocations import Claim
from moln.placement.model.names import DISK_GB, MEMORY_MB, VCPU
from moln.placement.model.providers import Inventory
from moln.placement.ops import providers

RETRY_S = 1.0
GRACE_S = 10.0  # after the controller's start, in which a known node that has not come back yet may get servers: they wait for it
_log = logging.getLogger("moln.compute")


class NodeFacts(Struct, frozen=True):
    """What a node says of itself when it connects; other areas read their own part. compute: None, when it runs no servers."""

    compute: HostFacts | None = None


_node_facts = msgspec.msgpack.Decoder(NodeFacts)
_host_facts = msgspec.msgpack.Decoder(HostFacts)
_claim = msgspec.json.Decoder(Claim).decode


class HostTable:
    """Hosts by name; `ready` are those that take new servers now, `ready_in` the same by zone.

    facts: the newest of each host, with what changes by the minute. seen_us: when it was last heard of, µs UTC.
    """

    def __init__(self) -> None:
        self.hosts: dict[str, Host] = {}
        self.facts: dict[str, HostFacts] = {}
        self.seen_us: dict[str, int] = {}
        self.ready: list[Host] = []
        self.ready_in: dict[str, list[Host]] = {}
        self._by_provider: dict[str, Host] = {}

    async def load(self, db: Reader, up: frozenset[str]) -> None:
        """Every host of the database."""
        for row in await db.all(store.ALL):
            await self.take(db, row, up)
        self.sort()

    def presume(self, names: frozenset[str]) -> None:
        """Take these for up until `trust` says otherwise: a controller that starts has not heard of its nodes yet."""
        for host in self.hosts.values():
            host.up |= host.name in names
        self.sort()

    def trust(self, up: frozenset[str]) -> None:
        """From now on only the links say who is up."""
        for host in self.hosts.values():
            host.up &= host.name in up
        self.sort()

    async def take(self, db: Reader, row: ComputeHost, up: frozenset[str]) -> None:
        """Bring one host to its row and its counters."""
        host = self.hosts.get(row.name)
        if host is None:
            host = self.hosts[row.name] = Host(row.name, row.id, row.zone)
        host.id, host.zone = row.id, row.zone
        host.disabled, host.maintenance = row.disabled, row.maintenance
        host.up = row.name in up and not row.forced_down
        host.arch, host.hypervisors = row.facts.arch, hypervisors(row.facts)
        host.shared_disks = row.facts.shared_disks
        self._by_provider[row.id] = host
        await self.count(db, host)

    async def count(self, db: Reader, host: Host) -> None:
        """Read the counters and traits of one host again."""
        self.weigh(host, *await providers.room_in(db, host.id))

    async def count_all(self, db: Reader, hosts: list[Host]) -> None:
        """The same for several, in two queries."""
        found = await providers.rooms_in(db, [h.id for h in hosts])
        for host in hosts:
            self.weigh(host, *found[host.id])

    @staticmethod
    def weigh(host: Host, held: dict[str, Inventory], traits: frozenset[str]) -> None:
        """Bring one host to what placement counts."""
        host.traits = traits
        for name, free, most in ((VCPU, "free_vcpus", "max_vcpus"), (MEMORY_MB, "free_ram_mib", "max_ram_mib"),
                                 (DISK_GB, "free_disk_gib", "max_disk_gib")):  # fmt: skip
            inventory = held.get(name)
            setattr(host, free, inventory.free if inventory else 0)
            setattr(host, most, inventory.max_unit if inventory else 0)
        host.free_more = {n: i.free for n, i in held.items() if n not in (VCPU, MEMORY_MB, DISK_GB)}
        host.promised_mib = 0

    def claimed(self, claims: list[str]) -> None:
        """What was just claimed is no longer free: no need to read it. Whatever else happens to a provider is read."""
        for text in claims:
            claim = _claim(text)
            host = self._by_provider.get(claim.provider_id)
            if host is None:
                continue
            for name, n in claim.resources.items():
                if name == VCPU:
                    host.free_vcpus -= n
                elif name == MEMORY_MB:
                    host.free_ram_mib -= n
                    host.promised_mib = max(0, host.promised_mib - n)
                elif name == DISK_GB:
                    host.free_disk_gib -= n
                elif name in host.free_more:
                    host.free_more[name] -= n

    def by_provider(self, id: str) -> Host | None:
        return self._by_provider.get(id)

    def forget(self, name: str) -> None:
        host = self.hosts.pop(name, None)
        if host is not None:
            self._by_provider.pop(host.id, None)
        self.sort()

    def sort(self) -> None:
        """Find out again which hosts take servers."""
        self.ready = [h for h in self.hosts.values() if h.up and not h.disabled and not h.astray]
        self.ready_in = {}
        for host in self.ready:
            self.ready_in.setdefault(host.zone, []).append(host)


def table(cloud: Cloud) -> HostTable:
    found: HostTable = cloud.areas["compute"].hosts
    return found


def share_disks(cloud: Cloud, one: str, other: str) -> bool:
    """Whether servers' own disks are in the same place for both. Where one of them is not known any more, the other's word is enough: no disk is
    removed that may be in use."""
    known = table(cloud).hosts
    names = {known[name].shared_disks for name in (one, other) if name in known}
    return len(names) == 1 and names != {""}


def zone_of(cloud: Cloud, host: str | None) -> str:
    """The availability zone of a host; the default one of a host that is not known."""
    found = table(cloud).hosts.get(host or "")
    return found.zone if found else cloud.settings.compute.zone  # type: ignore[attr-defined,no-any-return]


def zones(cloud: Cloud) -> dict[str, bool]:
    """Every availability zone, and whether a host there takes servers."""
    found = table(cloud)
    names = {h.zone for h in found.hosts.values()} or {cloud.settings.compute.zone}  # type: ignore[attr-defined]
    return {name: bool(found.ready_in.get(name)) for name in sorted(names)}


async def node_up(cloud: Cloud, node: str, raw: bytes) -> None:
    """A node connected: its host, service and provider are there with what it has."""
    facts = _node_facts.decode(raw).compute
    if facts is None:
        return
    await _seen(cloud, node, facts)
    _log.info("host %s is up", node)


async def node_facts(cloud: Cloud, node: str, raw: bytes) -> None:
    """A node's facts, as it repeats them."""
    await _seen(cloud, node, _host_facts.decode(raw))


async def node_down(cloud: Cloud, node: str, raw: bytes) -> None:
    """A node is no longer connected: it takes no servers; those that it has go on by themselves."""
    host = table(cloud).hosts.get(node)
    if host is not None and host.up:
        host.up = False
        table(cloud).sort()
        _log.log(logging.INFO if host.maintenance else logging.WARNING, "host %s is down", node)


async def _seen(cloud: Cloud, node: str, facts: HostFacts) -> None:
    known = table(cloud)
    known.facts[node], known.seen_us[node] = facts, cloud.clock.now_us()
    async with cloud.areas["compute"].turn:
        row = await store.find(cloud.db, node)
        if row is None or row.facts != lasting(facts) or not known.hosts.get(node):
            row = await cloud.db.write(ensure_in, cloud, node, facts)
        await known.take(cloud.db, row, frozenset({node}))
        known.hosts[node].astray = astray(facts, cloud.settings.compute.clock_limit_ms)  # type: ignore[attr-defined]
        known.sort()


async def ensure_in(tx: Transaction, cloud: Cloud, node: str, facts: HostFacts) -> ComputeHost:
    """The rows of a node that reported: host and provider, brought to what it says."""
    settings, now = cloud.settings.compute, cloud.clock.now_us()  # type: ignore[attr-defined]
    row = await store.find(tx, node)
    if row is None:
        zone = await aggregates.zone_of(tx, node) or settings.zone
        fresh = {
            "id": cloud.ids.uuid(), "service_id": cloud.ids.uuid(), "name": node, "zone": zone, "facts": lasting(facts),
            "disabled": False, "disabled_reason": None, "forced_down": False, "created_at": now, "updated_at": now,
        }  # fmt: skip
        await tx.insert(store.hosts, fresh, if_absent=True)
    elif row.facts != lasting(facts):
        await tx.update(store.hosts, {"facts": lasting(facts), "updated_at": now}, name=node)
    row = await store.find(tx, node)
    assert row is not None
    await providers.report_in(
        tx, id=row.id, name=node, amounts=offer(facts, settings), traits=traits(facts, disabled=row.disabled), now_us=now
    )
    tx.changed("compute.hosts", node)
    return row


class Area:
    """What compute keeps in memory. changed: hosts whose row changed, recounted: providers whose counters did; the keeper reads them.

    begun: servers that wait for their ports, with the generation that was begun, and when (monotonic seconds).
    """

    def __init__(self) -> None:
        self.hosts = HostTable()
        self.begun: dict[str, tuple[int, float]] = {}
        self.changed: set[str] = set()
        self.recounted: set[str] = set()
        self.wake = asyncio.Event()
        self.turn = asyncio.Lock()  # whoever reads a host's row puts it into the table before another reads a newer one
        self.keeper: asyncio.Task[None] | None = None
        self.reload: asyncio.Task[None] | None = None  # after changes were missed
        self.grace: asyncio.TimerHandle | None = None


async def set_up(cloud: Cloud) -> None:
    """Load the table, and keep it: counters by placement's changes, hosts by compute's, liveness by the links."""
    area = cloud.areas["compute"] = Area()
    await area.hosts.load(cloud.db, cloud.links.nodes)
    rows = await cloud.db.all(store.ALL)
    area.hosts.presume(frozenset(row.name for row in rows if not row.forced_down))
    area.grace = asyncio.get_running_loop().call_later(GRACE_S, lambda: area.hosts.trust(cloud.links.nodes))
    for topic, handler in (("node.up", node_up), ("node.down", node_down), ("compute.facts", node_facts)):
        cloud.links.on_report(topic, functools.partial(handler, cloud))

    def note(into: set[str], keys: list[str]) -> None:
        into.update(keys)
        area.wake.set()

    cloud.db.feed.subscribe("placement.claims", area.hosts.claimed)
    cloud.db.feed.subscribe("placement.providers", functools.partial(note, area.recounted))
    cloud.db.feed.subscribe("compute.hosts", functools.partial(note, area.changed))
    if cloud.db.feed.shared:
        _follow_others(cloud, area, note)
    area.keeper = asyncio.create_task(_keep(cloud, area), name="compute-hosts")


def _follow_others(cloud: Cloud, area: Area, note: Callable[[set[str], list[str]], None]) -> None:
    """What another controller claims is told a moment after it was committed: a count read meanwhile has it already, so count again."""

    def claimed(claims: list[str]) -> None:
        note(area.recounted, [_claim(text).provider_id for text in claims])

    async def all_of_them() -> None:
        rows = await cloud.db.all(store.ALL)
        note(area.changed, [*area.hosts.hosts, *(row.name for row in rows)])

    def gap() -> None:
        area.reload = asyncio.create_task(all_of_them())

    cloud.db.feed.subscribe("placement.claims", claimed)
    cloud.db.feed.on_gap(gap)


async def close(cloud: Cloud) -> None:
    area = cloud.areas.get("compute")
    if area is not None and area.grace is not None:
        area.grace.cancel()
    if area is not None and area.keeper is not None:
        area.keeper.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await area.keeper


async def _keep(cloud: Cloud, area: Area) -> None:
    while True:
        await area.wake.wait()
        area.wake.clear()
        try:
            await catch_up(cloud)
        except Exception:
            _log.exception("the host table cannot be brought up to date")
            await asyncio.sleep(RETRY_S)
            area.wake.set()


async def catch_up(cloud: Cloud) -> None:
    """Read again what the feed named."""
    area: Area = cloud.areas["compute"]
    async with area.turn:
        await _catch_up(cloud, area)


async def _catch_up(cloud: Cloud, area: Area) -> None:
    known = area.hosts
    while area.changed or area.recounted:
        for name in list(area.changed):
            area.changed.discard(name)
            row = await store.find(cloud.db, name)
            if row is None:
                known.forget(name)
            else:
                await known.take(cloud.db, row, cloud.links.nodes)
                known.sort()
        ids = sorted(area.recounted)
        area.recounted.clear()
        try:
            if counted := [h for h in map(known.by_provider, ids) if h is not None]:
                await known.count_all(cloud.db, counted)
        except BaseException:
            area.recounted.update(ids)
            raise
