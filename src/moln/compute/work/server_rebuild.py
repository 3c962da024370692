"""A server started anew from fresh disks; the old ones go when the new ones run."""

from __future__ import annotations

from moln.compute.model.servers import Fault, PowerState, Server, TaskState, VmState
from moln.compute.ops.rebuild import root_volume
from moln.compute.store import instance_actions
from moln.compute.store import servers as store
from moln.compute.work.server_build import attached_in
from moln.compute.work.server_ports import wait_for_ports
from moln.compute.work.server_power import GRACE_S
from moln.compute.work.server_specs import driver_of, spec_of
from moln.kernel.context import RequestContext
from moln.kernel.db import Transaction
from moln.kernel.work import Work
from moln.volume.ops import for_compute


async def reimage(work: Work, server: Server) -> None:
    """The volume that it boots from begins as its image, while nobody uses it. It is started only when the row says that this was done.

    Raises: Later, BackendRefused, BackendUnreachable.
    """
    driver = driver_of(work, server, deadline_s=GRACE_S + 120)
    await driver.ensure_server(await spec_of(work, server, driver), "stopped", GRACE_S)
    await for_compute.reimage(work.cloud, root_volume(server))
    await work.write(reimaged_in, work.ctx, server)


async def reimaged_in(tx: Transaction, ctx: RequestContext, server: Server) -> None:
    await store.save(tx, server, ctx.now_us, task_state=TaskState.REBUILDING, power_state=PowerState.SHUTDOWN)
    tx.wake("servers", server.id)


async def rebuild(work: Work, server: Server) -> None:
    """Raises: Later, BackendRefused, BackendUnreachable."""
    driver = driver_of(work, server, deadline_s=GRACE_S + 120)
    spec = await spec_of(work, server, driver)
    if server.vm_state is VmState.STOPPED:
        await driver.ensure_server(spec, "stopped")
    else:
        now = await driver.find_server(server.id)
        if now is None or now.power != "running" or now.generation < server.generation:  # else it was done before
            await driver.reboot_server(spec, GRACE_S)
        server = await wait_for_ports(work, server)
    for disk_id in server.leaving:
        await driver.remove_disk(disk_id)
    await work.write(rebuilt_in, work.ctx, server)


async def rebuilt_in(tx: Transaction, ctx: RequestContext, server: Server) -> None:
    now, off = ctx.now_us, server.vm_state is VmState.STOPPED
    volumes = await attached_in(tx, ctx, server)
    server = await store.save(
        tx, server, now, vm_state=VmState.STOPPED if off else VmState.ACTIVE, task_state=None, leaving=(), volumes=volumes,
        power_state=PowerState.SHUTDOWN if off else PowerState.RUNNING, launched_at=now, deadline=None, fault=None,
    )  # fmt: skip
    await instance_actions.finish(tx, server, "rebuild", now)


async def give_up_in(tx: Transaction, ctx: RequestContext, server: Server, reason: str) -> None:
    """In ERROR, and may be rebuilt again."""
    now = ctx.now_us
    server = await store.save(tx, server, now, vm_state=VmState.ERROR, task_state=None, deadline=None, fault=Fault(500, reason, now, reason))
    await instance_actions.finish(tx, server, "rebuild", now, error=reason)


STEPS = {TaskState.REBUILD_MAPPING: reimage, TaskState.REBUILDING: rebuild}
GIVE_UPS = dict.fromkeys(STEPS, give_up_in)
