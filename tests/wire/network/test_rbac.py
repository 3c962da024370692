"""RBAC policies: who else may use a thing."""

from __future__ import annotations

from typing import Any

import pytest
from tests.wire.areas import AreaApi
from tests.wire.network.conftest import Client, Inside, Outside


async def grant(who: Client, kind: str, id: str, target: str = "blue", action: str = "access_as_shared") -> Any:
    return await who.make("rbac-policies", object_type=kind, object_id=id, action=action, target_tenant=target)


async def test_a_network_is_shared_with_one_project(alice: Client, bob: Client, neutron: AreaApi) -> None:
    green = Client(neutron.client("green/member", ""))
    net = await alice.make("networks")
    await alice.make("subnets", network_id=net["id"], ip_version=4, cidr="10.0.0.0/24")
    policy = await grant(alice, "network", net["id"])
    assert policy == {
        "id": policy["id"], "object_type": "network", "object_id": net["id"], "action": "access_as_shared", "target_tenant": "blue",
        "project_id": "red", "tenant_id": "red",
    }  # fmt: skip
    assert (await bob.show("networks", net["id"]))["shared"] is True and (await alice.show("networks", net["id"]))["shared"] is False
    assert [n["id"] for n in await bob.list("networks", shared=True)] == [net["id"]] and await bob.list("networks", shared=False) == []
    assert len(await bob.list("subnets")) == 1
    await green.call("GET", f"/networks/{net['id']}", 404)
    port = await bob.make("ports", network_id=net["id"])
    assert (await bob.refused(403, "networks", net["id"], name="mine"))["type"] == "PolicyNotAuthorized"
    assert (await alice.remove("rbac-policies", policy["id"], 409))["type"] == "RbacPolicyInUse"
    assert (await alice.refused(409, "rbac-policies", policy["id"], target_tenant="green"))["type"] == "RbacPolicyInUse"
    await bob.remove("ports", port["id"])
    assert (await alice.change("rbac-policies", policy["id"], target_tenant="green"))["target_tenant"] == "green"
    await green.call("GET", f"/networks/{net['id']}", 200)
    await bob.call("GET", f"/networks/{net['id']}", 404)
    await alice.remove("rbac-policies", policy["id"])
    await green.call("GET", f"/networks/{net['id']}", 404)


async def test_policies_are_their_owners(alice: Client, bob: Client, admin: Client) -> None:
    net = await alice.make("networks")
    policy = await grant(alice, "network", net["id"])
    assert await bob.list("rbac-policies") == [] and len(await alice.list("rbac-policies", object_type="network")) == 1
    await bob.call("GET", f"/rbac-policies/{policy['id']}", 404)
    await bob.call("DELETE", f"/rbac-policies/{policy['id']}", 404)
    error = await bob.refused(400, "rbac-policies", object_type="network", object_id=net["id"], action="access_as_shared", target_tenant="x")
    assert error["type"] == "InvalidInput" and "do not own" in error["message"]
    duplicate = await alice.refused(
        409, "rbac-policies", object_type="network", object_id=net["id"], action="access_as_shared", target_tenant="blue"
    )
    assert duplicate["type"] == "DuplicateRbacPolicy"
    for fields in ({"object_type": "port"}, {"action": "fly"}, {"target_tenant": ""}):
        wrong = {"object_type": "network", "object_id": net["id"], "action": "access_as_shared", "target_tenant": "z", **fields}
        await alice.refused(400, "rbac-policies", **wrong)
    for target, who, status in (("*", alice, 403), ("*", admin, 201)):
        body = {"rbac_policy": {"object_type": "network", "object_id": net["id"], "action": "access_as_shared", "target_tenant": target}}
        await who.call("POST", "/rbac-policies", status, body)
    assert (await bob.show("networks", net["id"]))["shared"] is True
    await alice.remove("networks", net["id"])
    assert await admin.list("rbac-policies") == []


async def test_shared_is_a_policy_for_everyone(alice: Client, admin: Client) -> None:
    net = await admin.make("networks", shared=True)
    [policy] = await admin.list("rbac-policies")
    assert policy["target_tenant"] == "*" and policy["object_id"] == net["id"]
    assert (await alice.show("networks", net["id"]))["shared"] is True
    port = await alice.make("ports", network_id=net["id"])
    assert (await admin.refused(409, "networks", net["id"], shared=False))["type"] == "InvalidSharedSetting"
    mine = await grant(admin, "network", net["id"], "red")
    assert (await admin.change("networks", net["id"], shared=False))["shared"] is False
    assert [p["id"] for p in await admin.list("rbac-policies")] == [mine["id"]]
    assert (await alice.show("networks", net["id"]))["shared"] is True, "by the policy that is left"
    await alice.remove("ports", port["id"])


