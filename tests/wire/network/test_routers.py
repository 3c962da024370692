"""Routers and floating addresses as Neutron's clients see them."""

from __future__ import annotations

import pytest
from tests.wire.areas import AreaApi
from tests.wire.network.conftest import Client, Inside, Outside

from moln.network.model import addresses


async def test_a_router_with_a_gateway_has_an_outer_address(alice: Client, outside: Outside) -> None:
    router = await alice.make("routers", name="r", external_gateway_info={"network_id": outside.network["id"]})
    gateway = router["external_gateway_info"]
    assert gateway["network_id"] == outside.network["id"] and gateway["enable_snat"] is True
    assert addresses.in_cidr(gateway["external_fixed_ips"][0]["ip_address"], "203.0.113.0/24")
    assert router["routes"] == [] and router["status"] == "ACTIVE"
    router = await alice.change("routers", router["id"], external_gateway_info={})
    assert router["external_gateway_info"] is None
    await alice.remove("routers", router["id"])


async def test_snat_and_outer_addresses_are_the_administrators(alice: Client, admin: Client, outside: Outside) -> None:
    info = {"network_id": outside.network["id"], "enable_snat": False}
    assert (await alice.refused(403, "routers", external_gateway_info=info))["type"] == "PolicyNotAuthorized"
    fixed = {"network_id": outside.network["id"], "external_fixed_ips": [{"ip_address": "203.0.113.50"}]}
    assert (await alice.refused(403, "routers", external_gateway_info=fixed))["type"] == "PolicyNotAuthorized"
    router = await admin.make("routers", external_gateway_info={**info, **fixed})
    assert router["external_gateway_info"]["external_fixed_ips"][0]["ip_address"] == "203.0.113.50"
    assert router["external_gateway_info"]["enable_snat"] is False


async def test_a_gateway_needs_an_external_network(alice: Client) -> None:
    net = await alice.make("networks")
    error = await alice.refused(400, "routers", external_gateway_info={"network_id": net["id"]})
    assert error["type"] == "BadRequest" and "is not an external network" in error["message"]


async def test_an_interface_takes_the_subnets_gateway_address(alice: Client, inside: Inside) -> None:
    [port] = await alice.list("ports", device_owner="network:router_interface")
    assert port["fixed_ips"] == [{"subnet_id": inside.subnet["id"], "ip_address": "10.0.0.1"}] and port["device_id"] == inside.router["id"]
    assert port["status"] == "ACTIVE"
    path = f"/routers/{inside.router['id']}"
    error = await alice.call("PUT", f"{path}/add_router_interface", 400, {"subnet_id": inside.subnet["id"]})
    assert "already has a port on subnet" in error["NeutronError"]["message"]
    assert (await alice.remove("routers", inside.router["id"], 409))["type"] == "RouterInUse"
    left = await alice.call("PUT", f"{path}/remove_router_interface", 200, {"subnet_id": inside.subnet["id"]})
    assert left["port_id"] == port["id"] and left["subnet_ids"] == [inside.subnet["id"]]
    error = await alice.call("PUT", f"{path}/remove_router_interface", 404, {"subnet_id": inside.subnet["id"]})
    assert error["NeutronError"]["type"] == "RouterInterfaceNotFoundForSubnet"
    await alice.remove("routers", inside.router["id"])


async def test_an_interface_by_port_uses_that_port(alice: Client, inside: Inside) -> None:
    net = await alice.make("networks")
    await alice.make("subnets", network_id=net["id"], ip_version=4, cidr="10.7.0.0/24")
    port = await alice.make("ports", network_id=net["id"], fixed_ips=[{"ip_address": "10.7.0.9"}])
    path = f"/routers/{inside.router['id']}"
    joined = await alice.call("PUT", f"{path}/add_router_interface", 200, {"port_id": port["id"]})
    assert joined["port_id"] == port["id"]
    shown = await alice.show("ports", port["id"])
    assert shown["device_owner"] == "network:router_interface" and shown["security_groups"] == []
    error = await alice.call("PUT", f"{path}/add_router_interface", 409, {"port_id": port["id"]})
    assert error["NeutronError"]["type"] == "PortInUse"
    await alice.call("PUT", f"{path}/remove_router_interface", 200, {"port_id": port["id"]})
    await alice.call("GET", f"/ports/{port['id']}", 404)


async def test_subnets_that_overlap_do_not_meet_in_one_router(alice: Client, inside: Inside) -> None:
    net = await alice.make("networks")
    subnet = await alice.make("subnets", network_id=net["id"], ip_version=4, cidr="10.0.0.0/25")
    error = await alice.call("PUT", f"/routers/{inside.router['id']}/add_router_interface", 400, {"subnet_id": subnet["id"]})
    assert "overlaps" in error["NeutronError"]["message"]


