"""Things as dicts with every attribute Neutron gives them, and what policy is asked about each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from moln.kernel.clock import iso
from moln.kernel.context import RequestContext
from moln.kernel.db import Reader
from moln.network.model.networks import Network
from moln.network.model.ports import Port, vif_details
from moln.network.model.routers import FloatingIp, PortForwarding, Router
from moln.network.model.security_groups import SecurityGroup, SecurityGroupRule
from moln.network.model.segments import Segment
from moln.network.model.subnets import Subnet
from moln.network.ops import authority
from moln.network.ops import gateways as gateway_ops
from moln.network.ops import ports as port_ops
from moln.network.ops import subnet_pools as pool_ops
from moln.network.store import rows, segments, trunks
from moln.network.store.port_forwardings import port_forwardings

PROVIDER = ("network_type", "physical_network", "segmentation_id")
Found = list[tuple[dict[str, Any], authority.Target]]


def owned(thing: Any) -> dict[str, Any]:
    """What every resource has."""
    return {"id": thing.id, "project_id": thing.project_id, "tenant_id": thing.project_id}


def standard(thing: Any, tags: dict[str, list[str]] | None = None) -> dict[str, Any]:
    """What every resource with Neutron's standard attributes has."""
    view = {
        **owned(thing),
        "description": thing.description,
        "created_at": iso(thing.created_at),
        "updated_at": iso(thing.updated_at),
        "revision_number": thing.revision_number,
    }
    if tags is not None:
        view["tags"] = tags.get(thing.id, [])
    return view


def _provider(n: Network, pieces: Sequence[Segment]) -> dict[str, Any]:
    """What carries a network: one segment by its attributes, several as a list."""
    if len(pieces) < 2:
        return {f"provider:{name}": getattr(n, name) for name in PROVIDER}
    return {"segments": [{f"provider:{name}": getattr(piece, name) for name in PROVIDER} for piece in pieces]}


async def networks(db: Reader, ctx: RequestContext, things: list[Network]) -> Found:
    ids = [n.id for n in things]
    tags = await rows.tags_of(db, ids)
    within: dict[str, list[str]] = {}
    there = await rows.subnets.by_any(db, "network_id", ids)
    scopes = await pool_ops.scopes_of(db, there)
    for subnet in there:
        within.setdefault(subnet.network_id, []).append(subnet.id)
    pieces: dict[str, list[Segment]] = {}
    for piece in await segments.segments.by_any(db, "network_id", ids):
        pieces.setdefault(piece.network_id, []).append(piece)
    zone = [ctx.settings.network.availability_zone]
    return [
        (
            {
                **standard(n, tags),
                "name": n.name,
                "admin_state_up": n.admin_state_up,
                "status": "ACTIVE",
                "subnets": within.get(n.id, []),
                "shared": authority.shared_with(ctx, n.shared_with),
                "router:external": n.external,
                "ipv4_address_scope": scopes.get(n.id, {}).get(4),
                "ipv6_address_scope": scopes.get(n.id, {}).get(6),
                "mtu": n.mtu,
                **_provider(n, pieces.get(n.id, ())),
                "port_security_enabled": n.port_security_enabled,
                "dns_domain": n.dns_domain,
                "qos_policy_id": n.qos_policy_id,
                "vlan_transparent": n.vlan_transparent,
                "qinq": n.qinq,
                "availability_zone_hints": list(n.availability_zone_hints),
                "availability_zones": zone,
                **({"is_default": n.is_default} if n.external else {}),
            },
            authority.of_network(ctx, n),
        )
        for n in things
    ]


async def _networks_of(db: Reader, ids: set[str]) -> dict[str, Network]:
    return {n.id: n for n in await rows.networks.some(db, ids)}


async def subnets(db: Reader, ctx: RequestContext, things: list[Subnet]) -> Found:
    tags = await rows.tags_of(db, [s.id for s in things])
    parents = await _networks_of(db, {s.network_id for s in things})
    return [
        (
            {
                **standard(s, tags),
                "name": s.name,
                "network_id": s.network_id,
                "ip_version": s.ip_version,
                "subnetpool_id": s.subnetpool_id,
                "segment_id": s.segment_id,
                "cidr": s.cidr,
                "gateway_ip": s.gateway_ip,
                "allocation_pools": [{"start": p.start, "end": p.end} for p in s.allocation_pools],
                "dns_nameservers": list(s.dns_nameservers),
                "host_routes": [{"destination": r.destination, "nexthop": r.nexthop} for r in s.host_routes],
                "enable_dhcp": s.enable_dhcp,
                "ipv6_ra_mode": s.ipv6_ra_mode,
                "ipv6_address_mode": s.ipv6_address_mode,
                "service_types": list(s.service_types),
                "dns_publish_fixed_ip": s.dns_publish_fixed_ip,
                "router:external": parents[s.network_id].external,
            },
            authority.on_network(ctx, s.project_id, parents[s.network_id], id=s.id),
        )
        for s in things
    ]


