"""Networks and subnets as Neutron's clients see them."""

from __future__ import annotations

import pytest
from tests.wire.areas import AreaApi
from tests.wire.network.conftest import Client, Inside, Outside


async def test_a_network_has_what_neutrons_have(alice: Client) -> None:
    net = await alice.make("networks", name="n", description="d", tags=["a", "b"])
    assert net["status"] == "ACTIVE" and net["admin_state_up"] is True and net["shared"] is False and net["mtu"] == 1442
    assert net["project_id"] == net["tenant_id"] == "red" and net["subnets"] == [] and net["router:external"] is False
    assert net["revision_number"] == 1 and net["created_at"].endswith("Z") and net["tags"] == ["a", "b"]
    assert net["port_security_enabled"] is True and net["availability_zones"] == ["nova"]


async def test_only_an_administrator_sees_what_carries_a_network(alice: Client, admin: Client) -> None:
    net = await alice.make("networks")
    assert not [key for key in net if key.startswith("provider:")]
    seen = await admin.show("networks", net["id"])
    assert seen["provider:network_type"] == "geneve" and seen["provider:segmentation_id"] > 0
    assert seen["provider:physical_network"] is None


@pytest.mark.parametrize("field", ["shared", "router__external", "provider__network_type", "provider__segmentation_id"])
async def test_a_member_may_not_set_what_is_the_clouds(alice: Client, field: str) -> None:
    value = {"provider__network_type": "vlan", "provider__segmentation_id": 7}.get(field, True)
    error = await alice.refused(403, "networks", **{field: value})
    assert error["type"] == "PolicyNotAuthorized" and field.replace("__", ":") in error["message"]


async def test_a_default_value_needs_no_right(alice: Client) -> None:
    await alice.make("networks", shared=False, router__external=False)


async def test_a_network_of_another_project_is_not_there(alice: Client, bob: Client, admin: Client) -> None:
    net = await alice.make("networks")
    error = (await bob.call("GET", f"/networks/{net['id']}", 404))["NeutronError"]
    assert error == {"type": "NetworkNotFound", "message": f"Network {net['id']} could not be found.", "detail": ""}
    assert (await bob.refused(404, "networks", net["id"], name="x"))["type"] == "NetworkNotFound"
    assert (await bob.remove("networks", net["id"], 404))["type"] == "NetworkNotFound"
    assert await bob.list("networks") == [] and len(await admin.list("networks")) == 1


async def test_a_shared_network_is_seen_by_all_and_changed_by_its_owner(admin: Client, bob: Client) -> None:
    net = await admin.make("networks", shared=True)
    assert [n["id"] for n in await bob.list("networks")] == [net["id"]]
    assert (await bob.refused(403, "networks", net["id"], name="mine"))["type"] == "PolicyNotAuthorized"
    assert (await bob.remove("networks", net["id"], 403))["type"] == "PolicyNotAuthorized"


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"provider__network_type": "vxlan"}, "InvalidInput"),
        ({"provider__network_type": "flat"}, "InvalidInput"),
        ({"provider__network_type": "vlan", "provider__physical_network": "nowhere"}, "InvalidInput"),
        ({"provider__network_type": "vlan", "provider__physical_network": "public", "provider__segmentation_id": 5000}, "InvalidInput"),
        ({"provider__network_type": "flat", "provider__physical_network": "public", "provider__segmentation_id": 5}, "InvalidInput"),
        ({"provider__segmentation_id": 5}, "InvalidInput"),
        ({"mtu": 9000}, "InvalidInput"),
        ({"name": 5}, "HTTPBadRequest"),
        ({"name": "x" * 256}, "HTTPBadRequest"),
        ({"nonsense": 1}, "HTTPBadRequest"),
        ({"status": "DOWN"}, "HTTPBadRequest"),
        ({"admin_state_up": "perhaps"}, "HTTPBadRequest"),
        ({"dns_domain": "no-dot"}, "HTTPBadRequest"),
        ({"dns_domain": "a\nb."}, "HTTPBadRequest"),
    ],
)
async def test_a_network_that_cannot_be_is_refused(admin: Client, fields: dict, kind: str) -> None:
    assert (await admin.refused(400, "networks", **fields))["type"] == kind
    assert await admin.list("networks") == []


async def test_no_two_networks_share_a_segment(admin: Client) -> None:
    vlan = {"provider__network_type": "vlan", "provider__physical_network": "public", "provider__segmentation_id": 7}
    await admin.make("networks", **vlan)
    assert (await admin.refused(409, "networks", **vlan))["type"] == "VlanIdInUse"
    free = await admin.make("networks", provider__network_type="vlan", provider__physical_network="public")
    assert 1 <= free["provider:segmentation_id"] <= 4094


