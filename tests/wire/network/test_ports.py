"""Ports as Neutron's clients see them."""

from __future__ import annotations

import pytest
from tests.wire.areas import AreaApi
from tests.wire.network.conftest import Client, Inside, Outside

from moln.network.model import addresses


@pytest.fixture
async def net(alice: Client) -> str:
    made = await alice.make("networks")
    await alice.make("subnets", network_id=made["id"], ip_version=4, cidr="10.0.0.0/24")
    return str(made["id"])


async def test_a_port_has_an_address_a_mac_and_the_default_group(alice: Client, net: str) -> None:
    port = await alice.make("ports", network_id=net, name="p")
    assert len(port["fixed_ips"]) == 1 and port["mac_address"].startswith("fa:16:3e:")
    assert addresses.in_cidr(port["fixed_ips"][0]["ip_address"], "10.0.0.0/24")
    assert port["status"] == "DOWN" and port["device_id"] == port["device_owner"] == "" and port["port_security_enabled"] is True
    [group] = await alice.list("security-groups")
    assert port["security_groups"] == [group["id"]] and group["name"] == "default"
    assert port["binding:vnic_type"] == "normal" and "binding:host_id" not in port and port["allowed_address_pairs"] == []
    assert port["dns_assignment"][0]["fqdn"].endswith(".openstacklocal.")


async def test_binding_is_the_clouds_business(alice: Client, admin: Client, net: str, neutron: AreaApi) -> None:
    assert (await alice.refused(403, "ports", network_id=net, binding__host_id="node-1"))["type"] == "PolicyNotAuthorized"
    port = await alice.make("ports", network_id=net)
    bound = await admin.change("ports", port["id"], binding__host_id="node-1", device_owner="compute:nova", device_id="x")
    assert bound["binding:vif_type"] == "ovs" and bound["binding:vif_details"]["port_filter"] is True
    await neutron.settle()
    assert (await alice.show("ports", port["id"]))["status"] == "ACTIVE"
    await admin.change("ports", port["id"], binding__host_id="")
    assert (await alice.show("ports", port["id"]))["status"] == "DOWN"


@pytest.mark.parametrize("owner", ["network:dhcp", "network:router_interface", "network:anything"])
async def test_a_tenant_on_anothers_network_cannot_pose_as_the_network(admin: Client, bob: Client, owner: str) -> None:
    """SEC-29, CVE-2015-5240: privileged owners are refused, and never switch the firewall off."""
    shared = await admin.make("networks", shared=True)
    await admin.make("subnets", network_id=shared["id"], ip_version=4, cidr="10.9.0.0/24")
    error = await bob.refused(403, "ports", network_id=shared["id"], device_owner=owner)
    assert error["type"] == "PolicyNotAuthorized"
    port = await bob.make("ports", network_id=shared["id"])
    assert (await bob.refused(403, "ports", port["id"], device_owner=owner))["type"] == "PolicyNotAuthorized"


@pytest.mark.parametrize("owner", ["network:dhcp", "network:distributed", "network:router_gateway"])
async def test_nobody_poses_as_the_network_on_their_own_either(alice: Client, admin: Client, net: str, owner: str) -> None:
    """SEC-29, and stricter than Neutron: the firewall leaves only ports alone that the cloud made itself."""
    assert (await alice.refused(403, "ports", network_id=net, device_owner=owner))["type"] == "PolicyNotAuthorized"
    port = await alice.make("ports", network_id=net)
    assert (await alice.refused(403, "ports", port["id"], device_owner=owner))["type"] == "PolicyNotAuthorized"
    await admin.refused(400, "ports", port["id"], device_owner=owner)


