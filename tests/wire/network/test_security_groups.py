"""Security groups and their rules as Neutron's clients see them."""

from __future__ import annotations

import pytest
from tests.wire.areas import AreaApi
from tests.wire.network.conftest import Client


@pytest.fixture
async def group(alice: Client) -> str:
    return str((await alice.make("security-groups", name="web"))["id"])


async def test_every_project_has_a_default_group(alice: Client, bob: Client) -> None:
    [group] = await alice.list("security-groups")
    rules = {(r["direction"], r["ethertype"], r["remote_group_id"]) for r in group["security_group_rules"]}
    assert rules == {
        ("egress", "IPv4", None), ("egress", "IPv6", None), ("ingress", "IPv4", group["id"]), ("ingress", "IPv6", group["id"]),
    }  # fmt: skip
    assert [g["id"] for g in await bob.list("security-groups")] != [group["id"]]
    assert (await alice.refused(409, "security-groups", name="Default"))["type"] == "SecurityGroupDefaultAlreadyExists"
    assert (await alice.refused(409, "security-groups", group["id"], name="x"))["type"] == "SecurityGroupCannotUpdateDefault"
    assert (await alice.remove("security-groups", group["id"], 409))["type"] == "SecurityGroupCannotRemoveDefault"


async def test_a_new_group_lets_everything_out(alice: Client, group: str) -> None:
    shown = await alice.show("security-groups", group)
    assert {(r["direction"], r["ethertype"]) for r in shown["security_group_rules"]} == {("egress", "IPv4"), ("egress", "IPv6")}
    assert shown["stateful"] is True and shown["shared"] is False


async def test_a_rule_reaches_the_engine(alice: Client, group: str, neutron: AreaApi) -> None:
    rule = await alice.make(
        "security-group-rules", security_group_id=group, direction="ingress", protocol="tcp", port_range_min=22, port_range_max=22,
        remote_ip_prefix="198.51.100.7/24",
    )  # fmt: skip
    assert rule["remote_ip_prefix"] == "198.51.100.7/24" and rule["normalized_cidr"] == "198.51.100.0/24" and rule["ethertype"] == "IPv4"
    await neutron.settle()
    rows = neutron.cloud.areas["network"].driver.engine.rows
    name = "pg_" + group.replace("-", "_")
    wanted = f"outport == @{name} && ip4 && ip4.src == 198.51.100.0/24 && tcp && tcp.dst == 22"
    assert rows[f"group:{group}/{rule['id']}"].columns["match"] == wanted
    await alice.remove("security-group-rules", rule["id"])
    await neutron.settle()
    assert f"group:{group}/{rule['id']}" not in rows


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"protocol": "nonsense"}, "SecurityGroupRuleInvalidProtocol"),
        ({"protocol": 256}, "SecurityGroupRuleInvalidProtocol"),
        ({"protocol": "-1"}, "SecurityGroupRuleInvalidProtocol"),
        ({"port_range_min": 1, "port_range_max": 2}, "SecurityGroupProtocolRequiredWithPorts"),
        ({"protocol": "tcp", "port_range_min": 5}, "SecurityGroupInvalidPortRange"),
        ({"protocol": "tcp", "port_range_min": 5, "port_range_max": 4}, "SecurityGroupInvalidPortRange"),
        ({"protocol": "tcp", "port_range_min": 0, "port_range_max": 4}, "SecurityGroupInvalidPortValue"),
        ({"protocol": "tcp", "port_range_min": 1, "port_range_max": 65536}, "SecurityGroupInvalidPortValue"),
        ({"protocol": "tcp", "port_range_min": "x", "port_range_max": 4}, "SecurityGroupInvalidPortValue"),
        ({"protocol": "icmp", "port_range_min": 256}, "SecurityGroupInvalidIcmpValue"),
        ({"protocol": "icmp", "port_range_max": 1}, "SecurityGroupMissingIcmpType"),
        ({"protocol": "vrrp", "port_range_min": 1, "port_range_max": 1}, "SecurityGroupInvalidProtocolForPort"),
        ({"protocol": "ipv6-icmp"}, "SecurityGroupEthertypeConflictWithProtocol"),
        ({"ethertype": "IPv5"}, "SecurityGroupRuleInvalidEtherType"),
        ({"remote_ip_prefix": "10.0.0.0/33"}, "InvalidCIDR"),
        ({"remote_ip_prefix": "10.0.0.0/8\n"}, "InvalidCIDR"),
        ({"remote_ip_prefix": "fd00::/8"}, "SecurityGroupRuleParameterConflict"),
        ({"direction": "sideways"}, "HTTPBadRequest"),
        ({"remote_address_group_id": "x"}, "HTTPBadRequest"),
    ],
)
async def test_a_rule_that_cannot_be_is_refused(alice: Client, group: str, fields: dict, kind: str) -> None:
    """SEC-30: what the engine could not digest never gets to it."""
    error = await alice.refused(400, "security-group-rules", **{"security_group_id": group, "direction": "ingress", **fields})
    assert error["type"] == kind, error


