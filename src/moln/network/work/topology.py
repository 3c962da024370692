"""From rows to what the driver is given: everything, or the parts that a change touches."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from moln.kernel.db import Reader
from moln.network.model.bindings import Binding
from moln.network.model.logs import NetworkLog
from moln.network.model.ports import Owner
from moln.network.model.qos import QosRule
from moln.network.model.topology import Carrier, Change, Topology, by_id
from moln.network.store import bindings, qos, rows, segments, trunks
from moln.network.store.address_groups import address_groups
from moln.network.store.logs import logs
from moln.network.store.port_forwardings import port_forwardings


async def everything(db: Reader) -> Topology:
    """The whole cloud's network."""
    return Topology(
        networks=by_id(await rows.networks.all(db)),
        subnets=by_id(await rows.subnets.all(db)),
        ports=by_id(await rows.ports.all(db)),
        routers=by_id(await rows.routers.all(db)),
        floating_ips=by_id(await rows.floating_ips.all(db)),
        groups=by_id(await rows.groups.all(db)),
        rules=by_id(await rows.rules.all(db)),
        qos=_by_policy(await qos.rules.all(db)),
        forwardings=by_id(await port_forwardings.all(db)),
        address_groups=by_id(await address_groups.all(db)),
        subports=_carriers(await trunks.all_carried(db)),
        waiting=_waiting(await bindings.all_waiting(db)),
        segments=by_id(await segments.segments.all(db)),
        logs=(kept := tuple(await logs.all(db))),
        worn=await _worn(db, kept),
    )


def _by_policy(rules: Iterable[QosRule]) -> dict[str, tuple[QosRule, ...]]:
    found: dict[str, tuple[QosRule, ...]] = {}
    for rule in rules:
        found[rule.policy_id] = (*found.get(rule.policy_id, ()), rule)
    return found


def _carriers(carried: Iterable[trunks.Carried]) -> dict[str, Carrier]:
    return {one.port_id: Carrier(one.parent_id, one.segmentation_id) for one in carried}


def _waiting(bound: Iterable[Binding]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for binding in bound:
        found[binding.port_id] = (*found.get(binding.port_id, ()), binding.host)
    return found


async def _worn(db: Reader, kept: Iterable[NetworkLog]) -> dict[str, tuple[str, ...]]:
    """The groups of ports that logs are about."""
    return {p.id: p.security_groups for p in await rows.ports.some(db, {log.target_id for log in kept if log.target_id is not None})}


async def _users_of(db: Reader, policy_ids: Iterable[str]) -> set[Change]:
    """What has rows for a QoS policy."""
    ids = set(policy_ids)
    networks = {n.id for n in await rows.networks.by_any(db, "qos_policy_id", ids)}
    ports = [*await rows.ports.by_any(db, "qos_policy_id", ids), *await rows.ports.by_any(db, "network_id", networks)]
    routers = {r.id for r in await rows.routers.by_any(db, "qos_policy_id", ids)}
    routers |= {f.router_id for f in await rows.floating_ips.by_any(db, "qos_policy_id", ids) if f.router_id}
    return {Change("port", p.id) for p in ports} | {Change("router", r) for r in routers}


async def expand(db: Reader, changes: frozenset[Change]) -> frozenset[Change]:
    """The changes, and what else depends on them: a network's MTU is in its ports' and routers' rows, and so on."""
    found = {change for change in changes if change.kind != "qos"}
    if policies := _ids(changes, "qos"):
        found |= await _users_of(db, policies)
    networks = _ids(changes, "network")
    if networks:
        found |= {Change("names", id) for id in networks}
        found |= {Change("subnet", s.id) for s in await rows.subnets.by_any(db, "network_id", networks)}
    subnets = _ids(found, "subnet")
    touched = set(networks) | {s.network_id for s in await rows.subnets.some(db, subnets)}
    for port in await rows.ports.by_any(db, "network_id", touched):
        plain = port.network_id not in networks and not port.extra_dhcp_opts and port.device_owner not in _ROUTED
        if plain and all(ip.subnet_id not in subnets for ip in port.fixed_ips):
            continue
        found.add(Change("port", port.id))
        if port.device_owner in _ROUTED:
            found.add(Change("router", port.device_id))
    for port in await rows.ports.some(db, _ids(changes, "port")):
        if port.device_owner == Owner.DISTRIBUTED:  # where metadata is goes into the subnets' DHCP options
            found |= {Change("subnet", s.id) for s in await rows.subnets.by(db, "network_id", port.network_id)}
        elif port.device_owner in _ROUTED:
            found.add(Change("router", port.device_id))
        elif port.host_id:
            fips = await rows.floating_ips.by(db, "port_id", port.id)
            found |= {Change("router", fip.router_id) for fip in fips if fip.router_id}
    return frozenset(found)


_ROUTED = (Owner.ROUTER_INTERFACE, Owner.ROUTER_GATEWAY)


def _ids(changes: Iterable[Change], kind: str) -> set[str]:
    return {change.id for change in changes if change.kind == kind}


async def partial(db: Reader, changes: frozenset[Change]) -> Topology:
    """What the changes name, with all that it refers to."""
    routers = await rows.routers.some(db, _ids(changes, "router"))
    ports = {p.id: p for p in await rows.ports.some(db, _ids(changes, "port"))}
    floating: list[str] = []
    fips = {}
    for router in routers:
        ports |= {p.id: p for p in await rows.ports.by(db, "device_id", router.id)}
        for fip in await rows.floating_ips.by(db, "router_id", router.id):
            fips[fip.id] = fip
            floating += [id for id in (fip.port_id, fip.floating_port_id) if id]
    ports |= {p.id: p for p in await rows.ports.some(db, floating)}
    named = _ids(changes, "names")
    ports |= {p.id: p for p in await rows.ports.by_any(db, "network_id", named) if p.dns_name}
    subnets = {s.id: s for s in await rows.subnets.some(db, _ids(changes, "subnet"))}
    subnets |= {s.id: s for s in await rows.subnets.some(db, [ip.subnet_id for p in ports.values() for ip in p.fixed_ips])}
    on = {p.network_id for p in ports.values()} | {s.network_id for s in subnets.values()} | {f.floating_network_id for f in fips.values()}
    networks = await rows.networks.some(db, on | _ids(changes, "network") | named)
    # DHCP options tell where metadata is.
    ports |= {p.id: p for p in await rows.ports.by_any(db, "device_id", [f"ovnmeta-{n.id}" for n in networks])}
    groups = await rows.groups.some(db, _ids(changes, "group"))
    rules = await rows.rules.by_any(db, "security_group_id", [g.id for g in groups])
    kept = tuple(await logs.all(db)) if _ids(changes, "group") else ()
    users: list[Any] = [*networks, *ports.values(), *routers, *fips.values()]
    policies = {user.qos_policy_id for user in users if user.qos_policy_id}
    forwardings = await port_forwardings.by_any(db, "floatingip_id", fips)
    return Topology(
        networks=by_id(networks), subnets=subnets, ports=ports, routers=by_id(routers), floating_ips=fips, groups=by_id(groups), rules=by_id(rules),
        qos=_by_policy(await qos.rules.by_any(db, "policy_id", policies)), forwardings=by_id(forwardings),
        address_groups=by_id(await address_groups.some(db, _ids(changes, "addresses"))),
        subports=_carriers(await trunks.carriers_of(db, ports)), waiting=_waiting(await bindings.waiting_for(db, ports)), logs=kept,
        segments=by_id(await segments.segments.by_any(db, "network_id", [n.id for n in networks])),
        worn=await _worn(db, kept),
    )  # fmt: skip
