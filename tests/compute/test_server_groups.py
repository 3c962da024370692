"""Server groups: where their servers go, also when several boots come at once, and what is given back."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.compute.test_placing import host_of
from tests.compute.world import World, world  # noqa: F401 (a fixture)

from moln.compute.model.scheduling import Host, Wanted, choose, explain
from moln.compute.model.server_groups import Companions, GroupPolicy
from moln.compute.ops import explain as explaining
from moln.simulation import start_nodes

ANY = object()  # no hint at all


@pytest.fixture
async def two(world: World) -> World:  # noqa: F811
    """Two hosts."""
    await start_nodes(world.cloud, 2)
    return world


async def group(world: World, policy: str, **rules: Any) -> str:  # noqa: F811
    asked = {"name": "g", "policy": policy} | ({"rules": rules} if rules else {})
    return (await world.call("POST", "/os-server-groups", 200, {"server_group": asked}))["server_group"]["id"]


async def members(world: World, id: str) -> list[str]:  # noqa: F811
    return (await world.call("GET", f"/os-server-groups/{id}", 200))["server_group"]["members"]


async def ask(world: World, hint: Any, status: int = 202, **more: Any) -> dict[str, Any]:  # noqa: F811
    server = {"name": "m", "flavorRef": world.small, "imageRef": world.image, "networks": "none"} | more
    return await world.call("POST", "/servers", status, {"server": server, "os:scheduler_hints": {} if hint is ANY else {"group": hint}})


async def boot(world: World, hint: Any, **more: Any) -> dict[str, Any]:  # noqa: F811
    made = (await ask(world, hint, **more))["server"]
    await world.settle()
    return await world.show(made)


async def test_boots_at_once_cannot_break_anti_affinity(two: World) -> None:
    id = await group(two, "anti-affinity")
    made = await asyncio.gather(*(ask(two, id) for _ in range(6)))
    await two.settle()
    servers = [await two.show(m["server"]) for m in made]
    placed = [await host_of(two, s) for s in servers if s["status"] == "ACTIVE"]
    assert sorted(placed) == ["sim-1", "sim-2"]
    faults = [s["fault"]["message"] for s in servers if s["status"] == "ERROR"]
    assert faults == ["No valid host was found. 2 hosts looked at: 2 run servers of the group (has 1, 1 at most)"] * 4
    assert sorted(await members(two, id)) == sorted(s["id"] for s in servers)
    assert not await two.violations()


async def test_boots_at_once_stay_together_under_affinity(two: World) -> None:
    id = await group(two, "affinity")
    made = await asyncio.gather(*(ask(two, id) for _ in range(4)))
    await two.settle()
    assert len({await host_of(two, m["server"]) for m in made}) == 1
    assert (await two.show(made[0]["server"]))["server_groups"] == [id]


async def test_servers_of_one_request_are_apart_too(two: World) -> None:
    id = await group(two, "anti-affinity")
    await ask(two, id, min_count=2, max_count=2)
    await two.settle()
    assert {await host_of(two, {"id": s}) for s in await members(two, id)} == {"sim-1", "sim-2"}


async def test_a_rule_says_how_many_a_host_may_have(two: World) -> None:
    id = await group(two, "anti-affinity", max_server_per_host=2)
    servers = [await boot(two, id) for _ in range(5)]
    assert [s["status"] for s in servers] == ["ACTIVE"] * 4 + ["ERROR"]
    on = [await host_of(two, s) for s in servers[:4]]
    assert sorted(on) == ["sim-1", "sim-1", "sim-2", "sim-2"]


async def test_a_server_that_goes_makes_room(two: World) -> None:
    id = await group(two, "anti-affinity")
    first, second = [await boot(two, id) for _ in range(2)]
    where = await host_of(two, first)
    await two.call("DELETE", f"/servers/{first['id']}", 204)
    await two.settle()
    assert await members(two, id) == [second["id"]]
    assert await host_of(two, await boot(two, id)) == where
    told = await explaining.server(two.cloud, second["id"])
    assert "It is in the group g (anti-affinity)." in told["summary"]
    assert {h["host"]: h["verdict"] for h in told["hosts"]}[where] == "runs servers of the group (has 1, 1 at most)"


@pytest.mark.parametrize(("policy", "apart"), [("soft-affinity", False), ("soft-anti-affinity", True)])
async def test_soft_policies_order_hosts_and_refuse_none(two: World, policy: str, apart: bool) -> None:
    id = await group(two, policy)
    on = [await host_of(two, await boot(two, id)) for _ in range(4)]
    assert len(set(on[:2])) == (2 if apart else 1)
    assert len(on) == 4 and (sorted(on) == ["sim-1"] * 2 + ["sim-2"] * 2 if apart else len(set(on)) == 1)


async def test_an_unshelved_server_comes_back_to_its_group(two: World) -> None:
    id = await group(two, "anti-affinity")
    first, second = [await boot(two, id) for _ in range(2)]
    await two.act(first, {"shelve": None})
    await two.settle()
    third = await boot(two, id)
    assert third["status"] == "ACTIVE"
    await two.act(first, {"unshelve": None})
    await two.settle()
    assert (await two.show(first))["status"] == "SHELVED_OFFLOADED"  # each host runs one of the group
    await two.call("DELETE", f"/servers/{second['id']}", 204)
    await two.settle()
    await two.act(first, {"unshelve": None})
    await two.settle()
    assert (await two.show(first))["status"] == "ACTIVE"
    assert await host_of(two, first) != await host_of(two, third)
    assert not await two.violations()


async def test_a_group_goes_and_its_servers_stay(two: World) -> None:
    id = await group(two, "affinity")
    server = await boot(two, id)
    await two.call("DELETE", f"/os-server-groups/{id}", 204)
    assert (await two.show(server))["server_groups"] == []
    await two.call("GET", f"/os-server-groups/{id}", 404)
    await two.call("DELETE", f"/os-server-groups/{id}", 404)
    assert not await two.violations()


async def test_quotas_of_groups_and_of_their_members(two: World) -> None:
    project = (await boot(two, ANY))["tenant_id"]
    await two.call("PUT", f"/os-quota-sets/{project}", 200, {"quota_set": {"server_groups": 1, "server_group_members": 1}}, admin=True)
    id = await group(two, "soft-affinity")
    refused = await two.call("POST", "/os-server-groups", 403, {"server_group": {"name": "g", "policy": "affinity"}})
    assert refused["forbidden"]["message"] == "Quota exceeded, too many server groups."
    await boot(two, id)
    refused = await ask(two, id, 403)
    assert refused["forbidden"]["message"] == "Quota exceeded, too many servers in group"
    absolute = (await two.call("GET", "/limits", 200))["limits"]["absolute"]
    assert (absolute["totalServerGroupsUsed"], absolute["maxServerGroups"], absolute["totalInstancesUsed"]) == (1, 1, 2)
    assert not await two.violations()


async def test_a_hint_must_name_a_group_of_the_project(two: World) -> None:
    theirs = await two.call("POST", "/os-server-groups", 200, {"server_group": {"name": "g", "policy": "affinity"}}, admin=True)
    for hint in ("nonsense", None, 7, ["a"], "11111111-1111-4111-8111-111111111111", theirs["server_group"]["id"]):
        await ask(two, hint, 400)
    listed = await two.call("GET", "/os-server-groups", 200)
    assert listed["server_groups"] == []
    everyone = (await two.call("GET", "/os-server-groups?all_projects", 200, admin=True))["server_groups"]
    assert [g["id"] for g in everyone] == [theirs["server_group"]["id"]]


def host(name: str, **more: Any) -> Host:
    return Host(name, name, "nova", True, free_vcpus=8, free_ram_mib=4096, free_disk_gib=100, max_vcpus=8, max_ram_mib=4096,
                max_disk_gib=100, **more)  # fmt: skip


def test_a_group_is_found_in_a_large_pool() -> None:
    pool = [host(f"h{n}") for n in range(500)]
    together = Wanted(1, 512, 1, group=Companions(GroupPolicy.SOFT_AFFINITY, 1, {"h77": 1, "h400": 3}))
    assert [h.name for h in choose(pool, together, 12345)][:2] == ["h400", "h77"]
    apart = Wanted(1, 512, 1, group=Companions(GroupPolicy.ANTI_AFFINITY, 1, {f"h{n}": 1 for n in range(499)}))
    assert [h.name for h in choose(pool, apart, 12345)] == ["h499"]
    why = explain(pool[3], apart)
    assert why is not None and why.kind == "runs servers of the group"