async def test_a_rule_has_one_remote_side(alice: Client, group: str) -> None:
    error = await alice.refused(
        400, "security-group-rules", security_group_id=group, direction="ingress", remote_ip_prefix="10.0.0.0/8", remote_group_id=group
    )
    assert error["type"] == "SecurityGroupMultipleRemoteEntites"


async def test_two_rules_do_not_say_the_same(alice: Client, group: str) -> None:
    rule = {"security_group_id": group, "direction": "ingress", "protocol": "tcp", "remote_ip_prefix": "10.1.2.3/8"}
    made = await alice.make("security-group-rules", **rule)
    error = await alice.refused(409, "security-group-rules", **{**rule, "protocol": "6", "remote_ip_prefix": "10.0.0.0/8"})
    assert error["type"] == "SecurityGroupRuleExists" and made["id"] in error["message"]


@pytest.mark.parametrize("protocol", ["icmp", "icmpv6", "1", 58])
async def test_icmp_for_ipv6_goes_by_its_own_name(alice: Client, group: str, protocol: object) -> None:
    rule = await alice.make(
        "security-group-rules", security_group_id=group, direction="ingress", ethertype="ipv6", protocol=protocol, port_range_min=128
    )
    assert rule["protocol"] in ("ipv6-icmp", "58") and rule["ethertype"] == "IPv6"


async def test_the_whole_port_range_is_no_range(alice: Client, group: str) -> None:
    rule = await alice.make(
        "security-group-rules", security_group_id=group, direction="ingress", protocol="tcp", port_range_min=1, port_range_max=65535
    )
    assert rule["port_range_min"] is None and rule["port_range_max"] is None


async def test_a_group_that_is_worn_stays(alice: Client, group: str) -> None:
    net = await alice.make("networks")
    port = await alice.make("ports", network_id=net["id"], security_groups=[group])
    assert (await alice.remove("security-groups", group, 409))["type"] == "SecurityGroupInUse"
    await alice.change("ports", port["id"], security_groups=[])
    await alice.remove("security-groups", group)


async def test_rules_naming_a_group_go_with_it(alice: Client, group: str) -> None:
    other = await alice.make("security-groups", name="db")
    await alice.make("security-group-rules", security_group_id=other["id"], direction="ingress", remote_group_id=group)
    await alice.remove("security-groups", group)
    assert await alice.list("security-group-rules", remote_group_id=group) == []


async def test_a_group_of_another_project_is_neither_seen_nor_used(alice: Client, bob: Client, group: str) -> None:
    await bob.call("GET", f"/security-groups/{group}", 404)
    error = await bob.refused(404, "security-group-rules", security_group_id=group, direction="ingress")
    assert error["type"] == "SecurityGroupNotFound"
    own = (await bob.list("security-groups"))[0]["id"]
    error = await bob.refused(404, "security-group-rules", security_group_id=own, direction="ingress", remote_group_id=group)
    assert error["type"] == "SecurityGroupNotFound"
    net = await bob.make("networks")
    assert (await bob.refused(404, "ports", network_id=net["id"], security_groups=[group]))["type"] == "SecurityGroupNotFound"
    assert group not in {r["security_group_id"] for r in await bob.list("security-group-rules")}


async def test_rules_are_found_by_what_they_say(alice: Client, group: str) -> None:
    await alice.make("security-group-rules", security_group_id=group, direction="ingress", protocol="6")
    for query in ({"protocol": "tcp"}, {"protocol": "6", "direction": "ingress"}, {"security_group_id": group, "direction": "ingress"}):
        assert len(await alice.list("security-group-rules", **query)) == 1, query


async def test_many_rules_at_once_are_made_or_none(alice: Client, group: str) -> None:
    rule = {"security_group_id": group, "direction": "ingress", "protocol": "tcp"}
    ports = [{**rule, "port_range_min": n, "port_range_max": n} for n in range(100, 110)]
    made = await alice.call("POST", "/security-group-rules", 201, {"security_group_rules": ports})
    assert len(made["security_group_rules"]) == 10
    await alice.call("POST", "/security-group-rules", 409, {"security_group_rules": [rule, rule]})
    assert len(await alice.list("security-group-rules", security_group_id=group)) == 12


async def test_the_rule_quota_holds(alice: Client, admin: Client, group: str) -> None:
    await admin.call("PUT", "/quotas/red", 200, {"quota": {"security_group_rule": 7}})
    await alice.make("security-group-rules", security_group_id=group, direction="ingress")
    error = await alice.refused(409, "security-group-rules", security_group_id=group, direction="ingress", protocol="tcp")
    assert error["type"] == "OverQuota"
