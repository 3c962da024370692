"""QoS policies, their rules and what they are put on."""

from __future__ import annotations

from typing import Any

import pytest
from tests.wire.areas import AreaApi
from tests.wire.network.conftest import Client, Inside, Outside


@pytest.fixture
def manager(neutron: AreaApi) -> Client:
    """Policies are a project's managers' (policy's default since 2025.1)."""
    return Client(neutron.client("red/manager", ""))


@pytest.fixture
async def policy(manager: Client) -> Any:
    return await manager.make("qos/policies", name="gold", tags=["t"])


async def limit(who: Client, policy: Any, **fields: Any) -> Any:
    return await who.make(f"qos/policies/{policy['id']}/bandwidth_limit_rules", **fields)


def rows(neutron: AreaApi) -> list[tuple[str, Any, Any]]:
    found = [r for r in neutron.cloud.areas["network"].driver.engine.rows.values() if r.table == "QoS"]
    return sorted((str(r.columns["direction"]), r.columns["bandwidth"], r.columns["action"]) for r in found)


async def test_a_policy_and_its_rules(alice: Client, manager: Client, policy: Any) -> None:
    assert policy["rules"] == [] and policy["shared"] is False and policy["is_default"] is False and policy["tags"] == ["t"]
    assert (await alice.refused(403, "qos/policies", name="x"))["type"] == "PolicyNotAuthorized"
    path = f"qos/policies/{policy['id']}/bandwidth_limit_rules"
    rule = await limit(manager, policy, max_kbps=1000)
    assert rule == {"id": rule["id"], "max_kbps": 1000, "max_burst_kbps": 0, "direction": "egress"}
    again = await manager.refused(409, path, max_kbps=5)
    assert again["type"] == "QoSRulesConflict"
    inward = await limit(manager, policy, max_kbps=2000, max_burst_kbps=100, direction="ingress")
    mark = await manager.make(f"qos/policies/{policy['id']}/dscp_marking_rules", dscp_mark=26)
    assert mark == {"id": mark["id"], "dscp_mark": 26}
    shown = await alice.show("qos/policies", policy["id"])
    assert [(r["type"], r["qos_policy_id"], r["id"]) for r in shown["rules"]] == [
        ("bandwidth_limit", policy["id"], rule["id"]), ("bandwidth_limit", policy["id"], inward["id"]), ("dscp_marking", policy["id"], mark["id"]),
    ]  # fmt: skip
    assert shown["revision_number"] > policy["revision_number"]
    assert [r["id"] for r in await alice.list(path, direction="ingress")] == [inward["id"]]
    await alice.call("GET", f"/{path}/{mark['id']}", 404)
    page = await alice.call("GET", f"/{path}?limit=1&fields=id", 200)
    assert page["bandwidth_limit_rules"] == [{"id": rule["id"]}]
    following = next(link["href"] for link in page["bandwidth_limit_rules_links"] if link["rel"] == "next").partition("/network/v2.0")[2]
    assert [r["id"] for r in (await alice.call("GET", following, 200))["bandwidth_limit_rules"]] == [inward["id"]]
    assert (await manager.change(path, rule["id"], max_kbps=3000))["max_kbps"] == 3000
    assert (await manager.refused(409, path, rule["id"], direction="ingress"))["type"] == "QoSRulesConflict"
    alias = f"/qos/alias_bandwidth_limit_rules/{rule['id']}"
    assert (await alice.call("GET", alias, 200))["alias_bandwidth_limit_rule"]["max_kbps"] == 3000
    await manager.call("PUT", alias, 200, {"alias_bandwidth_limit_rule": {"max_kbps": 4000}})
    await manager.call("DELETE", f"/qos/alias_dscp_marking_rules/{mark['id']}", 204)
    await manager.remove(path, rule["id"])
    await manager.remove("qos/policies", policy["id"])
    await alice.call("GET", f"/qos/policies/{policy['id']}", 404)


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("bandwidth_limit", {}), ("bandwidth_limit", {"max_kbps": -1}), ("bandwidth_limit", {"max_kbps": 1 << 31}),
        ("bandwidth_limit", {"max_kbps": 1, "direction": "up"}), ("bandwidth_limit", {"max_kbps": 1, "dscp_mark": 8}),
        ("dscp_marking", {"dscp_mark": 9}), ("dscp_marking", {}),
    ],
)  # fmt: skip
async def test_a_rule_that_cannot_be_is_refused(manager: Client, policy: Any, kind: str, fields: Any) -> None:
    await manager.refused(400, f"qos/policies/{policy['id']}/{kind}_rules", **fields)


