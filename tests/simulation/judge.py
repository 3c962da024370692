"""What must be true when the faults have ended: all is settled, nothing is lost, doubled or left behind, every error has a reason."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.simulation import hosts

from moln.compute.model.servers import VmState
from moln.compute.store import leftovers as leftover_store
from moln.compute.store import servers as store
from moln.image.store import images
from moln.network.store import rows
from moln.volume.store import backups, messages, snapshots, volumes

if TYPE_CHECKING:
    from tests.simulation.workload import Ledger
    from tests.simulation.world import World

LOOK_EVERY_S, LONGEST_S, QUIET_S = 5.0, 7200.0, 70.0


async def settle(world: World, quiet_s: float = QUIET_S) -> list[str]:
    """Let time run until nothing is under way, and a little longer; what is still under way after two hours."""
    assert world.controller is not None
    loop = asyncio.get_running_loop()
    until = loop.time() + LONGEST_S
    while left := await unsettled(world):
        if loop.time() > until:
            return left
        await asyncio.sleep(LOOK_EVERY_S)
    await asyncio.sleep(quiet_s)
    return await unsettled(world)


async def unsettled(world: World) -> list[str]:
    assert world.controller is not None
    db = world.controller.cloud.db
    found = [f"server {s.id} is still {s.vm_state} ({s.task_state})" for s in await db.all(store.ALL) if s.unsettled]
    found += [f"volume {v.id} is still {v.status}" for v in await volumes.unsettled(db, 0)]
    found += [f"snapshot {s.id} is still {s.status}" for s in await db.all(snapshots.ON_HOSTS) if s.status in ("creating", "deleting")]
    found += [f"backup {b.id} is still {b.status}" for b in await db.all(backups.ALL) if b.status in ("creating", "deleting", "restoring")]
    waiting = await db.all(images.SAVING, before=world.clock.now_us())
    found += [f"{left.host} still has what server {left.server_id} left" for left in await leftover_store.everywhere(db)]
    return found + [f"image {i.id} still waits for a node" for i in waiting if i.from_node]


async def problems(world: World, ledger: Ledger) -> list[str]:
    """Every broken rule, in words."""
    controller = world.controller
    assert controller is not None
    found = await controller.do(_invariants(world))
    return found + await _errors(world) + await _lost(world, ledger) + doubled(world) + await hosts.differences(world)


async def _invariants(world: World) -> list[str]:
    controller = world.controller
    assert controller is not None
    found = []
    for area in controller.areas:
        for invariant in area.invariants:
            found += [f"{invariant.name}: {v.message}" for v in await invariant.check(controller.cloud)]
    return found


async def _errors(world: World) -> list[str]:
    assert world.controller is not None
    db = world.controller.cloud.db
    found = []
    for server in await db.all(store.ALL):
        if server.vm_state is VmState.ERROR and not (server.fault and server.fault.message):
            found.append(f"server {server.id} is in ERROR without a reason")
    told = {m.resource_id for m in await messages.LISTING.page(db)}
    return found + [
        f"volume {v.id} is {v.status} without a reason" for v in await volumes.LISTING.page(db) if "error" in v.status and v.id not in told
    ]


async def _lost(world: World, ledger: Ledger) -> list[str]:
    """What was answered to be there and nobody asked to remove; what was answered to go and did not, without an error that says so."""
    assert world.controller is not None
    db = world.controller.cloud.db
    there = {
        "server": {s.id: str(s.vm_state) for s in await db.all(store.ALL)},
        "volume": {v.id: str(v.status) for v in await volumes.LISTING.page(db)},
        "snapshot": {s.id: str(s.status) for s in await snapshots.LISTING.page(db)},
        "backup": {b.id: str(b.status) for b in await db.all(backups.ALL)},
        "port": {p.id: "" for p in await rows.ports.listing.page(db)},
        "network": {n.id: "" for n in await rows.networks.listing.page(db)},
    }
    found = []
    for kind, made in ledger.made.items():
        found += [f"{kind} {id} was answered and is lost" for id in made if id not in there[kind] and not ledger.may_be_gone(id)]
        found += [
            f"{kind} {id} was to go, and is {there[kind][id] or 'there'}"
            for id in made if id in ledger.gone and id in there[kind] and "error" not in there[kind][id]
        ]  # fmt: skip
    return found


def doubled(world: World) -> list[str]:
    """A guest that runs on two hosts, looked for on the hosts themselves."""
    seen: dict[str, str] = {}
    found = []
    for disk in world.disks:
        for id, server in disk.kept.servers.items():
            if server.power in ("running", "paused"):
                if id in seen:
                    found.append(f"server {id} runs on {seen[id]} and on {disk.name}")
                seen[id] = disk.name
    return found


async def leftovers(world: World) -> list[str]:
    """What is there although everything was removed."""
    assert world.controller is not None
    db = world.controller.cloud.db
    found = [f"{disk.name} still has the server {id}" for disk in world.disks for id in disk.kept.servers]
    found += [f"{disk.name} still has the disk {id}" for disk in world.disks for id in disk.kept.disks]
    for kind in ("volume", "snapshot", "backup"):
        found += [f"the pool still has the {kind} {id}" for id in world.volumes.ids(kind)]
    for disk in world.disks:
        found += [f"{disk.name} still lends {loan}" for loan in world.volumes.ids(f"lent by {disk.name}")]
        found += [f"{disk.name} still has the volume {id} of another host open" for id in world.volumes.ids(f"lent to {disk.name}")]
    found += [f"there is still the server {s.id}" for s in await db.all(store.ALL)]
    return found
