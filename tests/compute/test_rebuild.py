"""Rebuild: fresh disks of an image for the same server, its addresses, claim and volumes kept."""

from __future__ import annotations

import base64

import pytest
from tests.compute.world import World, make_image, world

from moln.compute.drivers.fake import Fault
from moln.compute.ops import metadata
from moln.compute.store import servers as store

__all__ = ["world"]


@pytest.fixture
async def other(world: World) -> str:
    return await make_image(world, hw_disk_bus="virtio")


async def disks(world: World) -> set[str]:
    return set(world.api.nodes["sim-1"].kept.disks)


async def test_a_server_is_rebuilt_from_another_image(world: World, other: str) -> None:
    server = await world.boot(metadata={"a": "1"})
    before = await disks(world)
    asked = {
        "imageRef": other, "name": "anew", "metadata": {"b": "2"}, "adminPass": "secret", "accessIPv4": "1.2.3.4", "description": "d",
        "hostname": "host-anew", "OS-DCF:diskConfig": "AUTO", "user_data": "aGVsbG8=",
    }  # fmt: skip
    told = (await world.call("POST", f"/servers/{server['id']}/action", 202, {"rebuild": asked}, "2.92", admin=True))["server"]
    assert (told["status"], told["adminPass"], told["name"], told["user_data"]) == ("REBUILD", "secret", "anew", "aGVsbG8=")
    assert told["image"]["id"] == other
    assert "OS-EXT-SRV-ATTR:user_data" not in told
    await world.settle()
    seen = await world.show(server)
    assert (seen["status"], seen["name"], seen["metadata"], seen["description"]) == ("ACTIVE", "anew", {"b": "2"}, "d")
    assert (seen["image"]["id"], seen["accessIPv4"], seen["OS-DCF:diskConfig"]) == (other, "1.2.3.4", "AUTO")
    assert (seen["addresses"], seen["OS-EXT-SRV-ATTR:hostname"]) == (server["addresses"], "host-anew")
    after = await disks(world)
    assert len(after) == len(before)
    assert not after & before
    node = world.api.nodes["sim-1"]
    assert node.kept.servers[server["id"]].boots == 2
    assert node.kept.origins[next(iter(after))] != ""
    assert await world.violations() == []
    action = (await world.call("GET", f"/servers/{server['id']}/os-instance-actions"))["instanceActions"][0]
    assert (action["action"], action["message"]) == ("rebuild", None)


async def test_old_versions_tell_less(world: World) -> None:
    server = await world.boot(networks="none")
    path = f"/servers/{server['id']}/action"
    told = (await world.call("POST", path, 202, {"rebuild": {"imageRef": world.image}}, "2.1"))["server"]
    assert "OS-EXT-STS:vm_state" not in told
    assert "key_name" not in told
    assert len(told["adminPass"]) == 12
    await world.settle()
    for field, last in (("description", "2.18"), ("key_name", "2.53"), ("user_data", "2.56"), ("hostname", "2.89")):
        await world.call("POST", path, 400, {"rebuild": {"imageRef": world.image, field: "x"}}, last)
    told = (await world.call("POST", path, 202, {"rebuild": {"imageRef": world.image, "key_name": None}}, "2.54"))["server"]
    assert told["key_name"] is None


async def test_keys_and_user_data_come_and_go(world: World) -> None:
    await world.call("POST", "/os-keypairs", 200, {"keypair": {"name": "k"}}, "2.1")
    server = await world.boot(networks="none", user_data="YQ==")
    await world.act(server, {"rebuild": {"imageRef": world.image, "key_name": "nobody's"}}, 400)
    await world.act(server, {"rebuild": {"imageRef": world.image, "key_name": "k", "user_data": None}})
    await world.settle()
    seen = await world.show(server, admin=True)
    assert (seen["key_name"], seen["OS-EXT-SRV-ATTR:user_data"]) == ("k", None)
    await world.act(server, {"rebuild": {"imageRef": world.image, "key_name": None, "user_data": "Yg=="}})
    await world.settle()
    seen = await world.show(server, admin=True)
    assert (seen["key_name"], seen["OS-EXT-SRV-ATTR:user_data"]) == (None, "Yg==")


async def test_a_stopped_server_stays_off_and_a_broken_one_runs_again(world: World) -> None:
    server = await world.boot(networks="none")
    await world.act(server, {"os-stop": None})
    await world.settle()
    await world.act(server, {"rebuild": {"imageRef": world.image}})
    await world.settle()
    assert (await world.show(server))["status"] == "SHUTOFF"
    await world.act(server, {"os-resetState": {"state": "error"}}, admin=True)
    await world.act(server, {"rebuild": {"imageRef": world.image}})
    await world.settle()
    assert (await world.show(server))["status"] == "ACTIVE"
    assert await world.violations() == []


async def test_ephemeral_disks_are_kept_when_asked(world: World) -> None:
    flavor = await world.flavor("with", **{"OS-FLV-EXT-DATA:ephemeral": 1})
    server = await world.boot(networks="none", flavorRef=flavor)
    before = (await store.get(world.cloud.db, server["id"])).disks
    await world.act(server, {"rebuild": {"imageRef": world.image, "preserve_ephemeral": True}})
    await world.settle()
    after = (await store.get(world.cloud.db, server["id"])).disks
    assert (after[0].id != before[0].id, after[1]) == (True, before[1])
    await world.act(server, {"rebuild": {"imageRef": world.image}})
    await world.settle()
    assert (await store.get(world.cloud.db, server["id"])).disks[1].id != before[1].id
    assert await world.violations() == []