async def test_tags_know_a_policy_by_its_type_alone(manager: Client, policy: Any) -> None:
    path = f"/policies/{policy['id']}/tags"
    assert (await manager.call("GET", path, 200))["tags"] == ["t"]
    await manager.call("PUT", f"{path}/u", 201)
    assert (await manager.show("qos/policies", policy["id"]))["tags"] == ["t", "u"]


async def test_rule_types_are_those_that_the_engine_keeps(alice: Client, admin: Client) -> None:
    kept = [{"type": "bandwidth_limit"}, {"type": "dscp_marking"}, {"type": "minimum_bandwidth"}]
    assert (await alice.call("GET", "/qos/rule-types", 200))["rule_types"] == kept
    assert (await alice.call("GET", "/qos/rule-types?all_supported=true", 200))["rule_types"] == kept
    every = (await alice.call("GET", "/qos/rule-types?all_rules=true", 200))["rule_types"]
    assert {t["type"] for t in every} == {"bandwidth_limit", "dscp_marking", "minimum_bandwidth", "packet_rate_limit", "minimum_packet_rate"}
    await alice.call("GET", "/qos/rule-types?all_rules=true&all_supported=true", 400)
    details = (await admin.call("GET", "/qos/rule-types/bandwidth_limit", 200))["rule_type"]
    assert details["drivers"][0]["name"] == "ovn"
    await alice.call("GET", "/qos/rule-types/bandwidth_limit", 403)
    await admin.call("GET", "/qos/rule-types/minimum_packet_rate", 404)
    for kind in ("packet_rate_limit", "minimum_packet_rate"):
        await admin.call("GET", f"/qos/policies/x/{kind}_rules", 404)
        await admin.call("GET", f"/qos/alias_{kind}_rules/x", 404)


async def test_a_least_bandwidth_is_a_queue_where_the_network_is_physical(neutron: AreaApi, admin: Client, alice: Client) -> None:
    policy = await admin.make("qos/policies", name="sure", shared=True)
    path = f"qos/policies/{policy['id']}/minimum_bandwidth_rules"
    rule = await admin.make(path, min_kbps=5000)
    assert rule == {"id": rule["id"], "min_kbps": 5000, "direction": "egress"}
    for bad in ({}, {"min_kbps": -1}, {"min_kbps": 1, "direction": "ingress"}, {"min_kbps": 1, "max_kbps": 1}):
        await admin.refused(400, path, **bad)
    assert (await admin.refused(409, path, min_kbps=1))["type"] == "QoSRulesConflict"
    outer = await admin.make("networks", shared=True, provider__network_type="vlan", provider__physical_network="public")
    inner = await alice.make("networks")
    there, here = [await alice.make("ports", network_id=n["id"], qos_policy_id=policy["id"]) for n in (outer, inner)]

    async def promised(port: Any) -> Any:
        await neutron.settle()
        return neutron.cloud.areas["network"].driver.engine.rows[f"port:{port['id']}"].columns["options"].get("qos_min_rate")

    assert await promised(there) == "5000000" and await promised(here) is None, "an overlay has no queue of a card's"
    alias = f"/qos/alias_minimum_bandwidth_rules/{rule['id']}"
    await admin.call("PUT", alias, 200, {"alias_minimum_bandwidth_rule": {"min_kbps": 7000}})
    assert await promised(there) == "7000000"
    assert (await admin.call("GET", alias, 200))["alias_minimum_bandwidth_rule"]["min_kbps"] == 7000
    await admin.call("DELETE", alias, 204)
    assert await promised(there) is None


