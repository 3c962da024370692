"""Volumes of a server, attached and detached: recorded here, done by work/server_devices.py."""

from __future__ import annotations

from msgspec import structs

from moln.compute.model import server_states
from moln.compute.model.servers import Attached, Server, VmState, free_device
from moln.compute.ops import server_disks
from moln.compute.ops.servers import get_for, may_override
from moln.compute.store import instance_actions
from moln.compute.store import servers as store
from moln.kernel.context import RequestContext
from moln.kernel.db import Transaction
from moln.kernel.errors import Conflict, Forbidden, Invalid, NotFound
from moln.volume.model.volumes import VolumeStatus
from moln.volume.ops import attachments, for_compute, volumes

P = "os_compute_api:os-volumes-attachments"
PATIENCE_S = 600


async def index(ctx: RequestContext, server_id: str) -> Server:
    """The server, whose `volumes` are asked for. Raises: NotFound, Forbidden."""
    return await get_for(ctx.db, ctx, server_id, f"{P}:index")


async def show(ctx: RequestContext, server_id: str, volume_id: str) -> tuple[Server, Attached]:
    """Raises: NotFound, Forbidden."""
    server = await get_for(ctx.db, ctx, server_id, f"{P}:show")
    return server, attachment_of(server, volume_id)


def attachment_of(server: Server, volume_id: str) -> Attached:
    found = server.volume(volume_id)
    if found is None:
        raise NotFound(f"Instance {server.id} is not attached to volume {volume_id[:64]}")
    return found


async def attach(ctx: RequestContext, server_id: str, volume_id: str, *, tag: str | None = None, delete_on_termination: bool = False,
                 shelved: bool = True) -> tuple[Server, Attached]:  # fmt: skip
    """Record that the volume is to be the server's. shelved: whether a shelved server may have it (2.20).

    Raises: NotFound, Forbidden, Conflict, Invalid.
    """
    return await ctx.db.write(attach_in, ctx, server_id, volume_id, tag=tag, delete_on_termination=delete_on_termination, shelved=shelved)


async def attach_in(tx: Transaction, ctx: RequestContext, server_id: str, volume_id: str, *, tag: str | None,
                    delete_on_termination: bool, shelved: bool) -> tuple[Server, Attached]:  # fmt: skip
    server = await get_for(tx, ctx, server_id, f"{P}:create")
    _check(ctx, server, "attach_volume", shelved)
    offloaded = server.vm_state is VmState.SHELVED_OFFLOADED
    if offloaded and tag:
        raise Invalid("Attaching a volume with a tag to a shelved server is not supported.", field="tag")
    found = await volumes.get(tx, ctx, volume_id)
    if server.volume(volume_id) is not None:
        raise Invalid(f"Invalid volume: volume {volume_id} already attached")
    if found.status is not VolumeStatus.AVAILABLE:
        raise Invalid(f"Invalid volume: volume '{volume_id}' status must be 'available'. Currently in '{found.status}' status.")
    if not offloaded and not for_compute.reaches(ctx.cloud, server.host or "", found.host or ""):
        raise Invalid(f"Invalid volume: volume {volume_id} lies on another host than the server and cannot be reached from there.")
    device = free_device(server.volumes, server.disks)
    attachment = await attachments.reserve_in(tx, ctx, volume_id, server.id, device=device)
    attached = Attached(volume_id, attachment.id, device, ctx.new_id(), None, delete_on_termination, tag)
    if offloaded:  # on no host: it is in use at once, and plugged in when the server runs again
        await instance_actions.begin(tx, ctx, server.id, "attach_volume", "api_attach_volume")
        await attachments.attached_in(tx, attachment.id, now_us=ctx.now_us, host=None, device=device)
        server = await store.save(tx, server, None, volumes=(*server.volumes, attached))
        await instance_actions.finish(tx, server, "attach_volume", ctx.now_us)
        return server, attached
    attached = structs.replace(attached, state="attaching")
    await instance_actions.begin(tx, ctx, server.id, "attach_volume", "compute_attach_volume", server.host)
    server = await store.save(tx, server, None, volumes=(*server.volumes, attached), deadline=ctx.now_us + PATIENCE_S * 1_000_000)
    tx.wake("servers", server.id)
    return server, attached


