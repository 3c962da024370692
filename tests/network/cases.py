"""Small topologies that several tests start from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import structs

from moln.network.model.addresses import Pool
from moln.network.model.networks import Network
from moln.network.model.ports import FixedIp, Owner, Port
from moln.network.model.qos import QosKind, QosRule
from moln.network.model.routers import FloatingIp, PortForwarding, Router
from moln.network.model.security_groups import SecurityGroup, SecurityGroupRule
from moln.network.model.subnets import Subnet
from moln.network.model.topology import Carrier, Topology, by_id

NET, OUTER = "aaaaaaaa-0000-4000-8000-000000000001", "aaaaaaaa-0000-4000-8000-000000000002"
V4, V6, OUTER_V4 = (f"bbbbbbbb-0000-4000-8000-00000000000{n}" for n in "123")
ONE, TWO, META, INNER, INNER6, GATE, FIP_PORT = (f"cccccccc-0000-4000-8000-00000000000{n}" for n in "1234567")
ROUTER, FIP = "dddddddd-0000-4000-8000-000000000001", "eeeeeeee-0000-4000-8000-000000000001"
SECOND, SECOND_V4 = "aaaaaaaa-0000-4000-8000-000000000003", "bbbbbbbb-0000-4000-8000-000000000004"
GATE2 = "cccccccc-0000-4000-8000-00000000000a"
SUB, THREE = "cccccccc-0000-4000-8000-000000000008", "cccccccc-0000-4000-8000-000000000009"
ADDRESSES = "88888888-0000-4000-8000-000000000001"
GROUP, QOS = "ffffffff-0000-4000-8000-000000000001", "99999999-0000-4000-8000-000000000001"
MAC = "fa:16:3e:00:00:0"


def rule(n: int, **fields: object) -> SecurityGroupRule:
    """A rule of the one group."""
    fields = {"direction": "ingress", "security_group_id": GROUP, **fields}
    return SecurityGroupRule(id=f"ffffffff-1111-4000-8000-{n:012d}", project_id="p", **fields)  # type: ignore[arg-type]


def forwarding(n: int, **fields: object) -> PortForwarding:
    """Port 2201, 2202… of the floating address leads to the first guest's 22."""
    fields = {
        "protocol": "tcp", "external_first": 2200 + n, "external_last": 2200 + n, "internal_first": 22, "internal_last": 22,
        "internal_port_id": ONE, "internal_ip_address": "10.1.0.11", **fields,
    }  # fmt: skip
    return PortForwarding(id=f"eeeeeeee-1111-4000-8000-{n:012d}", project_id="p", floatingip_id=FIP, **fields)  # type: ignore[arg-type]


def with_trunk(cloud: Topology, host: str = "") -> Topology:
    """The first guest reaches a second network by VLAN 101; a third guest is on it."""
    network = Network(id=SECOND, project_id="p", name="second", mtu=1442, segmentation_id=2)
    subnet = Subnet(id=SECOND_V4, network_id=SECOND, project_id="p", cidr="10.2.0.0/24", gateway_ip="10.2.0.1", enable_dhcp=False)
    shape = Port(id="", network_id=SECOND, project_id="p", mac_address="", security_groups=(GROUP,))
    sub = structs.replace(shape, id=SUB, mac_address=MAC + "8", device_owner="trunk:subport", fixed_ips=(FixedIp(SECOND_V4, "10.2.0.11"),))
    three = structs.replace(shape, id=THREE, mac_address=MAC + "9", host_id=host, fixed_ips=(FixedIp(SECOND_V4, "10.2.0.12"),))
    return structs.replace(
        cloud, networks={**cloud.networks, SECOND: network}, subnets={**cloud.subnets, SECOND_V4: subnet},
        ports={**cloud.ports, SUB: sub, THREE: three}, subports={SUB: Carrier(ONE, 101)},
    )  # fmt: skip


def with_least(cloud: Topology) -> Topology:
    """The second guest is on the physical network, and is promised a bandwidth of it."""
    rule = QosRule(id="99999999-2222-4000-8000-000000000000", project_id="p", policy_id=QOS, kind=QosKind.MINIMUM_BANDWIDTH, min_kbps=2000)
    two = structs.replace(cloud.ports[TWO], network_id=OUTER, qos_policy_id=QOS, fixed_ips=(FixedIp(OUTER_V4, "203.0.113.50"),))
    return structs.replace(cloud, qos={QOS: (rule,)}, ports={**cloud.ports, TWO: two})


def with_gateways(cloud: Topology, **fields: bool) -> Topology:
    """The router has a second gateway, to a second outer network behind the same cable (VLAN 77)."""
    outer = Network(
        id=SECOND, project_id="a", name="second", mtu=1500, network_type="vlan", physical_network="physnet1", segmentation_id=77, external=True
    )
    subnet = Subnet(id=SECOND_V4, network_id=SECOND, project_id="a", cidr="198.18.0.0/24", gateway_ip="198.18.0.1", enable_dhcp=False)
    gate = structs.replace(cloud.ports[GATE], id=GATE2, network_id=SECOND, mac_address=MAC + "a", fixed_ips=(FixedIp(SECOND_V4, "198.18.0.10"),))
    router = structs.replace(cloud.routers[ROUTER], **fields)  # type: ignore[arg-type]
    return structs.replace(
        cloud, networks={**cloud.networks, SECOND: outer}, subnets={**cloud.subnets, SECOND_V4: subnet}, ports={**cloud.ports, GATE2: gate},
        routers={ROUTER: router},
    )  # fmt: skip


