"""Routers, their gateways and floating addresses as northbound rows (ovn-nb(5)). Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from moln.network.drivers.base import EngineSettings
from moln.network.drivers.ovn_switches import switch_name
from moln.network.drivers.rows import Ref, Row, Value
from moln.network.model.ports import Owner, Port
from moln.network.model.routers import FloatingIp, Router
from moln.network.model.subnets import Subnet
from moln.network.model.topology import Chassis, Topology

MOST_GATEWAYS = 5  # chassis that stand by for one router (Neutron's MAX_GW_CHASSIS)
RA_MODES = {"slaac": "slaac", "dhcpv6-stateful": "dhcpv6_stateful", "dhcpv6-stateless": "dhcpv6_stateless"}


def gateway_candidates(router_id: str, physical_network: str | None, chassis: Sequence[Chassis]) -> list[str]:
    """Chassis that may carry the router's gateway, the preferred first.

    Rendezvous hashing: each router has its own order, and a chassis that comes or goes moves only its own share.
    """
    fit = [c.name for c in chassis if c.gateway and (physical_network is None or physical_network in c.physical_networks)]
    fit.sort(key=lambda name: hashlib.blake2s(f"{router_id} {name}".encode()).digest())
    return fit[:MOST_GATEWAYS]


def _networks(topology: Topology, port: Port) -> tuple[str, ...]:
    return tuple(
        f"{ip.ip_address}/{topology.subnets[ip.subnet_id].cidr.partition('/')[2]}"
        for ip in port.fixed_ips
        if ip.subnet_id in topology.subnets
    )


def _subnets(topology: Topology, port: Port) -> list[Subnet]:
    return [topology.subnets[ip.subnet_id] for ip in port.fixed_ips if ip.subnet_id in topology.subnets]


def _advertisement(topology: Topology, port: Port) -> dict[str, str]:
    """Router advertisements, where a subnet of the port asks for them."""
    network = topology.networks[port.network_id]
    for subnet in _subnets(topology, port):
        if subnet.ipv6_ra_mode or subnet.ipv6_address_mode:
            mode = subnet.ipv6_address_mode or subnet.ipv6_ra_mode or "slaac"
            # An external network's own hosts are not to learn of tenants' routers.
            periodic = "false" if network.external else "true"
            return {"address_mode": RA_MODES[mode], "send_periodic": periodic, "mtu": str(network.mtu)}
    return {}


def _port_rows(topology: Topology, router: Router, port: Port, inner: list[Port], chassis: Sequence[Chassis]) -> list[Row]:
    network = topology.networks[port.network_id]
    key = f"router:{router.id}/port-{port.id}"
    options: dict[str, str] = {}
    if port.device_owner == Owner.ROUTER_GATEWAY:
        lowest = min([topology.networks[p.network_id].mtu for p in inner] or [network.mtu])
        if lowest < network.mtu:  # tell the world to fragment, instead of dropping what does not fit
            options["gateway_mtu"] = str(lowest)
    elif network.physical_network is not None and router.gateway_port_id is not None:
        options["reside-on-redirect-chassis"] = "true"
    columns: dict[str, Value] = {
        "name": f"lrp-{port.id}",
        "mac": port.mac_address,
        "networks": _networks(topology, port),
        "options": options,
        "ipv6_ra_configs": _advertisement(topology, port),
    }
    rows = []
    if port.device_owner == Owner.ROUTER_GATEWAY:
        candidates = gateway_candidates(router.id, network.physical_network, chassis)
        for place, name in enumerate(candidates):
            rows.append(
                Row(
                    "Gateway_Chassis",
                    f"{key}/{name}",
                    {"name": f"lrp-{port.id}_{name}", "chassis_name": name, "priority": len(candidates) - place},
                    holder=(Ref(key), "gateway_chassis"),
                )
            )
    return [Row("Logical_Router_Port", key, columns, holder=(Ref(f"router:{router.id}"), "ports")), *rows]


def router_rows(topology: Topology, router: Router, chassis: Sequence[Chassis], settings: EngineSettings) -> tuple[Row, ...]:
    """A logical router with its ports, default and extra routes, SNAT and floating addresses.

    A router port is a point of a network with an address: one whose subnet is gone is left out.
    """
    key = f"router:{router.id}"
    holder = Ref(key)
    rows = [
        Row(
            "Logical_Router",
            key,
            {
                "name": switch_name(router.id),
                "enabled": (router.admin_state_up,),
                "options": {"always_learn_from_arp_request": "false", "dynamic_neigh_routers": "true"},
                "external_ids": {"neutron:router_name": router.name},
            },
        )
    ]
    ports = sorted((p for p in topology.ports_of_router(router.id) if _networks(topology, p)), key=lambda p: p.id)
    gateway = next((p for p in ports if p.device_owner == Owner.ROUTER_GATEWAY), None)
    inner = [p for p in ports if p.device_owner == Owner.ROUTER_INTERFACE]
    for port in ports:
        rows += _port_rows(topology, router, port, inner, chassis)
    routes = [(route.destination, route.nexthop) for route in router.routes]
    if gateway is not None:
        for subnet in _subnets(topology, gateway):
            default = "0.0.0.0/0" if subnet.ip_version == 4 else "::/0"
            if subnet.gateway_ip is not None and all(destination != default for destination, _ in routes):
                routes.append((default, subnet.gateway_ip))
    for destination, nexthop in routes:
        columns: dict[str, Value] = {"ip_prefix": destination, "nexthop": nexthop}
        rows.append(
            Row(
                "Logical_Router_Static_Route",
                f"{key}/route-{destination}-{nexthop}",
                columns,
                holder=(holder, "static_routes"),
            )
        )
    if gateway is not None:
        outer = next((ip.ip_address for ip in gateway.fixed_ips if ":" not in ip.ip_address), None)
        if outer is not None and router.enable_snat:
            cidrs = {s.cidr for p in inner for s in _subnets(topology, p) if s.ip_version == 4}
            for cidr in sorted(cidrs):
                columns = {"type": "snat", "external_ip": outer, "logical_ip": cidr}
                rows.append(Row("NAT", f"{key}/snat-{cidr}", columns, holder=(holder, "nat")))
        rows += [_floating_row(topology, router, fip, chassis, settings) for fip in _floating_ips(topology, router)]
    return tuple(rows)


def _floating_ips(topology: Topology, router: Router) -> list[FloatingIp]:
    fips = [f for f in topology.floating_ips.values() if f.router_id == router.id and f.fixed_ip_address is not None]
    return sorted(fips, key=lambda f: f.id)


def _floating_row(topology: Topology, router: Router, fip: FloatingIp, chassis: Sequence[Chassis], settings: EngineSettings) -> Row:
    """NAT of one floating address: on the guest's own node where that reaches the outer network, else at the gateway."""
    columns: dict[str, Value] = {
        "type": "dnat_and_snat",
        "external_ip": fip.floating_ip_address,
        "logical_ip": fip.fixed_ip_address or "",
        "logical_port": (),
        "external_mac": (),
        "external_ids": {"neutron:fip_id": fip.id, "neutron:fip_port_id": fip.port_id or ""},
    }
    port = topology.ports.get(fip.port_id or "")
    outside = topology.ports.get(fip.floating_port_id)
    network = topology.networks.get(fip.floating_network_id)
    if settings.distributed_floating_ips and port is not None and outside is not None and network is not None and port.host_id:
        node = next((c for c in chassis if port.host_id in (c.name, c.hostname)), None)
        if node is not None and network.physical_network in node.physical_networks:
            columns["logical_port"] = (port.id,)
            columns["external_mac"] = (outside.mac_address,)
    return Row("NAT", f"router:{router.id}/fip-{fip.id}", columns, holder=(Ref(f"router:{router.id}"), "nat"))
