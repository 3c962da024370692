"""Packets through a real OVN: what the rows mean to guests."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from msgspec import structs
from tests.network import lab
from tests.network.cases import FIP, GROUP, META, ONE, ROUTER, TWO, rule, small_cloud

from moln.network.drivers.base import EngineSettings, PortUp
from moln.network.drivers.ovn import OvnDriver
from moln.network.model.ports import AddressPair
from moln.network.model.security_groups import IPV6_ONLY, PROTOCOLS, canonical
from moln.network.model.topology import Change, Desired, Topology

pytestmark = [pytest.mark.engines, pytest.mark.skipif(not lab.available(), reason="needs root and OVN")]


class Cloud:
    """The lab, a driver on it, and what it holds now."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.lab = lab.Lab(nodes=2)
        self.driver = OvnDriver(self.lab.northbound, self.lab.southbound, EngineSettings(dns_servers=("192.0.2.53",)))
        self.topology = small_cloud(host_one=self.lab.nodes[0], host_two=self.lab.nodes[1])
        self.ups: list[PortUp] = []
        try:
            self._set_up()
        except BaseException:
            self.close()
            raise

    def _set_up(self) -> None:
        self.loop.run_until_complete(self._begin())
        cards = {port_id: self.topology.ports[port_id].mac_address for port_id in (ONE, TWO, META)}
        self.one = self.lab.guest(self.lab.nodes[0], "one", ONE, cards[ONE])
        self.two = self.lab.guest(self.lab.nodes[1], "two", TWO, cards[TWO])
        self.lab.sync()
        self.lease_one, self.lease_two = self.lab.dhcp(self.one), self.lab.dhcp(self.two)

    async def _begin(self) -> None:
        await self.driver.start(1)
        self.lab.sync()
        self.driver.listen(lambda event: self.ups.append(event) if isinstance(event, PortUp) else None)
        await self.driver.apply(Desired(topology=self.topology, complete=True))

    def apply(self, topology: Topology, *changes: tuple[str, str]) -> None:
        """Bring OVN to a new topology by naming what changed, and wait for the nodes."""
        desired = Desired(topology=topology, changes=frozenset(Change(*c) for c in changes))
        applied = self.loop.run_until_complete(self.driver.apply(desired))
        assert not applied.missing
        self.topology = topology
        self.lab.sync()

    def close(self) -> None:
        self.loop.run_until_complete(self.driver.stop())
        self.loop.close()
        self.lab.close()


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    made = Cloud()
    yield made
    made.close()


def test_dhcp_gives_address_router_dns_mtu_and_the_route_to_metadata(cloud: Cloud) -> None:
    lease = cloud.lease_one
    assert lease["ip"] == "10.1.0.11" and lease["mtu"] == "1442" and lease["dns"] == "192.0.2.53"
    assert lease["routes"] == "169.254.169.254/32 10.1.0.2 0.0.0.0/0 10.1.0.1"
    assert lease["domain"] == "openstacklocal"


def test_ports_plugged_in_come_up_and_are_told(cloud: Cloud) -> None:
    cloud.loop.run_until_complete(asyncio.sleep(0.2))
    ups = cloud.loop.run_until_complete(cloud.driver.ups())
    assert ups == {ONE: cloud.lab.nodes[0], TWO: cloud.lab.nodes[1]}
    assert {ONE, TWO} <= {event.port_id for event in cloud.ups if event.up}


def test_nodes_are_known_with_their_physical_networks(cloud: Cloud) -> None:
    nodes = cloud.loop.run_until_complete(cloud.driver.chassis())
    assert [n.name for n in nodes] == cloud.lab.nodes
    assert nodes[0].physical_networks == ("physnet1",) and nodes[0].tunnel_ips == ("192.0.2.1",)


def test_guests_of_one_group_reach_each_other_across_nodes(cloud: Cloud) -> None:
    assert cloud.lab.reaches(cloud.one, "10.1.0.12")


def test_a_guest_goes_out_through_the_gateway_with_and_without_floating_ip(cloud: Cloud) -> None:
    for guest in (cloud.one, cloud.two):
        cloud.lab.inside(guest, "ip", "route", "replace", "default", "via", "10.1.0.1")
    run = cloud.lab.inside
    run(cloud.lab.world, "ip", "route", "replace", "blackhole", "10.1.0.0/24", "metric", "5000")
    assert cloud.lab.reaches(cloud.two, "198.51.100.1"), "SNAT by the router's gateway"
    assert cloud.lab.reaches(cloud.one, "198.51.100.1"), "SNAT by its own floating address"


