"""Suspend and resume, as `task_state` asks."""

from __future__ import annotations

from moln.compute.drivers.base import Suspension
from moln.compute.model.servers import Fault, PowerState, Server, TaskState, VmState
from moln.compute.ops.suspension import RESUME, SUSPEND
from moln.compute.store import instance_actions
from moln.compute.store import servers as store
from moln.compute.work.server_specs import driver_of, spec_of
from moln.kernel.context import RequestContext
from moln.kernel.db import Transaction
from moln.kernel.work import Work

MEMORY_S = 900.0  # a large guest's memory takes its time to the disk and back


def _driver(work: Work, server: Server) -> Suspension:
    return work.driver(
        server.host or "", "compute-suspension", Suspension, resource=f"server:{server.id}", generation=server.generation,
        deadline_s=MEMORY_S,
    )  # fmt: skip


async def suspend(work: Work, server: Server) -> None:
    """Raises: BackendRefused, BackendUnreachable."""
    await _driver(work, server).suspend_server(server.id)
    await work.write(done_in, work.ctx, server, VmState.SUSPENDED, PowerState.SHUTDOWN, SUSPEND.name)


async def resume(work: Work, server: Server) -> None:
    """Raises: Later, BackendRefused, BackendUnreachable."""
    spec = await spec_of(work, server, driver_of(work, server))
    await _driver(work, server).resume_server(spec)
    await work.write(done_in, work.ctx, server, VmState.ACTIVE, PowerState.RUNNING, RESUME.name)


async def done_in(tx: Transaction, ctx: RequestContext, server: Server, vm_state: VmState, power: PowerState, action: str) -> None:
    server = await store.save(tx, server, ctx.now_us, vm_state=vm_state, task_state=None, power_state=power, deadline=None, fault=None)
    await instance_actions.finish(tx, server, action, ctx.now_us)


async def give_up_in(tx: Transaction, ctx: RequestContext, server: Server, reason: str) -> None:
    """A hard reboot starts it anew, without the memory."""
    now = ctx.now_us
    action = SUSPEND.name if server.task_state is TaskState.SUSPENDING else RESUME.name
    fault = Fault(500, reason, now, reason)
    server = await store.save(tx, server, now, vm_state=VmState.ERROR, task_state=None, deadline=None, fault=fault)
    await instance_actions.finish(tx, server, action, now, error=reason)


STEPS = {TaskState.SUSPENDING: suspend, TaskState.RESUMING: resume}
GIVE_UPS = dict.fromkeys(STEPS, give_up_in)
