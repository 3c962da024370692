"""Routers, their gateways and floating addresses as northbound rows (ovn-nb(5)). Pure."""

from __future__ import annotations

from moln.network.drivers.lookup import Lookup
from moln.network.drivers.ovn_qos import address_qos, gateway_qos
from moln.network.drivers.ovn_switches import switch_name
from moln.network.drivers.rows import Ref, Row, Value
from moln.network.model.ports import Owner, Port
from moln.network.model.routers import FloatingIp, Router
from moln.network.model.topology import gateway_candidates

RA_MODES = {"slaac": "slaac", "dhcpv6-stateful": "dhcpv6_stateful", "dhcpv6-stateless": "dhcpv6_stateless"}


def _advertisement(look: Lookup, port: Port) -> dict[str, str]:
    """Router advertisements, where a subnet of the port asks for them."""
    network = look.topology.networks[port.network_id]
    for subnet in look.subnets(port):
        if subnet.ipv6_ra_mode or subnet.ipv6_address_mode:
            mode = subnet.ipv6_address_mode or subnet.ipv6_ra_mode or "slaac"
            # An external network's own hosts are not to learn of tenants' routers.
            periodic = "false" if network.external else "true"
            return {"address_mode": RA_MODES[mode], "send_periodic": periodic, "mtu": str(network.mtu)}
    return {}


def _port_rows(look: Lookup, router: Router, port: Port, inner: list[Port]) -> list[Row]:
    networks = look.topology.networks
    network = networks[port.network_id]
    key = f"router:{router.id}/port-{port.id}"
    options: dict[str, str] = {}
    if port.device_owner == Owner.ROUTER_GATEWAY:
        lowest = min([networks[p.network_id].mtu for p in inner] or [network.mtu])
        if lowest < network.mtu:  # tell the world to fragment, instead of dropping what does not fit
            options["gateway_mtu"] = str(lowest)
    elif network.physical_network is not None and router.gateway_port_id is not None:
        options["reside-on-redirect-chassis"] = "true"
    columns: dict[str, Value] = {
        "name": f"lrp-{port.id}",
        "mac": port.mac_address,
        "networks": look.cidrs(port),
        "options": options,
        "ipv6_ra_configs": _advertisement(look, port),
    }
    rows = []
    if port.device_owner == Owner.ROUTER_GATEWAY:
        candidates = gateway_candidates(router.id, look.physical_network(port), look.chassis)
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


def router_rows(look: Lookup, router: Router) -> tuple[Row, ...]:
    """A logical router with its ports, default and extra routes, SNAT and floating addresses.

    A router port is a point of a network with an address: one whose subnet is gone is left out.
    """
    key = f"router:{router.id}"
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
    ports = [p for p in look.router_ports.get(router.id, ()) if look.cidrs(p)]
    gates = [p for p in ports if p.device_owner == Owner.ROUTER_GATEWAY]
    gates.sort(key=lambda p: p.id != router.gateway_port_id)  # the first gateway first
    inner = [p for p in ports if p.device_owner == Owner.ROUTER_INTERFACE]
    for port in ports:
        rows += _port_rows(look, router, port, inner)
    for route in router.routes:
        rows.append(_route(key, route.destination, route.nexthop))
    for place, gate in enumerate(gates):
        rows += _ways_out(look, router, gate, place)
        rows += _snat_rows(look, router, gate, inner, gates)
    if gates:
        rows += gateway_qos(look, router.qos_policy_id, f"{key}/gateway", gates[0])
    for fip in look.floating_ips.get(router.id, ()):
        for gate in [p for p in gates if p.network_id == fip.floating_network_id][:1]:
            rows += _floating_rows(look, router, gate, fip, several=len(gates) > 1)
    return tuple(rows)


def _route(key: str, destination: str, nexthop: str, port: str = "", bfd: str = "") -> Row:
    """port: by which it leaves, where the next hop alone does not say it."""
    columns: dict[str, Value] = {
        "ip_prefix": destination,
        "nexthop": nexthop,
        "output_port": (f"lrp-{port}",) if port else (),
        "bfd": (Ref(bfd),) if bfd else (),
    }
    name = f"{key}/route-{destination}-{nexthop}" + (f"-{port}" if port else "")
    return Row("Logical_Router_Static_Route", name, columns, holder=(Ref(key), "static_routes"))


