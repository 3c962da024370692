"""What must always hold of the network; `moln doctor` checks it."""

from __future__ import annotations

from collections import Counter
from typing import Any

import sqlalchemy as sa

from moln.kernel.cloud import Cloud
from moln.kernel.db import Query
from moln.kernel.errors import BackendUnreachable
from moln.kernel.module import Invariant, Violation
from moln.network.model import addresses
from moln.network.model.sharing import EXTERNAL, SHARED
from moln.network.model.topology import Desired
from moln.network.ops import ports as port_ops
from moln.network.ops import sharing
from moln.network.ops.common import QUOTA
from moln.network.store import rows, tables
from moln.network.store.address_groups import address_groups
from moln.network.store.reads import Table
from moln.network.store.trunks import trunks
from moln.network.work.engine import Engine
from moln.network.work.topology import everything

RECOMPUTE = "It is mended within a minute by itself; if it stays, look at the log of the controller."
USAGES = Query(
    sa.select(sa.literal_column("project_id"), sa.literal_column("resource"), sa.literal_column("used"))
    .select_from(sa.text("quota_usages"))
    .where(sa.literal_column("service") == sa.bindparam("service")),
    dict,
)
PORT_GROUPS = Query(sa.select(tables.port_groups.c.port_id, tables.port_groups.c.group_id), dict)


COUNTED: dict[str, Table[Any]] = {  # by resource of the quota; ports are counted by themselves
    "network": rows.networks, "subnet": rows.subnets, "router": rows.routers, "floatingip": rows.floating_ips,
    "security_group": rows.groups, "security_group_rule": rows.rules, "subnetpool": rows.subnet_pools, "rbac_policy": rows.rbac,
    "trunk": trunks, "address_group": address_groups,
}  # fmt: skip


async def addresses_are_the_ports(cloud: Cloud) -> list[Violation]:
    """Each address is held once, by the port that says so, inside its subnet; MACs are unique on a network."""
    topology = await cloud.db.read(everything)
    held = {(h.subnet_id, h.ip_address): h.port_id for h in await cloud.db.all(rows.HELD_ALL)}
    said = [((ip.subnet_id, ip.ip_address), p.id) for p in topology.ports.values() for ip in p.fixed_ips]
    found = [
        Violation(f"port {port} says it has {place[1]}, which {held.get(place)} holds") for place, port in said if held.get(place) != port
    ]
    mine = dict(said)
    found += [
        Violation(f"address {place[1]} is held for {port}, which does not say so")
        for place, port in held.items()
        if mine.get(place) != port
    ]
    for (subnet_id, address), port in said:
        subnet = topology.subnets.get(subnet_id)
        if subnet is None or not addresses.in_cidr(address, subnet.cidr):
            found.append(Violation(f"port {port} has {address} outside its subnet {subnet_id}"))
    macs = Counter((p.network_id, p.mac_address) for p in topology.ports.values())
    return found + [Violation(f"MAC {mac} is used {n} times on network {net}") for (net, mac), n in macs.items() if n > 1]


async def references_hold(cloud: Cloud) -> list[Violation]:
    """Routers, gateways, floating addresses and groups name what exists."""
    topology = await cloud.db.read(everything)
    found = []
    for router in topology.routers.values():
        if router.gateway_port_id is not None and router.gateway_port_id not in topology.ports:
            found.append(Violation(f"router {router.id} has a gateway port that is gone"))
    for port in topology.ports.values():
        if port.device_owner.startswith("network:router_") and port.device_id not in topology.routers:
            found.append(Violation(f"port {port.id} belongs to a router that is gone", "Delete the port."))
    for fip in topology.floating_ips.values():
        if fip.port_id is not None and (fip.port_id not in topology.ports or fip.router_id not in topology.routers):
            found.append(Violation(f"floating address {fip.floating_ip_address} stands for a port or router that is gone"))
        if fip.floating_port_id not in topology.ports:
            found.append(Violation(f"floating address {fip.floating_ip_address} has lost its own port"))
    worn = Counter((row["port_id"], row["group_id"]) for row in await cloud.db.all(PORT_GROUPS))
    said = Counter((p.id, group) for p in topology.ports.values() for group in p.security_groups)
    found += [Violation(f"port {port} and its group {group} disagree") for port, group in (worn - said) + (said - worn)]
    return found