async def test_a_rebuild_that_fails_can_be_tried_again(world: World) -> None:
    server = await world.boot(networks="none")
    world.api.nodes["sim-1"].faults["reboot_server"] = [Fault("refused", "No.")]
    await world.act(server, {"rebuild": {"imageRef": world.image}})
    await world.settle()
    seen = await world.show(server)
    assert (seen["status"], seen["fault"]["message"]) == ("ERROR", "No.")
    assert await world.violations() == []
    await world.act(server, {"rebuild": {"imageRef": world.image}})
    await world.settle()
    assert (await world.show(server))["status"] == "ACTIVE"
    assert len(await disks(world)) == 1
    assert await world.violations() == []


async def test_what_is_refused(world: World, other: str) -> None:
    server = await world.boot(networks="none")
    for body, words in (
        ({"imageRef": "nonsense"}, "imageRef"),
        ({}, "imageRef"),
        ({"imageRef": server["id"]}, "Cannot find image for rebuild"),
        ({"imageRef": other, "trusted_image_certificates": ["c"]}, "Image signatures are not checked here"),
        ({"imageRef": other, "name": ""}, "name"),
        ({"imageRef": await make_image(world, auto_disk_config="Disabled"), "OS-DCF:diskConfig": "AUTO"}, "automatic disk resize disabled"),
    ):
        answer = await world.act(server, {"rebuild": body}, 400)
        assert words in answer["badRequest"]["message"]
    await world.act(server, {"pause": None})
    await world.settle()
    answer = await world.act(server, {"rebuild": {"imageRef": other}}, 409)
    assert answer["conflictingRequest"]["message"] == f"Cannot 'rebuild' instance {server['id']} while it is in vm_state paused"


async def test_a_volume_backed_server_keeps_its_data(world: World, other: str) -> None:
    root = {"source_type": "image", "destination_type": "volume", "uuid": world.image, "boot_index": 0, "volume_size": 1}
    server = await world.boot(networks="none", imageRef=None, block_device_mapping_v2=[root])
    path = f"/servers/{server['id']}/action"
    await world.call("POST", path, 400, {"rebuild": {"imageRef": other}}, "2.92")
    await world.call("POST", path, 202, {"rebuild": {"imageRef": world.image, "name": "again"}}, "2.92")
    await world.settle()
    seen = await world.show(server)
    assert (seen["status"], seen["name"], seen["image"]) == ("ACTIVE", "again", "")
    assert seen["os-extended-volumes:volumes_attached"] == server["os-extended-volumes:volumes_attached"]
    assert await world.violations() == []


async def test_a_volume_is_imaged_anew(world: World, other: str) -> None:
    root = {"source_type": "image", "destination_type": "volume", "uuid": world.image, "boot_index": 0, "volume_size": 1}
    server = await world.boot(networks="none", imageRef=None, block_device_mapping_v2=[root])
    (volume,) = [v["id"] for v in server["os-extended-volumes:volumes_attached"]]
    big = await make_image(world, min_disk=1)
    answer = await world.act(server, {"rebuild": {"imageRef": await make_image(world, min_disk=2)}}, 400)
    assert "Volume is smaller than the minimum size" in answer["badRequest"]["message"]
    await world.act(server, {"rebuild": {"imageRef": big}})
    seen = await world.show(server)
    assert (seen["status"], seen["OS-EXT-STS:task_state"]) == ("REBUILD", "rebuild_block_device_mapping")
    await world.settle()
    seen = await world.show(server)
    assert (seen["status"], seen["image"]) == ("ACTIVE", "")
    told = (await world.cinder("GET", f"/volumes/{volume}"))["volume"]
    assert (told["status"], told["volume_image_metadata"]["image_id"]) == ("in-use", big)
    assert world.api.nodes["sim-1"].kept.servers[server["id"]].boots == 2
    await world.call("POST", f"/servers/{server['id']}/action", 202, {"rebuild": {"imageRef": big}}, "2.92")
    await world.settle()
    assert await world.violations() == []


async def test_files_are_found_in_the_config_drive(world: World) -> None:
    text = base64.b64encode(b"hello").decode()
    files = [{"path": "/etc/motd", "contents": text}, {"path": "/etc/x", "contents": ""}]
    made = (await world.create(version="2.56", personality=files, config_drive=True, networks="none"))["server"]
    await world.settle()
    node = world.api.nodes["sim-1"]
    assert {"openstack/content/0000", "openstack/content/0001"} <= set(node.drive_of(made["id"]))
    drive = await metadata.config_drive(world.cloud, await store.get(world.cloud.db, made["id"]))
    assert drive["openstack/content/0000"] == b"hello"
    assert b'{"content_path":"/content/0000","path":"/etc/motd"}' in drive["openstack/latest/meta_data.json"]
    found = await store.get(world.cloud.db, made["id"])
    assert (await metadata.told(world.cloud, found, "/openstack/content/0000"))[:2] == (200, b"hello")
    assert (await metadata.told(world.cloud, found, "/openstack/content/0002"))[0] == 404
    path = f"/servers/{made['id']}/action"
    await world.call("POST", path, 202, {"rebuild": {"imageRef": world.image, "personality": files[:1]}}, "2.56")
    await world.settle()
    assert "openstack/content/0001" not in node.drive_of(made["id"])
    for bad, status, words in (
        ([*files] * 3, 403, "Maximum number of personality files exceeded"),
        ([{"path": "/" + "x" * 255, "contents": text}], 403, "Personality file path exceeds maximum 255"),
        ([{"path": "/x", "contents": base64.b64encode(b"x" * 10241).decode()}], 403, "Personality file content exceeds maximum 10240"),
        ([{"path": "/x", "contents": "no base64!"}], 400, "contents"),
    ):
        answer = await world.create(status, "2.56", personality=bad, networks="none")
        assert words in next(iter(answer.values()))["message"]
    await world.create(400, "2.57", personality=files, networks="none")
