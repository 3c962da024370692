"""Shelved servers: off their host, their claim given back, their root disk an image; and back, wherever there is room."""

from __future__ import annotations

from typing import Any

import pytest
from tests.compute.test_rescue import disks, from_volume
from tests.compute.test_suspension import actions
from tests.compute.world import World, world
from tests.faults.test_refusals import order

from moln.compute.store import servers as store
from moln.image.ops import images as image_ops
from moln.simulation import start_nodes

__all__ = ["world"]
OFF = "SHELVED_OFFLOADED"


async def act(world: World, server: dict, body: dict, version: str = "2.100", *, admin: bool = False) -> dict:
    """An action, all work that follows, and the server then."""
    await world.call("POST", f"/servers/{server['id']}/action", 202, body, version, admin=admin)
    await world.settle()
    return await world.show(server)


async def shelved(world: World, **asked: Any) -> dict:
    server = await world.boot(**asked)
    seen = await act(world, server, {"shelve": None})
    assert seen["status"] == OFF, seen
    return server


async def images(world: World) -> list[dict]:
    found = (await world.api.member.get("/image/v2/images")).json()["images"]
    return [i for i in found if i["name"].endswith("-shelved")]


async def port_of(world: World, server: dict) -> dict:
    (port,) = (await world.api.admin.get(f"/network/v2.0/ports?device_id={server['id']}")).json()["ports"]
    return port


async def allocations(world: World, server: dict) -> dict:
    answer = await world.api.admin.get(f"/placement/allocations/{server['id']}", headers={"OpenStack-API-Version": "placement 1.39"})
    return answer.json()["allocations"]


async def test_shelved_and_unshelved(world: World) -> None:
    server = await world.boot(name="box")
    address = server["addresses"]
    used = (await world.call("GET", "/limits"))["limits"]["absolute"]
    await world.act(server, {"shelve": None})
    seen = await world.show(server)
    assert (seen["status"], seen["OS-EXT-STS:task_state"]) == ("ACTIVE", "shelving")
    await world.settle()
    seen = await world.show(server, admin=True)
    assert (seen["status"], seen["OS-EXT-STS:vm_state"], seen["OS-EXT-STS:power_state"]) == (OFF, "shelved_offloaded", 4)
    assert (seen["OS-EXT-STS:task_state"], seen["OS-EXT-SRV-ATTR:host"], seen["hostId"]) == (None, None, "")
    assert seen["addresses"] == address
    (image,) = await images(world)
    assert (image["name"], image["status"], image["instance_uuid"]) == ("box-shelved", "active", server["id"])
    port = await port_of(world, server)
    assert (port["binding:host_id"], port["status"], port["device_owner"]) == ("", "DOWN", "compute:nova")
    assert await allocations(world, server) == {}
    assert (await world.call("GET", "/limits"))["limits"]["absolute"] == used  # it still counts, as in Nova
    node = world.api.nodes["sim-1"]
    assert (node.kept.servers, node.kept.disks) == ({}, {})
    assert await world.violations() == []
    seen = await act(world, server, {"unshelve": None})
    assert (seen["status"], seen["OS-EXT-STS:power_state"], seen["addresses"]) == ("ACTIVE", 1, address)
    assert await images(world) == []
    assert disks(world, server) == [("vda", 0)]
    port = await port_of(world, server)
    assert (port["binding:host_id"], port["status"]) == ("sim-1", "ACTIVE")
    assert await world.violations() == []
    assert (await actions(world, server))[:2] == [("unshelve", None), ("shelve", None)]


async def test_it_boots_from_what_its_disk_was(world: World) -> None:
    server = await shelved(world, networks="none")
    (image,) = await images(world)
    found = await image_ops.find(world.cloud.db, image["id"])
    await act(world, server, {"unshelve": None})
    node = world.api.nodes["sim-1"]
    (root,) = node.spec_of(server["id"]).disks
    assert found is not None and node.kept.origins[root.id] == found.data_id
    again = await world.act(server, {"createImage": {"name": "later"}})  # its disk outlives the image that it came back from
    await world.settle()
    assert (await world.api.member.get(f"/image/v2/images/{again['image_id']}")).json()["status"] == "active"


