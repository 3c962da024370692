"""What is there without asking: default rules and statefulness of groups, default networks and pools, quotas."""

from __future__ import annotations

from typing import Any

import pytest
from tests.wire.areas import AreaApi
from tests.wire.network.conftest import Client, Inside, Outside


async def test_new_groups_begin_with_the_default_rules(alice: Client, bob: Client, admin: Client) -> None:
    first = await alice.list("default-security-group-rules")
    assert sorted((r["direction"], r["ethertype"], r["remote_group_id"], r["used_in_non_default_sg"]) for r in first) == [
        ("egress", "IPv4", None, True), ("egress", "IPv6", None, True), ("ingress", "IPv4", "PARENT", False), ("ingress", "IPv6", "PARENT", False),
    ]  # fmt: skip
    fields: dict[str, Any] = {"direction": "ingress", "protocol": "tcp", "port_range_min": 22, "port_range_max": 22, "description": "ssh"}
    await alice.refused(403, "default-security-group-rules", **fields)
    rule = await admin.make("default-security-group-rules", **fields)
    assert rule["used_in_default_sg"] is False and rule["used_in_non_default_sg"] is True
    assert (await admin.refused(409, "default-security-group-rules", **fields))["type"] == "DefaultSecurityGroupRuleExists"
    group = await alice.make("security-groups", name="g")
    assert [(r["port_range_min"], r["description"]) for r in group["security_group_rules"] if r["direction"] == "ingress"] == [(22, "ssh")]
    [default] = await bob.list("security-groups", name="default")
    assert {r["remote_group_id"] for r in default["security_group_rules"] if r["direction"] == "ingress"} == {default["id"]}
    for gone in [r["id"] for r in first if r["direction"] == "egress"] + [rule["id"]]:
        await admin.remove("default-security-group-rules", gone)
    assert (await alice.make("security-groups", name="h"))["security_group_rules"] == []
    for wrong in ({"port_range_min": 9}, {"direction": "up"}, {"used_in_non_default_sg": False}, {"protocol": "tcp", "port_range_min": 0}):
        await admin.refused(400, "default-security-group-rules", **{"direction": "ingress", **wrong})
    await alice.call("DELETE", f"/default-security-group-rules/{first[0]['id']}", 404 if first[0]["direction"] == "egress" else 403)


async def test_a_template_that_outlived_its_group_is_passed_over(alice: Client, admin: Client) -> None:
    remote = await admin.make("security-groups", name="r")
    await admin.make("default-security-group-rules", direction="ingress", remote_group_id=remote["id"])
    assert len((await alice.make("security-groups", name="a"))["security_group_rules"]) == 3
    await admin.remove("security-groups", remote["id"])
    assert len((await alice.make("security-groups", name="b"))["security_group_rules"]) == 2


async def test_statefulness_of_new_groups(alice: Client, admin: Client, neutron: AreaApi) -> None:
    manager, path = Client(neutron.client("red/manager", "")), "/security-groups-default-statefulness"
    name = "security_groups_default_statefulness"
    await alice.call("POST", path, 403, {name: {"stateful": False}})
    one = (await manager.call("POST", path, 201, {name: {"stateful": False}}))[name]
    assert one == {"id": one["id"], "project_id": "red", "stateful": False}
    await manager.call("POST", path, 409, {name: {"stateful": True}})
    assert (await alice.make("security-groups", name="g"))["stateful"] is False
    assert (await alice.make("security-groups", name="h", stateful=True))["stateful"] is True
    everyone = (await admin.call("POST", path, 201, {name: {"stateful": False, "project_id": None}}))[name]
    assert everyone["project_id"] is None
    assert len((await admin.call("GET", path, 200))[name]) == 2 and len((await alice.call("GET", path, 200))[name]) == 1
    await manager.call("PUT", f"{path}/{one['id']}", 200, {name: {"stateful": True}})
    assert (await alice.make("security-groups", name="i"))["stateful"] is True
    assert (await admin.make("security-groups", name="j"))["stateful"] is False
    await manager.call("DELETE", f"{path}/{one['id']}", 204)
    await manager.call("DELETE", f"{path}/{everyone['id']}", 404)


@pytest.fixture
async def defaults(admin: Client, outside: Outside) -> None:
    await admin.change("networks", outside.network["id"], is_default=True)
    await admin.make("subnetpools", name="4", prefixes=["10.0.0.0/8"], default_prefixlen=24, is_default=True, shared=True)
    await admin.make("subnetpools", name="6", prefixes=["fd00::/48"], is_default=True, shared=True)


