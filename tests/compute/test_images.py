"""Images made of servers: backups and how many are kept; snapshots of the volumes of a server that boots from one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.compute.world import World, world

from moln.compute.drivers.fake import Fault

__all__ = ["world"]



async def backups(world: World) -> list[str]:
    found = (await world.api.member.get("/image/v2/images", params={"image_type": "backup", "sort": "created_at:asc"})).json()
    return [i["name"] for i in found["images"]]


async def back_up(world: World, server: dict[str, Any], name: str, rotation: int, kind: str = "daily") -> Any:
    told = await world.act(server, {"createBackup": {"name": name, "backup_type": kind, "rotation": rotation}})
    seen = await world.show(server)
    assert (seen["status"], seen["OS-EXT-STS:task_state"]) == ("ACTIVE", "image_backup")
    await world.settle()
    return told


async def test_only_the_newest_backups_of_a_kind_are_kept(world: World) -> None:
    server = await world.boot(networks="none")
    for n in range(3):
        told = await back_up(world, server, f"b{n}", 2)
    await back_up(world, server, "weekly", 1, "weekly")
    assert await backups(world) == ["b1", "b2", "weekly"]
    image = (await world.api.member.get(f"/image/v2/images/{told['image_id']}")).json()
    assert (image["status"], image["backup_type"], image["instance_uuid"]) == ("active", "daily", server["id"])
    path = f"/image/v2/images/{told['image_id']}/tasks"  # what clients wait for, should there be any
    assert (await world.api.member.get(path)).json() == {"tasks": []}
    assert (await world.api.member.get(f"/image/v2/images/{server['id']}/tasks")).status_code == 404
    await back_up(world, server, "none", 0)
    assert await backups(world) == ["weekly"]
    assert (await world.show(server))["OS-EXT-STS:task_state"] is None
    action = (await world.call("GET", f"/servers/{server['id']}/os-instance-actions"))["instanceActions"][0]
    assert (action["action"], action["message"]) == ("createBackup", None)


async def test_in_simulation_too_a_backup_of_a_qcow2_image_is_raw(world: World) -> None:
    """Nobody converts images there: tests of clients upload what they have."""
    import struct

    header = b"QFI\xfb" + struct.pack(">IQIIQIIQQIIQ", 3, 0, 0, 16, 1 << 20, 0, 1, 0x30000, 0x10000, 1, 0, 0)
    header += struct.pack(">QQQII", 0, 0, 0, 4, 104)
    made = (await world.api.member.post("/image/v2/images", json={"name": "q", "disk_format": "qcow2", "container_format": "bare"})).json()["id"]
    sent = await world.api.member.put(
        f"/image/v2/images/{made}/file", content=header.ljust(0x40000, b"\0"), headers={"Content-Type": "application/octet-stream"}
    )
    assert sent.status_code == 204, sent.text
    server = await world.boot(networks="none", imageRef=made)
    told = await back_up(world, server, "b", 1)
    assert (await world.api.member.get(f"/image/v2/images/{told['image_id']}")).json()["status"] == "active"


async def test_a_backup_that_fails_leaves_the_server_and_the_others(world: World) -> None:
    server = await world.boot(networks="none")
    await back_up(world, server, "b0", 1)
    world.api.nodes["sim-1"].faults["ensure_image_data"] = [Fault("refused", "The host's disk is full.")]
    await back_up(world, server, "b1", 1)
    assert "b0" in await backups(world)
    seen = await world.show(server)
    assert (seen["status"], seen["OS-EXT-STS:task_state"]) == ("ACTIVE", None)


async def test_an_image_of_a_server_that_is_deleted_meanwhile_is_killed(world: World) -> None:
    """Found by simulation seed 49: it waited for the server's disk for ever."""
    server = await world.boot(networks="none")
    told = await world.act(server, {"createImage": {"name": "late"}})
    await world.call("DELETE", f"/servers/{server['id']}", 204)
    await world.settle()
    assert (await world.api.member.get(f"/image/v2/images/{told['image_id']}")).json()["status"] == "killed"
    assert await world.violations() == []


