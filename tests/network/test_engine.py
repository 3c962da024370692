"""The engine's writer: outages, other writers, lost wakes, and what nodes are told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec import structs
from tests.wire.areas import AreaApi, areas
from tests.wire.network.conftest import Client, Settings

import moln.network.module as network
from moln.kernel.link import InProcessLinks, MemoryFences, Verbs
from moln.network.drivers.fake import FakeDriver
from moln.network.drivers.node import NodeNetworkDriver
from moln.network.drivers.node_fake import FakeNodeNetwork
from moln.network.model.topology import Desired, Topology
from moln.network.ops.agents import LIVE_S
from moln.network.work.engine import ASK_S, Engine


class Bench:
    def __init__(self, api: AreaApi, node: FakeNodeNetwork):
        self.api, self.node = api, node
        self.alice, self.admin = Client(api.client("red/member", "")), Client(api.client("cloud/admin", ""))
        self.engine: Engine = api.cloud.areas["network"]
        assert isinstance(self.engine.driver, FakeDriver)
        self.driver = self.engine.driver

    def tables(self) -> set[str]:
        return {row.table for row in self.driver.engine.rows.values()}


@pytest.fixture
async def bench(tmp_path: Path, database: str) -> AsyncIterator[Bench]:
    settings, node = Settings(simulate=True), FakeNodeNetwork()
    async with areas(tmp_path, settings, [network.module(settings)]) as api:
        links = api.cloud.links
        assert isinstance(links, InProcessLinks)
        await links.join("node-1", Verbs({"network": (NodeNetworkDriver, node)}, MemoryFences(), api.cloud.clock.now_us), {})
        await api.settle()
        yield Bench(api, node)


async def test_intent_is_taken_while_the_engine_is_away_and_done_when_it_is_back(bench: Bench) -> None:
    bench.driver.engine.reachable = False
    net = await bench.alice.make("networks")
    await bench.api.settle()
    assert "Logical_Switch" not in bench.tables()
    assert [v for v in await bench.api.doctor() if "engine" in v.message]
    bench.driver.engine.reachable = True
    await bench.api.settle()
    assert f"network:{net['id']}" in bench.driver.engine.rows and await bench.api.doctor() == []


async def test_nodes_are_asked_whether_they_are_there_and_only_answers_count(bench: Bench) -> None:
    engine = bench.driver.engine
    first = engine.nodes["node-1"].seen_at
    assert first > 0, "asked when the writer began"
    await bench.api.settle()
    assert engine.nodes["node-1"].seen_at == first, "not all the time"
    bench.engine.asked_at -= ASK_S
    await bench.api.settle()
    second = engine.nodes["node-1"].seen_at
    assert second > first
    engine.silent.add("node-1")
    bench.engine.asked_at -= ASK_S
    await bench.api.settle()
    assert engine.nodes["node-1"].seen_at == second


async def test_agents_of_a_node_that_is_silent_are_dead(bench: Bench) -> None:
    node = bench.driver.engine.nodes["node-1"]
    alive = {a["alive"] for a in await bench.admin.list("agents")}
    bench.driver.add_chassis(structs.replace(node, seen_at=node.seen_at - (LIVE_S + 60) * 1_000_000))
    assert alive == {True} and {a["alive"] for a in await bench.admin.list("agents")} == {False}


async def test_agents_of_an_engine_that_is_away_are_503(bench: Bench) -> None:
    bench.driver.engine.reachable = False
    error = (await bench.admin.call("GET", "/agents", 503))["NeutronError"]
    assert error["type"] == "ServiceUnavailable"


async def test_a_writer_that_was_replaced_writes_no_more(bench: Bench) -> None:
    newer = FakeDriver(engine=bench.driver.engine)
    await newer.start(1 << 60)
    await newer.apply(Desired(topology=Topology(), complete=True))
    before = dict(bench.driver.engine.rows)
    await bench.alice.make("networks")
    await bench.api.settle()
    assert bench.engine.passive and bench.driver.engine.rows == before


async def test_a_lost_wake_costs_a_period_and_no_more(bench: Bench) -> None:
    net = await bench.alice.make("networks")
    bench.engine.changed.clear()
    await bench.api.settle()
    assert f"network:{net['id']}" not in bench.driver.engine.rows
    bench.engine.whole_at = -1e9
    await bench.api.settle()
    assert f"network:{net['id']}" in bench.driver.engine.rows


async def test_an_engine_that_forgot_everything_is_told_again(bench: Bench) -> None:
    await bench.alice.make("networks")
    await bench.api.settle()
    bench.driver.engine.rows.clear()
    bench.engine.lost()
    await bench.api.settle()
    assert await bench.api.doctor() == []


async def test_a_node_serves_metadata_on_the_networks_it_carries(bench: Bench) -> None:
    net = await bench.alice.make("networks")
    await bench.alice.make("subnets", network_id=net["id"], ip_version=4, cidr="10.0.0.0/24")
    other = await bench.alice.make("networks")
    await bench.alice.make("subnets", network_id=other["id"], ip_version=4, cidr="10.0.0.0/24")
    port = await bench.alice.make("ports", network_id=net["id"])
    await bench.api.settle()
    assert bench.node.ports == ()
    await bench.admin.change("ports", port["id"], binding__host_id="node-1")
    await bench.api.settle()
    [served] = bench.node.ports
    [meta] = await bench.alice.list("ports", network_id=net["id"], device_owner="network:distributed")
    assert (served.network_id, served.port_id, served.mac) == (net["id"], meta["id"], meta["mac_address"])
    assert served.cidrs == (meta["fixed_ips"][0]["ip_address"] + "/24",) and served.mtu == 1442
    await bench.alice.remove("ports", port["id"])
    await bench.api.settle()
    assert bench.node.ports == ()


async def test_a_changed_mtu_reaches_ports_and_dhcp(bench: Bench) -> None:
    net = await bench.alice.make("networks")
    subnet = await bench.alice.make("subnets", network_id=net["id"], ip_version=4, cidr="10.0.0.0/24")
    port = await bench.alice.make("ports", network_id=net["id"])
    await bench.api.settle()
    await bench.alice.change("networks", net["id"], mtu=1300)
    await bench.api.settle()
    rows = bench.driver.engine.rows
    assert rows[f"subnet:{subnet['id']}"].columns["options"]["mtu"] == "1300"  # type: ignore[index,call-overload]
    assert rows[f"port:{port['id']}"].columns["external_ids"]["neutron:mtu"] == "1300"  # type: ignore[index,call-overload]
    assert await bench.api.doctor() == []
