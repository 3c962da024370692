"""Shelve, offload and unshelve: recorded here, done by work/server_shelving.py.

A shelved server is offloaded at once (Nova's `shelved_offload_time = 0`): it is on no host and holds no claim there; it keeps its
ports, its volumes, its quota, and, unless it boots from a volume, an image of its root disk.
"""

from __future__ import annotations

import logging

from msgspec import Struct, structs

from moln.compute.model import server_states, wishes
from moln.compute.model.scheduling import Wanted
from moln.compute.model.servers import DiskKind, Fault, LocalDisk, Server, TaskState, VmState
from moln.compute.ops import create_image, hosts, scheduling, server_networks
from moln.compute.ops.power import PATIENCE_S
from moln.compute.ops.servers import get_for, may_override, target
from moln.compute.store import instance_actions, leftovers
from moln.compute.store import servers as store
from moln.image.ops import images
from moln.kernel.context import RequestContext
from moln.kernel.db import Reader, Transaction
from moln.kernel.errors import Conflict, Forbidden, Invalid, NotFound
from moln.network.ops import reach
from moln.volume.ops import for_compute

_log = logging.getLogger("moln.compute")
P = "os_compute_api:os-shelve:"
COPY_PATIENCE_S = 3600


class Place(Struct, frozen=True):
    """Where an unshelved server is to go. zone: None for anywhere. named: whether the caller said so. host: only this one."""

    zone: str | None = None
    named: bool = False
    host: str | None = None


async def shelve(ctx: RequestContext, server_id: str) -> None:
    """Record that the server is to leave its host. Raises: NotFound, Forbidden, Conflict, OverQuota."""
    await ctx.db.write(shelve_in, ctx, server_id)


async def shelve_in(tx: Transaction, ctx: RequestContext, server_id: str) -> None:
    server = await get_for(tx, ctx, server_id, P + "shelve")
    server_states.check(server, "shelve", override_lock=may_override(ctx, server))
    if server.host is None:
        raise Conflict(f"Instance {server_id} is not ready")
    image_id, event = None, "compute_shelve_offload_instance"
    if server.root_disk is not None:
        spec = create_image.spec(ctx, server, f"{server.name}-shelved", {})
        spec = structs.replace(spec, owner=server.project_id)
        image_id, event = (await images.create_in(tx, ctx, spec, from_node=True)).id, "compute_shelve_instance"
    await instance_actions.begin(tx, ctx, server.id, "shelve", event, server.host)
    await store.save(
        tx, server, ctx.now_us, task_state=TaskState.SHELVING, snapshot=image_id, shelved_image=image_id,
        deadline=ctx.now_us + COPY_PATIENCE_S * 1_000_000,
    )  # fmt: skip
    tx.wake("servers", server.id)


async def offload(ctx: RequestContext, server_id: str) -> None:
    """For a shelved server that is still on its host, since leaving it failed. Raises: NotFound, Forbidden, Conflict."""
    await ctx.db.write(offload_in, ctx, server_id)


async def offload_in(tx: Transaction, ctx: RequestContext, server_id: str) -> None:
    server = await get_for(tx, ctx, server_id, P + "shelve_offload")
    server_states.check(server, "shelveOffload", override_lock=may_override(ctx, server))
    await instance_actions.begin(tx, ctx, server.id, "shelveOffload", "compute_shelve_offload_instance", server.host)
    await store.save(
        tx, server, ctx.now_us, task_state=TaskState.SHELVING_OFFLOADING, deadline=ctx.now_us + PATIENCE_S * 1_000_000
    )
    tx.wake("servers", server.id)


async def unshelve(ctx: RequestContext, server_id: str, place: Place) -> None:
    """Find the server a host again, and record that it is to run there. Without one it stays shelved, and its action says why.

    Raises: NotFound, Forbidden, Conflict, Invalid.
    """
    await ctx.db.write(unshelve_in, ctx, server_id, place)


def check_place(ctx: RequestContext, server: Server, place: Place) -> str | None:
    """The zone that the server is bound to from now on. Raises: Conflict, Invalid, Forbidden, in Nova's words."""
    if (place.named or place.host) and server.vm_state is not VmState.SHELVED_OFFLOADED:
        raise Conflict(
            f'Specifying an availability zone or a host when unshelving server "{server.id}" with status "{server.vm_state}" is not '
            "supported. The server status must be SHELVED_OFFLOADED."
        )
    if place.zone and not hosts.zones(ctx.cloud).get(place.zone):
        raise Invalid("The requested availability zone is not available", field="availability_zone")
    zone = place.zone if place.named else server.pinned_az
    if place.host:
        ctx.require("compute", P + "unshelve_to_host", target(server))
        if place.host not in hosts.table(ctx.cloud).hosts:
            raise Invalid(f"Compute host {place.host[:255]} could not be found.", field="host")
        if zone is not None and hosts.zone_of(ctx.cloud, place.host) != zone:
            raise Conflict(f'Host "{place.host}" is not in the availability zone "{zone}".')
    return zone