@pytest.mark.parametrize(
    ("fields", "status", "kind"),
    [
        ({"fixed_ips": [{"ip_address": "10.0.0.300"}]}, 400, "HTTPBadRequest"),
        ({"fixed_ips": [{"ip_address": "192.168.0.1"}]}, 400, "InvalidIpForNetwork"),
        ({"fixed_ips": [{"ip_address": "10.0.0.255"}]}, 400, "InvalidIpForSubnet"),
        ({"fixed_ips": [{"subnet_id": "00000000-0000-4000-8000-000000000000"}]}, 400, "BadRequest"),
        ({"fixed_ips": [{"ip_address": "10.0.0.9"}, {"ip_address": "10.0.0.9"}]}, 400, "HTTPBadRequest"),
        ({"fixed_ips": "10.0.0.9"}, 400, "HTTPBadRequest"),
        ({"mac_address": "ff:ff:ff:ff:ff:ff"}, 400, "HTTPBadRequest"),
        ({"mac_address": "nonsense"}, 400, "HTTPBadRequest"),
        ({"security_groups": ["00000000-0000-4000-8000-000000000000"]}, 404, "SecurityGroupNotFound"),
        ({"network_id": "00000000-0000-4000-8000-000000000000"}, 404, "NetworkNotFound"),
        ({"allowed_address_pairs": [{"ip_address": "10.0.0.0/33"}]}, 400, "HTTPBadRequest"),
        ({"allowed_address_pairs": [{"ip_address": "0.0.0.0/0"}]}, 400, "HTTPBadRequest"),
        ({"allowed_address_pairs": [{"mac_address": "fa:16:3e:00:00:01"}]}, 400, "AddressPairMissingIP"),
        ({"allowed_address_pairs": [{"ip_address": "10.0.0.8"}] * 2}, 400, "DuplicateAddressPairInRequest"),
        (
            {"allowed_address_pairs": [{"ip_address": "10.0.0.8"}], "port_security_enabled": False},
            409,
            "AddressPairAndPortSecurityRequired",
        ),
        ({"extra_dhcp_opts": [{"opt_name": "mtu", "opt_value": "1\n2"}]}, 400, "HTTPBadRequest"),
        ({"dns_name": "a b"}, 400, "HTTPBadRequest"),
        ({"status": "ACTIVE"}, 400, "HTTPBadRequest"),
    ],
)
async def test_a_port_that_cannot_be_is_refused(alice: Client, net: str, fields: dict, status: int, kind: str) -> None:
    error = await alice.refused(status, "ports", **{"network_id": net, **fields})
    assert error["type"] == kind, error


async def test_no_two_ports_share_an_address_or_a_mac(alice: Client, net: str) -> None:
    port = await alice.make("ports", network_id=net, fixed_ips=[{"ip_address": "10.0.0.77"}], mac_address="fa:16:3e:aa:aa:aa")
    assert (await alice.refused(409, "ports", network_id=net, fixed_ips=[{"ip_address": "10.0.0.77"}]))[
        "type"
    ] == "IpAddressAlreadyAllocated"
    assert (await alice.refused(409, "ports", network_id=net, mac_address="fa:16:3e:aa:aa:aa"))["type"] == "MacAddressInUse"
    await alice.remove("ports", port["id"])
    await alice.make("ports", network_id=net, fixed_ips=[{"ip_address": "10.0.0.77"}], mac_address="fa:16:3e:aa:aa:aa")


async def test_every_address_of_a_small_subnet_is_given_once(alice: Client) -> None:
    net = await alice.make("networks")
    await alice.make("subnets", network_id=net["id"], ip_version=4, cidr="10.0.0.0/28", enable_dhcp=False)
    given = [(await alice.make("ports", network_id=net["id"]))["fixed_ips"][0]["ip_address"] for _ in range(13)]
    assert len(set(given)) == 13 and "10.0.0.1" not in given
    assert (await alice.refused(409, "ports", network_id=net["id"]))["type"] == "IpAddressGenerationFailure"