async def test_policies_reach_the_engine(alice: Client, manager: Client, neutron: AreaApi, policy: Any, inside: Inside, outside: Outside) -> None:
    port = await alice.make("ports", network_id=inside.network["id"], qos_policy_id=policy["id"])
    assert port["qos_policy_id"] == policy["id"] and port["qos_network_policy_id"] is None
    other = await alice.make("ports", network_id=inside.network["id"])
    rule = await limit(manager, policy, max_kbps=1000)
    await neutron.settle()
    assert rows(neutron) == [("from-lport", {"rate": 1000}, {})]
    path = f"qos/policies/{policy['id']}"
    await manager.make(f"{path}/dscp_marking_rules", dscp_mark=10)
    await manager.change(f"{path}/bandwidth_limit_rules", rule["id"], max_kbps=5000, max_burst_kbps=500)
    await neutron.settle()
    assert rows(neutron) == [("from-lport", {"rate": 5000, "burst": 500}, {"dscp": 10})]
    assert (await manager.remove("qos/policies", policy["id"], 409))["type"] == "QosPolicyInUse"
    await alice.change("networks", inside.network["id"], qos_policy_id=policy["id"])
    assert (await alice.show("ports", other["id"]))["qos_network_policy_id"] == policy["id"]
    await neutron.settle()
    assert len(rows(neutron)) == 2, "the second port by its network"
    fip = await alice.make("floatingips", floating_network_id=outside.network["id"], port_id=other["id"], qos_policy_id=policy["id"])
    gateway = {"network_id": outside.network["id"], "qos_policy_id": policy["id"]}
    router = await alice.change("routers", inside.router["id"], external_gateway_info=gateway)
    assert router["external_gateway_info"]["qos_policy_id"] == policy["id"]
    await neutron.settle()
    assert len(rows(neutron)) == 4
    await alice.change("routers", inside.router["id"], external_gateway_info={"network_id": outside.network["id"], "qos_policy_id": None})
    await alice.change("floatingips", fip["id"], qos_policy_id=None)
    await alice.change("networks", inside.network["id"], qos_policy_id=None)
    await alice.change("ports", port["id"], qos_policy_id=None)
    await neutron.settle()
    assert rows(neutron) == []
    await manager.remove("qos/policies", policy["id"])


async def test_anothers_policy_is_used_only_when_it_is_shared(bob: Client, manager: Client, admin: Client, policy: Any) -> None:
    net = await bob.make("networks")
    await bob.refused(404, "ports", network_id=net["id"], qos_policy_id=policy["id"])
    assert (await bob.refused(404, "networks", net["id"], qos_policy_id=policy["id"]))["type"] == "QosPolicyNotFound"
    grant = await manager.make(
        "rbac-policies", object_type="qos_policy", object_id=policy["id"], action="access_as_shared", target_tenant="blue"
    )
    await bob.change("networks", net["id"], qos_policy_id=policy["id"])
    await bob.call("DELETE", f"/qos/policies/{policy['id']}", 403)
    assert (await manager.remove("rbac-policies", grant["id"], 409))["type"] == "RbacPolicyInUse"
    await bob.change("networks", net["id"], qos_policy_id=None)
    await manager.remove("rbac-policies", grant["id"])
    common = await admin.make("qos/policies", name="all", shared=True)
    assert [p["id"] for p in await bob.list("qos/policies", shared=True)] == [common["id"]]


async def test_a_default_policy_is_on_new_networks(alice: Client, manager: Client, policy: Any) -> None:
    await manager.change("qos/policies", policy["id"], is_default=True)
    assert (await manager.refused(409, "qos/policies", name="2", is_default=True))["type"] == "QoSPolicyDefaultAlreadyExists"
    assert (await alice.make("networks"))["qos_policy_id"] == policy["id"]
    await manager.change("qos/policies", policy["id"], is_default=False)
    assert (await alice.make("networks"))["qos_policy_id"] is None