async def update(ctx: RequestContext, server_id: str, volume_id: str, *, delete_on_termination: bool | None,
                 unchangeable: dict[str, object]) -> None:  # fmt: skip
    """Change what happens to the volume when the server goes (2.85). Raises: NotFound, Forbidden, Invalid."""
    await ctx.db.write(update_in, ctx, server_id, volume_id, delete_on_termination=delete_on_termination, unchangeable=unchangeable)


async def update_in(tx: Transaction, ctx: RequestContext, server_id: str, volume_id: str, *, delete_on_termination: bool | None,
                    unchangeable: dict[str, object]) -> None:  # fmt: skip
    server = await get_for(tx, ctx, server_id, f"{P}:update")
    attached = attachment_of(server, volume_id)
    present: dict[str, object] = {"id": volume_id, "serverId": server.id, "device": attached.device, "tag": attached.tag}
    for name, value in unchangeable.items():
        if value != present[name]:
            raise Invalid(f"The {name} property is not mutable", field=name)
    if delete_on_termination is not None and delete_on_termination != attached.delete_on_termination:
        changed = structs.replace(attached, delete_on_termination=delete_on_termination)
        await store.save(tx, server, None, volumes=tuple(changed if v.volume_id == volume_id else v for v in server.volumes))


def _check(ctx: RequestContext, server: Server, rule: str, shelved: bool) -> None:
    """Raises: Conflict."""
    server_states.check(server, rule, override_lock=may_override(ctx, server))
    if not shelved and server.vm_state in (VmState.SHELVED, VmState.SHELVED_OFFLOADED):
        raise server_states.refusal(server, rule, "vm_state", server.vm_state)


async def detach(ctx: RequestContext, server_id: str, volume_id: str, *, shelved: bool = True) -> None:
    """Record that the volume is to leave the server. shelved: whether a shelved server may give it (2.20).

    Raises: NotFound, Forbidden, Conflict.
    """
    await ctx.db.write(detach_in, ctx, server_id, volume_id, shelved)


async def detach_in(tx: Transaction, ctx: RequestContext, server_id: str, volume_id: str, shelved: bool = True) -> None:
    server = await get_for(tx, ctx, server_id, f"{P}:delete")
    attached = server.volume(volume_id)
    if attached is None:
        raise NotFound(f"volume_id not found: {volume_id[:64]}")
    if attached.boot_index == 0:
        raise Forbidden("Cannot detach a root device volume")
    _check(ctx, server, "detach_volume", shelved)
    if attached.state != "attached":
        raise Conflict(f"Invalid volume: volume {volume_id} is {attached.state}.")
    if server.vm_state is VmState.SHELVED_OFFLOADED:
        await instance_actions.begin(tx, ctx, server.id, "detach_volume", "api_detach_volume")
        await server_disks.release_in(tx, ctx, [attached])
        server = await store.save(tx, server, None, volumes=tuple(v for v in server.volumes if v is not attached))
        await instance_actions.finish(tx, server, "detach_volume", ctx.now_us)
        return
    await attachments.detaching_in(tx, attached.attachment_id, now_us=ctx.now_us)
    await instance_actions.begin(tx, ctx, server.id, "detach_volume", "compute_detach_volume", server.host)
    leaving = structs.replace(attached, state="detaching")
    volumes = tuple(leaving if v.volume_id == volume_id else v for v in server.volumes)
    await store.save(tx, server, None, volumes=volumes, deadline=ctx.now_us + PATIENCE_S * 1_000_000)
    tx.wake("servers", server.id)