async def test_an_external_network_for_one_project(alice: Client, bob: Client, admin: Client) -> None:
    net = await admin.make("networks", provider__network_type="flat", provider__physical_network="public")
    await admin.make("subnets", network_id=net["id"], ip_version=4, cidr="203.0.113.0/24", enable_dhcp=False)
    policy = await grant(admin, "network", net["id"], "red", "access_as_external")
    assert (await alice.show("networks", net["id"]))["router:external"] is True
    await bob.call("GET", f"/networks/{net['id']}", 404)
    await bob.refused(404, "floatingips", floating_network_id=net["id"])
    router = await alice.make("routers", external_gateway_info={"network_id": net["id"]})
    assert (await admin.remove("rbac-policies", policy["id"], 409))["type"] == "RbacPolicyInUse"
    await alice.remove("routers", router["id"])
    await admin.remove("rbac-policies", policy["id"])
    assert (await admin.show("networks", net["id"]))["router:external"] is False


async def test_an_external_network_is_a_policy_too(alice: Client, admin: Client, outside: Outside) -> None:
    [policy] = await admin.list("rbac-policies")
    assert policy["action"] == "access_as_external" and policy["target_tenant"] == "*"
    await admin.change("networks", outside.network["id"], router__external=False)
    assert await admin.list("rbac-policies") == []
    await alice.call("GET", f"/networks/{outside.network['id']}", 404)
    await admin.change("networks", outside.network["id"], router__external=True)
    await alice.call("GET", f"/networks/{outside.network['id']}", 200)


async def test_a_security_group_is_lent(alice: Client, bob: Client, inside: Inside) -> None:
    group = await alice.make("security-groups", name="lent")
    net = await bob.make("networks")
    await bob.refused(404, "ports", network_id=net["id"], security_groups=[group["id"]])
    policy = await grant(alice, "security_group", group["id"])
    assert [g["id"] for g in await bob.list("security-groups", shared=True)] == [group["id"]]
    await bob.call("PUT", f"/security-groups/{group['id']}", 403, {"security_group": {"name": "x"}})
    port = await bob.make("ports", network_id=net["id"], security_groups=[group["id"]])
    assert (await alice.remove("rbac-policies", policy["id"], 409))["type"] == "RbacPolicyInUse"
    await bob.remove("ports", port["id"])
    await alice.remove("rbac-policies", policy["id"])
    await bob.call("GET", f"/security-groups/{group['id']}", 404)


@pytest.mark.parametrize("kind", ["subnetpool", "address_scope"])
async def test_pools_and_scopes_are_lent(alice: Client, bob: Client, kind: str) -> None:
    fields: dict[str, Any] = {"prefixes": ["10.0.0.0/8"], "name": "p"} if kind == "subnetpool" else {"ip_version": 4}
    path = {"subnetpool": "subnetpools", "address_scope": "address-scopes"}[kind]
    thing = await alice.make(path, **fields)
    policy = await grant(alice, kind, thing["id"])
    assert (await bob.show(path, thing["id"]))["shared"] is True
    if kind == "subnetpool":
        net = await bob.make("networks")
        await bob.make("subnets", network_id=net["id"], ip_version=4, subnetpool_id=thing["id"], prefixlen=24)
    else:
        await bob.make("subnetpools", name="b", prefixes=["10.0.0.0/8"], address_scope_id=thing["id"])
    assert (await alice.remove("rbac-policies", policy["id"], 409))["type"] == "RbacPolicyInUse"


async def test_the_quota_of_policies(alice: Client, admin: Client) -> None:
    net = await alice.make("networks")
    await admin.call("PUT", "/quotas/red", 200, {"quota": {"rbac_policy": 1}})
    await grant(alice, "network", net["id"])
    body = {"object_type": "network", "object_id": net["id"], "action": "access_as_shared", "target_tenant": "green"}
    assert (await alice.refused(409, "rbac-policies", **body))["type"] == "OverQuota"


async def test_what_is_shared_with_everyone_is_not_refused_for_the_quota(admin: Client, alice: Client) -> None:
    await admin.call("PUT", "/quotas/cloud", 200, {"quota": {"rbac_policy": 1}})
    nets = [await admin.make("networks", shared=True) for _ in range(3)]
    share = {"object_type": "network", "object_id": nets[0]["id"], "action": "access_as_shared", "target_tenant": "red"}
    assert (await admin.refused(409, "rbac-policies", **share))["type"] == "OverQuota"
    assert (await admin.call("GET", "/quotas/cloud/details", 200))["quota"]["rbac_policy"]["used"] == 3
    for net in nets:
        await admin.remove("networks", net["id"])
    await admin.call("DELETE", "/quotas/cloud", 204)
