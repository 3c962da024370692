"""What hosts and pool really hold, against what rows say of servers and volumes with which nothing is under way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moln.compute.model.servers import Server, VmState
from moln.compute.store import instance_actions
from moln.compute.store import servers as store
from moln.compute.work.server_sync import POWER
from moln.kernel.db import Reader
from moln.network.store import rows
from moln.volume.store import volumes

if TYPE_CHECKING:
    from tests.simulation.world import World

OFF = ("stopped", "crashed")
POWERS = {
    VmState.ACTIVE: ("running",), VmState.RESCUED: ("running", *OFF), VmState.PAUSED: ("paused",), VmState.STOPPED: OFF, VmState.SUSPENDED: OFF,
    VmState.RESIZED: ("running", *OFF),
}  # fmt: skip


async def differences(world: World) -> list[str]:
    """Each in a sentence."""
    assert world.controller is not None
    db = world.controller.cloud.db
    found = []
    for server in await db.all(store.ALL):
        if server.task_state is None and not server.unsettled:
            found += [f"server {server.id}, {server.vm_state} on {server.host}: {what}" for what in _of_server(world, server)]
            if server.vm_state is not VmState.ERROR:  # where what is asked of its devices waits for its owner
                found += [f"server {server.id}: {what}" for what in await _unfinished(db, server)]
    return found + await _of_ports(db) + await _of_volumes(world, db)


def _of_server(world: World, server: Server) -> list[str]:
    if server.host is None or server.vm_state not in POWERS:
        return []
    (disk,) = [disk for disk in world.disks if disk.name == server.host]
    kept = disk.kept.servers.get(server.id)
    if kept is None:
        return [] if server.vm_state in (VmState.STOPPED, VmState.SUSPENDED) else ["its host does not know it"]
    found = []
    if kept.power not in POWERS[server.vm_state]:
        found.append(f"its host says it is {kept.power}")
    if server.power_state != POWER[kept.power]:
        found.append(f"its power state is {server.power_state}, its host says it is {kept.power}")
    cards, wanted = {card.port_id for card in kept.spec.cards}, {nic.port_id for nic in server.attached_nics}
    if cards != wanted:
        found.append(f"its host has the cards {sorted(cards)} in it, not {sorted(wanted)}")
    held, wanted = {d.id for d in kept.spec.disks}, {d.id for d in server.disks} | {v.volume_id for v in server.volumes}
    if held != wanted and server.rescue is None:
        found.append(f"its host has the disks {sorted(held)} in it, not {sorted(wanted)}")
    if kept.power in ("running", "paused"):
        opened = set(world.volumes.ids(f"lent to {server.host}"))
        lent = {loan for disk in world.disks for loan in world.volumes.ids(f"lent by {disk.name}")}
        gone = [d.id for d in kept.spec.disks if d.protocol == "nbd" and not (d.id in opened and f"{d.id} {server.host}" in lent)]
        found += [f"its volume {id} is not lent to its host any more" for id in gone]
    if (kept.spec.vcpus, kept.spec.ram_mib) != (server.flavor.vcpus, server.flavor.ram):
        found.append(f"its host gives it {kept.spec.vcpus} processors and {kept.spec.ram_mib} MiB, its flavor says {server.flavor}")
    return found


async def _unfinished(db: Reader, server: Server) -> list[str]:
    actions = await instance_actions.LISTING.page(db, [("server_id", "eq", server.id)])
    return [f"its {a.action} has not ended" for a in actions if not all(event.finish_time for event in a.events)]


async def _of_ports(db: Reader) -> list[str]:
    """A server's port is bound to the server's host; what a running server has, is carried."""
    servers = {server.id: server for server in await db.all(store.ALL)}
    found = []
    for port in await rows.ports.listing.page(db):
        server = servers.get(port.device_id)
        if server is None or server.unsettled:
            continue
        if server.host is not None and port.host_id != server.host:
            found.append(f"port {port.id} of server {server.id} is bound to {port.host_id}, the server is on {server.host}")
        if server.vm_state is VmState.ACTIVE and str(port.status) != ("ACTIVE" if port.admin_state_up else "DOWN"):
            found.append(f"port {port.id} of the running server {server.id} is {port.status}")
        known = server.nic(port.id)
        if known is not None and known.active != (str(port.status) == "ACTIVE"):
            found.append(f"server {server.id} thinks that its port {port.id} is {'' if known.active else 'not '}carried; it is {port.status}")
    return found


async def _of_volumes(world: World, db: Reader) -> list[str]:
    found = []
    for volume in await volumes.LISTING.page(db):
        gib = world.volumes.get("volume", volume.id)
        if volume.status in ("available", "in-use") and gib != volume.size_gib:
            found.append(f"volume {volume.id} has {gib} GiB in the pool, its row says {volume.size_gib}")
    return found
