"""Servers and the hosts that they are placed on, end to end in simulation."""

from __future__ import annotations

from typing import Any

import pytest
from tests.compute.world import World, world  # noqa: F401 (a fixture)

from moln.compute.ops import hosts
from moln.placement.module import module
from moln.simulation import start_nodes


@pytest.fixture
async def two(world: World) -> World:  # noqa: F811
    """Two hosts."""
    await start_nodes(world.cloud, 2)
    return world


async def violations(world: World) -> list[str]:  # noqa: F811
    return [v.message for i in module(None).invariants for v in await i.check(world.cloud)]


async def placement(world: World, path: str) -> Any:  # noqa: F811
    answer = await world.api.admin.get(f"/placement{path}", headers={"OpenStack-API-Version": "placement 1.39"})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def host_of(world: World, server: dict[str, Any]) -> str:  # noqa: F811
    return (await world.show(server, admin=True))["OS-EXT-SRV-ATTR:host"]


async def test_a_server_holds_what_its_flavor_says_until_it_is_gone(world):  # noqa: F811
    server = await world.boot()
    held = await placement(world, f"/allocations/{server['id']}")
    (resources,) = [a["resources"] for a in held["allocations"].values()]
    assert resources == {"VCPU": 1, "MEMORY_MB": 128, "DISK_GB": 1}
    assert (held["project_id"], held["consumer_type"]) == (server["tenant_id"], "INSTANCE")
    await world.call("DELETE", f"/servers/{server['id']}", 204)
    await world.settle()
    assert (await placement(world, f"/allocations/{server['id']}"))["allocations"] == {}
    assert not await violations(world)


async def test_servers_spread_over_hosts(two):
    made = [await two.boot(networks="none") for _ in range(2)]
    assert {await host_of(two, s) for s in made} == {"sim-1", "sim-2"}
    together = await two.call("POST", "/servers", 202, {"server": {
        "name": "m", "flavorRef": two.small, "imageRef": two.image, "networks": "none", "min_count": 4, "return_reservation_id": True}})  # fmt: skip
    assert together["reservation_id"]
    await two.settle()
    found = (await two.call("GET", "/servers/detail?all_tenants=1", 200, admin=True))["servers"]
    on = [s["OS-EXT-SRV-ATTR:host"] for s in found]
    assert sorted(on) == ["sim-1"] * 3 + ["sim-2"] * 3
    assert not await violations(two)


async def test_hints_keep_servers_apart_or_together(two):
    first = await two.boot(networks="none")
    home = await host_of(two, first)

    async def place(hint: str) -> dict[str, Any]:
        body = {"server": {"name": "b", "flavorRef": two.small, "imageRef": two.image, "networks": "none"},
                "os:scheduler_hints": {hint: [first["id"]]}}  # fmt: skip
        made = (await two.call("POST", "/servers", 202, body))["server"]
        await two.settle()
        return made

    assert await host_of(two, await place("same_host")) == home
    assert await host_of(two, await place("different_host")) != home


async def test_without_a_host_the_fault_says_why_and_nothing_is_held(two):
    flavor = await two.flavor("huge", disk=10**6)
    server = await two.boot(flavorRef=flavor, networks="none")
    assert server["status"] == "ERROR"
    assert server["fault"]["message"].startswith("No valid host was found. 2 hosts looked at: 2 lack disk (needs 1000000 GiB, ")
    assert (await placement(two, f"/allocations/{server['id']}"))["allocations"] == {}
    await two.call("DELETE", f"/servers/{server['id']}", 204)
    await two.settle()
    assert not await violations(two)


async def test_a_flavor_may_ask_for_a_trait(two):
    flavor = await two.flavor("gpu")
    await two.call("POST", f"/flavors/{flavor}/os-extra_specs", 200, {"extra_specs": {"trait:CUSTOM_GPU": "required"}}, admin=True)
    assert "lack traits (CUSTOM_GPU)" in (await two.boot(flavorRef=flavor, networks="none"))["fault"]["message"]
    (chosen,) = (await placement(two, "/resource_providers?name=sim-2"))["resource_providers"]
    headers = {"OpenStack-API-Version": "placement 1.39"}
    await two.api.admin.put("/placement/traits/CUSTOM_GPU", headers=headers)
    held = await placement(two, f"/resource_providers/{chosen['uuid']}/traits")
    held["traits"].append("CUSTOM_GPU")
    set_ = await two.api.admin.put(f"/placement/resource_providers/{chosen['uuid']}/traits", json=held, headers=headers)
    assert set_.status_code == 200, set_.text
    await hosts.catch_up(two.cloud)
    server = await two.boot(flavorRef=flavor, networks="none")
    assert (server["status"], await host_of(two, server)) == ("ACTIVE", "sim-2")


async def test_a_disabled_host_is_passed_over(two):
    services = (await two.call("GET", "/os-services", 200, admin=True))["services"]
    off = next(s for s in services if s["host"] == "sim-1")
    await two.call("PUT", f"/os-services/{off['id']}", 200, {"status": "disabled"}, admin=True)
    await hosts.catch_up(two.cloud)
    for _ in range(3):
        assert await host_of(two, await two.boot(networks="none")) == "sim-2"
    busy = next(s for s in services if s["host"] == "sim-2")
    await two.call("DELETE", f"/os-services/{busy['id']}", 409, admin=True)
    shown = (await two.call("GET", "/os-hypervisors/detail?with_servers=true&hypervisor_hostname_pattern=sim-2", 200, admin=True))
    assert len(shown["hypervisors"][0]["servers"]) == 3


async def test_a_zone_is_kept_and_a_host_with_servers_stays_in_it(two):
    made = (await two.call("POST", "/os-aggregates", 200, {"aggregate": {"name": "e", "availability_zone": "east"}}, admin=True))["aggregate"]
    act = f"/os-aggregates/{made['id']}/action"
    await two.call("POST", act, 200, {"add_host": {"host": "sim-2"}}, admin=True)
    await hosts.catch_up(two.cloud)
    for _ in range(2):
        server = await two.boot(networks="none", availability_zone="east")
        assert (await host_of(two, server), server["OS-EXT-AZ:availability_zone"]) == ("sim-2", "east")
    assert "zone" in (await two.call("POST", act, 409, {"remove_host": {"host": "sim-2"}}, admin=True))["conflictingRequest"]["message"]
