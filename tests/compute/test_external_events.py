"""What others tell of servers, and volumes that grow while servers have them."""

from __future__ import annotations

from typing import Any

from tests.compute.world import World, world

__all__ = ["world"]
NOBODY = "11111111-1111-4111-8111-111111111111"


async def tell(world: World, *events: dict[str, Any], status: int = 200, version: str = "2.93") -> Any:
    return await world.call("POST", "/os-server-external-events", status, {"events": list(events)}, version, admin=True)


async def test_events_are_taken_one_by_one(world: World) -> None:
    server = await world.boot(networks="none")
    good = {"name": "network-changed", "server_uuid": server["id"], "tag": NOBODY}
    assert await tell(world, good) == {"events": [good | {"status": "completed", "code": 200}]}
    bad = {"name": "network-changed", "server_uuid": NOBODY, "status": "completed"}
    lacking = {"name": "accelerator-request-bound", "server_uuid": server["id"]}
    told = await tell(world, good, bad, lacking, status=207)
    assert [(e["code"], e["status"]) for e in told["events"]] == [(200, "completed"), (404, "failed"), (400, "failed")]
    answer = await tell(world, bad, status=404)
    assert answer["itemNotFound"]["message"] == "No instances found for any event"
    nowhere = await world.boot(networks="none", flavorRef=await world.flavor("vast", disk=99999))
    told = await tell(world, good, good | {"server_uuid": nowhere["id"]}, status=207)
    assert told["events"][1]["code"] == 422


async def test_events_that_are_none_are_refused(world: World) -> None:
    server = await world.boot(networks="none")
    good = {"name": "network-changed", "server_uuid": server["id"]}
    for bad in ({"name": "nonsense"}, {"server_uuid": "x"}, {"status": "maybe"}, {"extra": 1}, {"tag": 7}):
        await tell(world, good | bad, status=400)
    for name, last in (("volume-extended", "2.50"), ("power-update", "2.75"), ("accelerator-request-bound", "2.81"), ("volume-reimaged", "2.92")):
        await tell(world, good | {"name": name, "tag": NOBODY}, status=400, version=last)
    await world.call("POST", "/os-server-external-events", 403, {"events": [good]})


async def test_a_volume_grows_while_a_server_has_it(world: World) -> None:
    server, volume = await world.boot(networks="none"), await world.volume(1)
    await world.call("POST", f"/servers/{server['id']}/os-volume_attachments", 200, {"volumeAttachment": {"volumeId": volume}})
    await world.settle()
    node = world.api.nodes["sim-1"]
    await world.cinder("POST", f"/volumes/{volume}/action", {"os-extend": {"new_size": 3}})
    await world.settle()
    seen = (await world.cinder("GET", f"/volumes/{volume}"))["volume"]
    assert (seen["size"], seen["status"]) == (3, "in-use")
    assert node.sizes[server["id"], volume] == 3 << 30
    node.sizes.clear()
    await tell(world, {"name": "volume-extended", "server_uuid": server["id"], "tag": volume})
    await world.settle()
    assert node.sizes[server["id"], volume] == 3 << 30
    assert await world.violations() == []
