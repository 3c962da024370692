"""Who may take what: over the API, and inside another area's transaction."""

from __future__ import annotations

import asyncio
import uuid

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moln.placement.model.providers import Amounts
from moln.placement.ops import audit, claims, providers
from moln.placement.store import inventories

HOST = "11111111-1111-4111-8111-111111111111"
OTHER = "22222222-2222-4222-8222-222222222222"
ROOM = {
    "VCPU": Amounts(total=4, max_unit=4, allocation_ratio=4.0),
    "MEMORY_MB": Amounts(total=1000, reserved=100),
    "DISK_GB": Amounts(total=50),
}


async def host(cloud, id=HOST, name="node-1"):
    await cloud.db.write(providers.report_in, id=id, name=name, amounts=ROOM, traits={"COMPUTE_NODE"}, now_us=1)


async def used(cloud, id=HOST):
    return {i.resource_class: i.used for i in await inventories.of_provider(cloud.db, id)}


def body(resources, *, id=HOST, generation=None):
    return {"allocations": {id: {"resources": resources}}, "project_id": "demo", "user_id": "alice",
            "consumer_generation": generation, "consumer_type": "INSTANCE"}  # fmt: skip


async def claim(cloud, consumer, id=HOST, **resources):
    return await cloud.db.write(claims.claim_in, now_us=2, consumer_id=consumer, project_id="demo", user_id="alice",
                                provider_id=id, resources=resources)  # fmt: skip


async def test_a_claim_takes_all_of_it_or_nothing(placement):
    cloud = placement.cloud
    await host(cloud)
    assert await claim(cloud, "a", VCPU=2, MEMORY_MB=500, DISK_GB=0)
    assert not await claim(cloud, "b", VCPU=2, MEMORY_MB=500, DISK_GB=1)
    assert await used(cloud) == {"VCPU": 2, "MEMORY_MB": 500, "DISK_GB": 0}
    assert not (await placement.violations())
    assert await cloud.db.write(claims.release_in, "a", now_us=3)
    assert not await cloud.db.write(claims.release_in, "a", now_us=3)
    assert await used(cloud) == {"VCPU": 0, "MEMORY_MB": 0, "DISK_GB": 0}
    assert not (await placement.violations())


async def test_many_at_once_never_overfill_a_host(placement):
    cloud = placement.cloud
    await host(cloud)
    won = await asyncio.gather(*(claim(cloud, str(i), VCPU=1, MEMORY_MB=100, DISK_GB=1) for i in range(40)))
    assert sum(won) == 9
    assert (await used(cloud))["MEMORY_MB"] == 900
    assert not (await placement.violations())


async def test_a_move_holds_room_in_one_place_only(placement):
    cloud = placement.cloud
    await host(cloud)
    await host(cloud, OTHER, "node-2")
    assert await claim(cloud, "a", VCPU=2, MEMORY_MB=800)
    assert await claim(cloud, "b", id=OTHER, VCPU=2, MEMORY_MB=800)
    wanted = {"VCPU": 2, "MEMORY_MB": 800}
    assert not await cloud.db.write(claims.move_in, "a", now_us=4, provider_id=OTHER, resources=wanted)
    assert await used(cloud) == {"VCPU": 2, "MEMORY_MB": 800, "DISK_GB": 0}
    await cloud.db.write(claims.release_in, "b", now_us=4)
    assert await cloud.db.write(claims.move_in, "a", now_us=5, provider_id=OTHER, resources=wanted)
    assert (await used(cloud), (await used(cloud, OTHER))["MEMORY_MB"]) == ({"VCPU": 0, "MEMORY_MB": 0, "DISK_GB": 0}, 800)
    assert not (await placement.violations())


async def test_allocations_are_set_shown_and_removed(placement):
    await host(placement.cloud)
    consumer = str(uuid.uuid4())
    assert (await placement("PUT", f"/allocations/{consumer}", body({"VCPU": 1, "MEMORY_MB": 64}))).status_code == 204
    shown = (await placement("GET", f"/allocations/{consumer}")).json()
    assert shown["allocations"][HOST]["resources"] == {"VCPU": 1, "MEMORY_MB": 64}
    assert (shown["project_id"], shown["consumer_generation"], shown["consumer_type"]) == ("demo", 1, "INSTANCE")
    assert (await placement("PUT", f"/allocations/{consumer}", body({"VCPU": 3}, generation=1))).status_code == 204
    assert await used(placement.cloud) == {"VCPU": 3, "MEMORY_MB": 0, "DISK_GB": 0}
    by_host = (await placement("GET", f"/resource_providers/{HOST}/allocations")).json()
    assert by_host["allocations"] == {consumer: {"resources": {"VCPU": 3}, "consumer_generation": 2}}
    usages = (await placement("GET", "/usages?project_id=demo")).json()
    assert usages == {"usages": {"INSTANCE": {"VCPU": 3, "consumer_count": 1}}}
    assert (await placement("GET", "/usages?project_id=demo", at="1.9")).json() == {"usages": {"VCPU": 3}}
    assert (await placement("GET", f"/resource_providers/{HOST}/usages")).json()["usages"]["VCPU"] == 3
    assert (await placement("DELETE", f"/allocations/{consumer}")).status_code == 204
    assert (await placement("DELETE", f"/allocations/{consumer}")).status_code == 404
    assert (await placement("GET", f"/allocations/{consumer}")).json() == {"allocations": {}}
    assert not (await placement.violations())