async def test_what_boots_from_a_volume_needs_no_image(world: World) -> None:
    server = await from_volume(world)
    (volume,) = server["os-extended-volumes:volumes_attached"]
    assert (await act(world, server, {"shelve": None}))["status"] == OFF
    assert await images(world) == []
    assert (await world.cinder("GET", f"/volumes/{volume['id']}"))["volume"]["status"] == "reserved"
    assert await world.violations() == []
    assert (await act(world, server, {"unshelve": None}))["status"] == "ACTIVE"
    assert (await world.cinder("GET", f"/volumes/{volume['id']}"))["volume"]["status"] == "in-use"
    assert await world.violations() == []


async def test_shelved_from_other_states(world: World) -> None:
    server = await world.boot(networks="none")
    for action, status in (("os-stop", "SHUTOFF"), ("pause", "PAUSED"), ("suspend", "SUSPENDED")):
        assert (await act(world, server, {action: None}))["status"] == status
        assert (await act(world, server, {"shelve": None}))["status"] == OFF
        assert (await act(world, server, {"unshelve": None}))["status"] == "ACTIVE"
    assert await world.violations() == []


async def test_what_an_offloaded_server_cannot_do(world: World) -> None:
    server = await shelved(world, networks="none")
    for body in ({"shelve": None}, {"suspend": None}, {"os-start": None}, {"os-stop": None}, {"reboot": {"type": "HARD"}}, {"rescue": None},
                 {"createImage": {"name": "x"}}):  # fmt: skip
        said = await world.act(server, body, 409)
        assert said["conflictingRequest"]["message"].endswith("while it is in vm_state shelved_offloaded")
    await world.call("POST", f"/servers/{server['id']}/os-interface", 409, {"interfaceAttachment": {"net_id": world.network}})
    await world.act(server, {"shelveOffload": None}, 403)
    await world.act(server, {"shelveOffload": None}, 409, admin=True)
    await world.act(server, {"os-getConsoleOutput": {}}, 409)


async def test_a_shelved_server_that_is_deleted_leaves_nothing(world: World) -> None:
    server = await shelved(world)
    await world.call("DELETE", f"/servers/{server['id']}", 204)
    await world.settle()
    assert await images(world) == []
    assert await world.violations() == []
    used = (await world.call("GET", "/limits"))["limits"]["absolute"]
    assert used["totalInstancesUsed"] == used["totalRAMUsed"] == 0


@pytest.mark.parametrize("verb", ["ensure_server", "ensure_image_data", "remove_server"])
async def test_deleted_while_it_is_being_shelved(world: World, verb: str) -> None:
    server = await world.boot()
    order(world, verb, "unreachable")
    await act(world, server, {"shelve": None})
    await world.call("DELETE", f"/servers/{server['id']}", 204)
    for _ in range(3):
        await world.settle()
    await world.call("GET", f"/servers/{server['id']}", 404)
    assert await images(world) == []
    assert world.api.nodes["sim-1"].kept.disks == {}
    assert await world.violations() == []


async def test_deleted_while_it_is_being_unshelved(world: World) -> None:
    server = await shelved(world)
    order(world, "ensure_server", "unreachable")
    await act(world, server, {"unshelve": None})
    await world.call("DELETE", f"/servers/{server['id']}", 204)
    for _ in range(3):
        await world.settle()
    assert await images(world) == []
    assert world.api.nodes["sim-1"].kept.disks == {}
    assert await world.violations() == []


async def test_a_shelving_whose_copy_is_refused_leaves_the_server_off_with_its_disk(world: World) -> None:
    server = await world.boot()
    order(world, "ensure_image_data", "refused")
    seen = await act(world, server, {"shelve": None})
    assert (seen["status"], seen["OS-EXT-STS:task_state"]) == ("SHUTOFF", None)
    assert await images(world) == []
    assert (await actions(world, server))[0] == ("shelve", "Error")
    assert (await act(world, server, {"os-start": None}))["status"] == "ACTIVE"
    assert await world.violations() == []


