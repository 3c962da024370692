"""From what is desired to northbound rows: all of it, or the parts that changed. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from moln.network.drivers.base import EngineSettings
from moln.network.drivers.lookup import Lookup
from moln.network.drivers.ovn_groups import address_rows, drop_rows, group_rows
from moln.network.drivers.ovn_routers import router_rows
from moln.network.drivers.ovn_switches import names_rows, network_rows, port_rows, subnet_rows
from moln.network.drivers.rows import RANK, Row, Unit
from moln.network.model.topology import Change, Chassis, Desired, Topology

DROP_GROUP = Change("group", "drop")


def everything(topology: Topology) -> set[Change]:
    """Every thing of a topology."""
    changes = {Change("network", n) for n in topology.networks} | {Change("names", n) for n in topology.networks}
    changes |= {Change("subnet", s) for s in topology.subnets} | {Change("group", g) for g in topology.groups}
    changes |= {Change("port", p) for p in topology.ports} | {Change("router", r) for r in topology.routers}
    return changes | {Change("addresses", a) for a in topology.address_groups} | {DROP_GROUP}


def _rows(look: Lookup, change: Change) -> tuple[Row, ...]:
    topology = look.topology
    match change.kind:
        case "network" if network := topology.networks.get(change.id):
            return network_rows(look, network)
        case "names" if network := topology.networks.get(change.id):
            return names_rows(look, network)
        case "subnet" if subnet := topology.subnets.get(change.id):
            return subnet_rows(look, subnet)
        case "addresses" if addresses := topology.address_groups.get(change.id):
            return address_rows(addresses)
        case "group" if change == DROP_GROUP:
            return drop_rows(look)
        case "group" if group := topology.groups.get(change.id):
            return group_rows(look, group)
        case "port" if port := topology.ports.get(change.id):
            return port_rows(look, port)
        case "router" if router := topology.routers.get(change.id):
            return router_rows(look, router)
    return ()


def units(desired: Desired, chassis: Sequence[Chassis], settings: EngineSettings) -> list[Unit]:
    """Rows of what changed, or of everything; in an order in which what is referred to comes first."""
    topology = desired.topology
    changes = everything(topology) if desired.complete else desired.changes
    ordered = sorted(changes, key=lambda c: (RANK[c.kind], c.id))
    look = Lookup(topology, chassis, settings)
    return [Unit(change, _rows(look, change)) for change in ordered]
