"""One server's life over HTTP: made, run, stopped, rebooted, plugged, deleted; nothing of it is left."""

from __future__ import annotations

from tests.compute.world import World, world

from moln.kernel.link.frames import pack

__all__ = ["world"]


async def test_a_server_boots_from_an_image(world: World) -> None:
    made = await world.boot(name="one", key_name=None)
    assert made["status"] == "ACTIVE", made
    assert made["OS-EXT-STS:power_state"] == 1
    assert made["addresses"]["net"][0]["OS-EXT-IPS:type"] == "fixed"
    assert made["security_groups"] == [{"name": "default"}]
    assert made["flavor"]["original_name"] == "small"
    assert made["hostId"]
    assert made["OS-SRV-USG:launched_at"]


async def test_a_deleted_server_leaves_nothing(world: World) -> None:
    server = await world.boot()
    await world.call("DELETE", f"/servers/{server['id']}", 204)
    await world.settle()
    await world.call("GET", f"/servers/{server['id']}", 404)
    assert (await world.neutron("GET", "/ports"))["ports"] == [] or all(
        not p["device_owner"].startswith("compute:") for p in (await world.neutron("GET", "/ports"))["ports"]
    )
    assert await world.violations() == []
    used = (await world.call("GET", "/limits"))["limits"]["absolute"]
    assert used["totalInstancesUsed"] == used["totalCoresUsed"] == used["totalRAMUsed"] == 0


async def test_stop_start_reboot_pause(world: World) -> None:
    server = await world.boot()
    for body, status, power in (
        ({"os-stop": None}, "SHUTOFF", 4), ({"os-start": None}, "ACTIVE", 1), ({"reboot": {"type": "SOFT"}}, "ACTIVE", 1),
        ({"pause": None}, "PAUSED", 3), ({"unpause": None}, "ACTIVE", 1), ({"reboot": {"type": "HARD"}}, "ACTIVE", 1),
    ):  # fmt: skip
        await world.act(server, body)
        await world.settle()
        seen = await world.show(server)
        assert (seen["status"], seen["OS-EXT-STS:power_state"]) == (status, power), body
    actions = (await world.call("GET", f"/servers/{server['id']}/os-instance-actions"))["instanceActions"]
    assert [a["action"] for a in actions] == ["reboot", "unpause", "pause", "reboot", "start", "stop", "create"]


async def test_what_its_state_forbids_is_refused_in_novas_words(world: World) -> None:
    server = await world.boot()
    answer = await world.act(server, {"os-start": None}, 409)
    wanted = f"Cannot 'start' instance {server['id']} while it is in vm_state active"
    assert answer == {"conflictingRequest": {"code": 409, "message": wanted}}


async def test_boot_from_a_new_volume(world: World) -> None:
    mapping = {"source_type": "image", "destination_type": "volume", "uuid": world.image, "volume_size": 1, "boot_index": 0,
               "delete_on_termination": True}  # fmt: skip
    server = await world.boot(imageRef="", block_device_mapping_v2=[mapping])
    assert server["status"] == "ACTIVE", server
    assert server["image"] == ""
    (volume,) = server["os-extended-volumes:volumes_attached"]
    assert volume["delete_on_termination"] is True
    assert (await world.cinder("GET", f"/volumes/{volume['id']}"))["volume"]["status"] == "in-use"
    await world.call("DELETE", f"/servers/{server['id']}", 204)
    await world.settle()
    assert (await world.cinder("GET", "/volumes"))["volumes"] == []
    assert await world.violations() == []


async def test_a_mapping_says_what_is_booted_whatever_image_is_named(world: World) -> None:
    mapping = {"source_type": "blank", "destination_type": "volume", "volume_size": 1, "boot_index": "0", "delete_on_termination": True}
    server = await world.boot(block_device_mapping_v2=[mapping], networks="none")
    assert (server["status"], server["image"], len(server["os-extended-volumes:volumes_attached"])) == ("ACTIVE", "", 1)
    assert len(world.api.nodes["sim-1"].spec_of(server["id"]).disks) == 1


async def test_a_volume_is_attached_and_detached(world: World) -> None:
    server = await world.boot()
    volume = await world.volume()
    made = await world.call("POST", f"/servers/{server['id']}/os-volume_attachments", 200, {"volumeAttachment": {"volumeId": volume}}, "2.89")
    assert made["volumeAttachment"]["device"] == "/dev/vdb"
    await world.settle()
    assert (await world.cinder("GET", f"/volumes/{volume}"))["volume"]["status"] == "in-use"
    await world.call("DELETE", f"/servers/{server['id']}/os-volume_attachments/{volume}", 202)
    await world.settle()
    assert (await world.cinder("GET", f"/volumes/{volume}"))["volume"]["status"] == "available"
    assert (await world.show(server))["os-extended-volumes:volumes_attached"] == []
    assert await world.violations() == []


async def test_a_card_is_attached_and_detached(world: World) -> None:
    server = await world.boot()
    body = {"interfaceAttachment": {"net_id": world.network}}
    made = (await world.call("POST", f"/servers/{server['id']}/os-interface", 200, body))["interfaceAttachment"]
    await world.settle()
    cards = (await world.call("GET", f"/servers/{server['id']}/os-interface"))["interfaceAttachments"]
    assert len(cards) == 2
    assert {c["port_state"] for c in cards} == {"ACTIVE"}
    assert len((await world.show(server))["addresses"]["net"]) == 2
    await world.call("DELETE", f"/servers/{server['id']}/os-interface/{made['port_id']}", 202)
    await world.settle()
    assert len((await world.show(server))["addresses"]["net"]) == 1
    assert await world.violations() == []


async def test_no_valid_host_is_an_error_that_says_why(world: World) -> None:
    flavor = await world.flavor("huge", disk=8000)
    made = await world.boot(flavorRef=flavor)
    assert made["status"] == "ERROR"
    assert made["fault"]["message"].startswith("No valid host was found. 1 host looked at: 1 lacks disk")
    await world.call("DELETE", f"/servers/{made['id']}", 204)
    await world.settle()
    assert await world.violations() == []


async def test_a_guest_that_shuts_itself_down_is_shutoff(world: World) -> None:
    server = await world.boot()
    await world.guest_goes(server["id"], "stopped")
    await world.settle()
    seen = await world.show(server)
    assert (seen["status"], seen["OS-EXT-STS:power_state"]) == ("SHUTOFF", 4)


async def test_a_guest_whose_end_nobody_told_is_found_off_when_its_node_repeats_itself(world: World) -> None:
    server = await world.boot()
    node = world.api.nodes["sim-1"]
    node.listeners.clear()
    node.happen(server["id"], "stopped")
    await world.cloud.links.publish("sim-1", "compute.servers", pack(await node.list_servers()))
    assert (await world.show(server))["status"] == "SHUTOFF"
