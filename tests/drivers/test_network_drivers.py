"""What every network driver must do; the fake one first, then OVN."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from msgspec import structs
from tests.network import cases, lab
from tests.network.cases import FIP, GROUP, NET, ONE, ROUTER, TWO, rule, small_cloud

from moln.network.drivers.base import EngineSettings, Fenced, NetworkDriver, PortUp
from moln.network.drivers.fake import FakeDriver, FakeEngine
from moln.network.drivers.ovn import OvnDriver
from moln.network.model.address_groups import AddressGroup
from moln.network.model.logs import NetworkLog
from moln.network.model.segments import Segment
from moln.network.model.topology import Change, Desired, Topology

SETTINGS = EngineSettings(dns_servers=("192.0.2.53",))


class FakeBench:
    """Drivers that share one simulated engine."""

    def __init__(self) -> None:
        self.engine = FakeEngine()

    def driver(self) -> NetworkDriver:
        return FakeDriver(SETTINGS, self.engine)

    def close(self) -> None:
        pass


class OvnBench(lab.Central):
    """Drivers of one real OVN, without nodes."""

    def driver(self) -> NetworkDriver:
        return OvnDriver(self.northbound, self.southbound, SETTINGS)

    def southbound_options(self, port_id: str) -> dict[str, str]:
        """What northd made of a port, once it has seen all that is written."""
        self.nbctl("--wait=sb", "sync")
        out = self.sbctl("--bare", "--columns=options", "find", "Port_Binding", f"logical_port={port_id}")
        return dict(pair.split("=", 1) for pair in out.split())


@pytest.fixture(params=["fake", pytest.param("ovn", marks=pytest.mark.engines)], scope="module")
def bench(request: pytest.FixtureRequest) -> Iterator[FakeBench | OvnBench]:
    if request.param == "ovn" and not lab.available():
        pytest.skip("needs root and OVN")
    made = FakeBench() if request.param == "fake" else OvnBench()
    yield made
    made.close()


EPOCH = iter(range(1, 10_000))


@pytest.fixture
async def driver(bench: FakeBench | OvnBench) -> AsyncIterator[NetworkDriver]:
    made = bench.driver()
    await made.start(next(EPOCH))
    await made.apply(Desired(topology=Topology(), complete=True))
    yield made
    await made.stop()


def whole(topology: Topology) -> Desired:
    return Desired(topology=topology, complete=True)


def part(topology: Topology, *changes: tuple[str, str]) -> Desired:
    return Desired(topology=topology, changes=frozenset(Change(*c) for c in changes))


async def test_what_is_desired_is_there_afterwards(driver: NetworkDriver) -> None:
    assert (await driver.apply(whole(small_cloud()))).written > 20
    assert await driver.check(whole(small_cloud())) == []


async def test_applying_the_same_again_writes_nothing(driver: NetworkDriver) -> None:
    await driver.apply(whole(small_cloud()))
    assert (await driver.apply(whole(small_cloud()))).written == 0


async def test_a_changed_rule_writes_that_rule_only(driver: NetworkDriver) -> None:
    cloud = small_cloud()
    await driver.apply(whole(cloud))
    rules = {**cloud.rules, "new": rule(9, protocol="tcp", port_range_min=80, port_range_max=80)}
    changed = structs.replace(cloud, rules=rules)
    assert (await driver.apply(part(changed, ("group", GROUP)))).written == 1
    assert await driver.check(whole(changed)) == []


async def test_what_is_gone_from_the_topology_is_removed(driver: NetworkDriver) -> None:
    cloud = small_cloud()
    await driver.apply(whole(cloud))
    fewer = structs.replace(cloud, ports={k: v for k, v in cloud.ports.items() if k != ONE}, floating_ips={})
    await driver.apply(part(fewer, ("port", ONE), ("router", ROUTER), ("names", NET)))
    assert await driver.check(whole(fewer)) == []


async def test_an_empty_topology_leaves_nothing(driver: NetworkDriver) -> None:
    await driver.apply(whole(small_cloud()))
    await driver.apply(whole(Topology()))
    assert await driver.check(whole(Topology())) == []


async def test_a_part_need_not_know_the_rest(driver: NetworkDriver) -> None:
    cloud = small_cloud()
    await driver.apply(whole(cloud))
    port = structs.replace(cloud.ports[TWO], admin_state_up=False)
    little = Topology(networks=cloud.networks, subnets=cloud.subnets, ports={TWO: port, cases.META: cloud.ports[cases.META]})
    assert (await driver.apply(part(little, ("port", TWO)))).written == 1
    assert await driver.check(whole(structs.replace(cloud, ports={**cloud.ports, TWO: port}))) == []


async def test_a_port_before_its_group_waits_and_says_for_what(driver: NetworkDriver) -> None:
    cloud = small_cloud()
    await driver.apply(whole(structs.replace(cloud, ports={}, groups={}, rules={}, floating_ips={})))
    applied = await driver.apply(part(cloud, ("port", ONE)))
    assert applied.missing == {Change("group", GROUP)}
    await driver.apply(part(cloud, *((c.kind, c.id) for c in applied.missing), ("port", ONE)))
    assert (await driver.apply(part(cloud, ("port", ONE)))).missing == frozenset()


async def test_ports_move_between_groups(driver: NetworkDriver) -> None:
    cloud = small_cloud()
    await driver.apply(whole(cloud))
    open_port = structs.replace(cloud.ports[TWO], port_security_enabled=False, security_groups=())
    opened = structs.replace(cloud, ports={**cloud.ports, TWO: open_port})
    await driver.apply(part(opened, ("port", TWO)))
    assert await driver.check(whole(opened)) == []
    assert (await driver.apply(whole(opened))).written == 0, "the groups' members are right too"


async def test_a_floating_ip_moves_to_another_port(driver: NetworkDriver) -> None:
    cloud = small_cloud()
    await driver.apply(whole(cloud))
    moved = structs.replace(cloud.floating_ips[FIP], port_id=TWO, fixed_ip_address="10.1.0.12")
    changed = structs.replace(cloud, floating_ips={FIP: moved})
    await driver.apply(part(changed, ("router", ROUTER)))
    assert await driver.check(whole(changed)) == []


async def test_ports_are_forwarded_and_forgotten(driver: NetworkDriver) -> None:
    cloud = small_cloud()
    await driver.apply(whole(cloud))
    loose = structs.replace(cloud.floating_ips[FIP], port_id=None, fixed_ip_address=None)
    lists = {f.id: f for f in (cases.forwarding(1), cases.forwarding(2, external_first=80, external_last=82, internal_first=8080, internal_last=8082),
                               cases.forwarding(3, protocol="udp"))}  # fmt: skip
    changed = structs.replace(cloud, floating_ips={FIP: loose}, forwardings=lists)
    await driver.apply(part(changed, ("router", ROUTER)))
    assert await driver.check(whole(changed)) == []
    fewer = structs.replace(changed, forwardings={k: f for k, f in lists.items() if f.protocol == "udp"})
    await driver.apply(part(fewer, ("router", ROUTER)))
    assert await driver.check(whole(fewer)) == []
    await driver.apply(part(cloud, ("router", ROUTER)))
    assert await driver.check(whole(cloud)) == []


async def test_a_qos_policy_is_kept_on_ports_addresses_and_gateways(driver: NetworkDriver) -> None:
    cloud = cases.with_qos(small_cloud())
    before = await driver.apply(whole(small_cloud()))
    assert (await driver.apply(whole(cloud))).written >= 6
    assert await driver.check(whole(cloud)) == []
    slower = structs.replace(cloud, qos={cases.QOS: tuple(structs.replace(r, max_kbps=r.max_kbps * 2) for r in cloud.qos[cases.QOS])})
    await driver.apply(part(slower, ("port", ONE), ("port", TWO), ("router", ROUTER)))
    assert await driver.check(whole(slower)) == []
    await driver.apply(part(small_cloud(), ("port", ONE), ("port", TWO), ("router", ROUTER)))
    assert await driver.check(whole(small_cloud())) == [] and before.written


async def test_a_least_bandwidth_comes_and_goes(driver: NetworkDriver, bench: FakeBench | OvnBench) -> None:
    cloud = cases.with_least(small_cloud())
    await driver.apply(whole(cloud))
    assert await driver.check(whole(cloud)) == []
    if isinstance(bench, OvnBench):
        assert bench.southbound_options(TWO)["qos_min_rate"] == "2000000", "northd takes it for the node that the port is on"
    none = structs.replace(cloud, qos={})
    await driver.apply(part(none, ("port", TWO)))
    assert await driver.check(whole(none)) == []


async def test_what_groups_accept_and_drop_is_logged_or_not(driver: NetworkDriver) -> None:
    cloud = small_cloud()
    await driver.apply(whole(cloud))
    log = NetworkLog(id="77777777-0000-4000-8000-000000000001", project_id="p")
    told = structs.replace(cloud, logs=(log,))
    await driver.apply(part(told, ("group", GROUP), ("group", "drop")))
    assert await driver.check(whole(told)) == []
    assert (await driver.apply(whole(told))).written == 0
    await driver.apply(part(cloud, ("group", GROUP), ("group", "drop")))
    assert await driver.check(whole(cloud)) == []


async def test_a_network_meets_a_physical_network_in_each_segment(driver: NetworkDriver) -> None:
    cloud = small_cloud()
    await driver.apply(whole(cloud))
    first = Segment(id="66666666-0000-4000-8000-000000000001", network_id=cases.OUTER, network_type="flat", physical_network="physnet1")
    more = structs.replace(first, id="66666666-0000-4000-8000-000000000002", network_type="vlan", physical_network="rack2", segmentation_id=7)
    wider = structs.replace(cloud, segments={s.id: s for s in (first, more)})
    assert (await driver.apply(part(wider, ("network", cases.OUTER)))).written == 1
    assert await driver.check(whole(wider)) == []
    await driver.apply(part(cloud, ("network", cases.OUTER)))
    assert await driver.check(whole(cloud)) == []


async def test_a_router_has_several_gateways_and_ways_out(driver: NetworkDriver) -> None:
    await driver.apply(whole(small_cloud()))
    changes = (("network", cases.SECOND), ("subnet", cases.SECOND_V4), ("port", cases.GATE2), ("router", ROUTER))
    for fields in ({}, {"enable_default_route_ecmp": True}, {"enable_default_route_ecmp": True, "enable_default_route_bfd": True}):
        cloud = cases.with_gateways(small_cloud(), **fields)
        await driver.apply(part(cloud, *changes))
        assert await driver.check(whole(cloud)) == []
        assert (await driver.apply(whole(cloud))).written == 0
    await driver.apply(part(small_cloud(), *changes))
    assert await driver.check(whole(small_cloud())) == []


async def test_a_port_waits_at_a_second_node(driver: NetworkDriver) -> None:
    cloud = small_cloud(host_one="node-1")
    await driver.apply(whole(cloud))
    moving = structs.replace(cloud, waiting={ONE: ("node-2",)})
    await driver.apply(part(moving, ("port", ONE)))
    assert await driver.check(whole(moving)) == []
    await driver.apply(part(cloud, ("port", ONE)))
    assert await driver.check(whole(cloud)) == []


async def test_a_trunks_subports_come_and_go(driver: NetworkDriver) -> None:
    cloud = cases.with_trunk(small_cloud())
    await driver.apply(whole(small_cloud()))
    await driver.apply(part(cloud, ("network", cases.SECOND), ("subnet", cases.SECOND_V4), ("port", cases.SUB), ("port", cases.THREE)))
    assert await driver.check(whole(cloud)) == []
    loose = structs.replace(cloud, subports={})
    await driver.apply(part(loose, ("port", cases.SUB)))
    assert await driver.check(whole(loose)) == []
    assert (await driver.apply(whole(loose))).written == 0


async def test_an_address_group_is_named_by_rules_and_changes_alone(driver: NetworkDriver) -> None:
    cloud = small_cloud()
    named = rule(9, protocol="tcp", remote_address_group_id=cases.ADDRESSES)
    group = AddressGroup(id=cases.ADDRESSES, project_id="p", addresses=("10.9.0.0/24", "fd00:9::/64"))
    cloud = structs.replace(cloud, rules={**cloud.rules, named.id: named}, address_groups={group.id: group})
    await driver.apply(whole(cloud))
    assert await driver.check(whole(cloud)) == []
    more = structs.replace(cloud, address_groups={group.id: structs.replace(group, addresses=("10.9.0.0/24", "10.8.0.1/32"))})
    assert (await driver.apply(part(more, ("addresses", group.id)))).written == 2
    assert await driver.check(whole(more)) == []
    await driver.apply(part(small_cloud(), ("addresses", group.id), ("group", GROUP)))
    assert await driver.check(whole(small_cloud())) == []


async def test_a_fake_subport_is_up_with_its_parent() -> None:
    driver = FakeDriver()
    await driver.start(1)
    await driver.apply(whole(cases.with_trunk(small_cloud(host_one="node-1"))))
    assert await driver.ups() == {ONE: "node-1", cases.SUB: "node-1"}


async def test_an_older_writer_is_refused(driver: NetworkDriver, bench: FakeBench | OvnBench) -> None:
    newer = bench.driver()
    await newer.start(next(EPOCH))
    with pytest.raises(Fenced):
        await driver.apply(whole(small_cloud()))
    with pytest.raises(Fenced):
        await driver.ask_chassis()
    with pytest.raises(Fenced):
        await bench.driver().start(1)
    await newer.stop()


async def test_nodes_can_be_asked_again_and_again(driver: NetworkDriver) -> None:
    await driver.ask_chassis()
    await driver.ask_chassis()
    await driver.apply(whole(small_cloud()))


async def test_two_drivers_see_the_same_rows(driver: NetworkDriver, bench: FakeBench | OvnBench) -> None:
    await driver.apply(whole(small_cloud()))
    second = bench.driver()
    await second.start(next(EPOCH))
    assert (await second.apply(whole(small_cloud()))).written == 0
    await second.stop()


async def test_odd_names_are_only_names(driver: NetworkDriver) -> None:
    """SEC-32: strings a user chose cannot become anything else in the engine."""
    cloud = small_cloud()
    odd = 'x"\n}; drop $$ && ip4 \t{}='
    networks = {k: structs.replace(n, name=odd, description=odd) for k, n in cloud.networks.items()}
    routers = {k: structs.replace(r, name=odd) for k, r in cloud.routers.items()}
    named = structs.replace(cloud, networks=networks, routers=routers)
    await driver.apply(whole(named))
    assert await driver.check(whole(named)) == []


async def test_a_fake_port_comes_up_when_it_is_bound() -> None:
    driver = FakeDriver()
    await driver.start(1)
    told: list[object] = []
    driver.listen(told.append)
    await driver.apply(whole(small_cloud(host_one="node-1")))
    assert told == [PortUp(ONE, True, "node-1")]
    assert await driver.ups() == {ONE: "node-1"}