def test_the_floating_ip_is_answered_from_the_guests_own_node(cloud: Cloud) -> None:
    row = cloud.lab.nbctl("--bare", "--columns=external_mac,logical_port", "find", "NAT", "external_ip=203.0.113.101")
    assert row.split() == ["fa:16:3e:00:00:07", ONE]


def test_a_rule_opens_and_closes_the_floating_ip(cloud: Cloud) -> None:
    address = "203.0.113.101"
    assert not cloud.lab.pings(cloud.lab.world, address), "nothing lets the world in by default"
    before = cloud.topology
    icmp = rule(7, protocol="icmp")
    cloud.apply(structs.replace(before, rules={**before.rules, icmp.id: icmp}), ("group", GROUP))
    assert cloud.lab.reaches(cloud.lab.world, address)
    cloud.apply(before, ("group", GROUP))
    assert not cloud.lab.pings(cloud.lab.world, address)


def test_a_forged_source_is_dropped_until_it_is_allowed(cloud: Cloud) -> None:
    """SEC-28: neither IP nor MAC may be invented; an allowed address pair lets one through."""
    run = cloud.lab.inside
    run(cloud.two, "ip", "addr", "add", "10.1.0.77/24", "dev", "eth0")
    assert not cloud.lab.pings(cloud.two, "10.1.0.11", "-I", "10.1.0.77")
    before = cloud.topology
    two = before.ports[TWO]
    pair = structs.replace(two, allowed_address_pairs=(AddressPair("10.1.0.77", two.mac_address),))
    cloud.apply(structs.replace(before, ports={**before.ports, TWO: pair}), ("port", TWO))
    run(cloud.one, "ip", "neigh", "flush", "all")
    assert cloud.lab.reaches(cloud.two, "10.1.0.11", "-I", "10.1.0.77") is False, "its group's address set does not hold the pair"
    opened = rule(8, protocol="icmp", remote_ip_prefix="10.1.0.0/24")
    cloud.apply(structs.replace(cloud.topology, rules={**before.rules, opened.id: opened}), ("group", GROUP))
    assert cloud.lab.reaches(cloud.two, "10.1.0.11", "-I", "10.1.0.77")
    cloud.apply(before, ("group", GROUP), ("port", TWO))
    run(cloud.two, "ip", "addr", "del", "10.1.0.77/24", "dev", "eth0")
    mac = two.mac_address
    run(cloud.two, "ip", "link", "set", "eth0", "address", "02:00:00:00:66:66")
    assert not cloud.lab.pings(cloud.two, "10.1.0.11")
    run(cloud.two, "ip", "link", "set", "eth0", "address", mac)
    run(cloud.two, "ip", "route", "replace", "default", "via", "10.1.0.1")
    assert cloud.lab.reaches(cloud.two, "10.1.0.11")


def test_a_port_without_port_security_may_send_anything(cloud: Cloud) -> None:
    before = cloud.topology
    bare = structs.replace(before.ports[TWO], port_security_enabled=False, security_groups=())
    extra = rule(6, protocol="icmp")
    changed = structs.replace(before, ports={**before.ports, TWO: bare}, rules={**before.rules, extra.id: extra})
    cloud.apply(changed, ("port", TWO), ("group", GROUP))
    cloud.lab.inside(cloud.two, "ip", "addr", "add", "10.1.0.99/24", "dev", "eth0")
    assert cloud.lab.reaches(cloud.two, "10.1.0.11", "-I", "10.1.0.99")
    cloud.lab.inside(cloud.two, "ip", "addr", "del", "10.1.0.99/24", "dev", "eth0")
    cloud.apply(before, ("port", TWO), ("group", GROUP))


def test_names_of_other_guests_are_answered(cloud: Cloud) -> None:
    query = (
        "import socket,sys;q=b'\\x12\\x34\\x01\\x00\\x00\\x01'+bytes(6)+b''.join(bytes([len(p)])+p.encode() for p in sys.argv[1].split('.'))"
        "+b'\\0\\0\\1\\0\\1';s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM);s.settimeout(3);s.sendto(q,('192.0.2.53',53));"
        "print('.'.join(map(str,s.recv(512)[-4:])))"
    )
    for name in ("two", "two.openstacklocal"):
        assert cloud.lab.inside(cloud.one, "/usr/bin/python3", "-c", query, name).strip() == "10.1.0.12"


