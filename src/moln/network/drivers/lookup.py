"""A topology with what rows are computed from laid out for finding: made once for each computation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import TypeVar

from moln.network.drivers.base import EngineSettings
from moln.network.model.ports import ROUTER_OWNERS, Owner, Port
from moln.network.model.routers import FloatingIp, PortForwarding
from moln.network.model.security_groups import SecurityGroupRule
from moln.network.model.segments import Segment
from moln.network.model.subnets import Subnet
from moln.network.model.topology import Chassis, Topology

T = TypeVar("T")


class Lookup:
    """Ports by router, rules by group and so on. dhcp: options of a subnet once they are known."""

    def __init__(self, topology: Topology, chassis: Sequence[Chassis], settings: EngineSettings):
        self.topology, self.chassis, self.settings = topology, chassis, settings
        self.dhcp: dict[str, dict[str, str] | None] = {}

    @cached_property
    def metadata_ports(self) -> dict[str, Port]:
        """By network."""
        return {p.network_id: p for p in self.topology.ports.values() if p.device_owner == Owner.DISTRIBUTED}

    @cached_property
    def router_ports(self) -> dict[str, list[Port]]:
        """Interfaces and gateways by router, in a fixed order."""
        return _by((p.device_id, p) for p in _sorted(self.topology.ports.values()) if p.device_owner in ROUTER_OWNERS)

    @cached_property
    def named_ports(self) -> dict[str, list[Port]]:
        """Ports with a DNS name and an address, by network."""
        return _by((p.network_id, p) for p in _sorted(self.topology.ports.values()) if p.dns_name and p.fixed_ips)

    @cached_property
    def rules(self) -> dict[str, list[SecurityGroupRule]]:
        """By group."""
        return _by((r.security_group_id, r) for r in _sorted(self.topology.rules.values()))

    @cached_property
    def floating_ips(self) -> dict[str, list[FloatingIp]]:
        """Those in use, by router."""
        return _by((f.router_id, f) for f in _sorted(self.topology.floating_ips.values()) if f.router_id)

    @cached_property
    def forwardings(self) -> dict[str, dict[str, list[PortForwarding]]]:
        """By floating address and protocol."""
        found: dict[str, dict[str, list[PortForwarding]]] = {}
        for forwarding in _sorted(self.topology.forwardings.values()):
            found.setdefault(forwarding.floatingip_id, {}).setdefault(forwarding.protocol, []).append(forwarding)
        return found

    def log_of(self, group_id: str) -> str | None:
        """The log that tells what a group accepts: the oldest of several."""
        worn = self.topology.worn
        return next((log.id for log in self.topology.logs if log.of_group(group_id, worn.get(log.target_id or "", ()))), None)

    @cached_property
    def log_of_drops(self) -> str | None:
        """The log that tells what is dropped."""
        return next((log.id for log in self.topology.logs if log.of_drops), None)

    @cached_property
    def segments(self) -> dict[str, list[Segment]]:
        """Further segments by network: those beside its first."""
        networks = self.topology.networks
        found = _sorted(self.topology.segments.values())
        return _by((s.network_id, s) for s in found if s.network_id in networks and not s.carries(networks[s.network_id]))

    def physical_network(self, port: Port) -> str | None:
        """The physical network that a port's addresses are of: their segment's, or the network's."""
        for subnet in self.subnets(port):
            if (segment := self.topology.segments.get(subnet.segment_id or "")) is not None:
                return segment.physical_network
        return self.topology.networks[port.network_id].physical_network

    def subnets(self, port: Port) -> list[Subnet]:
        """Subnets of a port's addresses, as far as they are known."""
        known = self.topology.subnets
        return [known[ip.subnet_id] for ip in port.fixed_ips if ip.subnet_id in known]

    def cidrs(self, port: Port) -> tuple[str, ...]:
        """A port's addresses with their subnets' prefix lengths."""
        known = self.topology.subnets
        return tuple(f"{ip.ip_address}/{known[ip.subnet_id].cidr.partition('/')[2]}" for ip in port.fixed_ips if ip.subnet_id in known)

    def node(self, host_id: str) -> Chassis | None:
        """The chassis that a binding names, by the engine's id or by host name."""
        return next((c for c in self.chassis if host_id in (c.name, c.hostname)), None)


def _sorted(things: Iterable[T]) -> list[T]:
    return sorted(things, key=lambda thing: thing.id)  # type: ignore[attr-defined]


def _by(pairs: Iterable[tuple[str | None, T]]) -> dict[str, list[T]]:
    found: dict[str, list[T]] = {}
    for key, thing in pairs:
        found.setdefault(key or "", []).append(thing)
    return found
