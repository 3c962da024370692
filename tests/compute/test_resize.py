"""Resize on the server's own host: confirmed, reverted, refused, undone when it fails; and the records of it."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace
from tests.compute.world import World, world

from moln.compute.drivers.fake import Fault
from moln.compute.store import migrations, server_tables
from moln.compute.store import servers as store
from moln.compute.work import server_resize
from moln.kernel.work import Work

__all__ = ["world"]


@pytest.fixture
async def big(world: World) -> str:
    return await world.flavor("big", vcpus=2, ram=256, disk=3)


async def held(world: World, server_id: str) -> dict[str, int]:
    """What a consumer of placement holds."""
    client = world.api.admin
    answer = (await client.get(f"/placement/allocations/{server_id}", headers={"OpenStack-API-Version": "placement 1.39"})).json()
    return {name: n for a in answer["allocations"].values() for name, n in a["resources"].items()}


async def used(world: World) -> tuple[int, int, int]:
    found = (await world.call("GET", "/limits"))["limits"]["absolute"]
    return found["totalInstancesUsed"], found["totalCoresUsed"], found["totalRAMUsed"]


async def disk_sizes(world: World) -> list[int]:
    return sorted(d.size_bytes >> 30 for d in world.api.nodes["sim-1"].kept.disks.values())


async def record(world: World) -> dict[str, object]:
    return (await world.call("GET", "/os-migrations", admin=True))["migrations"][0]


async def test_a_resize_is_confirmed(world: World, big: str) -> None:
    server = await world.boot(metadata={"a": "1"})
    await world.act(server, {"resize": {"flavorRef": big}})
    seen = await world.show(server)
    assert (seen["status"], seen["OS-EXT-STS:task_state"], seen["flavor"]["original_name"]) == ("RESIZE", "resize_prep", "small")
    assert await held(world, server["id"]) == {"VCPU": 2, "MEMORY_MB": 256, "DISK_GB": 3}
    migration = await record(world)
    assert await held(world, str(migration["uuid"])) == {"VCPU": 1, "MEMORY_MB": 128, "DISK_GB": 1}
    await world.settle()
    seen = await world.show(server)
    assert (seen["status"], seen["OS-EXT-STS:vm_state"], seen["OS-EXT-STS:power_state"]) == ("VERIFY_RESIZE", "resized", 1)
    assert (seen["flavor"]["original_name"], seen["flavor"]["disk"], seen["progress"]) == ("big", 3, 0)
    assert seen["addresses"] == server["addresses"]
    assert await used(world) == (1, 2, 256)
    assert await disk_sizes(world) == [1, 3]
    assert await world.violations() == []
    spec = world.api.nodes["sim-1"].spec_of(server["id"])
    assert (spec.vcpus, spec.ram_mib) == (2, 256)
    assert [s["id"] for s in (await world.call("GET", "/servers?status=VERIFY_RESIZE"))["servers"]] == [server["id"]]
    await world.act(server, {"reboot": {"type": "HARD"}}, 409)
    await world.act(server, {"confirmResize": None}, 204)
    await world.settle()
    seen = await world.show(server)
    assert (seen["status"], seen["OS-EXT-STS:vm_state"]) == ("ACTIVE", "active")
    assert await disk_sizes(world) == [3]
    assert await world.violations() == []
    assert (await record(world))["status"] == "confirmed"
    actions = (await world.call("GET", f"/servers/{server['id']}/os-instance-actions"))["instanceActions"]
    assert [(a["action"], a["message"]) for a in actions][:2] == [("confirmResize", None), ("resize", None)]


async def test_a_resize_is_reverted(world: World, big: str) -> None:
    server = await world.boot()
    await world.act(server, {"resize": {"flavorRef": big, "OS-DCF:diskConfig": "AUTO"}})
    await world.settle()
    await world.act(server, {"revertResize": None})
    assert (await world.show(server))["status"] == "REVERT_RESIZE"
    await world.settle()
    seen = await world.show(server)
    assert (seen["status"], seen["flavor"]["original_name"], seen["OS-DCF:diskConfig"]) == ("ACTIVE", "small", "AUTO")
    assert await used(world) == (1, 1, 128)
    assert await disk_sizes(world) == [1]
    assert await held(world, server["id"]) == {"VCPU": 1, "MEMORY_MB": 128, "DISK_GB": 1}
    assert world.api.nodes["sim-1"].spec_of(server["id"]).ram_mib == 128
    assert await world.violations() == []
    assert (await record(world))["status"] == "reverted"
    await world.act(server, {"revertResize": None}, 409)
    answer = await world.act(server, {"confirmResize": None}, 409)
    assert answer["conflictingRequest"]["message"] == f"Cannot 'confirmResize' instance {server['id']} while it is in vm_state active"


async def test_a_stopped_server_stays_off(world: World, big: str) -> None:
    server = await world.boot(networks="none")
    await world.act(server, {"os-stop": None})
    await world.settle()
    await world.act(server, {"resize": {"flavorRef": big}})
    await world.settle()
    seen = await world.show(server)
    assert (seen["status"], seen["OS-EXT-STS:power_state"]) == ("VERIFY_RESIZE", 4)
    await world.act(server, {"confirmResize": None}, 204)
    await world.settle()
    assert (await world.show(server))["status"] == "SHUTOFF"


async def test_swap_and_ephemeral_disks_follow_the_flavor(world: World) -> None:
    first = await world.flavor("first", disk=1, swap=512, **{"OS-FLV-EXT-DATA:ephemeral": 1})
    second = await world.flavor("second", disk=1, swap=2048, **{"OS-FLV-EXT-DATA:ephemeral": 2})
    server = await world.boot(networks="none", flavorRef=first)
    assert await disk_sizes(world) == [1, 1, 1]
    await world.act(server, {"resize": {"flavorRef": second}})
    await world.settle()
    assert [d.size_gib for d in (await store.get(world.cloud.db, server["id"])).disks] == [1, 2, 2]
    await world.act(server, {"revertResize": None})
    await world.settle()
    assert await disk_sizes(world) == [1, 1, 1]
    await world.act(server, {"resize": {"flavorRef": second}})
    await world.settle()
    await world.act(server, {"confirmResize": None}, 204)
    await world.settle()
    assert await disk_sizes(world) == [1, 2, 2]
    answer = await world.act(server, {"resize": {"flavorRef": first}}, 400)
    assert answer["badRequest"]["message"] == "Server disk was unable to be resized because: Unable to resize disk down."
    assert await world.violations() == []


async def test_what_is_refused(world: World, big: str) -> None:
    server = await world.boot(networks="none")
    for body, status, words in (
        ({"flavorRef": world.small}, 400, "When resizing, instances must change flavor!"),
        ({"flavorRef": "nowhere"}, 400, "Flavor nowhere could not be found."),
        ({"flavorRef": await world.flavor("zero", disk=0)}, 400, "Resize to zero disk flavor is not allowed."),
        ({"flavorRef": await world.flavor("wide", vcpus=21)}, 403, "Quota exceeded for cores: Requested 20, but already used 1 of 20 cores"),
        ({"flavorRef": await world.flavor("deep", disk=9999)}, 400, "No valid host was found. 1 host looked at: 1 lacks disk"),
        ({"flavorRef": big, "x": 1}, 400, "'x' was unexpected"),
        ({}, 400, "flavorRef"),
    ):
        answer = await world.act(server, {"resize": body}, status)
        assert words in next(iter(answer.values()))["message"]
    assert (await world.show(server))["status"] == "ACTIVE"
    assert await world.violations() == []
    await world.act(server, {"pause": None})
    await world.settle()
    await world.act(server, {"resize": {"flavorRef": big}}, 409)


async def test_a_smaller_flavor_gives_its_share_back_when_confirmed(world: World) -> None:
    big = await world.flavor("big", vcpus=3, ram=512, disk=1)
    server = await world.boot(networks="none", flavorRef=big)
    await world.act(server, {"resize": {"flavorRef": world.small}})
    await world.settle()
    assert await used(world) == (1, 3, 512)
    await world.act(server, {"confirmResize": None}, 204)
    await world.settle()
    assert await used(world) == (1, 1, 128)
    assert await world.violations() == []


async def test_a_resize_that_fails_is_undone(world: World, big: str) -> None:
    server = await world.boot()
    world.api.nodes["sim-1"].faults["grow_disk"] = [Fault("refused", "The host's disk is full.")]
    await world.act(server, {"resize": {"flavorRef": big}})
    await world.settle()
    assert (await world.show(server))["OS-EXT-STS:task_state"] == "resize_reverting"
    await world.settle()
    seen = await world.show(server)
    assert (seen["status"], seen["flavor"]["original_name"]) == ("ACTIVE", "small")
    assert await used(world) == (1, 1, 128)
    assert await disk_sizes(world) == [1]
    assert (await record(world))["status"] == "error"
    action = (await world.call("GET", f"/servers/{server['id']}/os-instance-actions"))["instanceActions"][0]
    assert (action["action"], action["message"]) == ("resize", "Error")
    assert await world.violations() == []


async def test_what_cannot_be_undone_may_be_tried_again(world: World, big: str) -> None:
    server = await world.boot()
    await world.act(server, {"resize": {"flavorRef": big}})
    await world.settle()
    world.api.nodes["sim-1"].faults["restore_disk"] = [Fault("refused", "The host's file system failed.")]
    await world.act(server, {"revertResize": None})
    await world.settle()
    seen = await world.show(server)
    assert (seen["status"], seen["fault"]["message"]) == ("ERROR", "The host's file system failed.")
    assert await world.violations() == []
    await world.act(server, {"revertResize": None})
    await world.settle()
    assert (await world.show(server))["status"] == "ACTIVE"
    assert await world.violations() == []


async def test_deleting_gives_back_what_a_resize_holds(world: World, big: str) -> None:
    server = await world.boot()
    await world.act(server, {"resize": {"flavorRef": big}})
    await world.settle()
    await world.call("DELETE", f"/servers/{server['id']}", 204)
    await world.settle()
    assert await used(world) == (0, 0, 0)
    assert await disk_sizes(world) == []
    assert await world.violations() == []


async def test_cold_migration_finds_no_other_host(world: World) -> None:
    server = await world.boot(networks="none")
    await world.act(server, {"migrate": None}, 403)
    answer = await world.act(server, {"migrate": None}, 400, admin=True)
    assert "No valid host was found." in answer["badRequest"]["message"]
    answer = await world.act(server, {"migrate": {"host": "sim-1"}}, 400, admin=True)
    assert answer["badRequest"]["message"] == "Cannot migrate to the host where the server exists."
    await world.act(server, {"migrate": {"host": "elsewhere"}}, 400, admin=True)


async def test_records_of_resizes(world: World, big: str) -> None:
    servers = [await world.boot(networks="none", name=f"s{n}") for n in range(2)]
    for server in servers:
        await world.act(server, {"resize": {"flavorRef": big}})
        await world.settle()
    await world.call("GET", "/os-migrations", 403)
    found = (await world.call("GET", "/os-migrations?limit=1", admin=True))
    assert [m["instance_uuid"] for m in found["migrations"]] == [servers[1]["id"]]
    assert "marker=" in found["migrations_links"][0]["href"]
    assert len((await world.call("GET", f"/os-migrations?instance_uuid={servers[0]['id']}", admin=True))["migrations"]) == 1
    assert (await world.call("GET", "/os-migrations?status=confirmed", admin=True))["migrations"] == []
    one = found["migrations"][0]
    assert (one["migration_type"], one["status"], one["source_compute"], one["user_id"]) == ("resize", "finished", "sim-1", servers[1]["user_id"])
    assert one["old_instance_type_id"] != one["new_instance_type_id"]
    old = (await world.call("GET", "/os-migrations", None, None, "2.1", admin=True))["migrations"][0]
    assert set(old) == {
        "id", "created_at", "updated_at", "dest_compute", "dest_host", "dest_node", "source_compute", "source_node", "instance_uuid",
        "new_instance_type_id", "old_instance_type_id", "status",
    }  # fmt: skip
    await world.call("GET", "/os-migrations?nonsense=1", 400, admin=True)
    path = f"/servers/{servers[0]['id']}/migrations"
    assert await world.call("GET", path, admin=True) == {"migrations": []}
    await world.call("GET", f"{path}/1", 404, admin=True)
    await world.call("DELETE", f"{path}/1", 409, admin=True)
    await world.call("POST", f"{path}/1/action", 409, {"force_complete": None}, admin=True)
    await world.call("GET", path, 404, None, "2.22", admin=True)


async def test_a_resize_confirms_itself_when_the_operator_says_so(world: World, big: str) -> None:
    server = await world.boot(networks="none")
    await world.act(server, {"resize": {"flavorRef": big}})
    await world.settle()
    work = Work(world.cloud)
    await server_resize.confirm_overdue(work)
    assert (await world.show(server))["OS-EXT-STS:task_state"] is None
    settings = world.cloud.settings
    world.cloud.settings = replace(settings, compute=replace(settings.compute, resize_confirm_window_s=60))
    await server_resize.confirm_overdue(work)
    assert (await world.show(server))["OS-EXT-STS:task_state"] is None  # it has not waited long enough
    await world.cloud.db.write(age, 61)
    await server_resize.confirm_overdue(work)
    await world.settle()
    seen = await world.show(server)
    assert (seen["status"], seen["flavor"]["original_name"]) == ("ACTIVE", "big")


async def age(tx: Any, seconds: int) -> None:
    """All records of resizes were written so long ago."""
    for found in await migrations.LISTING.page(tx):
        await tx.update(server_tables.migrations, {"updated_at": found.updated_at - seconds * 1_000_000}, uuid=found.uuid)


async def test_a_server_whose_state_was_reset_can_still_go_back(world: World, big: str) -> None:
    server = await world.boot(networks="none")
    await world.act(server, {"resize": {"flavorRef": big}})
    await world.settle()
    await world.act(server, {"os-resetState": {"state": "active"}}, admin=True)
    await world.act(server, {"resize": {"flavorRef": world.small}}, 409)
    await world.act(server, {"rebuild": {"imageRef": world.image}}, 409)
    await world.act(server, {"revertResize": None})
    await world.settle()
    assert (await world.show(server))["flavor"]["original_name"] == "small"
    assert await world.violations() == []


async def test_volumes_come_and_go_while_a_resize_waits(world: World, big: str) -> None:
    server, volume = await world.boot(networks="none"), await world.volume()
    await world.act(server, {"resize": {"flavorRef": big}})
    await world.settle()
    await world.call("POST", f"/servers/{server['id']}/os-volume_attachments", 200, {"volumeAttachment": {"volumeId": volume}})
    await world.settle()
    await world.act(server, {"revertResize": None})
    await world.settle()
    assert [v["id"] for v in (await world.show(server))["os-extended-volumes:volumes_attached"]] == [volume]
    assert {d.id for d in world.api.nodes["sim-1"].spec_of(server["id"]).disks} >= {volume}
    assert await world.violations() == []