async def test_a_topology_is_allocated_by_asking(alice: Client, bob: Client, admin: Client, defaults: None) -> None:
    path = "/auto-allocated-topology/red"
    assert (await alice.call("GET", path + "?fields=dry-run", 200))["auto_allocated_topology"]["id"] == "dry-run=pass"
    topology = (await alice.call("GET", "/auto-allocated-topology/None", 200))["auto_allocated_topology"]
    assert topology["project_id"] == "red" and (await alice.call("GET", path, 200))["auto_allocated_topology"] == topology
    net = await alice.show("networks", topology["id"])
    assert net["name"] == "auto_allocated_network" and len(net["subnets"]) == 2 and net["admin_state_up"] is True
    [router] = await alice.list("routers")
    assert router["name"] == "auto_allocated_router" and router["external_gateway_info"]
    await bob.call("GET", path, 403)
    await bob.call("DELETE", path, 403)
    assert (await bob.call("GET", "/auto-allocated-topology/blue", 200))["auto_allocated_topology"]["id"] != topology["id"]
    port = await alice.make("ports", network_id=net["id"])
    await alice.call("DELETE", path, 409)
    await alice.remove("ports", port["id"])
    await alice.call("DELETE", path, 204)
    assert await alice.list("routers") == [] and topology["id"] not in [n["id"] for n in await alice.list("networks")]
    await alice.call("DELETE", path, 204)


async def test_a_topology_needs_defaults(alice: Client, admin: Client, outside: Outside) -> None:
    path = "/auto-allocated-topology/red"
    for asked in (path, path + "?fields=dry-run"):
        error = (await alice.call("GET", asked, 409))["NeutronError"]
        assert error["type"] == "AutoAllocationFailure" and "No default router:external network" in error["message"]
    await admin.change("networks", outside.network["id"], is_default=True)
    assert "No default subnetpools" in (await alice.call("GET", path, 409))["NeutronError"]["message"]
    assert await alice.list("routers") == []
    error = await admin.refused(
        409, "networks", router__external=True, is_default=True, provider__network_type="vlan", provider__physical_network="public"
    )
    assert error["type"] == "DefaultExternalNetworkExists"


async def test_a_quota_below_what_is_used_needs_force(alice: Client, admin: Client) -> None:
    await alice.make("networks")
    await alice.make("networks")
    await admin.call("PUT", "/quotas/red", 400, {"quota": {"network": 1}})
    await admin.call("PUT", "/quotas/red", 400, {"quota": {"network": 1, "check_limit": True}})
    await admin.call("PUT", "/quotas/red", 200, {"quota": {"network": 1, "force": True}})
    assert (await alice.refused(409, "networks"))["type"] == "OverQuota"
    quota = (await alice.call("GET", "/quotas/red", 200))["quota"]
    assert (quota["rbac_policy"], quota["subnetpool"], quota["trunk"], quota["address_group"]) == (10, -1, -1, -1)


async def test_pools_of_floating_addresses_and_their_use(alice: Client, bob: Client, admin: Client, inside: Inside, outside: Outside) -> None:
    [pool] = (await alice.call("GET", "/floatingip_pools", 200))["floatingip_pools"]
    assert (await alice.call("GET", "/floatingip-pools", 200))["floatingip_pools"] == [pool]
    assert pool == {
        "subnet_id": outside.subnet["id"], "subnet_name": "", "network_id": outside.network["id"], "cidr": "203.0.113.0/24",
        "project_id": "red", "tenant_id": "red",
    }  # fmt: skip
    assert (await bob.call("GET", f"/floatingip_pools?network_id={inside.network['id']}", 200))["floatingip_pools"] == []
    await alice.change("subnets", inside.subnet["id"], allocation_pools=[{"start": "10.0.0.10", "end": "10.0.0.19"}])
    await alice.make("ports", network_id=inside.network["id"])
    answer = (await admin.call("GET", f"/network-ip-availabilities/{inside.network['id']}", 200))["network_ip_availability"]
    assert answer["total_ips"] == 10 and answer["subnet_ip_availability"][0]["ip_version"] == 4
    assert answer["ip_availability_details"] == {
        "total_ips_in_subnet": 254, "total_ips_in_allocation_pool": 10, "used_ips_in_subnet": 3, "used_ips_in_allocation_pool": 1,
    }  # fmt: skip
    listed = (await admin.call("GET", "/network-ip-availabilities?ip_version=6", 200))["network_ip_availabilities"]
    assert all(n["subnet_ip_availability"] == [] for n in listed)