async def test_a_backup_is_answered_as_each_version_does(world: World) -> None:
    server = await world.boot(networks="none")
    path, body = f"/compute/v2.1/servers/{server['id']}/action", {"name": "b", "backup_type": "d", "rotation": "1"}
    answer = await world.api.member.post(path, json={"createBackup": body}, headers={"OpenStack-API-Version": "compute 2.44"})
    assert answer.status_code == 202
    assert answer.headers["Location"].startswith("http://")
    assert answer.content == b""
    await world.settle()
    for bad in ({"rotation": -1}, {"rotation": "many"}, {"name": ""}, {"backup_type": None}, {"extra": 1}):
        await world.act(server, {"createBackup": body | bad}, 400)


@pytest.fixture
async def backed(world: World) -> dict[str, Any]:
    """A server that boots from a volume, with another beside it."""
    root = {"source_type": "image", "destination_type": "volume", "uuid": world.image, "boot_index": 0, "volume_size": 2}
    data = {"source_type": "blank", "destination_type": "volume", "volume_size": 1, "delete_on_termination": True}
    return await world.boot(imageRef=None, block_device_mapping_v2=[root, data])


async def test_an_image_of_a_server_that_boots_from_a_volume(world: World, backed: dict[str, Any]) -> None:
    told = await world.act(backed, {"createImage": {"name": "kept", "metadata": {"x": "y"}}})
    await world.settle()
    image = (await world.api.member.get(f"/image/v2/images/{told['image_id']}")).json()
    assert (image["status"], image["size"], image["x"], image["bdm_v2"], image["root_device_name"]) == ("active", 0, "y", "True", "/dev/vda")
    mappings = json.loads(image["block_device_mapping"])
    assert [(m["source_type"], m["destination_type"], m["boot_index"], m["volume_size"]) for m in mappings] == [
        ("snapshot", "volume", 0, 2), ("snapshot", "volume", None, 1),
    ]  # fmt: skip
    found = (await world.cinder("GET", "/snapshots/detail"))["snapshots"]
    assert {s["id"] for s in found} == {m["snapshot_id"] for m in mappings}
    assert {(s["status"], s["name"]) for s in found} == {("available", "snapshot for kept")}
    assert (await world.show(backed))["OS-EXT-STS:task_state"] is None
    itself = {"source_type": "image", "destination_type": "local", "uuid": told["image_id"], "boot_index": 0}  # as clients add it
    again = await world.boot(imageRef=told["image_id"], block_device_mapping_v2=[itself])
    assert (again["status"], again["image"]) == ("ACTIVE", "")
    volumes = [v["id"] for v in again["os-extended-volumes:volumes_attached"]]
    assert [v["delete_on_termination"] for v in again["os-extended-volumes:volumes_attached"]] == [False, True]
    sizes = [(await world.cinder("GET", f"/volumes/{v}"))["volume"] for v in volumes]
    assert [(v["size"], v["snapshot_id"]) for v in sizes] == [(m["volume_size"], m["snapshot_id"]) for m in mappings]
    assert await world.violations() == []
    await world.act(backed, {"createBackup": {"name": "b", "backup_type": "d", "rotation": 1}}, 400)


async def test_an_image_with_a_bad_mapping_is_refused(world: World) -> None:
    for text in ("no json", '[{"source_type":"x"}]', '[{"source_type":"snapshot"}]', '[{"source_type":"blank","volume_size":true}]', '[1]'):
        body = {"name": "bad", "disk_format": "raw", "container_format": "bare", "block_device_mapping": text}
        made = (await world.api.member.post("/image/v2/images", json=body)).json()["id"]
        sent = await world.api.member.put(f"/image/v2/images/{made}/file", content=b"", headers={"Content-Type": "application/octet-stream"})
        assert sent.status_code == 204, sent.text
        await world.create(400, imageRef=made)