async def test_addresses_of_a_port_can_be_changed(alice: Client, net: str) -> None:
    port = await alice.make("ports", network_id=net)
    before = port["fixed_ips"]
    more = await alice.change("ports", port["id"], fixed_ips=[*before, {"ip_address": "10.0.0.99"}])
    assert len(more["fixed_ips"]) == 2 and more["fixed_ips"][1]["ip_address"] == "10.0.0.99"
    same = await alice.change("ports", port["id"], fixed_ips=[{"subnet_id": before[0]["subnet_id"]}])
    assert len(same["fixed_ips"]) == 1
    none = await alice.change("ports", port["id"], fixed_ips=[])
    assert none["fixed_ips"] == []


async def test_slaac_addresses_follow_from_the_mac(alice: Client) -> None:
    net = await alice.make("networks")
    early = await alice.make("ports", network_id=net["id"])
    subnet = await alice.make(
        "subnets", network_id=net["id"], ip_version=6, cidr="fd00:5::/64", ipv6_ra_mode="slaac", ipv6_address_mode="slaac"
    )
    late = await alice.make("ports", network_id=net["id"])
    for port in (await alice.show("ports", early["id"]), late):
        assert port["fixed_ips"] == [{"subnet_id": subnet["id"], "ip_address": addresses.eui64("fd00:5::/64", port["mac_address"])}]


async def test_ports_are_found_by_what_they_have(alice: Client, net: str) -> None:
    port = await alice.make("ports", network_id=net, fixed_ips=[{"ip_address": "10.0.0.50"}], device_id="dev", name="x")
    await alice.make("ports", network_id=net, fixed_ips=[{"ip_address": "10.0.0.60"}])
    for query in ({"fixed_ips": "ip_address=10.0.0.50"}, {"fixed_ips": "ip_address_substr=.0.5"}, {"device_id": "dev"}, {"name": "x"},
                  {"mac_address": port["mac_address"].upper()}, {"id": port["id"]}):  # fmt: skip
        assert [p["id"] for p in await alice.list("ports", **query)] == [port["id"]], query
    assert len(await alice.list("ports", fixed_ips=f"subnet_id={port['fixed_ips'][0]['subnet_id']}", device_owner="")) == 2


async def test_port_security_goes_off_only_without_groups(alice: Client, net: str, neutron: AreaApi) -> None:
    port = await alice.make("ports", network_id=net)
    error = await alice.refused(409, "ports", port["id"], port_security_enabled=False)
    assert error["type"] == "PortSecurityPortHasSecurityGroup"
    await alice.change("ports", port["id"], port_security_enabled=False, security_groups=[])
    await neutron.settle()
    row = neutron.cloud.areas["network"].driver.engine.rows[f"port:{port['id']}"]
    assert row.columns["port_security"] == () and row.groups == frozenset()


async def test_a_null_mac_makes_a_new_one(alice: Client, admin: Client, net: str) -> None:
    port = await alice.make("ports", network_id=net)
    changed = await admin.change("ports", port["id"], mac_address=None)
    assert changed["mac_address"] != port["mac_address"] and changed["mac_address"].startswith("fa:16:3e:")


async def test_a_routers_port_is_not_deleted_by_itself(alice: Client, inside: Inside) -> None:
    [port] = await alice.list("ports", device_owner="network:router_interface")
    assert (await alice.remove("ports", port["id"], 409))["type"] == "ServicePortInUse"


async def test_a_servers_port_is_not_deleted_by_its_owner_alone(alice: Client, admin: Client, net: str) -> None:
    port = await alice.make("ports", network_id=net)
    await admin.change("ports", port["id"], device_owner="compute:nova", device_id="server")
    assert (await alice.remove("ports", port["id"], 403))["type"] == "PolicyNotAuthorized"


async def test_the_port_quota_holds(alice: Client, admin: Client, net: str) -> None:
    await admin.call("PUT", "/quotas/red", 200, {"quota": {"port": 2}})
    for _ in range(2):
        last = await alice.make("ports", network_id=net)
    error = await alice.refused(409, "ports", network_id=net)
    assert error == {"type": "OverQuota", "message": "Quota exceeded for resources: ['port'].", "detail": ""}
    await alice.remove("ports", last["id"])
    await alice.make("ports", network_id=net)


