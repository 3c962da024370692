"""Rescued servers: booted from another disk, their own beside it; afterwards nothing of it is left."""

from __future__ import annotations

from tests.compute.test_suspension import actions
from tests.compute.world import World, world
from tests.faults.test_refusals import order

from moln.compute.store import servers as store

__all__ = ["world"]


def disks(world: World, server: dict) -> list[tuple[str, int | None]]:
    return [(d.device, d.boot_index) for d in world.api.nodes["sim-1"].spec_of(server["id"]).disks]


async def image(world: World, properties: dict | None = None) -> str:
    made = {"name": "rescuer", "disk_format": "raw", "container_format": "bare"} | (properties or {})
    answer = await world.api.member.post("/image/v2/images", json=made)
    assert answer.status_code == 201, answer.text
    id = answer.json()["id"]
    sent = await world.api.member.put(
        f"/image/v2/images/{id}/file", content=b"\1" * 4096, headers={"Content-Type": "application/octet-stream"}
    )
    assert sent.status_code == 204
    await world.settle()
    return id


async def rescue(world: World, server: dict, status: int = 200, version: str = "2.100", **asked: str) -> dict:
    answer = await world.call("POST", f"/servers/{server['id']}/action", status, {"rescue": asked or None}, version)
    await world.settle()
    return answer


async def from_volume(world: World) -> dict:
    mapping = {"source_type": "image", "destination_type": "volume", "uuid": world.image, "volume_size": 1, "boot_index": 0,
               "delete_on_termination": True}  # fmt: skip
    return await world.boot(imageRef="", block_device_mapping_v2=[mapping])


async def test_rescued_by_its_own_image_and_back(world: World) -> None:
    server, volume = await world.boot(config_drive=True), await world.volume()
    await world.call("POST", f"/servers/{server['id']}/os-volume_attachments", 202, {"volumeAttachment": {"volumeId": volume}}, "2.101")
    await world.settle()
    before = disks(world, server)
    assert len((await rescue(world, server))["adminPass"]) == 12
    seen = await world.show(server)
    assert (seen["status"], seen["OS-EXT-STS:vm_state"], seen["OS-EXT-STS:power_state"]) == ("RESCUE", "rescued", 1)
    assert disks(world, server) == [("vda", 0), ("vdb", None)]
    node = world.api.nodes["sim-1"]
    rescuer, own = node.spec_of(server["id"]).disks
    assert node.kept.origins[rescuer.id] == node.kept.origins[own.id]
    assert await world.violations() == []
    await world.act(server, {"unrescue": None})
    assert (await world.show(server))["OS-EXT-STS:task_state"] == "unrescuing"
    await world.settle()
    assert (await world.show(server))["status"] == "ACTIVE"
    assert disks(world, server) == before
    assert rescuer.id not in node.kept.disks
    assert await world.violations() == []
    assert (await actions(world, server))[:2] == [("unrescue", None), ("rescue", None)]


async def test_rescued_by_another_image_with_a_given_password(world: World) -> None:
    server, other = await world.boot(networks="none"), await image(world)
    await world.act(server, {"os-stop": None})
    await world.settle()
    assert await rescue(world, server, adminPass="S3cret", rescue_image_ref=other) == {"adminPass": "S3cret"}
    assert (await world.show(server))["status"] == "RESCUE"
    row = await store.get(world.cloud.db, server["id"])
    assert row.rescue is not None and row.rescue.admin_pass == ""  # told on the config drive, then forgotten


async def test_the_stable_way_leaves_every_device_where_it_is(world: World) -> None:
    server, other = await world.boot(networks="none"), await image(world, {"hw_rescue_bus": "scsi"})
    await rescue(world, server, rescue_image_ref=other)
    assert disks(world, server) == [("vda", 1), ("sda", 0)]
    await world.call("DELETE", f"/servers/{server['id']}", 204)
    await world.settle()
    assert world.api.nodes["sim-1"].kept.disks == {}
    assert await world.violations() == []


async def test_what_boots_from_a_volume_is_rescued_in_the_stable_way_since_2_87(world: World) -> None:
    server, plain = await from_volume(world), await image(world)
    stable = await image(world, {"hw_rescue_bus": "virtio", "hw_rescue_device": "disk"})
    for asked, version in (({}, "2.100"), ({"rescue_image_ref": plain}, "2.100"), ({"rescue_image_ref": stable}, "2.86")):
        said = await rescue(world, server, 400, version, **asked)
        assert said["badRequest"]["message"] == f"Instance {server['id']} cannot be rescued: Cannot rescue a volume-backed instance"
    await rescue(world, server, 200, "2.87", rescue_image_ref=stable)
    assert (await world.show(server))["status"] == "RESCUE"
    assert disks(world, server) == [("vda", 1), ("vdb", 0)]
    await world.act(server, {"unrescue": None})
    await world.settle()
    assert disks(world, server) == [("vda", 0)]
    assert await world.violations() == []