async def test_an_image_that_is_deleted_meanwhile_costs_no_disk(world: World) -> None:
    server = await world.boot(networks="none")
    order(world, "ensure_image_data", "unreachable", after=True)
    await act(world, server, {"shelve": None})
    (image,) = await images(world)
    assert (await world.api.member.delete(f"/image/v2/images/{image['id']}")).status_code == 204
    for _ in range(3):
        await world.settle()
    seen = await world.show(server)
    assert (seen["status"], seen["OS-EXT-STS:task_state"]) == ("SHUTOFF", None)
    assert len(world.api.nodes["sim-1"].kept.disks) == 1


async def test_offloading_that_fails_is_asked_for_again_by_an_administrator(world: World) -> None:
    server = await world.boot()
    order(world, "remove_server", "refused")
    seen = await act(world, server, {"shelve": None})
    assert (seen["status"], seen["OS-EXT-STS:task_state"]) == ("SHELVED", None)
    said = await world.act(server, {"unshelve": {"availability_zone": "nova"}}, 409)
    assert said["conflictingRequest"]["message"].startswith("Specifying an availability zone or a host when unshelving server")
    await world.act(server, {"shelveOffload": None}, 403)
    assert (await act(world, server, {"shelveOffload": None}, admin=True))["status"] == OFF
    assert (await actions(world, server))[0] == ("shelveOffload", None)
    assert (await act(world, server, {"unshelve": None}))["status"] == "ACTIVE"
    assert await world.violations() == []


async def test_a_server_that_never_left_its_host_is_unshelved_there(world: World) -> None:
    server = await world.boot()
    order(world, "remove_disk", "refused")  # its domain is gone by then
    assert (await act(world, server, {"shelve": None}))["status"] == "SHELVED"
    assert (await act(world, server, {"unshelve": None}))["status"] == "ACTIVE"
    assert await images(world) == []
    assert await world.violations() == []


async def test_without_a_host_it_stays_shelved_and_the_action_says_why(world: World) -> None:
    server = await shelved(world)
    service = (await world.call("GET", "/os-services", admin=True))["services"][0]["id"]
    await world.call("PUT", f"/os-services/{service}", 200, {"status": "disabled"}, admin=True)
    await world.settle()
    seen = await act(world, server, {"unshelve": None})
    assert (seen["status"], seen["OS-EXT-STS:task_state"]) == (OFF, None)
    assert (await actions(world, server))[0] == ("unshelve", "Error")
    await world.call("PUT", f"/os-services/{service}", 200, {"status": "enabled"}, admin=True)
    await world.settle()
    assert (await act(world, server, {"unshelve": None}))["status"] == "ACTIVE"
    assert await world.violations() == []


async def test_a_host_that_cannot_start_it_is_left_again(world: World) -> None:
    server = await shelved(world)
    order(world, "ensure_server", "refused")
    seen = await act(world, server, {"unshelve": None})
    for _ in range(2):
        await world.settle()
    seen = await world.show(server)
    assert (seen["status"], seen["OS-EXT-STS:task_state"]) == (OFF, None)
    assert await allocations(world, server) == {}
    assert world.api.nodes["sim-1"].kept.disks == {}
    assert len(await images(world)) == 1
    assert await world.violations() == []
    assert (await act(world, server, {"unshelve": None}))["status"] == "ACTIVE"


async def test_a_lost_image_is_an_error_that_says_so(world: World) -> None:
    server = await shelved(world)
    (image,) = await images(world)
    await world.api.member.delete(f"/image/v2/images/{image['id']}")
    seen = await act(world, server, {"unshelve": None})
    assert (seen["status"], seen["fault"]["message"]) == ("ERROR", f"Unshelve attempted but the image {image['id']} cannot be found.")
    await world.call("DELETE", f"/servers/{server['id']}", 204)
    await world.settle()
    assert await world.violations() == []


