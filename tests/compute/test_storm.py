"""Many callers at once, the work running beside them as in a real controller: everything ends, nothing is left."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from tests.compute.world import World, world

__all__ = ["world"]
QUIET_S = 60


async def life(world: World, dice: random.Random, number: int) -> None:
    """One server's: made, done things to, deleted at some moment or other. Refusals are answers too."""
    asked: dict[str, Any] = {"name": f"vm-{number}"}
    if number % 4 == 0:
        asked |= {"imageRef": "", "block_device_mapping_v2": [{
            "source_type": "image", "destination_type": "volume", "uuid": world.image, "volume_size": 1, "boot_index": 0,
            "delete_on_termination": True}]}  # fmt: skip
    server = (await world.create(**asked))["server"]
    path = f"/compute/v2.1/servers/{server['id']}"
    client, headers = world.api.member, {"OpenStack-API-Version": "compute 2.100"}
    for _ in range(dice.randrange(6)):
        await asyncio.sleep(dice.random() / 10)
        body = dice.choice([{"os-stop": None}, {"os-start": None}, {"reboot": {"type": "HARD"}}, {"pause": None}, {"unpause": None}])
        answer = await client.post(f"{path}/action", json=body, headers=headers)
        assert answer.status_code in (202, 409), answer.text
        if dice.random() < 0.3:
            answer = await client.post(f"{path}/os-interface", json={"interfaceAttachment": {"net_id": world.network}}, headers=headers)
            assert answer.status_code in (200, 409), answer.text
    assert (await client.delete(path, headers=headers)).status_code == 204


async def test_a_storm_leaves_nothing(world: World) -> None:
    dice = random.Random(20261122)
    world.api.app.workers.start()
    for _ in range(3):
        await asyncio.gather(*(life(world, dice, n) for n in range(8)))
        async with asyncio.timeout(QUIET_S):
            while (await world.call("GET", "/servers"))["servers"]:
                await asyncio.sleep(0.05)
    async with asyncio.timeout(QUIET_S):
        while (await world.cinder("GET", "/volumes"))["volumes"] or await world.violations():
            await asyncio.sleep(0.1)
    used = (await world.call("GET", "/limits"))["limits"]["absolute"]
    assert used["totalInstancesUsed"] == 0


async def test_a_server_deleted_before_anything_was_made(world: World) -> None:
    mapping = {"source_type": "image", "destination_type": "volume", "uuid": world.image, "volume_size": 1, "boot_index": 0,
               "delete_on_termination": True}  # fmt: skip
    for asked in ({}, {"imageRef": "", "block_device_mapping_v2": [mapping]}):
        server = (await world.create(**asked))["server"]
        await world.call("DELETE", f"/servers/{server['id']}", 204)
        await world.settle()
        await world.call("GET", f"/servers/{server['id']}", 404)
    assert (await world.cinder("GET", "/volumes"))["volumes"] == []
    assert await world.violations() == []