async def test_many_networks_at_once_are_made_or_none(alice: Client) -> None:
    body = {"networks": [{"name": f"n{i}"} for i in range(5)]}
    assert [n["name"] for n in (await alice.call("POST", "/networks", 201, body))["networks"]] == [f"n{i}" for i in range(5)]
    await alice.call("POST", "/networks", 400, {"networks": [{"name": "good"}, {"name": 1}]})
    await alice.call("POST", "/networks", 403, {"networks": [{"name": "good"}, {"shared": True}]})
    assert len(await alice.list("networks")) == 5


async def test_lists_are_filtered_sorted_and_paged(alice: Client) -> None:
    for i in range(5):
        await alice.make("networks", name=f"n{i}", tags=["odd" if i % 2 else "even", "all"])
    names = [n["name"] for n in await alice.list("networks", name=["n1", "n3"])]
    assert names == ["n1", "n3"]
    assert [n["name"] for n in await alice.list("networks", tags="odd,all")] == ["n1", "n3"]
    assert [n["name"] for n in await alice.list("networks", **{"not-tags": "odd"})] == ["n0", "n2", "n4"]
    assert [n["name"] for n in await alice.list("networks", **{"not-tags": "odd,all"})] == ["n0", "n2", "n4"]
    assert [n["name"] for n in await alice.list("networks", **{"not-tags": "odd,even"})] == ["n0", "n1", "n2", "n3", "n4"], "none has both"
    assert await alice.list("networks", **{"not-tags-any": "odd,even"}) == []
    page = await alice.call("GET", "/networks", 200, params={"limit": 2, "sort_key": "name", "sort_dir": "desc"})
    assert [n["name"] for n in page["networks"]] == ["n4", "n3"]
    following = next(link["href"] for link in page["networks_links"] if link["rel"] == "next")
    path = following.partition("/network/v2.0")[2]
    page = await alice.call("GET", path, 200)
    assert [n["name"] for n in page["networks"]] == ["n2", "n1"]
    back = next(link["href"] for link in page["networks_links"] if link["rel"] == "previous").partition("/network/v2.0")[2]
    assert [n["name"] for n in (await alice.call("GET", back, 200))["networks"]] == ["n4", "n3"]
    assert await alice.list("networks", fields=["name"], name="n0") == [{"name": "n0"}]
    assert await alice.list("networks", status="DOWN") == []


async def test_what_cannot_be_asked_of_a_list_is_told(alice: Client) -> None:
    for query in ({"nonsense": "1"}, {"limit": "-1"}, {"sort_key": "nonsense", "sort_dir": "asc"}, {"sort_key": "name"},
                  {"limit": "2", "marker": "none-such"}, {"sort_key": "name", "sort_dir": "up"}):  # fmt: skip
        assert (await alice.call("GET", "/networks", 400, params=query))["NeutronError"]["message"], query


async def test_a_stale_revision_changes_nothing(alice: Client) -> None:
    net = await alice.make("networks", name="a")
    headers = {"If-Match": "revision_number=1"}
    body = {"network": {"name": "b"}}
    changed = await alice.call("PUT", f"/networks/{net['id']}", 200, body, headers=headers)
    assert changed["network"]["revision_number"] == 2
    error = await alice.call("PUT", f"/networks/{net['id']}", 412, body, headers=headers)
    assert error["NeutronError"]["type"] == "RevisionNumberConstraintFailed"
    await alice.call("DELETE", f"/networks/{net['id']}", 412, headers=headers)


async def test_a_network_in_use_stays(alice: Client) -> None:
    net = await alice.make("networks")
    await alice.make("subnets", network_id=net["id"], ip_version=4, cidr="10.0.0.0/24")
    port = await alice.make("ports", network_id=net["id"])
    error = await alice.remove("networks", net["id"], 409)
    assert error["type"] == "NetworkInUse" and port["id"] in error["message"]
    await alice.remove("ports", port["id"])
    await alice.remove("networks", net["id"])
    assert await alice.list("subnets") == [] and await alice.list("ports") == []


async def test_a_subnet_gets_a_gateway_and_a_pool_without_it(alice: Client) -> None:
    net = await alice.make("networks")
    subnet = await alice.make("subnets", network_id=net["id"], ip_version=4, cidr="10.0.0.0/24")
    assert subnet["gateway_ip"] == "10.0.0.1" and subnet["allocation_pools"] == [{"start": "10.0.0.2", "end": "10.0.0.254"}]
    assert subnet["enable_dhcp"] is True and subnet["subnetpool_id"] is None and subnet["router:external"] is False
    bare = await alice.make("subnets", network_id=net["id"], ip_version=6, cidr="fd00::/64", gateway_ip=None)
    assert bare["gateway_ip"] is None and bare["allocation_pools"] == [{"start": "fd00::1", "end": "fd00::ffff:ffff:ffff:ffff"}]
    assert {s["id"] for s in await alice.list("subnets")} == set((await alice.show("networks", net["id"]))["subnets"])


