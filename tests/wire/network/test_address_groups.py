"""Address groups and the rules that name them."""

from __future__ import annotations

from typing import Any

import pytest
from tests.wire.areas import AreaApi
from tests.wire.network.conftest import Client


@pytest.fixture
async def group(alice: Client) -> Any:
    return await alice.make("address-groups", name="g", description="d", addresses=["10.0.0.1/24", "fd00::/64"])


async def test_a_group_of_addresses(alice: Client, neutron: AreaApi, group: Any) -> None:
    assert group["addresses"] == ["10.0.0.0/24", "fd00::/64"], "without host bits"
    assert group["name"] == "g" and group["shared"] is False and group["revision_number"] == 1
    path = f"/address-groups/{group['id']}"
    added = (await alice.call("PUT", path + "/add_addresses", 200, {"addresses": ["10.9.0.1/32"]}))["address_group"]
    assert added["addresses"] == ["10.0.0.0/24", "fd00::/64", "10.9.0.1/32"]
    await neutron.settle()
    sets = {r.columns["name"]: r.columns["addresses"] for r in neutron.cloud.areas["network"].driver.engine.rows.values()
            if r.table == "Address_Set"}  # fmt: skip
    name = "ag_" + group["id"].replace("-", "_")
    assert sets == {f"{name}_ip4": ("10.0.0.0/24", "10.9.0.1/32"), f"{name}_ip6": ("fd00::/64",)}
    twice = await alice.call("PUT", path + "/add_addresses", 400, {"addresses": ["10.0.0.5/24"]})
    assert twice["NeutronError"]["type"] == "AddressesAlreadyExist"
    for strange in ("10.1.0.0", "nonsense"):
        await alice.call("PUT", path + "/remove_addresses", 404, {"addresses": [strange]})
        await alice.call("PUT", path + "/add_addresses", 400, {"addresses": [strange]})
    absent = await alice.call("PUT", path + "/remove_addresses", 404, {"addresses": ["10.1.0.0/24"]})
    assert absent["NeutronError"]["type"] == "AddressesNotFound"
    left = await alice.call("PUT", path + "/remove_addresses", 200, {"addresses": ["10.0.0.0/24", "fd00::/64"]})
    assert left["address_group"]["addresses"] == ["10.9.0.1/32"]
    for bad in ({}, {"addresses": "x"}, {"addresses": ["x"]}, {"addresses": ["10.0.0.0/33"]}, {"addresses": [], "more": 1}):
        await alice.call("PUT", path + "/add_addresses", 400, bad)
    assert (await alice.change("address-groups", group["id"], name="h"))["name"] == "h"
    await alice.refused(400, "address-groups", group["id"], addresses=[])


async def test_a_rule_names_a_group(alice: Client, neutron: AreaApi, group: Any) -> None:
    wall = await alice.make("security-groups", name="w")
    rule = await alice.make(
        "security-group-rules", security_group_id=wall["id"], direction="ingress", protocol="tcp", remote_address_group_id=group["id"]
    )
    assert rule["remote_address_group_id"] == group["id"]
    assert [r["id"] for r in await alice.list("security-group-rules", remote_address_group_id=group["id"])] == [rule["id"]]
    await neutron.settle()
    row = neutron.cloud.areas["network"].driver.engine.rows[f"group:{wall['id']}/{rule['id']}"]
    assert row.columns["match"].endswith(f"ip4.src == $ag_{group['id'].replace('-', '_')}_ip4 && tcp")
    assert (await alice.remove("address-groups", group["id"], 409))["type"] == "AddressGroupInUse"
    both = await alice.refused(
        400, "security-group-rules", security_group_id=wall["id"], direction="ingress", remote_address_group_id=group["id"],
        remote_ip_prefix="10.0.0.0/8",
    )  # fmt: skip
    assert both["type"] == "SecurityGroupMultipleRemoteEntites"
    await alice.remove("security-group-rules", rule["id"])
    await alice.remove("address-groups", group["id"])


async def test_a_group_is_its_projects_until_it_is_lent(alice: Client, bob: Client, group: Any) -> None:
    wall = await bob.make("security-groups", name="w")
    path = f"/address-groups/{group['id']}"
    await bob.call("GET", path, 404)
    await bob.call("PUT", path + "/add_addresses", 404, {"addresses": []})
    fields = {"security_group_id": wall["id"], "direction": "ingress", "remote_address_group_id": group["id"]}
    assert (await bob.refused(404, "security-group-rules", **fields))["type"] == "AddressGroupNotFound"
    policy = await alice.make(
        "rbac-policies", object_type="address_group", object_id=group["id"], action="access_as_shared", target_tenant="blue"
    )
    rule = await bob.make("security-group-rules", **fields)
    await bob.call("PUT", path + "/add_addresses", 403, {"addresses": ["1.2.3.4/32"]})
    assert (await alice.remove("rbac-policies", policy["id"], 409))["type"] == "RbacPolicyInUse"
    await bob.remove("security-group-rules", rule["id"])
    await alice.remove("rbac-policies", policy["id"])
