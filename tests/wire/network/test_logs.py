"""What nodes log of packets that security groups accept and drop."""

from __future__ import annotations

from typing import Any

import pytest
from tests.wire.areas import AreaApi
from tests.wire.network.conftest import Client


@pytest.fixture
def manager(neutron: AreaApi) -> Client:
    """Logs are a project's managers' (policy's default since 2025.1)."""
    return Client(neutron.client("red/manager", ""))


async def logged(neutron: AreaApi) -> dict[str, set[str]]:
    """Which logs the engine's rules name: by group, `drop` for what no group accepts."""
    await neutron.settle()
    found: dict[str, set[str]] = {}
    rows = neutron.cloud.areas["network"].driver.engine.rows
    for row in rows.values():
        if row.table == "ACL" and row.columns["log"]:
            assert row.columns["meter"] == ("acl_log_meter",) and row.columns["severity"] == ("info",)
            [name] = row.columns["name"]
            found.setdefault(row.holder[0].key.removeprefix("group:"), set()).add(name.removeprefix("neutron-"))
    assert any(row.table == "Meter" for row in rows.values()) == bool(found)
    return found


async def test_a_groups_packets_are_logged_until_the_log_goes(neutron: AreaApi, manager: Client, alice: Client) -> None:
    group, other = [await alice.make("security-groups", name=name) for name in ("web", "db")]
    log = await manager.make("log/logs", name="l", resource_type="security_group", resource_id=group["id"], event="accept")
    assert (log["event"], log["enabled"], log["target_id"], log["revision_number"]) == ("ACCEPT", True, None, 1) and log["created_at"]
    assert await logged(neutron) == {group["id"]: {log["id"]}}
    every = await manager.make("log/logs", resource_type="security_group")
    assert every["event"] == "ALL" and every["resource_id"] is None
    found = await logged(neutron)
    assert found["drop"] == found[other["id"]] == {every["id"]} and found[group["id"]] == {log["id"]}, "the older log names what both tell"
    changed = await manager.change("log/logs", every["id"], enabled=False, name="off")
    assert changed["enabled"] is False and changed["name"] == "off"
    assert await logged(neutron) == {group["id"]: {log["id"]}}
    drops = await manager.make("log/logs", resource_type="security_group", event="DROP")
    assert await logged(neutron) == {group["id"]: {log["id"]}, "drop": {drops["id"]}}
    assert {one["id"] for one in await manager.list("log/logs", event="DROP", sort_key="name", sort_dir="asc")} == {drops["id"]}
    await manager.remove("log/logs", drops["id"])
    await alice.remove("security-groups", group["id"])
    assert [one["id"] for one in await manager.list("log/logs")] == [every["id"]], "a log goes with its group"
    assert await logged(neutron) == {}


async def test_a_ports_log_follows_the_groups_it_wears(neutron: AreaApi, manager: Client, alice: Client) -> None:
    net = await alice.make("networks")
    one, two = [await alice.make("security-groups", name=name) for name in ("one", "two")]
    port = await alice.make("ports", network_id=net["id"], security_groups=[one["id"]])
    log = await manager.make("log/logs", resource_type="security_group", target_id=port["id"], event="ACCEPT")
    assert await logged(neutron) == {one["id"]: {log["id"]}}
    await alice.change("ports", port["id"], security_groups=[two["id"]])
    assert await logged(neutron) == {two["id"]: {log["id"]}}
    fields = {"resource_type": "security_group", "target_id": port["id"]}
    wrong = await manager.refused(400, "log/logs", **fields, resource_id=one["id"])
    assert wrong["type"] == "InvalidResourceConstraint"
    await manager.make("log/logs", **fields, resource_id=two["id"])
    await alice.remove("ports", port["id"])
    assert await manager.list("log/logs") == [] and await logged(neutron) == {}


async def test_a_log_that_cannot_be_is_refused(neutron: AreaApi, manager: Client, alice: Client, bob: Client) -> None:
    none = "00000000-0000-4000-8000-000000000000"
    theirs = await bob.make("security-groups", name="theirs")
    assert (await manager.refused(400, "log/logs", resource_type="router"))["type"] == "InvalidLogResourceType"
    for id in (none, theirs["id"]):
        refused = await manager.refused(404, "log/logs", resource_type="security_group", resource_id=id)
        assert refused["type"] == "ResourceNotFound"
    assert (await manager.refused(404, "log/logs", resource_type="security_group", target_id=none))["type"] == "TargetResourceNotFound"
    for bad in ({}, {"event": "ODD"}, {"resource_id": "x"}, {"enabled": "perhaps"}, {"nonsense": 1}):
        await manager.refused(400, "log/logs", **({"resource_type": "security_group"} if bad else {}), **bad)
    await alice.refused(403, "log/logs", resource_type="security_group")
    log = await manager.make("log/logs", resource_type="security_group")
    await manager.refused(400, "log/logs", log["id"], event="DROP")
    assert await alice.list("log/logs") == [] == await bob.list("log/logs")
    await alice.call("GET", f"/log/logs/{log['id']}", 404)
    assert (await manager.call("GET", "/log/loggable-resources", 200)) == {"loggable_resources": [{"type": "security_group"}]}
    stale: Any = {"headers": {"If-Match": "revision_number=7"}}
    await manager.call("DELETE", f"/log/logs/{log['id']}", 412, **stale)