@pytest.mark.parametrize(
    ("fields", "status", "kind"),
    [
        ({"cidr": "10.0.0.0/33"}, 400, "HTTPBadRequest"),
        ({"cidr": "10.0.0.0/24", "ip_version": 6}, 400, "InvalidInput"),
        ({"cidr": "10.0.0.0/24", "ip_version": 5}, 400, "HTTPBadRequest"),
        ({"cidr": "224.0.0.0/24"}, 400, "InvalidInput"),
        ({"cidr": "0.0.0.0/0"}, 400, "InvalidInput"),
        ({"cidr": "10.0.0.0/24", "gateway_ip": "10.0.1.1"}, 400, "InvalidInput"),
        ({"cidr": "10.0.0.0/24", "gateway_ip": "10.0.0.255"}, 400, "InvalidInput"),
        (
            {"cidr": "10.0.0.0/24", "allocation_pools": [{"start": "10.0.0.1", "end": "10.0.0.9"}]},
            409,
            "GatewayConflictWithAllocationPools",
        ),
        ({"cidr": "10.0.0.0/24", "allocation_pools": [{"start": "10.0.0.9", "end": "10.0.0.2"}]}, 400, "InvalidAllocationPool"),
        ({"cidr": "10.0.0.0/24", "allocation_pools": [{"start": "10.0.1.2", "end": "10.0.1.3"}]}, 400, "OutOfBoundsAllocationPool"),
        ({"cidr": "10.0.0.0/24", "dns_nameservers": ["8.8.8.8\nx"]}, 400, "HTTPBadRequest"),
        ({"cidr": "10.0.0.0/24", "dns_nameservers": [f"8.8.8.{i}" for i in range(6)]}, 400, "DNSNameServersExhausted"),
        ({"cidr": "10.0.0.0/24", "host_routes": [{"destination": "10.9.0.0/16"}]}, 400, "HTTPBadRequest"),
        ({"cidr": "fd00::/48", "ip_version": 6, "ipv6_address_mode": "slaac"}, 400, "InvalidInput"),
        ({"cidr": "10.0.0.0/24", "ipv6_ra_mode": "slaac"}, 400, "InvalidInput"),
    ],
)
async def test_a_subnet_that_cannot_be_is_refused(alice: Client, fields: dict, status: int, kind: str) -> None:
    net = await alice.make("networks")
    error = await alice.refused(status, "subnets", **{"network_id": net["id"], "ip_version": 4, **fields})
    assert error["type"] == kind, error


async def test_subnets_of_one_network_do_not_overlap(alice: Client) -> None:
    net, other = await alice.make("networks"), await alice.make("networks")
    await alice.make("subnets", network_id=net["id"], ip_version=4, cidr="10.0.0.0/24")
    error = await alice.refused(400, "subnets", network_id=net["id"], ip_version=4, cidr="10.0.0.128/25")
    assert error["type"] == "InvalidInput" and "overlaps" in error["message"]
    await alice.make("subnets", network_id=other["id"], ip_version=4, cidr="10.0.0.0/24")


async def test_a_project_has_no_subnet_on_anothers_network(alice: Client, bob: Client, admin: Client) -> None:
    """SEC-33: what belongs to another cannot be built upon."""
    net = await alice.make("networks")
    assert (await bob.refused(403, "subnets", network_id=net["id"], ip_version=4, cidr="10.0.0.0/24"))["type"] == "PolicyNotAuthorized"


async def test_the_gateway_of_a_routed_subnet_stays(alice: Client, inside: Inside) -> None:
    assert (await alice.refused(409, "subnets", inside.subnet["id"], gateway_ip="10.0.0.9"))["type"] in (
        "GatewayIpInUse", "GatewayConflictWithAllocationPools",
    )  # fmt: skip
    assert (await alice.remove("subnets", inside.subnet["id"], 409))["type"] == "SubnetInUse"


async def test_dhcp_brings_metadata_and_takes_it_away(alice: Client, neutron: AreaApi) -> None:
    net = await alice.make("networks")
    subnet = await alice.make("subnets", network_id=net["id"], ip_version=4, cidr="10.0.0.0/24")
    [port] = await alice.list("ports", device_owner="network:distributed")
    assert port["device_id"] == f"ovnmeta-{net['id']}" and len(port["fixed_ips"]) == 1
    await neutron.settle()
    [row] = [r for r in neutron.cloud.areas["network"].driver.engine.rows.values() if r.table == "DHCP_Options"]
    assert f"169.254.169.254/32,{port['fixed_ips'][0]['ip_address']}" in row.columns["options"]["classless_static_route"]
    await alice.change("subnets", subnet["id"], enable_dhcp=False)
    [port] = await alice.list("ports", device_owner="network:distributed")
    assert port["fixed_ips"] == []