def test_ipv6_hosts_hear_of_their_router(cloud: Cloud) -> None:
    run = cloud.lab.inside
    run(cloud.one, "sysctl", "-q", "-w", "net.ipv6.conf.eth0.disable_ipv6=0", "net.ipv6.conf.eth0.accept_ra=2")
    run(cloud.one, "ip", "link", "set", "eth0", "down")
    run(cloud.one, "ip", "link", "set", "eth0", "up")  # a router solicitation follows
    run(cloud.one, "ip", "-6", "addr", "add", "fd00:1::11/128", "dev", "eth0", "nodad")
    run(cloud.one, "ip", "addr", "replace", "10.1.0.11/24", "dev", "eth0")
    run(cloud.one, "ip", "route", "replace", "default", "via", "10.1.0.1")
    for _ in range(15):
        if "default" in run(cloud.one, "ip", "-6", "route"):
            break
        run(cloud.one, "timeout", "1", "ip", "-6", "monitor", "route", check=False)
    assert "default" in run(cloud.one, "ip", "-6", "route")
    assert cloud.lab.reaches(cloud.one, "fd00:1::1", "-6")


def test_metadata_is_reached_on_the_guests_own_node(cloud: Cloud) -> None:
    meta = cloud.lab.guest(cloud.lab.nodes[1], "meta", META, cloud.topology.ports[META].mac_address)
    cloud.lab.inside(meta, "ip", "addr", "add", "10.1.0.2/24", "dev", "eth0")
    cloud.lab.inside(meta, "ip", "addr", "add", "169.254.169.254/32", "dev", "eth0")
    cloud.lab.sync()
    cloud.lab.inside(cloud.two, "ip", "route", "replace", "169.254.169.254/32", "via", "10.1.0.2")
    assert cloud.lab.reaches(cloud.two, "169.254.169.254")


def test_every_kind_of_rule_is_understood_by_the_nodes(cloud: Cloud) -> None:
    """SEC-30: no rule that the API takes breaks a node's firewall."""
    before = cloud.topology
    kinds = [rule(100 + n, protocol=protocol, ethertype=ethertype, direction=direction)
             for n, (protocol, ethertype, direction) in enumerate(
                 (p, e, d) for p in [*PROTOCOLS, "0", "255", None] for e in ("IPv4", "IPv6") for d in ("ingress", "egress")
                 if not (e == "IPv4" and p in IPV6_ONLY))]  # fmt: skip
    kinds += [
        rule(900, protocol="tcp", port_range_min=1, port_range_max=65534), rule(901, protocol="udplite", port_range_min=5, port_range_max=9),
        rule(902, protocol="icmp", port_range_min=8, port_range_max=0), rule(903, protocol="sctp", port_range_min=7, port_range_max=7),
        rule(904, ethertype="IPv6", protocol="ipv6-icmp", port_range_min=128), rule(905, remote_ip_prefix="10.9.8.7/13"),
        rule(906, ethertype="IPv6", remote_ip_prefix="fd00::5/7"), rule(907, direction="egress", remote_group_id=GROUP),
    ]  # fmt: skip
    cloud.apply(structs.replace(before, rules={**before.rules, **{k.id: canonical(k) for k in kinds}}), ("group", GROUP))
    for node in cloud.lab.nodes:
        log = (cloud.lab.dir / f"{node}-oc.log").read_text()
        assert "pars" not in log.lower().replace("sparse", ""), [line for line in log.splitlines() if "pars" in line.lower()][:3]
    assert cloud.lab.reaches(cloud.one, "10.1.0.12")
    cloud.apply(before, ("group", GROUP))


def test_a_removed_floating_ip_is_silent(cloud: Cloud) -> None:
    before = cloud.topology
    opened = rule(7, protocol="icmp")
    cloud.apply(structs.replace(before, rules={**before.rules, opened.id: opened}), ("group", GROUP))
    assert cloud.lab.reaches(cloud.lab.world, "203.0.113.101")
    loose = structs.replace(before.floating_ips[FIP], port_id=None, fixed_ip_address=None, router_id=None)
    cloud.apply(structs.replace(cloud.topology, floating_ips={FIP: loose}), ("router", ROUTER))
    assert not cloud.lab.pings(cloud.lab.world, "203.0.113.101")
    cloud.apply(before, ("group", GROUP), ("router", ROUTER))