async def test_where_to(world: World) -> None:
    server = await shelved(world)
    world.api.nodes |= {n: d for n, d in (await start_nodes(world.cloud, 2)).items() if n not in world.api.nodes}
    await world.call("POST", "/os-aggregates", 200, {"aggregate": {"name": "west", "availability_zone": "west"}}, admin=True)
    found = (await world.call("GET", "/os-aggregates", admin=True))["aggregates"][0]["id"]
    await world.call("POST", f"/os-aggregates/{found}/action", 200, {"add_host": {"host": "sim-2"}}, admin=True)
    await world.settle()
    path = f"/servers/{server['id']}/action"
    for asked, version, status in (
        ({"availability_zone": "nowhere"}, "2.77", 400), ({"host": "sim-2"}, "2.90", 400), ({}, "2.77", 400),
        ({"availability_zone": None}, "2.77", 400), ({"host": "sim-2"}, "2.91", 403), ({"more": "x"}, "2.91", 400), ({"host": ""}, "2.91", 400),
    ):  # fmt: skip
        await world.call("POST", path, status, {"unshelve": asked}, version)
    said = await world.call("POST", path, 400, {"unshelve": {"host": "sim-9"}}, "2.91", admin=True)
    assert said["badRequest"]["message"] == "Compute host sim-9 could not be found."
    said = await world.call("POST", path, 409, {"unshelve": {"host": "sim-1", "availability_zone": "west"}}, "2.91", admin=True)
    assert said["conflictingRequest"]["message"] == 'Host "sim-1" is not in the availability zone "west".'
    await act(world, server, {"unshelve": {"availability_zone": "west"}}, "2.77")
    seen = await world.show(server, admin=True)
    assert (seen["status"], seen["OS-EXT-SRV-ATTR:host"], seen["OS-EXT-AZ:availability_zone"]) == ("ACTIVE", "sim-2", "west")
    assert seen["pinned_availability_zone"] == "west"
    assert (await port_of(world, server))["binding:host_id"] == "sim-2"
    await act(world, server, {"shelve": None})
    await act(world, server, {"unshelve": {"availability_zone": None, "host": "sim-1"}}, "2.91", admin=True)
    seen = await world.show(server, admin=True)
    assert (seen["OS-EXT-SRV-ATTR:host"], seen["pinned_availability_zone"]) == ("sim-1", None)
    assert await world.violations() == []


async def test_volumes_come_and_go_while_it_is_shelved(world: World) -> None:
    server, first, second = await world.boot(networks="none"), await world.volume(), await world.volume()
    path = f"/servers/{server['id']}/os-volume_attachments"
    await world.call("POST", path, 200, {"volumeAttachment": {"volumeId": first}})
    await act(world, server, {"shelve": None})
    status = await world.call("POST", path, 409, {"volumeAttachment": {"volumeId": second}}, "2.19")
    assert status["conflictingRequest"]["message"] == f"Cannot 'attach_volume' instance {server['id']} while it is in vm_state shelved_offloaded"
    await world.call("DELETE", f"{path}/{first}", 409, None, "2.19")
    await world.call("POST", path, 400, {"volumeAttachment": {"volumeId": second, "tag": "t"}})
    await world.call("POST", path, 200, {"volumeAttachment": {"volumeId": second}}, "2.20")
    assert (await world.cinder("GET", f"/volumes/{second}"))["volume"]["status"] == "in-use"
    await world.call("DELETE", f"{path}/{first}", 202, None, "2.20")
    assert (await world.cinder("GET", f"/volumes/{first}"))["volume"]["status"] == "available"
    assert await world.violations() == []
    seen = await act(world, server, {"unshelve": None})
    assert [v["id"] for v in seen["os-extended-volumes:volumes_attached"]] == [second]
    assert [d.id for d in world.api.nodes["sim-1"].spec_of(server["id"]).disks][1:] == [second]
    assert await world.violations() == []


async def test_a_port_that_goes_while_it_is_shelved_is_forgotten(world: World) -> None:
    server = await shelved(world)
    assert (await world.api.admin.delete(f"/network/v2.0/ports/{(await port_of(world, server))['id']}")).status_code == 204
    await world.settle()
    assert (await world.show(server))["addresses"] == {}
    assert await world.violations() == []
    assert (await act(world, server, {"unshelve": None}))["status"] == "ACTIVE"
    assert await world.violations() == []