async def test_an_external_network_is_seen_by_all_and_used_through_routers(outside: Outside, bob: Client) -> None:
    assert [n["id"] for n in await bob.list("networks", router__external=True)] == [outside.network["id"]]
    assert len(await bob.list("subnets")) == 1
    assert (await bob.refused(403, "ports", network_id=outside.network["id"]))["type"] == "PolicyNotAuthorized"


async def test_addresses_that_stand_for_nothing_go_with_their_network(admin: Client, alice: Client, outside: Outside, inside: Inside) -> None:
    idle = await alice.make("floatingips", floating_network_id=outside.network["id"])
    port = await alice.make("ports", network_id=inside.network["id"])
    used = await alice.make("floatingips", floating_network_id=outside.network["id"], port_id=port["id"])
    assert (await admin.remove("networks", outside.network["id"], 409))["type"] == "NetworkInUse"
    assert {f["id"] for f in await alice.list("floatingips")} == {idle["id"], used["id"]}
    await alice.remove("floatingips", used["id"])
    await alice.change("routers", inside.router["id"], external_gateway_info=None)
    await admin.remove("networks", outside.network["id"])
    assert await alice.list("floatingips") == []


async def test_guests_tags_are_tagged_again(neutron: AreaApi, admin: Client) -> None:
    place = {"provider:network_type": "vlan", "provider:physical_network": "public"}
    net = await admin.make("networks", qinq=True, **place)
    assert net["qinq"] is True and [n["id"] for n in await admin.list("networks", qinq="true")] == [net["id"]]
    await neutron.settle()
    rows = neutron.cloud.areas["network"].driver.engine.rows
    assert rows[f"network:{net['id']}"].columns["other_config"]["vlan-passthru"] == "true"
    assert rows[f"network:{net['id']}/localnet"].columns["options"]["ethtype"] == "802.11ad"
    await admin.refused(400, "networks", qinq=True, vlan_transparent=True, **place)
    await admin.refused(400, "networks", qinq=True)


async def test_a_network_carries_the_smallest_packets_of_its_subnets(alice: Client) -> None:
    small = await alice.make("networks", mtu=67)
    place = {"network_id": small["id"], "ip_version": 4, "cidr": "10.0.0.0/24"}
    assert (await alice.refused(409, "subnets", **place))["type"] == "NetworkMTUSubnetConflict"
    net = await alice.make("networks", mtu=1280)
    await alice.make("subnets", network_id=net["id"], ip_version=6, cidr="2001:db8::/64")
    assert (await alice.refused(409, "networks", net["id"], mtu=1279))["type"] == "NetworkMTUSubnetConflict"
    assert (await alice.change("networks", net["id"], mtu=1300))["mtu"] == 1300


async def test_what_happens_to_subnets_happens_to_their_network(alice: Client) -> None:
    net = await alice.make("networks")
    subnet = await alice.make("subnets", network_id=net["id"], ip_version=4, cidr="10.0.0.0/24", enable_dhcp=False)
    made = (await alice.show("networks", net["id"]))["revision_number"]
    await alice.change("subnets", subnet["id"], name="x")
    changed = (await alice.show("networks", net["id"]))["revision_number"]
    await alice.remove("subnets", subnet["id"])
    gone = (await alice.show("networks", net["id"]))["revision_number"]
    assert net["revision_number"] < made < changed < gone


async def test_the_end_of_a_list_leads_back(alice: Client) -> None:
    for name in "ab":
        await alice.make("networks", name=name)

    async def go(path: str, rel: str) -> tuple[list[str], str]:
        page = await alice.call("GET", path, 200)
        on = [link["href"].partition("/network/v2.0")[2] for link in page["networks_links"] if link["rel"] == rel]
        return [n["name"] for n in page["networks"]], on[0] if on else ""

    first, path = await go("/networks?limit=1&sort_key=name&sort_dir=asc", "next")
    second, path = await go(path, "next")
    beyond, path = await go(path, "next")
    assert (first, second, beyond, path) == (["a"], ["b"], [], "")
    _, path = await go("/networks?limit=1&sort_key=name&sort_dir=asc&marker=" + (await alice.list("networks", name="b"))[0]["id"], "previous")
    last, path = await go(path, "previous")
    before, _ = await go(path, "previous")
    assert (last, before) == (["b"], ["a"])