def with_qos(cloud: Topology, **fields: int) -> Topology:
    """The first guest, its floating address and the router's gateway bounded and marked; the second guest by its network."""
    rules = tuple(
        QosRule(id=f"99999999-1111-4000-8000-00000000000{n}", project_id="p", policy_id=QOS, kind=kind, direction=direction, **numbers)
        for n, (kind, direction, numbers) in enumerate((
            (QosKind.BANDWIDTH_LIMIT, "egress", {"max_kbps": 3000, "max_burst_kbps": 300}), (QosKind.BANDWIDTH_LIMIT, "ingress", {"max_kbps": 4000}),
            (QosKind.DSCP_MARKING, "egress", {"dscp_mark": 10}),
        ))
    )  # type: ignore[arg-type]  # fmt: skip

    def bound(things: Mapping[str, Any], id: str) -> dict[str, Any]:
        return {**things, id: structs.replace(things[id], qos_policy_id=QOS)}

    return structs.replace(
        cloud, qos={QOS: rules}, networks=bound(cloud.networks, NET), ports=bound(cloud.ports, ONE), routers=bound(cloud.routers, ROUTER),
        floating_ips=bound(cloud.floating_ips, FIP),
    )  # fmt: skip


def default_rules() -> list[SecurityGroupRule]:
    """What a project's default group holds."""
    return [
        rule(1, direction="egress"),
        rule(2, direction="egress", ethertype="IPv6"),
        rule(3, remote_group_id=GROUP),
        rule(4, ethertype="IPv6", remote_group_id=GROUP),
    ]


def small_cloud(host_one: str = "", host_two: str = "") -> Topology:
    """Two guests on one network with v4 and v6, a router to an outer network, a floating address for the first guest."""
    networks = [
        Network(id=NET, project_id="p", name="inside", mtu=1442, segmentation_id=1),
        Network(
            id=OUTER,
            project_id="a",
            name="outside",
            mtu=1500,
            network_type="flat",
            physical_network="physnet1",
            external=True,
        ),
    ]
    subnets = [
        Subnet(id=V4, network_id=NET, project_id="p", cidr="10.1.0.0/24", gateway_ip="10.1.0.1",
               allocation_pools=(Pool("10.1.0.2", "10.1.0.254"),)),
        Subnet(id=V6, network_id=NET, project_id="p", cidr="fd00:1::/64", ip_version=6, gateway_ip="fd00:1::1",
               ipv6_ra_mode="dhcpv6-stateful", ipv6_address_mode="dhcpv6-stateful"),
        Subnet(id=OUTER_V4, network_id=OUTER, project_id="a", cidr="203.0.113.0/24", gateway_ip="203.0.113.1", enable_dhcp=False),
    ]  # fmt: skip
    ports = [
        Port(id=ONE, network_id=NET, project_id="p", mac_address=MAC + "1", host_id=host_one, device_owner="compute:nova",
             device_id="one", fixed_ips=(FixedIp(V4, "10.1.0.11"), FixedIp(V6, "fd00:1::11")), security_groups=(GROUP,), dns_name="one"),
        Port(id=TWO, network_id=NET, project_id="p", mac_address=MAC + "2", host_id=host_two, device_owner="compute:nova",
             device_id="two", fixed_ips=(FixedIp(V4, "10.1.0.12"), FixedIp(V6, "fd00:1::12")), security_groups=(GROUP,), dns_name="two"),
        Port(id=META, network_id=NET, project_id="p", mac_address=MAC + "3", device_owner=Owner.DISTRIBUTED,
             device_id=f"ovnmeta-{NET}", fixed_ips=(FixedIp(V4, "10.1.0.2"),)),
        Port(id=INNER, network_id=NET, project_id="p", mac_address=MAC + "4", device_owner=Owner.ROUTER_INTERFACE, device_id=ROUTER,
             fixed_ips=(FixedIp(V4, "10.1.0.1"),)),
        Port(id=INNER6, network_id=NET, project_id="p", mac_address=MAC + "5", device_owner=Owner.ROUTER_INTERFACE, device_id=ROUTER,
             fixed_ips=(FixedIp(V6, "fd00:1::1"),)),
        Port(id=GATE, network_id=OUTER, project_id="", mac_address=MAC + "6", device_owner=Owner.ROUTER_GATEWAY, device_id=ROUTER,
             fixed_ips=(FixedIp(OUTER_V4, "203.0.113.10"),)),
        Port(id=FIP_PORT, network_id=OUTER, project_id="", mac_address=MAC + "7", device_owner=Owner.FLOATING_IP, device_id=FIP,
             fixed_ips=(FixedIp(OUTER_V4, "203.0.113.101"),)),
    ]  # fmt: skip
    router = Router(id=ROUTER, project_id="p", name="r", gateway_network_id=OUTER, gateway_port_id=GATE)
    fip = FloatingIp(
        id=FIP, project_id="p", floating_network_id=OUTER, floating_ip_address="203.0.113.101", floating_port_id=FIP_PORT,
        port_id=ONE, fixed_ip_address="10.1.0.11", router_id=ROUTER,
    )  # fmt: skip
    return Topology(
        networks=by_id(networks), subnets=by_id(subnets), ports=by_id(ports), routers=by_id([router]), floating_ips=by_id([fip]),
        groups=by_id([SecurityGroup(id=GROUP, project_id="p", name="default")]), rules=by_id(default_rules()),
    )  # fmt: skip