async def test_a_port_on_the_outer_network_is_the_administrators(admin: Client, outside: Outside) -> None:
    port = await admin.make("ports", network_id=outside.network["id"])
    assert addresses.in_cidr(port["fixed_ips"][0]["ip_address"], "203.0.113.0/24")


async def test_a_port_switched_off_is_down_and_comes_back(alice: Client, admin: Client, net: str, neutron: AreaApi) -> None:
    port = await alice.make("ports", network_id=net)
    await admin.change("ports", port["id"], binding__host_id="node-1")
    for up, status in ((False, "DOWN"), (True, "ACTIVE"), (False, "DOWN")):
        await alice.change("ports", port["id"], admin_state_up=up)
        await neutron.settle()
        assert (await alice.show("ports", port["id"]))["status"] == status


async def test_a_zone_there_is_not_is_refused(alice: Client) -> None:
    error = await alice.refused(404, "networks", availability_zone_hints=["moon"])
    assert error["type"] == "AvailabilityZoneNotFound"
    assert (await alice.make("networks", availability_zone_hints=["nova"]))["availability_zone_hints"] == ["nova"]


async def test_tags_come_and_go(alice: Client, net: str) -> None:
    port = await alice.make("ports", network_id=net)
    path = f"/ports/{port['id']}/tags"
    assert await alice.call("PUT", path, 200, {"tags": ["b", "a"]}) == {"tags": ["a", "b"]}
    await alice.call("PUT", f"{path}/c", 201)
    await alice.call("GET", f"{path}/c", 204)
    await alice.call("DELETE", f"{path}/a", 204)
    assert (await alice.call("GET", f"{path}/a", 404))["NeutronError"]["type"] == "TagNotFound"
    assert await alice.call("GET", path, 200) == {"tags": ["b", "c"]}
    assert [p["id"] for p in await alice.list("ports", **{"tags-any": "c,z"})] == [port["id"]]
    await alice.call("DELETE", path, 204)
    assert (await alice.show("ports", port["id"]))["tags"] == []


async def test_a_dhcp_option_of_the_other_ip_version_is_kept_and_given_to_nobody(neutron: AreaApi, alice: Client, inside: Inside) -> None:
    option = {"opt_name": "server-ip-address", "opt_value": "2015::badd"}
    port = await alice.make("ports", network_id=inside.network["id"], extra_dhcp_opts=[option])
    assert port["extra_dhcp_opts"] == [option | {"ip_version": 4}]
    await neutron.settle()
    rows = neutron.cloud.areas["network"].driver.engine.rows
    assert not any("2015::badd" in str(row) for row in rows.values())


async def test_port_security_is_switched_off_by_owners_of_the_network_alone(alice: Client, bob: Client, admin: Client) -> None:
    shared = await admin.make("networks", shared=True)
    refused = await bob.refused(403, "ports", network_id=shared["id"], port_security_enabled=False)
    assert "create_port:port_security_enabled" in refused["message"]
    own = await bob.make("networks")
    assert (await bob.make("ports", network_id=own["id"], port_security_enabled=False))["port_security_enabled"] is False


async def test_a_port_wears_each_group_once_and_groups_of_one_kind(alice: Client, inside: Inside) -> None:
    one, two, less = [await alice.make("security-groups", name=n, stateful=n != "less") for n in ("one", "two", "less")]
    port = await alice.make("ports", network_id=inside.network["id"], security_groups=[one["id"], two["id"]])
    await alice.refused(400, "ports", port["id"], security_groups=[one["id"], one["id"]])
    mixed = [one["id"], less["id"]]
    assert (await alice.refused(409, "ports", port["id"], security_groups=mixed))["type"] == "SecurityGroupConflict"
    assert (await alice.refused(409, "ports", network_id=inside.network["id"], security_groups=mixed))["type"] == "SecurityGroupConflict"
    assert (await alice.change("ports", port["id"], security_groups=[less["id"]]))["security_groups"] == [less["id"]]
