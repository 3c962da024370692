"""Routers with several gateways."""

from __future__ import annotations

from typing import Any

import pytest
from tests.wire.areas import AreaApi
from tests.wire.network.conftest import Client, Inside, Outside


@pytest.fixture
async def second(admin: Client) -> Outside:
    """Another external network."""
    net = await admin.make("networks", router__external=True, provider__network_type="vlan", provider__physical_network="public")
    subnet = await admin.make("subnets", network_id=net["id"], ip_version=4, cidr="198.51.100.0/24", enable_dhcp=False)
    return Outside(net, subnet)


async def change(who: Client, action: str, router: Any, *gateways: Any, status: int = 200) -> Any:
    body = {"router": {"external_gateways": list(gateways)}}
    answer = await who.call("PUT", f"/routers/{router['id']}/{action}_external_gateways", status, body)
    return answer["router"] if status == 200 else answer["NeutronError"]


def on(outside: Outside, *ips: str) -> Any:
    return {"network_id": outside.network["id"], **({"external_fixed_ips": [{"ip_address": ip} for ip in ips]} if ips else {})}


def nets(router: Any) -> list[str]:
    return [g["network_id"] for g in router["external_gateways"]]


async def columns(neutron: AreaApi, table: str, *names: str) -> list[tuple[Any, ...]]:
    await neutron.settle()
    rows = neutron.cloud.areas["network"].driver.engine.rows.values()
    return sorted((tuple(row.columns[name] for name in names) for row in rows if row.table == table), key=str)


async def test_gateways_come_and_go_one_by_one(alice: Client, inside: Inside, outside: Outside, second: Outside) -> None:
    first, other = outside.network["id"], second.network["id"]
    assert nets(inside.router) == [first]
    router = await change(alice, "add", inside.router, on(second), on(outside))
    assert nets(router) == [first, other, first] and router["external_gateway_info"]["network_id"] == first
    assert len({g["external_fixed_ips"][0]["ip_address"] for g in router["external_gateways"]}) == 3
    assert len(await alice.list("routers", enable_default_route_ecmp="false")) == 1
    unclear = await change(alice, "remove", inside.router, on(outside), status=400)
    assert unclear["type"] == "UnableToMatchGateways"
    router = await alice.change("routers", router["id"], external_gateway_info={})
    assert nets(router) == [other, first], "another takes the place of the first"
    router = await change(alice, "remove", router, on(second))
    assert nets(router) == [first] == [router["external_gateway_info"]["network_id"]]
    absent = await change(alice, "remove", router, on(second), status=400)
    assert absent["type"] == "UnableToMatchGateways"
    router = await change(alice, "update", router)
    assert router["external_gateways"] == [] and router["external_gateway_info"] is None
    assert (await change(alice, "remove", router, on(second), status=400))["type"] == "UnableToRemoveGateways"
    assert nets(await change(alice, "add", router, on(second))) == [other]


async def test_gateways_are_made_exactly_those_asked_for(alice: Client, admin: Client, inside: Inside, outside: Outside, second: Outside) -> None:
    kept = "203.0.113.70"
    router = await change(admin, "update", inside.router, {**on(second), "enable_snat": False}, on(outside, kept))
    assert nets(router) == [second.network["id"], outside.network["id"]]
    assert router["external_gateways"][1]["external_fixed_ips"][0]["ip_address"] == kept
    assert router["external_gateway_info"]["enable_snat"] is False
    ports = {p["id"] for p in await admin.list("ports", device_owner="network:router_gateway")}
    router = await change(admin, "update", router, on(outside, kept, "203.0.113.71"), on(second))
    assert nets(router) == [outside.network["id"], second.network["id"]]
    assert {ip["ip_address"] for ip in router["external_gateway_info"]["external_fixed_ips"]} == {kept, "203.0.113.71"}
    assert {p["id"] for p in await admin.list("ports", device_owner="network:router_gateway")} == ports
    refused = await change(alice, "add", router, {**on(outside), "external_fixed_ips": [{"ip_address": "203.0.113.80"}]}, status=403)
    assert refused["type"] == "PolicyNotAuthorized"