async def test_another_projects_subnet_cannot_be_plugged(alice: Client, bob: Client, admin: Client, inside: Inside) -> None:
    """SEC-33, CVE-2014-0056."""
    mine = await bob.make("routers")
    path = f"/routers/{mine['id']}/add_router_interface"
    error = (await bob.call("PUT", path, 404, {"subnet_id": inside.subnet["id"]}))["NeutronError"]
    assert error["type"] == "SubnetNotFound"
    shared = await admin.make("networks", shared=True)
    subnet = await admin.make("subnets", network_id=shared["id"], ip_version=4, cidr="10.8.0.0/24")
    error = (await bob.call("PUT", path, 400, {"subnet_id": subnet["id"]}))["NeutronError"]
    assert "is not owned by project" in error["message"]
    theirs = (await bob.call("PUT", f"/routers/{inside.router['id']}/add_router_interface", 404, {"subnet_id": subnet["id"]}))[
        "NeutronError"
    ]
    assert theirs["type"] == "RouterNotFound"


async def test_extra_routes_lead_to_neighbours_only(alice: Client, inside: Inside) -> None:
    path = inside.router["id"]
    good = {"destination": "10.50.0.0/16", "nexthop": "10.0.0.77"}
    assert (await alice.change("routers", path, routes=[good]))["routes"] == [good]
    for hop in ("192.168.1.1", "10.0.0.1"):
        error = await alice.refused(400, "routers", path, routes=[{"destination": "10.51.0.0/16", "nexthop": hop}])
        assert error["type"] == "InvalidRoutes"
    other = {"destination": "10.60.0.0/16", "nexthop": "10.0.0.78"}
    added = await alice.call("PUT", f"/routers/{path}/add_extraroutes", 200, {"router": {"routes": [other]}})
    assert added["router"]["routes"] == [good, other]
    left = await alice.call("PUT", f"/routers/{path}/remove_extraroutes", 200, {"router": {"routes": [good]}})
    assert left["router"]["routes"] == [other]
    error = await alice.call("PUT", f"/routers/{path}/remove_router_interface", 409, {"subnet_id": inside.subnet["id"]})
    assert error["NeutronError"]["type"] == "RouterInterfaceInUseByRoute"


async def test_a_floating_address_stands_for_a_port(alice: Client, inside: Inside, outside: Outside, neutron: AreaApi) -> None:
    port = await alice.make("ports", network_id=inside.network["id"])
    fip = await alice.make("floatingips", floating_network_id=outside.network["id"])
    assert fip["status"] == "DOWN" and fip["port_id"] is None and addresses.in_cidr(fip["floating_ip_address"], "203.0.113.0/24")
    fip = await alice.change("floatingips", fip["id"], port_id=port["id"])
    assert fip["status"] == "ACTIVE" and fip["router_id"] == inside.router["id"]
    assert fip["fixed_ip_address"] == port["fixed_ips"][0]["ip_address"] and fip["port_details"]["network_id"] == inside.network["id"]
    await neutron.settle()
    rows = neutron.cloud.areas["network"].driver.engine.rows
    assert rows[f"router:{inside.router['id']}/fip-{fip['id']}"].columns["external_ip"] == fip["floating_ip_address"]
    second = await alice.refused(409, "floatingips", floating_network_id=outside.network["id"], port_id=port["id"])
    assert second["type"] == "FloatingIPPortAlreadyAssociated"
    for change in ({"external_gateway_info": None},):
        assert (await alice.refused(409, "routers", inside.router["id"], **change))["type"] == "RouterExternalGatewayInUseByFloatingIp"
    error = await alice.call("PUT", f"/routers/{inside.router['id']}/remove_router_interface", 409, {"subnet_id": inside.subnet["id"]})
    assert error["NeutronError"]["type"] == "RouterInterfaceInUseByFloatingIP"
    await alice.remove("ports", port["id"])
    fip = await alice.show("floatingips", fip["id"])
    assert fip["port_id"] is None and fip["status"] == "DOWN" and fip["router_id"] is None
    await alice.remove("floatingips", fip["id"])


async def test_a_floating_address_given_away_again_is_loose(alice: Client, inside: Inside, outside: Outside) -> None:
    port = await alice.make("ports", network_id=inside.network["id"])
    fip = await alice.make("floatingips", floating_network_id=outside.network["id"], port_id=port["id"])
    assert (await alice.change("floatingips", fip["id"], description="x"))["port_id"] == port["id"]
    assert (await alice.change("floatingips", fip["id"], port_id=None))["fixed_ip_address"] is None
    assert await alice.list("floatingips", port_id=port["id"]) == []


async def test_a_chosen_floating_address_is_the_managers(alice: Client, admin: Client, outside: Outside) -> None:
    wanted = {"floating_network_id": outside.network["id"], "floating_ip_address": "203.0.113.77"}
    assert (await alice.refused(403, "floatingips", **wanted))["type"] == "PolicyNotAuthorized"
    fip = await admin.make("floatingips", **wanted, project_id="red")
    assert fip["floating_ip_address"] == "203.0.113.77" and fip["project_id"] == "red"
    assert (await admin.refused(409, "floatingips", **wanted))["type"] == "IpAddressAlreadyAllocated"
    assert [f["id"] for f in await alice.list("floatingips")] == [fip["id"]]


