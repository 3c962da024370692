"""What hangs below a server: metadata, tags, addresses, locks, console, images, groups, attachments' rules."""

from __future__ import annotations

from tests.compute.world import World, world

__all__ = ["world"]


async def test_metadata(world: World) -> None:
    server = await world.boot(networks="none", metadata={"a": "1"})
    path = f"/servers/{server['id']}/metadata"
    assert await world.call("GET", path) == {"metadata": {"a": "1"}}
    assert await world.call("POST", path, 200, {"metadata": {"b": "2"}}) == {"metadata": {"a": "1", "b": "2"}}
    assert await world.call("PUT", f"{path}/a", 200, {"meta": {"a": "3"}}) == {"meta": {"a": "3"}}
    assert await world.call("GET", f"{path}/a") == {"meta": {"a": "3"}}
    await world.call("PUT", f"{path}/a", 400, {"meta": {"b": "3"}})
    await world.call("DELETE", f"{path}/a", 204)
    await world.call("GET", f"{path}/a", 404)
    assert await world.call("PUT", path, 200, {"metadata": {"c": "4"}}) == {"metadata": {"c": "4"}}
    await world.call("PUT", path, 403, {"metadata": {f"k{n}": "" for n in range(129)}})
    await world.call("PUT", path, 400, {"metadata": {"a": 1}})


async def test_tags(world: World) -> None:
    server = await world.boot(networks="none")
    path = f"/servers/{server['id']}/tags"
    assert await world.call("PUT", path, 200, {"tags": ["a", "b", "a"]}) == {"tags": ["a", "b"]}
    await world.call("PUT", f"{path}/c", 201)
    await world.call("PUT", f"{path}/c", 204)
    await world.call("GET", f"{path}/c", 204)
    await world.call("DELETE", f"{path}/a", 204)
    await world.call("DELETE", f"{path}/a", 404)
    assert await world.call("GET", path) == {"tags": ["b", "c"]}
    await world.call("PUT", path, 400, {"tags": [f"t{n}" for n in range(51)]})
    await world.call("DELETE", path, 204)
    assert await world.call("GET", path) == {"tags": []}
    await world.call("GET", path, 404, None, "2.25")


async def test_a_lock_binds_its_owner_but_no_administrator(world: World) -> None:
    server = await world.boot(networks="none")
    await world.act(server, {"lock": {"locked_reason": "because"}})
    seen = await world.show(server)
    assert (seen["locked"], seen["locked_reason"]) == (True, "because")
    for body in ({"os-stop": None}, {"reboot": {"type": "HARD"}}, {"pause": None}):
        answer = await world.act(server, body, 409)
        assert answer["conflictingRequest"]["message"] == f"Instance {server['id']} is locked"
    await world.call("DELETE", f"/servers/{server['id']}", 409)
    await world.act(server, {"os-stop": None}, admin=True)
    await world.act(server, {"unlock": None})
    await world.settle()
    assert (await world.show(server))["status"] == "SHUTOFF"
    await world.act(server, {"lock": None}, admin=True)
    await world.act(server, {"unlock": None}, 403)
    await world.act(server, {"lock": "no"}, 400)


async def test_update(world: World) -> None:
    server = await world.boot(networks="none")
    path = f"/servers/{server['id']}"
    body = {"server": {"name": "new", "description": None, "accessIPv4": "192.0.2.7", "hostname": "h1", "OS-DCF:diskConfig": "AUTO"}}
    seen = (await world.call("PUT", path, 200, body))["server"]
    assert (seen["name"], seen["description"], seen["accessIPv4"]) == ("new", None, "192.0.2.7")
    assert seen["OS-EXT-SRV-ATTR:hostname"] == "h1"
    for bad in ({"name": ""}, {"accessIPv4": "::1"}, {"accessIPv6": "x"}, {"flavor": "x"}):
        await world.call("PUT", path, 400, {"server": bad})
    await world.call("PUT", path, 400, {"server": {"hostname": "h2"}}, "2.89")


async def test_console_output(world: World) -> None:
    server = await world.boot(networks="none")
    world.api.nodes["sim-1"].write_console(server["id"], "one\ntwo\nthree\n")
    assert (await world.act(server, {"os-getConsoleOutput": {"length": 3}}, 200))["output"] == "two\nthree\n"
    assert (await world.act(server, {"os-getConsoleOutput": {}}, 200))["output"].endswith("one\ntwo\nthree\n")
    await world.act(server, {"os-getConsoleOutput": {"length": "many"}}, 400)


async def test_an_image_is_made_of_a_server_and_boots(world: World) -> None:
    server = await world.boot(networks="none")
    made = await world.act(server, {"createImage": {"name": "copy", "metadata": {"from": "vm"}}})
    await world.settle()
    seen = (await world.api.member.get(f"/image/v2/images/{made['image_id']}")).json()
    assert (seen["status"], seen["instance_uuid"], seen["from"]) == ("active", server["id"], "vm")
    assert (await world.show(server))["OS-EXT-STS:task_state"] is None
    assert (await world.boot(networks="none", imageRef=made["image_id"]))["status"] == "ACTIVE"
    old = await world.api.member.post(
        f"/compute/v2.1/servers/{server['id']}/action", json={"createImage": {"name": "old"}}, headers={"OpenStack-API-Version": "compute 2.1"}
    )
    assert old.status_code == 202
    assert "/image/v2/images/" in old.headers["Location"]


