"""Rescue and unrescue, as `task_state` asks: the server is started anew with other disks, and with its own again."""

from __future__ import annotations

from msgspec import structs

from moln.compute.drivers.base import ComputeDriver, Disk, DiskFile, ServerSpec
from moln.compute.model.server_rescue import Rescue
from moln.compute.model.servers import Fault, PowerState, Server, TaskState, VmState
from moln.compute.ops import metadata
from moln.compute.store import instance_actions
from moln.compute.store import servers as store
from moln.compute.work.server_power import GRACE_S, reboot_once
from moln.compute.work.server_specs import driver_of, spec_of
from moln.kernel.context import RequestContext
from moln.kernel.db import Transaction
from moln.kernel.work import Work


async def rescue(work: Work, server: Server) -> None:
    """Raises: Later, BackendRefused, BackendUnreachable."""
    plan = server.rescue
    assert plan is not None
    driver = driver_of(work, server, deadline_s=GRACE_S + 120)
    for disk_id in plan.left:
        await driver.remove_disk(disk_id)
    spec = await rescue_spec(work, server, plan, driver)
    await reboot_once(driver, server, spec, GRACE_S)
    await work.write(rescued_in, work.ctx, server)


async def rescue_spec(work: Work, server: Server, plan: Rescue, driver: ComputeDriver) -> ServerSpec:
    """The server as it is to be while it is rescued: the rescue disk, as large as its image, is made."""
    own = await spec_of(work, server, driver)
    made = await driver.ensure_disk(plan.disk_id, 0, plan.image)
    if server.config_drive:
        await driver.ensure_config_drive(server.id, await metadata.config_drive(work.cloud, server, plan.admin_pass))
    return structs.replace(own, disks=disks_of(own.disks, plan, server, made))


def disks_of(own: tuple[Disk, ...], plan: Rescue, server: Server, made: DiskFile) -> tuple[Disk, ...]:
    """What is plugged in, in its order, and what is booted."""

    def rescue_disk(taken: list[str]) -> Disk:
        device = plan.device(taken)
        read_only = plan.medium == "cdrom"
        return Disk(plan.disk_id, made.path, device, plan.disk_id[:20], plan.bus, read_only, 0, plan.medium, made.protocol)

    if plan.stable:
        later = [structs.replace(d, boot_index=None if d.boot_index is None else d.boot_index + 1) for d in own]
        return (*later, rescue_disk([d.device for d in own]))
    root = [d for d in own if server.root_disk is not None and d.id == server.root_disk.id]
    return (rescue_disk([]), *(structs.replace(d, device="vdb", boot_index=None) for d in root))


async def rescued_in(tx: Transaction, ctx: RequestContext, server: Server) -> None:
    now = ctx.now_us
    plan = structs.replace(server.rescue, admin_pass="", left=()) if server.rescue else None
    server = await store.save(
        tx, server, now, vm_state=VmState.RESCUED, task_state=None, power_state=PowerState.RUNNING, launched_at=now, deadline=None,
        rescue=plan, fault=None,
    )  # fmt: skip
    await instance_actions.finish(tx, server, "rescue", now)


async def unrescue(work: Work, server: Server) -> None:
    """Raises: Later, BackendRefused, BackendUnreachable."""
    driver = driver_of(work, server)
    await reboot_once(driver, server, await spec_of(work, server, driver), 0)
    for disk_id in server.rescue.disk_ids if server.rescue else ():
        await driver.remove_disk(disk_id)
    await work.write(unrescued_in, work.ctx, server)


async def unrescued_in(tx: Transaction, ctx: RequestContext, server: Server) -> None:
    server = await store.save(
        tx, server, ctx.now_us, vm_state=VmState.ACTIVE, task_state=None, power_state=PowerState.RUNNING, deadline=None, rescue=None,
        fault=None,
    )  # fmt: skip
    await instance_actions.finish(tx, server, "unrescue", ctx.now_us)


async def give_up_in(tx: Transaction, ctx: RequestContext, server: Server, reason: str) -> None:
    """In ERROR a hard reboot, or another rescue, takes the rescue disk away; the row names it until then."""
    now, action, message = ctx.now_us, "unrescue", reason
    if server.task_state is TaskState.RESCUING:
        action, message = "rescue", f"Instance {server.id} cannot be rescued: Driver Error: {reason}"
    plan = structs.replace(server.rescue, admin_pass="") if server.rescue else None
    server = await store.save(
        tx, server, now, vm_state=VmState.ERROR, task_state=None, deadline=None, rescue=plan, fault=Fault(500, message, now, reason)
    )
    await instance_actions.finish(tx, server, action, now, error=reason)


STEPS = {TaskState.RESCUING: rescue, TaskState.UNRESCUING: unrescue}
GIVE_UPS = dict.fromkeys(STEPS, give_up_in)
