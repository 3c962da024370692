"""Networks, subnets and ports as northbound rows (ovn-nb(5)). Pure."""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Iterable

from moln.network.drivers.lookup import Lookup
from moln.network.drivers.ovn_qos import port_options, port_qos
from moln.network.drivers.rows import Ref, Row, Value
from moln.network.model import addresses
from moln.network.model.dhcp_options import rendered
from moln.network.model.networks import Network
from moln.network.model.ports import METADATA_DEVICE, ROUTER_OWNERS, Owner, Port
from moln.network.model.subnets import Subnet

DROP = "group:drop"  # every secured port is in it; what no rule allows ends here


def switch_name(network_id: str) -> str:
    """As Neutron names its logical switches and routers, for the tools that know them."""
    return f"neutron-{network_id}"


def network_rows(look: Lookup, network: Network) -> tuple[Row, ...]:
    """A logical switch, and where it meets physical networks: one, or one for each of its segments."""
    key = f"network:{network.id}"
    switch = Row(
        "Logical_Switch",
        key,
        {
            "name": switch_name(network.id),
            "other_config": {"mcast_snoop": "false", "vlan-passthru": str(network.vlan_transparent or network.qinq).lower()},
            "external_ids": {
                "neutron:network_name": network.name,
                "neutron:mtu": str(network.mtu),
                "neutron:network_type": network.network_type,
            },
        },
    )
    places = [(f"{key}/localnet", network.id, network.physical_network, network.segmentation_id)]
    places += [(f"{key}/localnet-{s.id}", s.id, s.physical_network, s.segmentation_id) for s in look.segments.get(network.id, ())]
    return switch, *(_localnet(key, name, id, physical, tag, network.qinq) for name, id, physical, tag in places if physical is not None)


def _localnet(switch: str, key: str, id: str, physical_network: str, tag: int | None, qinq: bool) -> Row:
    options = {"network_name": physical_network, "mcast_flood": "false", "mcast_flood_reports": "true"}
    columns: dict[str, Value] = {
        "name": f"provnet-{id}",
        "type": "localnet",
        "addresses": ("unknown",),
        "options": options | ({"ethtype": "802.11ad"} if qinq else {}),
        "tag_request": () if tag is None else (tag,),
    }
    return Row("Logical_Switch_Port", key, columns, holder=(Ref(switch), "ports"))


def metadata_address(look: Lookup, subnet: Subnet) -> str | None:
    """Where hosts of the subnet reach metadata: the address of the network's distributed port there."""
    port = look.metadata_ports.get(subnet.network_id)
    return None if port is None else next((ip.ip_address for ip in port.fixed_ips if ip.subnet_id == subnet.id), None)


def dhcp_options(look: Lookup, subnet: Subnet) -> dict[str, str] | None:
    """DHCP options all hosts of a subnet get, in OVN's syntax; None when it has no DHCP service."""
    if subnet.id not in look.dhcp:
        make = _dhcpv4 if subnet.ip_version == 4 else _dhcpv6
        look.dhcp[subnet.id] = make(look, subnet) if subnet.enable_dhcp else None
    return look.dhcp[subnet.id]


def _servers(look: Lookup, subnet: Subnet) -> tuple[str, ...]:
    fallback = (s for s in look.settings.dns_servers if ipaddress.ip_address(s).version == subnet.ip_version)
    return subnet.dns_nameservers or tuple(fallback)


def _set(values: Iterable[str]) -> str:
    return "{" + ", ".join(values) + "}"


def _dhcpv6(look: Lookup, subnet: Subnet) -> dict[str, str] | None:
    if subnet.ipv6_address_mode == "slaac":
        return None
    options = {"server_id": addresses.mac_of(subnet.id, "dhcp")}
    if servers := _servers(look, subnet):
        options["dns_server"] = _set(servers)
    if subnet.ipv6_address_mode == "dhcpv6-stateless":
        options["dhcpv6_stateless"] = "true"
    return options