async def test_a_floating_address_needs_a_way_in(alice: Client, outside: Outside) -> None:
    net = await alice.make("networks")
    await alice.make("subnets", network_id=net["id"], ip_version=4, cidr="10.0.0.0/24")
    port = await alice.make("ports", network_id=net["id"])
    error = await alice.refused(404, "floatingips", floating_network_id=outside.network["id"], port_id=port["id"])
    assert error["type"] == "ExternalGatewayForFloatingIPNotFound"
    assert await alice.list("floatingips") == [], "what fails leaves nothing"
    error = await alice.refused(400, "floatingips", floating_network_id=net["id"])
    assert "is not a valid external network" in error["message"]


async def test_a_floating_address_does_not_reach_into_another_project(bob: Client, alice: Client, inside: Inside, outside: Outside) -> None:
    port = await alice.make("ports", network_id=inside.network["id"])
    fip = await bob.make("floatingips", floating_network_id=outside.network["id"])
    assert (await bob.refused(404, "floatingips", fip["id"], port_id=port["id"]))["type"] == "PortNotFound"
    assert (await alice.refused(404, "floatingips", fip["id"], port_id=port["id"]))["type"] == "FloatingIPNotFound"


@pytest.mark.parametrize("collection", ["routers", "floatingips"])
async def test_what_belongs_to_others_is_not_listed(alice: Client, bob: Client, inside: Inside, collection: str) -> None:
    assert await bob.list(collection) == []


async def test_two_ipv6_subnets_of_a_network_share_the_routers_port(alice: Client) -> None:
    net, router = await alice.make("networks"), await alice.make("routers")
    path = f"/routers/{router['id']}"
    ids = []
    for n in (1, 2):
        subnet = await alice.make("subnets", network_id=net["id"], ip_version=6, cidr=f"fd00:{n}::/64")
        joined = await alice.call("PUT", f"{path}/add_router_interface", 200, {"subnet_id": subnet["id"]})
        ids.append((subnet["id"], joined["port_id"]))
    assert ids[0][1] == ids[1][1]
    await alice.call("PUT", f"{path}/remove_router_interface", 200, {"subnet_id": ids[0][0]})
    assert len((await alice.show("ports", ids[0][1]))["fixed_ips"]) == 1
    await alice.call("PUT", f"{path}/remove_router_interface", 200, {"port_id": ids[0][1]})


async def test_a_floating_address_goes_by_the_router_that_its_owner_names(alice: Client, bob: Client, inside: Inside, outside: Outside) -> None:
    """The named router need not be in the port's subnet: its routes may lead there (floating-ip-router-writable)."""
    deep = await alice.make("networks")
    await alice.make("subnets", network_id=deep["id"], ip_version=4, cidr="10.9.0.0/24")
    port = await alice.make("ports", network_id=deep["id"])
    place = {"floating_network_id": outside.network["id"], "port_id": port["id"]}
    assert (await alice.refused(404, "floatingips", **place))["type"] == "ExternalGatewayForFloatingIPNotFound"
    bare, theirs = await alice.make("routers"), await bob.make("routers")
    assert "has no gateway" in (await alice.refused(409, "floatingips", **place, router_id=bare["id"]))["message"]
    assert (await alice.refused(404, "floatingips", **place, router_id=theirs["id"]))["type"] == "RouterNotFound"
    await alice.refused(400, "floatingips", floating_network_id=outside.network["id"], router_id=inside.router["id"])
    fip = await alice.make("floatingips", **place, router_id=inside.router["id"])
    assert fip["router_id"] == inside.router["id"] and fip["status"] == "ACTIVE"
    second = await alice.make("routers", external_gateway_info={"network_id": outside.network["id"]})
    assert (await alice.change("floatingips", fip["id"], port_id=port["id"], router_id=second["id"]))["router_id"] == second["id"]
    assert (await alice.change("floatingips", fip["id"], description="d"))["router_id"] == second["id"]
    await alice.refused(400, "floatingips", fip["id"], port_id=None, router_id=second["id"])
    assert (await alice.change("floatingips", fip["id"], port_id=None))["router_id"] is None


async def test_an_empty_change_takes_a_floating_address_off_its_port(alice: Client, inside: Inside, outside: Outside) -> None:
    port = await alice.make("ports", network_id=inside.network["id"])
    fip = await alice.make("floatingips", floating_network_id=outside.network["id"], port_id=port["id"])
    assert (await alice.change("floatingips", fip["id"], description="d"))["port_id"] == port["id"]
    assert (await alice.change("floatingips", fip["id"]))["port_id"] is None


async def test_every_router_is_highly_available(alice: Client, admin: Client) -> None:
    router = await admin.make("routers", ha=True)
    assert router["ha"] is True and (await admin.change("routers", router["id"], ha=True))["ha"] is True
    await admin.refused(400, "routers", ha=False)
    await alice.refused(403, "routers", ha=True)
    assert "ha" not in await alice.make("routers")
