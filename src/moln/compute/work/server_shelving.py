"""Shelve, offload and unshelve, as `task_state` asks.

Shelving is three steps, each recorded before the next: the server is turned off, its root disk becomes an image, it leaves its host.
"""

from __future__ import annotations

from msgspec import structs

from moln.compute.model.servers import Fault, PowerState, Server, TaskState, VmState
from moln.compute.ops import server_networks
from moln.compute.ops.power import PATIENCE_S
from moln.compute.ops.shelving import forget_image_in, with_root
from moln.compute.store import instance_actions
from moln.compute.store import servers as store
from moln.compute.work import server_images
from moln.compute.work.server_build import attached_in
from moln.compute.work.server_ports import wait_for_ports
from moln.compute.work.server_power import GRACE_S
from moln.compute.work.server_specs import disconnect, driver_of, spec_of
from moln.image.ops import images
from moln.kernel.context import RequestContext
from moln.kernel.db import Transaction
from moln.kernel.errors import BackendRefused
from moln.kernel.work import Work
from moln.placement.ops import claims
from moln.volume.ops import attachments

T, V = TaskState, VmState


async def turn_off(work: Work, server: Server) -> None:
    """Raises: Later, BackendRefused, BackendUnreachable."""
    driver = driver_of(work, server, deadline_s=GRACE_S + 120)
    grace_s = GRACE_S if server.vm_state is V.ACTIVE else 0
    await driver.ensure_server(await spec_of(work, server, driver), "stopped", grace_s)
    await work.write(off_in, work.ctx, server)


async def off_in(tx: Transaction, ctx: RequestContext, server: Server) -> None:
    """It does not run; one that boots from a volume has nothing to be copied."""
    if server.snapshot is None:
        await shelved_in(tx, ctx, server)
        return
    await store.save(tx, server, ctx.now_us, task_state=T.SHELVING_IMAGE_UPLOADING, power_state=PowerState.SHUTDOWN)
    tx.wake("servers", server.id)


async def copy(work: Work, server: Server) -> None:
    """Raises: BackendRefused, BackendUnreachable."""
    await server_images.copy_root(work, server)
    await work.write(shelved_in, work.ctx, server)


async def shelved_in(tx: Transaction, ctx: RequestContext, server: Server) -> None:
    """From here on its disks may go: its root disk, made anew, begins as the image. Raises: BackendRefused, when somebody deleted that."""
    disks = server.disks
    if server.snapshot is not None:
        image = await images.find(tx, server.snapshot)
        if image is None or image.data_id is None or image.status != "active":
            raise BackendRefused(f"The image {server.snapshot} was deleted before the server was shelved.")
        disks = with_root(server, image.data_id)
    await store.save(
        tx, server, ctx.now_us, vm_state=V.SHELVED, task_state=T.SHELVING_OFFLOADING, power_state=PowerState.SHUTDOWN, snapshot=None,
        disks=disks,
    )  # fmt: skip
    tx.wake("servers", server.id)


async def leave(work: Work, server: Server) -> None:
    """Nothing of the server is on its host any more. Raises: BackendRefused, BackendUnreachable."""
    driver = driver_of(work, server)
    await driver.remove_server(server.id)
    for disk_id in server.disk_ids:
        await driver.remove_disk(disk_id)
    await disconnect(work, server, server.host or "")
    await work.write(offloaded_in, work.ctx, server)


async def offloaded_in(tx: Transaction, ctx: RequestContext, server: Server) -> None:
    """The claim is given back; ports and volumes are the server's, but on no host."""
    now = ctx.now_us
    nics = await server_networks.move_in(tx, ctx, server, host="", zone=server.az)
    nics = tuple(structs.replace(n, state="attached") if n.state == "attaching" else n for n in nics)
    volumes = tuple(structs.replace(v, state="attached") if v.state == "attaching" else v for v in server.volumes)
    for attached in volumes:
        await attachments.disconnect_in(tx, attached.attachment_id, now_us=now)
    await claims.release_in(tx, server.id, now_us=now)
    plugged = ["attach_volume" for v in server.volumes if v.state == "attaching"]
    plugged += ["attach_interface" for n in server.nics if n.state == "attaching"]
    for action in ("shelve", "shelveOffload", *plugged):  # what was being plugged in is there when it runs again
        await instance_actions.finish(tx, server, action, now)
    await store.save(
        tx, server, now, vm_state=V.SHELVED_OFFLOADED, task_state=None, power_state=PowerState.SHUTDOWN, host=None, nics=nics,
        volumes=volumes, rescue=None, deadline=None,
    )  # fmt: skip


async def unshelve(work: Work, server: Server) -> None:
    """Raises: Later, BackendRefused, BackendUnreachable."""
    driver = driver_of(work, server)
    await driver.ensure_server(await spec_of(work, server, driver), "running")
    server = await wait_for_ports(work, server)
    await work.write(unshelved_in, work.ctx, server)


async def unshelved_in(tx: Transaction, ctx: RequestContext, server: Server) -> None:
    now = ctx.now_us
    volumes = await attached_in(tx, ctx, server)
    await forget_image_in(tx, ctx, server)
    server = await store.save(
        tx, server, now, vm_state=V.ACTIVE, task_state=None, power_state=PowerState.RUNNING, launched_at=now, deadline=None,
        volumes=volumes, shelved_image=None, fault=None,
    )  # fmt: skip
    await instance_actions.finish(tx, server, "unshelve", now)


async def give_up_in(tx: Transaction, ctx: RequestContext, server: Server, reason: str) -> None:
    """Back to where it was. An unshelved server leaves the host again on which it could not start."""
    now = ctx.now_us
    task, offloaded = server.task_state, server.vm_state is V.SHELVED_OFFLOADED
    for action in ("shelve", "shelveOffload", "unshelve"):
        await instance_actions.finish(tx, server, action, now, error=reason)
    if task is T.UNSHELVING and offloaded:
        await store.save(tx, server, now, task_state=T.SHELVING_OFFLOADING, deadline=now + PATIENCE_S * 1_000_000)
        tx.wake("servers", server.id)
    elif task is T.SHELVING_OFFLOADING and offloaded:
        fault = Fault(500, f"Error during unshelve instance {server.id}: {reason}", now, reason)
        await store.save(tx, server, now, vm_state=V.ERROR, task_state=None, deadline=None, fault=fault)
    elif server.vm_state is V.SHELVED:
        await store.save(tx, server, now, task_state=None, deadline=None)
    else:
        await forget_image_in(tx, ctx, server)
        was_stopped = task is T.SHELVING_IMAGE_UPLOADING and server.vm_state is not V.SUSPENDED
        await store.save(
            tx, server, now, vm_state=V.STOPPED if was_stopped else server.vm_state, task_state=None, snapshot=None, shelved_image=None,
            deadline=None,
        )  # fmt: skip


STEPS = {T.SHELVING: turn_off, T.SHELVING_IMAGE_UPLOADING: copy, T.SHELVING_OFFLOADING: leave, T.UNSHELVING: unshelve}
GIVE_UPS = dict.fromkeys(STEPS, give_up_in)