async def test_floating_addresses_hold_the_last_gateway_to_their_network(
    neutron: AreaApi, alice: Client, admin: Client, inside: Inside, outside: Outside, second: Outside
) -> None:
    port = await alice.make("ports", network_id=inside.network["id"])
    await alice.refused(404, "floatingips", floating_network_id=second.network["id"], port_id=port["id"])
    await change(alice, "add", inside.router, on(second))
    fip = await alice.make("floatingips", floating_network_id=second.network["id"], port_id=port["id"])
    assert fip["router_id"] == inside.router["id"]
    assert (await change(alice, "remove", inside.router, on(second), status=409))["type"] == "RouterExternalGatewayInUseByFloatingIp"
    nat = await columns(neutron, "NAT", "type", "external_ip", "logical_ip")
    assert [row[0] for row in nat] == ["dnat_and_snat", "snat", "snat"] and nat[0][1] == fip["floating_ip_address"]
    gates = await columns(neutron, "NAT", "gateway_port")
    assert all(len(gate) == 1 for (gate,) in gates), "with several gateways each translation names its own"
    assert (await admin.refused(409, "networks", second.network["id"], router__external=False))["type"] == "ExternalNetworkInUse"
    await change(alice, "remove", inside.router, on(outside))
    assert all(gate == () for (gate,) in await columns(neutron, "NAT", "gateway_port"))


async def test_the_way_out_is_the_first_gateway_or_all_that_answer(
    neutron: AreaApi, alice: Client, admin: Client, inside: Inside, outside: Outside, second: Outside
) -> None:
    await change(alice, "add", inside.router, on(second))
    table = "Logical_Router_Static_Route"
    assert [r[0] for r in await columns(neutron, table, "nexthop", "ip_prefix")] == ["203.0.113.1"]
    await alice.refused(403, "routers", inside.router["id"], enable_default_route_ecmp=True)
    router = await admin.change("routers", inside.router["id"], enable_default_route_ecmp=True)
    assert router["enable_default_route_ecmp"] is True and router["enable_default_route_bfd"] is False
    assert [r[0] for r in await columns(neutron, table, "nexthop")] == ["198.51.100.1", "203.0.113.1"]
    await admin.change("routers", inside.router["id"], enable_default_route_bfd=True)
    assert [r[0] for r in await columns(neutron, "BFD", "dst_ip")] == ["198.51.100.1", "203.0.113.1"]
    assert all(len(bfd) == 1 for (bfd,) in await columns(neutron, table, "bfd"))
    await admin.change("routers", inside.router["id"], enable_default_route_bfd=False, enable_default_route_ecmp=False)
    assert await columns(neutron, "BFD", "dst_ip") == []


async def test_gateways_that_cannot_be_are_refused(alice: Client, bob: Client, admin: Client, inside: Inside, outside: Outside) -> None:
    net = await alice.make("networks")
    assert "not an external network" in (await change(alice, "add", inside.router, {"network_id": net["id"]}, status=400))["message"]
    clash = await admin.make("networks", router__external=True)
    await admin.make("subnets", network_id=clash["id"], ip_version=4, cidr="203.0.113.0/25")
    assert "overlaps" in (await change(alice, "add", inside.router, {"network_id": clash["id"]}, status=400))["message"]
    for gateway in ({}, {"network_id": None}, {"network_id": "x"}, {"network_id": net["id"], "odd": 1}, "x"):
        await change(alice, "add", inside.router, gateway, status=400)
    for body in ({}, {"router": {}}, {"router": {"external_gateways": "x"}}, {"router": {"external_gateways": [], "name": "x"}}):
        await alice.call("PUT", f"/routers/{inside.router['id']}/add_external_gateways", 400, body)
    await change(bob, "add", inside.router, on(outside), status=404)
    await alice.refused(400, "routers", external_gateways=[on(outside)])