async def test_a_lock_binds(world: World) -> None:
    server = await world.boot(networks="none")
    await world.act(server, {"lock": None})
    await world.act(server, {"shelve": None}, 409)
    await world.act(server, {"unlock": None})
    await act(world, server, {"shelve": None})
    await world.act(server, {"lock": None})
    said = await world.act(server, {"unshelve": None}, 409)
    assert said["conflictingRequest"]["message"] == f"Instance {server['id']} is locked"


async def test_a_floating_address_follows_its_server(world: World) -> None:
    """Its NAT is on the server's own node while there is one."""
    outer = {"name": "out", "router:external": True, "provider:network_type": "flat", "provider:physical_network": "public"}
    network = (await world.api.admin.post("/network/v2.0/networks", json={"network": outer})).json()["network"]["id"]
    subnet = {"network_id": network, "cidr": "198.51.100.0/24", "ip_version": 4, "enable_dhcp": False}
    assert (await world.api.admin.post("/network/v2.0/subnets", json={"subnet": subnet})).status_code == 201
    asked = {"router": {"name": "r", "external_gateway_info": {"network_id": network}}}
    router = (await world.neutron("POST", "/routers", asked))["router"]["id"]
    await world.neutron("PUT", f"/routers/{router}/add_router_interface", {"subnet_id": world.subnet})
    server = await world.boot()
    port = await port_of(world, server)
    made = await world.neutron("POST", "/floatingips", {"floatingip": {"floating_network_id": network, "port_id": port["id"]}})
    await world.settle()
    engine = world.cloud.areas["network"].driver.engine

    def nat() -> Any:
        (row,) = [r for r in engine.rows.values() if r.table == "NAT" and r.columns["external_ip"] == made["floatingip"]["floating_ip_address"]]
        return row.columns["logical_port"]

    assert nat() == (port["id"],)
    await act(world, server, {"shelve": None})
    assert nat() == ()
    assert await world.violations() == []
    await act(world, server, {"unshelve": None})
    assert nat() == (port["id"],)
    assert await world.violations() == []


async def test_calling_it_active_ends_the_image_that_was_being_made(world: World) -> None:
    server = await world.boot(networks="none")
    for body in ({"shelve": None}, {"createImage": {"name": "copy"}}):
        order(world, "ensure_image_data", "unreachable")
        await act(world, server, body)
        making = (await store.get(world.cloud.db, server["id"])).snapshot
        await world.act(server, {"os-resetState": {"state": "active"}}, admin=True)
        await world.settle()
        image = await image_ops.find(world.cloud.db, making or "")
        assert image is None or image.status == "killed"
        row = await store.get(world.cloud.db, server["id"])
        assert (row.snapshot, row.shelved_image) == (None, None)
    assert (await act(world, server, {"reboot": {"type": "HARD"}}))["status"] == "ACTIVE"
    assert (await act(world, server, {"shelve": None}))["status"] == OFF
    assert await world.violations() == []


async def test_it_goes_where_its_group_lets_it(world: World) -> None:
    body = {"server_group": {"name": "apart", "policy": "anti-affinity"}}
    group = (await world.call("POST", "/os-server-groups", 200, body))["server_group"]["id"]

    async def grouped(name: str) -> dict:
        asked = {"name": name, "flavorRef": world.small, "imageRef": world.image, "networks": "none"}
        made = await world.call("POST", "/servers", 202, {"server": asked, "os:scheduler_hints": {"group": group}})
        await world.settle()
        return await world.show(made["server"])

    first = await grouped("first")
    assert (await act(world, first, {"shelve": None}))["status"] == OFF
    second = await grouped("second")
    assert second["status"] == "ACTIVE"
    assert (await act(world, first, {"unshelve": None}))["status"] == OFF  # the only host has the other one
    await world.call("DELETE", f"/servers/{second['id']}", 204)
    await world.settle()
    assert (await act(world, first, {"unshelve": None}))["status"] == "ACTIVE"
    assert await world.violations() == []
