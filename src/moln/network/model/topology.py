"""What a network driver is given: some things as they should be, and whether that is everything."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from msgspec import Struct

from moln.network.model.address_groups import AddressGroup
from moln.network.model.logs import NetworkLog
from moln.network.model.networks import Network
from moln.network.model.ports import Port
from moln.network.model.qos import QosRule
from moln.network.model.routers import FloatingIp, PortForwarding, Router
from moln.network.model.security_groups import SecurityGroup, SecurityGroupRule
from moln.network.model.segments import Segment
from moln.network.model.subnets import Subnet

T = TypeVar("T")


class Chassis(Struct, frozen=True, kw_only=True):
    """A node as the engine sees it. name: the engine's own id for it. physical_networks: those it has a bridge for.

    seen_at: µs of its last sign of life, 0 when it never answered. gateway: whether it may carry routers' gateways.
    """

    name: str
    hostname: str
    physical_networks: tuple[str, ...] = ()
    tunnel_ips: tuple[str, ...] = ()
    tunnel_types: tuple[str, ...] = ()
    gateway: bool = True
    seen_at: int = 0


MOST_GATEWAYS = 5  # chassis that stand by for one router (Neutron's MAX_GW_CHASSIS)


def gateway_candidates(router_id: str, physical_network: str | None, chassis: Sequence[Chassis]) -> list[str]:
    """Chassis that may carry the router's gateway, the preferred first.

    Rendezvous hashing: each router has its own order, and a chassis that comes or goes moves only its own share.
    """
    fit = [c.name for c in chassis if c.gateway and (physical_network is None or physical_network in c.physical_networks)]
    fit.sort(key=lambda name: hashlib.blake2s(f"{router_id} {name}".encode()).digest())
    return fit[:MOST_GATEWAYS]


class Carrier(Struct, frozen=True):
    """What carries a subport's frames: another port, and the VLAN tag they have there."""

    parent_id: str
    tag: int


class Topology(Struct, frozen=True, kw_only=True):
    """Things by id; rules of QoS by policy, carriers by the subport, nodes that wait for a port by the port. logs: all of them, where groups are
    looked at; worn: the groups of the ports that logs are about. A router, port or subnet comes with all that it refers to (its network, its addresses' subnets...)."""

    networks: Mapping[str, Network] = {}
    subnets: Mapping[str, Subnet] = {}
    ports: Mapping[str, Port] = {}
    routers: Mapping[str, Router] = {}
    floating_ips: Mapping[str, FloatingIp] = {}
    groups: Mapping[str, SecurityGroup] = {}
    rules: Mapping[str, SecurityGroupRule] = {}
    qos: Mapping[str, tuple[QosRule, ...]] = {}
    forwardings: Mapping[str, PortForwarding] = {}
    address_groups: Mapping[str, AddressGroup] = {}
    subports: Mapping[str, Carrier] = {}
    waiting: Mapping[str, tuple[str, ...]] = {}
    segments: Mapping[str, Segment] = {}
    logs: tuple[NetworkLog, ...] = ()
    worn: Mapping[str, tuple[str, ...]] = {}


class Change(Struct, frozen=True, order=True):
    """One thing that may have changed. kind: network, subnet, addresses (a group of them), group, port, router or names (a network's
    DNS records).

    A kind that has no rows of its own, such as qos, stands for the things that refer to it; drivers are not given such.
    """

    kind: str
    id: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.id}"


class Desired(Struct, frozen=True, kw_only=True):
    """What should be so. changes: what to look at; what is named there and absent from the topology is removed.

    complete: the topology is all there is, and whatever else the driver owns is removed; `changes` is not read then.
    """

    topology: Topology
    changes: frozenset[Change] = frozenset()
    complete: bool = False


def by_id(things: Iterable[T]) -> dict[str, T]:
    """Things as a mapping."""
    return {thing.id: thing for thing in things}  # type: ignore[attr-defined]