def dns_assignment(ctx: RequestContext, port: Port, network: Network) -> list[dict[str, str]]:
    """Names a port is known by, one for each address (dns-integration)."""
    domain = (port.dns_domain or network.dns_domain or ctx.settings.network.dns_domain).rstrip(".") + "."
    found = []
    for ip in port.fixed_ips:
        host = port.dns_name or "host-" + ip.ip_address.replace(".", "-").replace(":", "-")
        found.append({"ip_address": ip.ip_address, "hostname": host, "fqdn": f"{host}.{domain}"})
    return found


def subports(carried: list[trunks.Carried]) -> dict[str, list[dict[str, Any]]]:
    """By trunk."""
    found: dict[str, list[dict[str, Any]]] = {}
    for one in carried:
        view = {"port_id": one.port_id, "segmentation_type": one.segmentation_type, "segmentation_id": one.segmentation_id}
        found.setdefault(one.trunk_id, []).append(view)
    return found


async def _trunk_details(db: Reader, port_ids: list[str]) -> dict[str, dict[str, Any]]:
    """Of ports that are parents of trunks: what a guest has to know to use it."""
    found = await trunks.trunks.by_any(db, "port_id", port_ids)
    if not found:
        return {}
    within = subports(await trunks.carried_by(db, [trunk.id for trunk in found]))
    macs = {p.id: p.mac_address for p in await rows.ports.some(db, [s["port_id"] for listed in within.values() for s in listed])}
    return {
        trunk.port_id: {"trunk_id": trunk.id, "sub_ports": [s | {"mac_address": macs[s["port_id"]]} for s in within.get(trunk.id, [])]}
        for trunk in found
    }


async def ports(db: Reader, ctx: RequestContext, things: list[Port]) -> Found:
    tags = await rows.tags_of(db, [p.id for p in things])
    parents = await _networks_of(db, {p.network_id for p in things})
    details = await _trunk_details(db, [p.id for p in things])
    return [
        (
            {
                **standard(p, tags),
                "name": p.name,
                "network_id": p.network_id,
                "mac_address": p.mac_address,
                "admin_state_up": p.admin_state_up,
                "status": p.status,
                "device_id": p.device_id,
                "device_owner": p.device_owner,
                "fixed_ips": [{"subnet_id": ip.subnet_id, "ip_address": ip.ip_address} for ip in p.fixed_ips],
                "allowed_address_pairs": [{"ip_address": a.ip_address, "mac_address": a.mac_address} for a in p.allowed_address_pairs],
                "security_groups": list(p.security_groups),
                "port_security_enabled": p.port_security_enabled,
                "extra_dhcp_opts": [
                    {"opt_name": o.opt_name, "opt_value": o.opt_value, "ip_version": o.ip_version} for o in p.extra_dhcp_opts
                ],
                "binding:vnic_type": p.vnic_type,
                "binding:host_id": p.host_id,
                "binding:profile": p.profile,
                "binding:vif_type": p.vif_type,
                "binding:vif_details": vif_details(p),
                "ip_allocation": p.ip_allocation,
                "qos_policy_id": p.qos_policy_id,
                "qos_network_policy_id": parents[p.network_id].qos_policy_id,
                "dns_name": p.dns_name,
                "dns_domain": p.dns_domain,
                "dns_assignment": dns_assignment(ctx, p, parents[p.network_id]),
                **({"trunk_details": details[p.id]} if p.id in details else {}),
            },
            port_ops.target(ctx, p, parents[p.network_id]),
        )
        for p in things
    ]


async def routers(db: Reader, ctx: RequestContext, things: list[Router]) -> Found:
    tags = await rows.tags_of(db, [r.id for r in things])
    gates: dict[str, list[Port]] = {}
    for port in await rows.ports.by_any(db, "device_id", [r.id for r in things if r.gateway_port_id]):
        gates.setdefault(port.device_id, []).append(port)
    found: Found = []
    for r in things:
        gateway = None
        outer = [
            {
                "network_id": port.network_id,
                "external_fixed_ips": [{"subnet_id": ip.subnet_id, "ip_address": ip.ip_address} for ip in port.fixed_ips],
            }
            for port in gateway_ops.ordered(r, gates.get(r.id, ()))
        ]
        if outer:
            gateway = {**outer[0], "enable_snat": r.enable_snat, "qos_policy_id": r.qos_policy_id}
        view = {
            **standard(r, tags),
            "name": r.name,
            "admin_state_up": r.admin_state_up,
            "status": "ACTIVE",
            "external_gateway_info": gateway,
            "external_gateways": outer,
            "enable_default_route_ecmp": r.enable_default_route_ecmp,
            "enable_default_route_bfd": r.enable_default_route_bfd,
            "routes": [{"destination": route.destination, "nexthop": route.nexthop} for route in r.routes],
            "availability_zone_hints": list(r.availability_zone_hints),
            "availability_zones": [ctx.settings.network.availability_zone],
            "flavor_id": r.flavor_id,
            "enable_snat": r.enable_snat,
            "ha": True,
        }
        found.append((view, authority.of_project(r.project_id, id=r.id)))
    return found


