"""What was asked of a server ends, in the list of its actions, when it is done (found by the simulation)."""

from __future__ import annotations

from typing import Any

from tests.compute.world import World, world

from moln.compute.store import servers as store
from moln.compute.work import server_devices

__all__ = ["world"]


async def unfinished(world: World, server: dict[str, Any]) -> list[str]:
    path = f"/servers/{server['id']}/os-instance-actions"
    actions = (await world.call("GET", path))["instanceActions"]
    shown = [(await world.call("GET", f"{path}/{a['request_id']}"))["instanceAction"] for a in actions]
    return [a["action"] for a in shown if not all(e["finish_time"] for e in a["events"])]


async def attach(world: World, server: dict[str, Any]) -> None:
    body = {"volumeAttachment": {"volumeId": await world.volume()}}
    await world.call("POST", f"/servers/{server['id']}/os-volume_attachments", 200, body)


async def test_two_volumes_attached_at_once_are_two_actions_that_end(world: World) -> None:
    server = await world.boot(networks="none")
    volumes = [await world.volume() for _ in range(2)]
    for volume in volumes:
        await world.call("POST", f"/servers/{server['id']}/os-volume_attachments", 200, {"volumeAttachment": {"volumeId": volume}})
    assert await unfinished(world, server) == ["attach_volume"] * 2
    await world.settle()
    assert await unfinished(world, server) == []


async def test_a_volume_that_a_pause_brought_along_is_attached_and_its_action_ends(world: World) -> None:
    server = await world.boot(networks="none")
    await attach(world, server)
    await world.act(server, {"pause": None})
    await world.settle()
    assert (await world.show(server))["status"] == "PAUSED"
    assert await unfinished(world, server) == []


async def test_a_card_taken_out_before_it_was_in_ends_both_actions(world: World) -> None:
    server = await world.boot()
    path = f"/servers/{server['id']}/os-interface"
    made = (await world.call("POST", path, 200, {"interfaceAttachment": {"net_id": world.network}}))["interfaceAttachment"]
    await world.call("DELETE", f"{path}/{made['port_id']}", 202)
    await world.settle()
    assert len((await world.call("GET", path))["interfaceAttachments"]) == 1
    assert await unfinished(world, server) == []


async def test_a_card_whose_port_goes_before_it_was_in_ends_its_action(world: World) -> None:
    server = await world.boot()
    path = f"/servers/{server['id']}/os-interface"
    made = (await world.call("POST", path, 200, {"interfaceAttachment": {"net_id": world.network}}))["interfaceAttachment"]
    await world.act(server, {"reboot": {"type": "HARD"}})
    await world.api.admin.delete(f"/network/v2.0/ports/{made['port_id']}")
    await world.settle()
    assert len((await world.call("GET", path))["interfaceAttachments"]) == 1
    assert await unfinished(world, server) == []


async def test_what_leaves_a_host_that_is_away_goes_on_leaving(world: World) -> None:
    server = await world.boot()
    (card,) = (await world.call("GET", f"/servers/{server['id']}/os-interface"))["interfaceAttachments"]
    await world.call("DELETE", f"/servers/{server['id']}/os-interface/{card['port_id']}", 202)
    host = world.api.nodes["sim-1"]
    await world.cloud.links.leave("sim-1")  # type: ignore[attr-defined]
    before = await store.get(world.cloud.db, server["id"])
    await world.cloud.db.write(server_devices.give_up_in, world.cloud.system_context(), before, "sim-1 is away")
    after = await store.get(world.cloud.db, server["id"])
    assert [n.state for n in after.nics] == ["detaching"]
    assert after.deadline > before.deadline and host.kept.servers[server["id"]].spec.cards


async def test_a_pause_that_a_hard_reboot_overtakes_ends(world: World) -> None:
    server = await world.boot(networks="none")
    await world.act(server, {"pause": None})
    await world.act(server, {"reboot": {"type": "HARD"}})
    await world.act(server, {"reboot": {"type": "HARD"}})
    await world.settle()
    assert (await world.show(server))["status"] == "ACTIVE"
    assert await unfinished(world, server) == []
