"""Each node serves metadata on exactly the networks it carries a port of; told when that changes, when it joins, and periodically."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from msgspec import Struct

from moln.kernel.cloud import Cloud
from moln.kernel.db import Reader
from moln.kernel.work import Reconciler, Work
from moln.network.drivers.node import MetadataPort, NodeNetworkDriver
from moln.network.model.ports import METADATA_DEVICE, Owner
from moln.network.ops.common import METADATA
from moln.network.store import rows
from moln.network.work.engine import Engine

EVERY_S = 60.0
EACH_S = 0.3  # of the period for each node there is, where that makes it longer
PAGE = 256  # nodes looked at together
Ports = tuple[MetadataPort, ...]


class Node(Struct, frozen=True):
    """A node to be told what it serves. noted: the count of news when this was found out."""

    id: str
    wanted: Ports
    noted: int


class NodeMetadata:
    """What each node was told last; a node that joins is told anew. Of several controllers the one that writes the network tells.

    due: nodes to be looked at, with the count of news by then.
    """

    def __init__(self, engine: Engine) -> None:
        self.due: dict[str, int] = {}
        self.told: dict[str, Ports] = {}
        self.told_at: dict[str, float] = {}
        self._engine = engine
        self._led = False
        self._news = 0
        self._cloud: Cloud | None = None
        self._stops: list[Callable[[], None]] = []

    def begin(self, cloud: Cloud) -> None:
        """Listen to the change feed and to nodes that come and go."""
        self._cloud = cloud
        self._stops = [cloud.db.feed.subscribe(METADATA, self._note)]
        cloud.links.on_report("node.up", self._up)

    def end(self) -> None:
        """Stop listening."""
        for stop in self._stops:
            stop()

    def _note(self, hosts: Iterable[str]) -> None:
        if self._cloud is not None and self._engine.leads:
            self._news += 1
            named = set(hosts)
            self.due |= dict.fromkeys(self._cloud.links.nodes if "" in named else named, self._news)

    async def _up(self, node: str, facts: bytes) -> None:
        self.told.pop(node, None)
        self._note([node])
        if self._cloud is not None:
            self._cloud.db.feed.publish([(f"wake.{METADATA}", node)])

    async def find(self, db: Reader, now_us: int) -> list[Node]:
        """Nodes that are here and were told something else, or nothing for long."""
        if self._cloud is None or not self._leads(self._cloud):
            return []
        now, here = self._cloud.clock.monotonic(), self._cloud.links.nodes
        period_s = max(EVERY_S, EACH_S * len(here))
        old = {node for node in here if now - self.told_at.get(node, -period_s) >= period_s}
        looked = sorted((self.due.keys() & here) | old)[:PAGE]
        noted = {node: self.due.get(node, 0) for node in looked}
        wanted = await metadata_ports(db, looked)
        found = [Node(node, wanted[node], noted[node]) for node in looked if node in old or self.told.get(node) != wanted[node]]
        for node in set(looked) - {node.id for node in found}:
            self._done(node, noted[node])
        if len(looked) == PAGE:
            self._cloud.db.feed.publish([(f"wake.{METADATA}", "")])  # there may be more
        return found

    def _leads(self, cloud: Cloud) -> bool:
        """Whether it is this controller that tells; one that begins to do so looks at every node."""
        led, self._led = self._led, self._engine.leads
        if self._led and not led:
            self.told.clear()
            self.told_at.clear()
            self._note([""])
        elif not self._led:
            self.due.clear()
        return self._led

    def _done(self, node: str, noted: int) -> None:
        """Nothing new was heard of it since then."""
        if self.due.get(node) == noted:
            del self.due[node]

    async def settle(self, work: Work, node: Node) -> None:
        """Tell one node all it has to serve. Raises: BackendUnreachable."""
        driver = work.driver(node.id, "network", NodeNetworkDriver, resource="network:metadata", generation=work.now_us, deadline_s=30)
        await driver.sync_metadata(node.wanted)
        self.told[node.id], self.told_at[node.id] = node.wanted, work.cloud.clock.monotonic()
        self._done(node.id, node.noted)

    async def fail(self, work: Work, node: Node, reason: str) -> None:
        """Never given up: the node comes back, or is forgotten when it has left."""

    def reconciler(self) -> Reconciler[Any]:
        return Reconciler(METADATA, find=self.find, settle=self.settle, fail=self.fail, every_s=EVERY_S, at_once=8, deadline=lambda _: None)


async def metadata_ports(db: Reader, host_ids: Sequence[str]) -> dict[str, Ports]:
    """The metadata ports of the networks that each node carries."""
    carried = await rows.networks_on(db, host_ids)
    devices = {METADATA_DEVICE + id for ids in carried.values() for id in ids}
    ports = [p for p in await rows.ports.by_any(db, "device_id", devices) if p.device_owner == Owner.DISTRIBUTED]
    networks = {n.id: n for n in await rows.networks.some(db, [p.network_id for p in ports])}
    subnets = {s.id: s for s in await rows.subnets.some(db, [ip.subnet_id for p in ports for ip in p.fixed_ips])}
    made: dict[str, list[MetadataPort]] = {}
    for port in ports:
        cidrs = tuple(f"{ip.ip_address}/{subnets[ip.subnet_id].cidr.partition('/')[2]}" for ip in port.fixed_ips if ip.subnet_id in subnets)
        if cidrs:
            found = MetadataPort(port.network_id, port.id, port.mac_address, cidrs, networks[port.network_id].mtu)
            made.setdefault(port.network_id, []).append(found)
    return {host: tuple(p for id in sorted(carried.get(host, ())) for p in made.get(id, ())) for host in host_ids}