def forwarding(pf: PortForwarding, *, brief: bool = False) -> dict[str, Any]:
    """A forwarding without its description. brief: inside its floating address, by its ports or by their ranges."""
    view: dict[str, Any] = {
        "id": pf.id,
        "protocol": pf.protocol,
        "internal_port_id": pf.internal_port_id,
        "internal_ip_address": pf.internal_ip_address,
    }
    for side, first, last in (("external", pf.external_first, pf.external_last), ("internal", pf.internal_first, pf.internal_last)):
        if not brief or first == last:
            view[f"{side}_port"] = first if first == last else None
        if not brief or first != last:
            view[f"{side}_port_range"] = f"{first}:{last}"
    return view


async def floating_ips(db: Reader, ctx: RequestContext, things: list[FloatingIp]) -> Found:
    tags = await rows.tags_of(db, [f.id for f in things])
    inner = {p.id: p for p in await rows.ports.some(db, [f.port_id for f in things if f.port_id])}
    forwarded: dict[str, list[dict[str, Any]]] = {}
    for pf in await port_forwardings.by_any(db, "floatingip_id", [f.id for f in things]):
        forwarded.setdefault(pf.floatingip_id, []).append(forwarding(pf, brief=True))
    found: Found = []
    for f in things:
        port = inner.get(f.port_id or "")
        details = None
        if port is not None:
            details = {
                name: getattr(port, name)
                for name in ("name", "network_id", "mac_address", "admin_state_up", "status", "device_id", "device_owner")
            }
        view = {
            **standard(f, tags),
            "floating_ip_address": f.floating_ip_address,
            "floating_network_id": f.floating_network_id,
            "router_id": f.router_id,
            "port_id": f.port_id,
            "fixed_ip_address": f.fixed_ip_address,
            "status": f.status,
            "port_details": details,
            "dns_name": f.dns_name,
            "dns_domain": f.dns_domain,
            "qos_policy_id": f.qos_policy_id,
            "port_forwardings": forwarded.get(f.id, []),
        }
        found.append((view, authority.of_project(f.project_id, id=f.id)))
    return found


def rule(r: SecurityGroupRule, group: SecurityGroup) -> dict[str, Any]:
    """A rule by itself and inside its group."""
    return {
        **standard(r),
        "security_group_id": r.security_group_id,
        "direction": r.direction,
        "ethertype": r.ethertype,
        "protocol": r.protocol,
        "port_range_min": r.port_range_min,
        "port_range_max": r.port_range_max,
        "remote_ip_prefix": r.remote_ip_prefix,
        "normalized_cidr": r.normalized_cidr,
        "remote_group_id": r.remote_group_id,
        "remote_address_group_id": r.remote_address_group_id,
        "belongs_to_default_sg": group.is_default,
    }


async def security_groups(db: Reader, ctx: RequestContext, things: list[SecurityGroup]) -> Found:
    tags = await rows.tags_of(db, [g.id for g in things])
    by_id = {g.id: g for g in things}
    within: dict[str, list[dict[str, Any]]] = {}
    for r in await rows.rules.by_any(db, "security_group_id", list(by_id)):
        within.setdefault(r.security_group_id, []).append(rule(r, by_id[r.security_group_id]))
    return [
        (
            {
                **standard(g, tags),
                "name": g.name,
                "stateful": g.stateful,
                "shared": authority.shared_with(ctx, g.shared_with),
                "security_group_rules": within.get(g.id, []),
            },
            authority.of_shareable(ctx, g),
        )
        for g in things
    ]


async def security_group_rules(db: Reader, ctx: RequestContext, things: list[SecurityGroupRule]) -> Found:
    groups = {g.id: g for g in await rows.groups.some(db, [r.security_group_id for r in things])}
    return [(rule(r, groups[r.security_group_id]), authority.in_group(r.project_id, groups[r.security_group_id])) for r in things]
