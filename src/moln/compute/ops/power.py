"""Start, stop, reboot, pause, unpause: the intent goes into `task_state`, work/ makes it true."""

from __future__ import annotations

from msgspec import Struct

from moln.compute.model import server_states
from moln.compute.model.servers import HARD_REBOOTS, SOFT_REBOOTS, TaskState
from moln.compute.ops.servers import get_for, may_override
from moln.compute.store import instance_actions
from moln.compute.store import servers as store
from moln.kernel.context import RequestContext
from moln.kernel.db import Transaction
from moln.kernel.errors import Conflict

PATIENCE_S = 600


class Action(Struct, frozen=True):
    """rule: the policy's. state: of model/server_states. name: in messages and in the list of actions. event: of that action."""

    rule: str
    state: str
    task: TaskState
    name: str
    wire: str
    event: str


_P = "os_compute_api:"
START = Action(_P + "servers:start", "os-start", TaskState.POWERING_ON, "start", "start", "compute_start_instance")
STOP = Action(_P + "servers:stop", "os-stop", TaskState.POWERING_OFF, "stop", "stop", "compute_stop_instance")
REBOOT = Action(_P + "servers:reboot", "reboot", TaskState.REBOOTING, "reboot", "reboot", "compute_reboot_instance")
HARD_REBOOT = Action(_P + "servers:reboot", "reboot hard", TaskState.REBOOTING_HARD, "reboot", "reboot", "compute_reboot_instance")
PAUSE = Action(_P + "os-pause-server:pause", "pause", TaskState.PAUSING, "pause", "pause", "compute_pause_instance")
UNPAUSE = Action(_P + "os-pause-server:unpause", "unpause", TaskState.UNPAUSING, "unpause", "unpause", "compute_unpause_instance")
BY_TASK = {a.task: a for a in (START, STOP, REBOOT, HARD_REBOOT, PAUSE, UNPAUSE)}


async def ask(ctx: RequestContext, server_id: str, action: Action) -> None:
    """Record that the caller wants it. Raises: NotFound, Forbidden, Conflict."""
    await ctx.db.write(ask_in, ctx, server_id, action)


async def ask_in(tx: Transaction, ctx: RequestContext, server_id: str, action: Action) -> None:
    server = await get_for(tx, ctx, server_id, action.rule)
    server_states.check(server, action.state, action=action.wire, override_lock=may_override(ctx, server))
    if server.host is None:
        raise Conflict(f"Instance {server_id} is not ready")
    if server.task_state is not None:  # a hard reboot comes between: nothing comes of what it overtakes
        await instance_actions.overtake(tx, server, ctx.now_us, action.name)
    await instance_actions.begin(tx, ctx, server.id, action.name, action.event, server.host)
    await store.save(tx, server, ctx.now_us, task_state=action.task, deadline=ctx.now_us + PATIENCE_S * 1_000_000)
    tx.wake("servers", server.id)


def asked_by(task: TaskState) -> TaskState:
    """The task that the caller asked for: reboots go through several."""
    if task in SOFT_REBOOTS:
        return TaskState.REBOOTING
    return TaskState.REBOOTING_HARD if task in HARD_REBOOTS else task