async def test_flavors_of_routers(alice: Client, admin: Client) -> None:
    assert await alice.list("service-providers") == [{"service_type": "L3_ROUTER_NAT", "name": "ovn", "default": True}]
    await alice.refused(403, "flavors", name="f", service_type="L3_ROUTER_NAT")
    await admin.refused(400, "flavors", name="f", service_type="nonsense")
    flavor = await admin.make("flavors", name="f", service_type="L3_ROUTER_NAT", description="d")
    assert flavor["enabled"] is True and flavor["service_profiles"] == []
    assert (await admin.refused(400, "service_profiles", description="x"))["type"] == "ServiceProfileEmpty"
    assert (await admin.refused(404, "service_profiles", driver="x"))["type"] == "ServiceProfileDriverNotFound"
    profile = await admin.make("service_profiles", driver="moln.network.drivers.ovn", metainfo="{}")
    assert await alice.list("service_profiles") == []
    await alice.refused(404, "routers", flavor_id=flavor["id"])
    path = f"/flavors/{flavor['id']}/service_profiles"
    joined = await admin.call("POST", path, 201, {"service_profile": {"id": profile["id"]}})
    assert joined["service_profile"]["service_profiles"] == [profile["id"]]
    await admin.call("POST", path, 409, {"service_profile": {"id": profile["id"]}})
    assert (await alice.call("GET", f"/flavors/{flavor['id']}/next_providers", 200))["next_providers"][0]["provider"] == "ovn"
    router = await alice.make("routers", flavor_id=flavor["id"])
    assert router["flavor_id"] == flavor["id"] and router["enable_snat"] is True and "ha" not in router
    assert (await admin.show("routers", router["id"]))["ha"] is True
    assert (await admin.remove("flavors", flavor["id"], 409))["type"] == "FlavorInUse"
    assert (await admin.remove("service_profiles", profile["id"], 409))["type"] == "ServiceProfileInUse"
    await admin.change("flavors", flavor["id"], enabled=False)
    assert (await alice.refused(503, "routers", flavor_id=flavor["id"]))["type"] == "FlavorDisabled"
    await alice.remove("routers", router["id"])
    await admin.call("DELETE", f"{path}/{profile['id']}", 204)
    await admin.call("DELETE", f"{path}/{profile['id']}", 404)
    await admin.remove("flavors", flavor["id"])
    await admin.remove("service_profiles", profile["id"])


async def test_a_ports_own_domain_comes_first(alice: Client, neutron: AreaApi) -> None:
    net = await alice.make("networks", dns_domain="net.example.", vlan_transparent=True)
    subnet = await alice.make("subnets", network_id=net["id"], ip_version=4, cidr="10.0.0.0/24", dns_publish_fixed_ip=True)
    assert net["vlan_transparent"] is True and subnet["dns_publish_fixed_ip"] is True
    port = await alice.make("ports", network_id=net["id"], dns_name="one", dns_domain="own.example.")
    assert port["dns_assignment"][0]["fqdn"] == "one.own.example."
    await neutron.settle()
    rows = neutron.cloud.areas["network"].driver.engine.rows
    assert "one.own.example" in rows[f"names:{net['id']}"].columns["records"]
    assert rows[f"network:{net['id']}"].columns["other_config"]["vlan-passthru"] == "true"
    changed = await alice.change("ports", port["id"], dns_domain="")
    assert changed["dns_assignment"][0]["fqdn"] == "one.net.example."
    await neutron.settle()
    assert "one.net.example" in rows[f"names:{net['id']}"].columns["records"]


async def test_no_group_begins_with_two_rules_of_one_meaning(admin: Client) -> None:
    rule = {"direction": "ingress", "ethertype": "IPv4", "protocol": "tcp", "port_range_min": 7, "port_range_max": 7}
    await admin.make("default-security-group-rules", **rule, used_in_default_sg=True, used_in_non_default_sg=True)
    for one, other in ((True, False), (False, True)):
        refused = await admin.refused(409, "default-security-group-rules", **rule, used_in_default_sg=one, used_in_non_default_sg=other)
        assert refused["type"] == "DefaultSecurityGroupRuleExists"
    apart = rule | {"port_range_min": 8, "port_range_max": 8}
    for one in (True, False):
        await admin.make("default-security-group-rules", **apart, used_in_default_sg=one, used_in_non_default_sg=not one)


async def test_an_administrator_who_asks_about_a_project_finds_its_default_group(admin: Client) -> None:
    assert [g["name"] for g in await admin.list("security-groups", project_id="brand-new")] == ["default"]
    assert {r["description"] for r in await admin.list("default-security-group-rules")} == {
        "Legacy default SG rule for egress traffic", "Legacy default SG rule for ingress traffic",
    }  # fmt: skip