async def test_security_groups_of_a_server(world: World) -> None:
    server = await world.boot()
    await world.neutron("POST", "/security-groups", {"security_group": {"name": "web"}})
    await world.act(server, {"addSecurityGroup": {"name": "web"}})
    assert [g["name"] for g in (await world.show(server))["security_groups"]] == ["default", "web"]
    await world.act(server, {"removeSecurityGroup": {"name": "default"}})
    assert [g["name"] for g in (await world.show(server))["security_groups"]] == ["web"]
    await world.act(server, {"removeSecurityGroup": {"name": "default"}}, 404)
    await world.act(server, {"addSecurityGroup": {"name": "none"}}, 404)
    assert [g["name"] for g in (await world.call("GET", f"/servers/{server['id']}/os-security-groups"))["security_groups"]] == ["web"]


async def test_volumes_have_rules(world: World) -> None:
    server = await world.boot(networks="none")
    path = f"/servers/{server['id']}/os-volume_attachments"
    volume = await world.volume()
    await world.call("POST", path, 202, {"volumeAttachment": {"volumeId": volume, "tag": "data"}}, "2.101")
    await world.settle()
    (seen,) = (await world.call("GET", path, 200, None, "2.89"))["volumeAttachments"]
    assert (seen["volumeId"], seen["tag"], seen["delete_on_termination"], seen["device"]) == (volume, "data", False, "/dev/vdb")
    assert "id" not in seen
    assert seen["attachment_id"]
    assert (await world.call("GET", f"{path}/{volume}", 200, None, "2.1"))["volumeAttachment"] == {
        "id": volume, "volumeId": volume, "serverId": server["id"], "device": "/dev/vdb"
    }  # fmt: skip
    other = await world.boot(networks="none")
    taken = {"volumeAttachment": {"volumeId": volume}}
    await world.call("POST", f"/servers/{other['id']}/os-volume_attachments", 400, taken)
    await world.call("POST", path, 400, taken)
    await world.call("PUT", f"{path}/{volume}", 202, {"volumeAttachment": {"volumeId": volume, "delete_on_termination": True}}, "2.85")
    assert (await world.show(server))["os-extended-volumes:volumes_attached"] == [{"id": volume, "delete_on_termination": True}]
    nothing = "00000000-0000-4000-8000-000000000000"
    await world.call("POST", path, 404, {"volumeAttachment": {"volumeId": nothing}})
    await world.call("DELETE", f"{path}/{nothing}", 404)
    await world.call("GET", f"{path}/{nothing}", 404)
    await world.call("DELETE", f"/servers/{server['id']}", 204)
    await world.settle()
    assert (await world.cinder("GET", "/volumes"))["volumes"] == []


async def test_addresses_follow_floating_ips_and_deleted_ports(world: World) -> None:
    server = await world.boot()
    assert (await world.call("GET", f"/servers/{server['id']}/ips"))["addresses"]["net"][0]["version"] == 4
    (port,) = (await world.neutron("GET", f"/ports?device_id={server['id']}"))["ports"]
    assert (await world.api.admin.delete(f"/network/v2.0/ports/{port['id']}")).status_code == 204
    await world.settle()
    assert (await world.show(server))["addresses"] == {}
    assert (await world.call("GET", f"/servers/{server['id']}/os-interface"))["interfaceAttachments"] == []
    assert await world.violations() == []


async def test_reset_state_is_for_administrators(world: World) -> None:
    server = await world.boot(networks="none")
    await world.act(server, {"os-resetState": {"state": "error"}}, 403)
    await world.act(server, {"os-resetState": {"state": "error"}}, admin=True)
    assert (await world.show(server))["status"] == "ERROR"
    await world.act(server, {"os-resetState": {"state": "wrong"}}, 400, admin=True)
    await world.act(server, {"reboot": {"type": "HARD"}})
    await world.settle()
    assert (await world.show(server))["status"] == "ACTIVE"


async def test_an_unknown_action_is_bad(world: World) -> None:
    server = await world.boot(networks="none")
    await world.act(server, {"dance": None}, 400)
    await world.act(server, {}, 400)


async def test_a_guest_is_told_that_its_volume_grew(world: World) -> None:
    server = await world.boot(networks="none")
    volume = await world.volume()
    await world.call("POST", f"/servers/{server['id']}/os-volume_attachments", 200, {"volumeAttachment": {"volumeId": volume}})
    await world.settle()
    node = world.api.nodes["sim-1"]
    node.calls.clear()
    await world.cinder("POST", f"/volumes/{volume}/action", {"os-extend": {"new_size": 3}})
    await world.settle()
    assert "resize_attached_disk" in node.calls
    actions = (await world.call("GET", f"/servers/{server['id']}/os-instance-actions"))["instanceActions"]
    assert [a["action"] for a in actions] == ["extend_volume", "attach_volume", "create"]


async def test_servers_are_placed_beside_and_apart(world: World) -> None:
    server = await world.boot(networks="none")
    for hint, status in (("same_host", "ACTIVE"), ("different_host", "ERROR")):
        body = {"server": {"name": hint, "flavorRef": world.small, "imageRef": world.image, "networks": "none"},
                "os:scheduler_hints": {hint: [server["id"]]}}  # fmt: skip
        made = (await world.call("POST", "/servers", 202, body))["server"]
        await world.settle()
        seen = await world.show(made)
        assert (seen["status"], seen["scheduler_hints"]) == (status, {hint: [server["id"]]})