async def test_images_that_rescue_nothing(world: World) -> None:
    server = await world.boot(networks="none")
    empty = (await world.api.member.post("/image/v2/images", json={"name": "e", "disk_format": "raw", "container_format": "bare"})).json()["id"]
    for ref in ("11111111-1111-4111-8111-111111111111", empty):
        said = await rescue(world, server, 400, rescue_image_ref=ref)
        assert said["badRequest"]["message"] == f"Requested rescue image '{ref}' is not supported"
    for properties in ({"hw_rescue_bus": "ide"}, {"hw_rescue_device": "floppy"}, {"hw_rescue_device": "cdrom", "hw_rescue_bus": "virtio"}):
        await rescue(world, server, 400, rescue_image_ref=await image(world, properties))
    for bad in ({"rescue_image_ref": "x"}, {"adminPass": 5}, {"more": "x"}):
        await world.act(server, {"rescue": bad}, 400)
    seen = await world.show(server)
    assert (seen["status"], seen["OS-EXT-STS:task_state"]) == ("ACTIVE", None)


async def test_a_server_whose_image_is_gone_needs_another_to_be_rescued(world: World) -> None:
    own = await image(world)
    server = await world.boot(networks="none", imageRef=own)
    assert (await world.api.member.delete(f"/image/v2/images/{own}")).status_code == 204
    said = await rescue(world, server, 400)
    assert said["badRequest"]["message"] == f"Instance {server['id']} cannot be rescued: Image {own} could not be found."
    await rescue(world, server, rescue_image_ref=world.image)
    assert (await world.show(server))["status"] == "RESCUE"


async def test_what_a_rescued_server_cannot_do(world: World) -> None:
    server = await world.boot(networks="none")
    await rescue(world, server)
    for body in ({"rescue": None}, {"suspend": None}, {"pause": None}, {"os-stop": None}, {"reboot": {"type": "HARD"}}, {"shelve": None},
                 {"createImage": {"name": "x"}}):  # fmt: skip
        said = await world.act(server, body, 409)
        assert said["conflictingRequest"]["message"].endswith("while it is in vm_state rescued")
    volume = await world.volume()
    await world.call("POST", f"/servers/{server['id']}/os-volume_attachments", 409, {"volumeAttachment": {"volumeId": volume}})
    await world.act(server, {"lock": None})
    said = await world.act(server, {"unrescue": None}, 409)
    assert said["conflictingRequest"]["message"] == f"Instance {server['id']} is locked"
    await world.call("DELETE", f"/servers/{server['id']}", 409)


async def test_a_rescued_server_that_is_called_active_is_so_after_a_hard_reboot(world: World) -> None:
    server = await world.boot(networks="none")
    await rescue(world, server)
    await world.act(server, {"os-resetState": {"state": "active"}}, admin=True)
    await world.act(server, {"unrescue": None}, 409)
    await world.act(server, {"reboot": {"type": "HARD"}})
    await world.settle()
    assert (await world.show(server))["status"] == "ACTIVE"
    assert disks(world, server) == [("vda", 0)]
    assert len(world.api.nodes["sim-1"].kept.disks) == 1
    assert await world.violations() == []
    assert (await actions(world, server))[1] == ("resetState", None)


async def test_a_rescue_that_fails_says_why_and_a_reboot_cleans_up(world: World) -> None:
    server = await world.boot(networks="none")
    node = world.api.nodes["sim-1"]
    for _ in range(2):  # the second takes away what the first left
        order(world, "reboot_server", "refused")
        await rescue(world, server)
        seen = await world.show(server)
        message = f"Instance {server['id']} cannot be rescued: Driver Error: This fault was ordered."
        assert (seen["status"], seen["fault"]["message"]) == ("ERROR", message)
        assert len(node.kept.disks) == 2
        assert await world.violations() == []
    await world.act(server, {"reboot": {"type": "HARD"}})
    await world.settle()
    assert (await world.show(server))["status"] == "ACTIVE"
    assert disks(world, server) == [("vda", 0)]
    assert len(node.kept.disks) == 1
    assert await world.violations() == []


async def test_an_unrescue_that_fails_leaves_a_server_that_a_reboot_mends(world: World) -> None:
    server = await world.boot(networks="none")
    await rescue(world, server)
    order(world, "reboot_server", "refused")
    await world.act(server, {"unrescue": None})
    await world.settle()
    assert (await world.show(server))["status"] == "ERROR"
    await world.act(server, {"reboot": {"type": "HARD"}})
    await world.settle()
    assert (await world.show(server))["status"] == "ACTIVE"
    assert len(world.api.nodes["sim-1"].kept.disks) == 1


async def test_a_volume_that_is_at_something_forbids_it(world: World) -> None:
    server, volume = await world.boot(networks="none"), await world.volume()
    await world.call("POST", f"/servers/{server['id']}/os-volume_attachments", 200, {"volumeAttachment": {"volumeId": volume}})
    said = await world.act(server, {"rescue": None}, 409)
    wanted = f"Invalid volume: volume '{volume}' status must be 'in-use'. Currently in 'reserved' status"
    assert said["conflictingRequest"]["message"] == wanted