def _dhcpv4(look: Lookup, subnet: Subnet) -> dict[str, str] | None:
    network, metadata = look.topology.networks[subnet.network_id], metadata_address(look, subnet)
    server = subnet.gateway_ip or metadata
    if server is None:
        return None
    options = {
        "server_id": server,
        "server_mac": addresses.mac_of(subnet.id, "dhcp"),
        "lease_time": str(look.settings.lease_s),
        "mtu": str(network.mtu),
    }
    if subnet.gateway_ip is not None:
        options["router"] = subnet.gateway_ip
    if servers := _servers(look, subnet):
        options["dns_server"] = _set(servers)
    if domain := (network.dns_domain or look.settings.dns_domain).rstrip("."):
        options["domain_name"] = f'"{domain}"'
    routes = [f"{addresses.METADATA_V4}/32,{metadata}"] if metadata else []
    routes += [f"{route.destination},{route.nexthop}" for route in subnet.host_routes]
    if routes:  # RFC 3442: a client that takes option 121 ignores option 3
        if subnet.gateway_ip is not None:
            routes.append(f"0.0.0.0/0,{subnet.gateway_ip}")
        options["classless_static_route"] = _set(routes)
    return options


def subnet_rows(look: Lookup, subnet: Subnet) -> tuple[Row, ...]:
    """The subnet's DHCP service."""
    options = dhcp_options(look, subnet)
    if options is None:
        return ()
    return (Row("DHCP_Options", f"subnet:{subnet.id}", {"cidr": subnet.cidr, "options": options}),)


def port_security(port: Port) -> tuple[str, ...]:
    """The MAC and IP combinations a port may send, in OVN's syntax; empty when it may send anything."""
    if not port.secured:
        return ()
    by_mac: dict[str, list[str]] = {port.mac_address: [ip.ip_address for ip in port.fixed_ips]}
    for pair in port.allowed_address_pairs:
        by_mac.setdefault(pair.mac_address, []).append(pair.ip_address)
    return tuple(sorted(" ".join([mac, *sorted(set(ips), key=_place)]) for mac, ips in by_mac.items()))


def _place(text: str) -> tuple[int, int, int]:
    network = ipaddress.ip_network(text)
    return network.version, int(network.network_address), network.prefixlen


def _extra_options(port: Port, version: int) -> dict[str, str]:
    """A value that cannot be is left out: the API takes none, but rows outlive the API that wrote them."""
    found = []
    for option in port.extra_dhcp_opts:
        if option.ip_version == version:
            with contextlib.suppress(ValueError):
                found.append(rendered(option.opt_name, option.opt_value, version))
    return dict(option for option in found if option is not None)


def _dhcp(look: Lookup, port: Port, version: int) -> tuple[tuple[Ref, ...], tuple[Row, ...]]:
    """What a port's dhcpv4_options or dhcpv6_options refers to, and a row of its own where its options differ."""
    if port.trusted:
        return (), ()
    subnets = [s for s in look.subnets(port) if s.ip_version == version]
    subnets.sort(key=lambda s: s.ipv6_address_mode == "dhcpv6-stateless")  # one that hands out addresses first
    served = [(s, options) for s in subnets if (options := dhcp_options(look, s)) is not None]
    if not served:
        return (), ()
    subnet, options = served[0]
    if not (extra := _extra_options(port, version)):
        return (Ref(f"subnet:{subnet.id}", needed=False),), ()
    own = Row("DHCP_Options", f"port:{port.id}/dhcpv{version}", {"cidr": subnet.cidr, "options": {**options, **extra}})
    return (Ref(own.key),), (own,)


def _chassis(look: Lookup, port: Port) -> dict[str, str]:
    """Where a port is. Where others wait for it, it is there too, but silent until its guest speaks there (RARP): so it moves without a gap."""
    waiting = look.topology.waiting.get(port.id, ())
    if not port.host_id:
        return {}
    if not waiting:
        return {"requested-chassis": port.host_id}
    return {"requested-chassis": ",".join((port.host_id, *waiting)), "activation-strategy": "rarp"}