async def wish(db: Reader, ctx: RequestContext, server: Server, zone: str | None, host: str | None) -> Wanted:
    """What the server needs of a host: as when it was made, and within reach of its volumes, best beside them."""
    only, near = {host} if host else set(), set()
    for attached in server.volumes:
        volume = await for_compute.find_volume(db, attached.volume_id)
        if volume is not None and (bound := for_compute.bound_to(ctx.cloud, volume.host)) is not None:
            only.add(bound)
        elif volume is not None and (holder := for_compute.near(ctx.cloud, volume.host)) is not None:
            near.add(holder)
    avoid, beside = await scheduling.beside(db, server.scheduler_hints)
    avoid |= {left.host for left in await leftovers.of_server(db, server.id)}  # something of it is still to be removed there
    wanted = wishes.wanted(
        vcpus=server.flavor.vcpus, ram_mib=server.flavor.ram, disk_gib=sum(d.size_gib for d in server.disks),
        extra_specs=server.flavor.extra_specs, image_properties=server.image_properties, availability_zone=zone,
        host=next(iter(only)) if len(only) == 1 else scheduling.NOWHERE if only else None, exclude=avoid, same_as=beside,
        cut_off=await reach.cut_off_from(db, {nic.network_id for nic in server.nics}),
    )  # fmt: skip
    return structs.replace(wanted, near=frozenset(near), out_of_reach=for_compute.out_of_reach(ctx.cloud, frozenset(near)))


async def unshelve_in(tx: Transaction, ctx: RequestContext, server_id: str, place: Place) -> None:
    """The claim, the ports' new host and the work to do, at once. One that never left its host starts there."""
    server = await get_for(tx, ctx, server_id, P + "unshelve")
    server_states.check(server, "unshelve", override_lock=may_override(ctx, server))
    zone = check_place(ctx, server, place)
    await instance_actions.begin(tx, ctx, server.id, "unshelve", "compute_unshelve_instance", server.host)
    if server.vm_state is VmState.SHELVED:
        await _unshelving(tx, ctx, server)
        return
    now = ctx.now_us
    if server.shelved_image is not None:
        image = await images.find(tx, server.shelved_image)
        if image is None or image.data_id is None or image.status != "active":
            reason = f"Unshelve attempted but the image {server.shelved_image} cannot be found."
            server = await store.save(tx, server, now, vm_state=VmState.ERROR, fault=Fault(500, reason, now))
            await instance_actions.finish(tx, server, "unshelve", now, error=reason)
            return
        server = structs.replace(server, disks=with_root(server, image.data_id))
    wanted = await wish(tx, ctx, server, zone, place.host)
    choice, wanted = await scheduling.with_group_in(tx, ctx.cloud, server.id, scheduling.pick(ctx.cloud, wanted), wanted)
    host = await scheduling.place_in(
        tx, choice, server_id=server.id, project_id=server.project_id, user_id=server.user_id, wanted=wanted, now_us=now
    )
    if host is None:
        server = await store.save(tx, server, now, pinned_az=zone)
        await instance_actions.finish(tx, server, "unshelve", now, error=choice.no_valid_host())
        return
    nics = await server_networks.move_in(tx, ctx, server, host=host.name, zone=host.zone)
    volumes = tuple(structs.replace(v, state="attaching") if v.state == "attached" else v for v in server.volumes)
    await _unshelving(
        tx, ctx, server, host=host.name, az=host.zone, pinned_az=zone, nics=nics, volumes=volumes, disks=server.disks
    )


def with_root(server: Server, base: str) -> tuple[LocalDisk, ...]:
    """The server's disks, the root disk to be begun as this raw base where it is not there."""
    return tuple(structs.replace(d, image=base) if d.kind is DiskKind.ROOT else d for d in server.disks)


async def _unshelving(tx: Transaction, ctx: RequestContext, server: Server, **changes: object) -> None:
    deadline = ctx.now_us + PATIENCE_S * 1_000_000
    await store.save(tx, server, ctx.now_us, task_state=TaskState.UNSHELVING, deadline=deadline, **changes)
    tx.wake("servers", server.id)


async def forget_image_in(tx: Transaction, ctx: RequestContext, server: Server) -> None:
    """The image of a shelved server goes. Nothing, when there is none; one that its owner protects stays."""
    if server.shelved_image is None:
        return
    try:
        await images.delete_in(tx, ctx.cloud.system_context(ctx.request_id), server.shelved_image)
    except (NotFound, Forbidden) as stays:
        _log.info("the image of shelved server %s: %s", server.id, stays)