async def segments_are_the_networks(cloud: Cloud) -> list[Violation]:
    """Each network has a segment that is what its own row says of it."""
    topology = await cloud.db.read(everything)
    first = {s.network_id for s in topology.segments.values() if s.network_id in topology.networks and s.carries(topology.networks[s.network_id])}
    return [Violation(f"network {id} has no segment that is what its row says") for id in topology.networks.keys() - first]


async def quota_is_what_there_is(cloud: Cloud) -> list[Violation]:
    """Quota used equals what is counted."""
    counted: Counter[tuple[str, str]] = Counter()
    for resource, table in COUNTED.items():
        counted.update((thing.project_id, resource) for thing in await table.all(cloud.db))
    counted.update((p.project_id, "port") for p in await rows.ports.all(cloud.db) if port_ops.counted(p))
    used = {(row["project_id"], row["resource"]): row["used"] for row in await cloud.db.all(USAGES, service=QUOTA.service)}
    return [
        Violation(f"project {project} uses {counted[(project, name)]} of {name}, its quota says {used.get((project, name), 0)}")
        for project, name in sorted(counted.keys() | used.keys())
        if counted[(project, name)] != used.get((project, name), 0)
    ]


async def sharing_is_what_policies_say(cloud: Cloud) -> list[Violation]:
    """What a thing's row says of who may use it is what the RBAC policies say, and each policy's object is there."""
    said: dict[tuple[str, str], set[str]] = {}
    for kind, table in sharing.TABLES.items():
        for thing in await table.all(cloud.db):
            said[(thing.id, SHARED)] = set(thing.shared_with)
            if kind == "network":
                said[(thing.id, EXTERNAL)] = set(thing.external_to)
    meant: dict[tuple[str, str], set[str]] = {}
    for policy in await rows.rbac.all(cloud.db):
        meant.setdefault((policy.object_id, policy.action), set()).add(policy.target_project)
    return [
        Violation(f"object {key[0]} says {key[1]} of {sorted(said.get(key, ()))}, its RBAC policies of {sorted(meant.get(key, ()))}")
        for key in sorted(said.keys() | meant.keys())
        if said.get(key, set()) != meant.get(key, set())
    ]


def engine_holds_the_rows(engine: Engine) -> Invariant:
    """The engine's rows are those the database asks for."""

    async def check(cloud: Cloud) -> list[Violation]:
        if engine.driver is None or engine.passive:
            return []
        if not engine.connected and engine.may_be_anothers:
            return []
        if not engine.connected:
            return [Violation("the network engine is not reached", "Start OVN's databases; `moln status` tells which engine is down.")]
        try:
            topology = await cloud.db.read(everything)
            return [Violation(line, RECOMPUTE) for line in await engine.driver.check(Desired(topology=topology, complete=True))]
        except BackendUnreachable as lost:
            return [Violation(lost.message, "Start OVN's databases.")]

    return Invariant("network: the engine holds what the rows ask for", check)


def invariants(engine: Engine) -> tuple[Invariant, ...]:
    return (
        Invariant("network: addresses are held once, by the ports that say so", addresses_are_the_ports),
        Invariant("network: routers, ports, floating addresses and groups name what exists", references_hold),
        Invariant("network: what is shared is what RBAC policies say", sharing_is_what_policies_say),
        Invariant("network: each network has its first segment", segments_are_the_networks),
        Invariant("network: quota used is what there is", quota_is_what_there_is),
        engine_holds_the_rows(engine),
    )