def port_rows(look: Lookup, port: Port) -> tuple[Row, ...]:
    """A logical switch port, the groups it is in, and DHCP options of its own.

    Floating addresses have no port in the engine: the router answers for them.
    """
    if port.device_owner == Owner.FLOATING_IP:
        return ()
    network = look.topology.networks[port.network_id]
    ips = [ip.ip_address for ip in port.fixed_ips]
    columns: dict[str, Value] = {
        "name": port.id,
        "type": "",
        "enabled": (port.admin_state_up,),
        "addresses": (" ".join([port.mac_address, *ips]),),
        "port_security": port_security(port),
        "options": {},
        "dhcpv4_options": (),
        "dhcpv6_options": (),
        "parent_name": (),
        "tag_request": (),
        "tag": (),
        "external_ids": {
            "neutron:device_id": port.device_id,
            "neutron:device_owner": port.device_owner,
            "neutron:project_id": port.project_id,
            "neutron:network_name": switch_name(port.network_id),
            "neutron:mtu": str(network.mtu),
            "neutron:cidrs": " ".join(look.cidrs(port)),
        },
    }
    extra: tuple[Row, ...] = ()
    groups: frozenset[str] = frozenset()
    if port.device_owner in ROUTER_OWNERS:
        columns["type"] = "router"
        columns["addresses"] = ("router",)
        columns["enabled"] = ()
        columns["options"] = {"router-port": f"lrp-{port.id}"}
        if port.device_owner == Owner.ROUTER_GATEWAY:
            columns["options"] = {"router-port": f"lrp-{port.id}", "nat-addresses": "router"}
    elif port.device_owner == Owner.DISTRIBUTED and port.device_id.startswith(METADATA_DEVICE):
        columns["type"] = "localport"
    else:
        if (carrier := look.topology.subports.get(port.id)) is not None:
            columns["parent_name"] = (carrier.parent_id,)
            columns["tag_request"] = columns["tag"] = (carrier.tag,)
        else:
            columns["options"] = _chassis(look, port) | port_options(look, port)
        (v4, own4), (v6, own6) = _dhcp(look, port, 4), _dhcp(look, port, 6)
        columns["dhcpv4_options"], columns["dhcpv6_options"], extra = v4, v6, own4 + own6
        pair_macs = sorted({pair.mac_address for pair in port.allowed_address_pairs} - {port.mac_address})
        columns["addresses"] = (" ".join([port.mac_address, *ips]), *pair_macs)
        if port.secured:
            groups = frozenset([DROP, *(f"group:{group}" for group in port.security_groups)])
        elif not port.port_security_enabled:
            columns["addresses"] = (*columns["addresses"], "unknown")  # type: ignore[misc]
    row = Row(
        "Logical_Switch_Port",
        f"port:{port.id}",
        columns,
        holder=(Ref(f"network:{port.network_id}"), "ports"),
        groups=groups,
    )
    return (*extra, row, *port_qos(look, port))


def names_rows(look: Lookup, network: Network) -> tuple[Row, ...]:
    """DNS answers for the named ports of a network, forward and reverse; OVN gives them without a server."""
    records: dict[str, list[str]] = {}
    reverse: dict[str, str] = {}
    for port in look.named_ports.get(network.id, ()):
        label = port.dns_name.rstrip(".").lower()
        domain = (port.dns_domain or network.dns_domain or look.settings.dns_domain).rstrip(".").lower()
        full = f"{label}.{domain}" if domain else label
        for name in dict.fromkeys((label, full)):
            records.setdefault(name, []).extend(ip.ip_address for ip in port.fixed_ips)
        for ip in port.fixed_ips:
            reverse.setdefault(ipaddress.ip_address(ip.ip_address).reverse_pointer, full)
    if not records:
        return ()
    answers = {name: " ".join(ips) for name, ips in records.items()} | reverse
    return (Row("DNS", f"names:{network.id}", {"records": answers}, holder=(Ref(f"network:{network.id}"), "dns_records")),)
