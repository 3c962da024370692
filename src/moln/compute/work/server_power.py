"""Start, stop, reboot, pause, unpause, as `task_state` asks."""

from __future__ import annotations

from moln.compute.drivers.base import ComputeDriver, ServerSpec
from moln.compute.model.servers import HARD_REBOOTS, SOFT_REBOOTS, PowerState, Server, TaskState, VmState
from moln.compute.ops import power
from moln.compute.store import instance_actions
from moln.compute.store import servers as store
from moln.compute.work.server_build import attached_in
from moln.compute.work.server_ports import wait_for_ports
from moln.compute.work.server_specs import driver_of, spec_of
from moln.kernel.context import RequestContext
from moln.kernel.db import Transaction
from moln.kernel.work import Work

GRACE_S = 60.0  # a guest's time to shut down by itself; Nova's shutdown_timeout
RESULTS = {
    TaskState.POWERING_OFF: (VmState.STOPPED, PowerState.SHUTDOWN),
    TaskState.POWERING_ON: (VmState.ACTIVE, PowerState.RUNNING),
    TaskState.PAUSING: (VmState.PAUSED, PowerState.PAUSED),
    TaskState.UNPAUSING: (VmState.ACTIVE, PowerState.RUNNING),
}


async def apply(work: Work, server: Server) -> None:
    """Raises: Later, BackendRefused, BackendUnreachable."""
    task = server.task_state
    driver = driver_of(work, server, deadline_s=GRACE_S + 120)
    spec = await spec_of(work, server, driver)
    match task:
        case TaskState.POWERING_OFF:
            await driver.ensure_server(spec, "stopped", GRACE_S)
        case TaskState.PAUSING:
            await driver.ensure_server(spec, "paused")
        case TaskState.POWERING_ON | TaskState.UNPAUSING:
            await driver.ensure_server(spec, "running")
        case _:
            await reboot_once(driver, server, spec, GRACE_S if task in SOFT_REBOOTS else 0)
    for disk_id in server.rescue.disk_ids if server.rescue else ():  # of a rescue that failed: nothing boots from it any more
        await driver.remove_disk(disk_id)
    if task in (TaskState.POWERING_ON, *HARD_REBOOTS, *SOFT_REBOOTS):
        server = await wait_for_ports(work, server)
    await work.write(done_in, work.ctx, server)


async def reboot_once(driver: ComputeDriver, server: Server, spec: ServerSpec, grace_s: float) -> None:
    """A hypervisor that runs the server at this generation has rebooted it already."""
    now = await driver.find_server(server.id)
    if now is not None and now.power == "running" and now.generation >= server.generation:
        return
    await driver.reboot_server(spec, grace_s)


async def done_in(tx: Transaction, ctx: RequestContext, server: Server) -> None:
    task, now = server.task_state, ctx.now_us
    assert task is not None
    vm_state, power_state = RESULTS.get(task, (VmState.ACTIVE, PowerState.RUNNING))
    volumes = await attached_in(tx, ctx, server)
    launched = server.launched_at or (now if vm_state is VmState.ACTIVE else None)
    server = await store.save(
        tx, server, now, vm_state=vm_state, task_state=None, power_state=power_state, deadline=None, volumes=volumes, launched_at=launched,
        fault=None, rescue=None,
    )  # fmt: skip
    await instance_actions.finish(tx, server, power.BY_TASK[power.asked_by(task)].name, now)
