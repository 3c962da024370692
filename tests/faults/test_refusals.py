"""A hypervisor that refuses, or does not answer: the owner reads why, and nothing stays behind."""

from __future__ import annotations

import pytest
from tests.compute.world import World, world

from moln.compute.drivers.fake import Fault
from moln.compute.ops import explain
from moln.compute.store import servers
from moln.compute.work.servers import fail
from moln.kernel.work import Work

__all__ = ["world"]


def order(world: World, verb: str, kind: str, *, after: bool = False, times: int = 1) -> None:
    world.api.nodes["sim-1"].faults.setdefault(verb, []).append(Fault(kind, after=after, times=times))  # type: ignore[arg-type]


async def test_a_boot_that_is_refused_ends_in_error_with_the_reason(world: World) -> None:
    for verb in ("ensure_disk", "ensure_config_drive", "ensure_server"):
        order(world, verb, "refused")
        server = await world.boot(config_drive=True)
        assert server["status"] == "ERROR", verb
        assert server["fault"]["message"] == f"Build of instance {server['id']} aborted: This fault was ordered."
        assert server["fault"]["code"] == 500
        assert "details" not in server["fault"]
        actions = (await world.call("GET", f"/servers/{server['id']}/os-instance-actions"))["instanceActions"]
        assert [(a["action"], a["message"]) for a in actions] == [("create", "Error")]
        await world.call("DELETE", f"/servers/{server['id']}", 204)
        await world.settle()
        assert await world.violations() == []


@pytest.mark.parametrize("after", [False, True])
async def test_a_boot_survives_lost_calls_and_lost_answers(world: World, after: bool) -> None:
    for verb in ("ensure_disk", "ensure_server"):
        order(world, verb, "unreachable", after=after)
    made = (await world.create())["server"]
    for _ in range(4):
        await world.settle()
    assert (await world.show(made))["status"] == "ACTIVE"
    assert await world.violations() == []


async def test_an_attachment_that_is_refused_is_undone(world: World) -> None:
    server, volume = await world.boot(networks="none"), await world.volume()
    order(world, "attach_disk", "refused")
    await world.call("POST", f"/servers/{server['id']}/os-volume_attachments", 200, {"volumeAttachment": {"volumeId": volume}})
    await world.settle()
    seen = await world.show(server)
    assert (seen["status"], seen["os-extended-volumes:volumes_attached"]) == ("ACTIVE", [])
    assert (await world.cinder("GET", f"/volumes/{volume}"))["volume"]["status"] == "available"
    actions = (await world.call("GET", f"/servers/{server['id']}/os-instance-actions"))["instanceActions"]
    assert (actions[0]["action"], actions[0]["message"]) == ("attach_volume", "Error")
    assert await world.violations() == []


async def test_what_may_have_been_attached_is_taken_out_before_it_is_free(world: World) -> None:
    """The answers are lost until the deadline: the guest has the volume and the card, and nobody knows (found by the simulation)."""
    server, volume = await world.boot(), await world.volume()
    order(world, "attach_disk", "unreachable", after=True, times=9)
    order(world, "attach_card", "unreachable", after=True, times=9)
    await world.call("POST", f"/servers/{server['id']}/os-volume_attachments", 200, {"volumeAttachment": {"volumeId": volume}})
    await world.call("POST", f"/servers/{server['id']}/os-interface", 200, {"interfaceAttachment": {"net_id": world.network}})
    await world.settle()
    node = world.api.nodes["sim-1"]
    assert len(node.spec_of(server["id"]).disks) == 2
    row = await servers.find(world.cloud.db, server["id"])
    assert row is not None
    await fail(Work(world.cloud), row, "It took too long.")
    assert (await world.cinder("GET", f"/volumes/{volume}"))["volume"]["status"] == "detaching"
    await world.settle()
    assert (len(node.spec_of(server["id"]).disks), len(node.spec_of(server["id"]).cards)) == (1, 1)
    assert (await world.cinder("GET", f"/volumes/{volume}"))["volume"]["status"] == "available"
    assert len((await world.show(server))["addresses"]["net"]) == 1
    assert await world.violations() == []


async def test_a_guest_that_keeps_its_volume_has_it_still(world: World) -> None:
    server, volume = await world.boot(networks="none"), await world.volume()
    await world.call("POST", f"/servers/{server['id']}/os-volume_attachments", 200, {"volumeAttachment": {"volumeId": volume}})
    await world.settle()
    order(world, "detach_disk", "refused")
    await world.call("DELETE", f"/servers/{server['id']}/os-volume_attachments/{volume}", 202)
    await world.settle()
    assert [v["id"] for v in (await world.show(server))["os-extended-volumes:volumes_attached"]] == [volume]
    assert (await world.cinder("GET", f"/volumes/{volume}"))["volume"]["status"] == "in-use"
    assert await world.violations() == []


async def test_a_card_that_is_refused_is_undone(world: World) -> None:
    server = await world.boot()
    order(world, "attach_card", "refused")
    await world.call("POST", f"/servers/{server['id']}/os-interface", 200, {"interfaceAttachment": {"net_id": world.network}})
    await world.settle()
    assert len((await world.show(server))["addresses"]["net"]) == 1
    assert await world.violations() == []


async def test_an_image_that_cannot_be_made_leaves_the_server_as_it_was(world: World) -> None:
    server = await world.boot(networks="none")
    order(world, "ensure_image_data", "refused")
    made = await world.act(server, {"createImage": {"name": "copy"}})
    await world.settle()
    seen = await world.show(server)
    assert (seen["status"], seen["OS-EXT-STS:task_state"]) == ("ACTIVE", None)
    assert (await world.api.member.get(f"/image/v2/images/{made['image_id']}")).json().get("status") in ("killed", None)


async def test_a_power_action_that_is_refused_says_why(world: World) -> None:
    server = await world.boot(networks="none")
    order(world, "reboot_server", "refused")
    await world.act(server, {"reboot": {"type": "HARD"}})
    await world.settle()
    seen = await world.show(server)
    assert (seen["status"], seen["fault"]["message"]) == ("ERROR", "This fault was ordered.")
    await world.act(server, {"reboot": {"type": "HARD"}})
    await world.settle()
    assert (await world.show(server))["status"] == "ACTIVE"


async def test_explain_says_host_by_host(world: World) -> None:
    server = await world.boot(name="here", networks="none")
    told = await explain.server(world.cloud, "here")
    assert told["hosts"] == [{"host": "sim-1", "verdict": "runs the server"}]
    assert server["id"] in told["summary"]
    flavor = await world.flavor("huge", disk=8000)
    await world.boot(name="nowhere", flavorRef=flavor, networks="none")
    told = await explain.server(world.cloud, "nowhere")
    assert told["hosts"][0]["verdict"].startswith("lacks disk (needs 8000 GiB,")
    assert "No valid host was found" in told["summary"]