def _ways_out(look: Lookup, router: Router, gate: Port, place: int) -> list[Row]:
    """Default routes through a gateway: the first, or each of several where the router spreads over them (ECMP)."""
    if place and not router.enable_default_route_ecmp:
        return []
    key = f"router:{router.id}"
    own = {route.destination for route in router.routes}
    rows = []
    for subnet in look.subnets(gate):
        default = "0.0.0.0/0" if subnet.ip_version == 4 else "::/0"
        if subnet.gateway_ip is None or default in own:
            continue
        bfd = f"{key}/bfd-{gate.id}-{subnet.gateway_ip}" if router.enable_default_route_bfd else ""
        if bfd:
            rows.append(Row("BFD", bfd, {"logical_port": f"lrp-{gate.id}", "dst_ip": subnet.gateway_ip}))
        rows.append(_route(key, default, subnet.gateway_ip, gate.id if place or bfd else "", bfd))
    return rows


def _at_gate(key: str, gate: Port, several: bool) -> dict[str, Value]:
    """At which of several gateways OVN translates."""
    return {"gateway_port": (Ref(f"{key}/port-{gate.id}"),) if several else ()}


def _snat_rows(look: Lookup, router: Router, gate: Port, inner: list[Port], gates: list[Port]) -> list[Row]:
    outer = next((ip.ip_address for ip in gate.fixed_ips if ":" not in ip.ip_address), None)
    if outer is None or not router.enable_snat:
        return []
    key = f"router:{router.id}"
    rows = []
    for cidr in sorted({s.cidr for p in inner for s in look.subnets(p) if s.ip_version == 4}):
        columns: dict[str, Value] = {"type": "snat", "external_ip": outer, "logical_ip": cidr, **_at_gate(key, gate, len(gates) > 1)}
        name = f"{key}/snat-{cidr}" if gate is gates[0] else f"{key}/snat-{gate.id}-{cidr}"
        rows.append(Row("NAT", name, columns, holder=(Ref(key), "nat")))
    return rows


def _floating_rows(look: Lookup, router: Router, gateway: Port, fip: FloatingIp, several: bool) -> list[Row]:
    """NAT of one floating address: on the guest's own node where that reaches the outer network, else at the gateway.

    An address whose ports are forwarded is translated at the gateway, by load balancers with one backend for each port.
    """
    key, holder = f"router:{router.id}/fip-{fip.id}", Ref(f"router:{router.id}")
    resident = f"cr-lrp-{gateway.id}"
    rows: list[Row] = []
    if fip.fixed_ip_address is None:
        for protocol, forwardings in look.forwardings.get(fip.id, {}).items():
            vips = {
                f"{fip.floating_ip_address}:{outer}": f"{f.internal_ip_address}:{inner}" for f in forwardings for outer, inner in f.pairs()
            }
            columns: dict[str, Value] = {
                "name": f"pf-floatingip-{fip.id}-{protocol}",
                "protocol": (protocol,),
                "vips": vips,
                "external_ids": {"neutron:fip_id": fip.id, "neutron:device_owner": "port_forwarding_plugin"},
            }
            rows.append(Row("Load_Balancer", f"{key}/pf-{protocol}", columns, holder=(holder, "load_balancer")))
    else:
        nat = _nat(look, fip) | _at_gate(f"router:{router.id}", gateway, several)
        rows.append(Row("NAT", key, nat, holder=(holder, "nat")))
        if isinstance(at := nat["logical_port"], tuple) and at:
            resident = str(at[0])
    return [*rows, *address_qos(look, fip.qos_policy_id, key, gateway, fip.floating_ip_address, resident)]


def _nat(look: Lookup, fip: FloatingIp) -> dict[str, Value]:
    columns: dict[str, Value] = {
        "type": "dnat_and_snat",
        "external_ip": fip.floating_ip_address,
        "logical_ip": fip.fixed_ip_address or "",
        "logical_port": (),
        "external_mac": (),
        "external_ids": {"neutron:fip_id": fip.id, "neutron:fip_port_id": fip.port_id or ""},
    }
    topology = look.topology
    port = topology.ports.get(fip.port_id or "")
    outside = topology.ports.get(fip.floating_port_id)
    network = topology.networks.get(fip.floating_network_id)
    if look.settings.distributed_floating_ips and port is not None and outside is not None and network is not None and port.host_id:
        node = look.node(port.host_id)
        if node is not None and look.physical_network(outside) in node.physical_networks:
            columns["logical_port"] = (port.id,)
            columns["external_mac"] = (outside.mac_address,)
    return columns
