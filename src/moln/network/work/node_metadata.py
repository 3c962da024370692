"""Each node serves metadata on exactly the networks it carries a port of; told when that changes, when it joins, and periodically."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from moln.kernel.cloud import Cloud
from moln.kernel.db import Reader
from moln.kernel.work import Reconciler, Work
from moln.network.drivers.node import MetadataPort, NodeNetworkDriver
from moln.network.model.ports import METADATA_DEVICE, Owner
from moln.network.ops.common import METADATA
from moln.network.store import rows

EVERY_S = 60.0


class Node(Struct, frozen=True):
    """A node to be told."""

    id: str


class NodeMetadata:
    """What each node was told last; a node that joins is told anew."""

    def __init__(self) -> None:
        self.due: set[str] = set()
        self.told: dict[str, tuple[MetadataPort, ...]] = {}
        self.told_at: dict[str, float] = {}
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

    def _note(self, hosts: list[str]) -> None:
        if self._cloud is not None:
            self.due |= set(self._cloud.links.nodes) if "" in hosts else set(hosts)

    async def _up(self, node: str, facts: bytes) -> None:
        self.told.pop(node, None)
        self.due.add(node)
        if self._cloud is not None:
            self._cloud.db.feed.publish([(f"wake.{METADATA}", node)])

    async def find(self, db: Reader, now_us: int) -> list[Node]:
        """Nodes that are here and due."""
        if self._cloud is None:
            return []
        now, here = self._cloud.clock.monotonic(), self._cloud.links.nodes
        old = {node for node in here if now - self.told_at.get(node, -EVERY_S) >= EVERY_S}
        return [Node(node) for node in sorted((self.due | old) & set(here))]

    async def settle(self, work: Work, node: Node) -> None:
        """Tell one node all it has to serve. Raises: BackendUnreachable."""
        now = work.cloud.clock.monotonic()
        fresh = now - self.told_at.get(node.id, -EVERY_S) < EVERY_S
        self.due.discard(node.id)
        try:
            wanted = await metadata_ports(work.db, node.id)
            if not fresh or self.told.get(node.id) != wanted:
                driver = work.driver(
                    node.id, "network", NodeNetworkDriver, resource="network:metadata", generation=work.now_us, deadline_s=30
                )
                await driver.sync_metadata(wanted)
        except BaseException:
            self.due.add(node.id)
            raise
        self.told[node.id], self.told_at[node.id] = wanted, now

    async def fail(self, work: Work, node: Node, reason: str) -> None:
        """Never given up: the node comes back, or is forgotten when it has left."""

    def reconciler(self) -> Reconciler[Any]:
        return Reconciler(METADATA, find=self.find, settle=self.settle, fail=self.fail, every_s=EVERY_S, at_once=8, deadline=lambda _: None)


async def metadata_ports(db: Reader, host_id: str) -> tuple[MetadataPort, ...]:
    """The metadata ports of the networks that a node carries."""
    ids = await rows.networks_on(db, host_id)
    ports = [
        p for p in await rows.ports.by_any(db, "device_id", [METADATA_DEVICE + id for id in ids]) if p.device_owner == Owner.DISTRIBUTED
    ]
    networks = {n.id: n for n in await rows.networks.some(db, [p.network_id for p in ports])}
    subnets = {s.id: s for s in await rows.subnets.some(db, [ip.subnet_id for p in ports for ip in p.fixed_ips])}
    found = []
    for port in sorted(ports, key=lambda p: p.network_id):
        cidrs = tuple(f"{ip.ip_address}/{subnets[ip.subnet_id].cidr.partition('/')[2]}" for ip in port.fixed_ips if ip.subnet_id in subnets)
        if cidrs:
            found.append(MetadataPort(port.network_id, port.id, port.mac_address, cidrs, networks[port.network_id].mtu))
    return tuple(found)