@pytest.mark.parametrize(("resources", "generation", "status"), [
    ({"VCPU": 17}, None, 409),
    ({"VCPU": 5}, None, 409),
    ({"FPGA": 1}, None, 409),
    ({"CUSTOM_NONE": 1}, None, 400),
    ({"VCPU": 0}, None, 400),
    ({}, None, 400),
    ({"VCPU": 1}, 3, 409),
])  # fmt: skip
async def test_what_cannot_be_allocated_is_refused_and_leaves_nothing(placement, resources, generation, status):
    await host(placement.cloud)
    answer = await placement("PUT", f"/allocations/{uuid.uuid4()}", body(resources, generation=generation))
    assert answer.status_code == status, answer.text
    assert answer.json()["errors"][0]["status"] == status
    assert set((await used(placement.cloud)).values()) == {0}
    assert not (await placement.violations())


async def test_a_swap_of_two_consumers_is_one_step(placement):
    await host(placement.cloud)
    a, b = str(uuid.uuid4()), str(uuid.uuid4())
    await placement("PUT", f"/allocations/{a}", body({"MEMORY_MB": 900}))
    answer = await placement("POST", "/allocations", {a: {**body({}, generation=1), "allocations": {}}, b: body({"MEMORY_MB": 900})})
    assert answer.status_code == 204, answer.text
    shown = (await placement("GET", f"/resource_providers/{HOST}/allocations")).json()
    assert list(shown["allocations"]) == [b]
    assert not (await placement.violations())


async def test_older_bodies_are_lists(placement):
    await host(placement.cloud)
    consumer = str(uuid.uuid4())
    old = {"allocations": [{"resource_provider": {"uuid": HOST}, "resources": {"VCPU": 1}}]}
    assert (await placement("PUT", f"/allocations/{consumer}", old, at="1.0")).status_code == 204
    assert (await placement("PUT", f"/allocations/{consumer}", old, at="1.8")).status_code == 400
    assert (await placement("GET", f"/allocations/{consumer}")).json()["consumer_type"] == "unknown"


async def test_a_shrunk_host_takes_nothing_more_but_lets_go(placement):
    cloud = placement.cloud
    await host(cloud)
    consumer = str(uuid.uuid4())
    await placement("PUT", f"/allocations/{consumer}", body({"VCPU": 4, "MEMORY_MB": 800}))
    await cloud.db.write(providers.report_in, id=HOST, name="node-1", amounts={"MEMORY_MB": Amounts(total=500)}, traits=set(), now_us=9)
    assert not await claim(cloud, "x", MEMORY_MB=1)
    assert (await placement("PUT", f"/allocations/{consumer}", body({"VCPU": 4, "MEMORY_MB": 700}, generation=1))).status_code == 204
    assert not (await placement.violations())


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from([HOST, OTHER]), st.integers(0, 5), st.integers(0, 900)), max_size=12))
async def test_counters_are_the_sum_of_the_ledger_whatever_happens(placement, moves):
    cloud = placement.cloud
    await host(cloud)
    await host(cloud, OTHER, "node-2")
    for consumer, where, cpus, memory in moves:
        resources = {"VCPU": cpus, "MEMORY_MB": memory}
        if not cpus and not memory:
            await cloud.db.write(claims.release_in, consumer, now_us=3)
        elif not await cloud.db.one(audit.store.CONSUMER, consumer_id=consumer):
            await claim(cloud, consumer, id=where, **resources)
        else:
            await cloud.db.write(claims.move_in, consumer, now_us=3, provider_id=where, resources=resources)
        assert not (await placement.violations())
    for consumer in "abcd":
        await cloud.db.write(claims.release_in, consumer, now_us=3)
    assert set((await used(cloud)).values()) | set((await used(cloud, OTHER)).values()) == {0}


async def test_inventory_moves_with_what_is_allocated_of_it(placement):
    await host(placement.cloud)
    await host(placement.cloud, OTHER, "numa-0")
    consumer = str(uuid.uuid4())
    await placement("PUT", f"/allocations/{consumer}", body({"VCPU": 4}))
    keep = {"MEMORY_MB": {"total": 1000}, "DISK_GB": {"total": 50}}
    shape = {
        "inventories": {
            HOST: {"resource_provider_generation": 2, "inventories": keep},
            OTHER: {"resource_provider_generation": 1, "inventories": keep | {"VCPU": {"total": 4}}},
        },
        "allocations": {consumer: body({"VCPU": 4}, id=OTHER, generation=1)},
    }
    assert (await placement("POST", "/reshaper", shape)).status_code == 403  # for services alone
    stuck = await placement("POST", "/reshaper", shape | {"allocations": {}}, who="service")
    assert (stuck.status_code, stuck.json()["errors"][0]["code"]) == (409, "placement.inventory.inuse")
    done = await placement("POST", "/reshaper", shape, who="service")
    assert done.status_code == 204, done.text
    assert await used(placement.cloud) == {"MEMORY_MB": 0, "DISK_GB": 0}
    assert (await used(placement.cloud, OTHER))["VCPU"] == 4
    assert (await placement("POST", "/reshaper", shape, who="service")).status_code == 409
    assert not (await placement.violations())
