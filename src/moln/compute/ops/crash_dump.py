"""trigger_crash_dump: an NMI, at which a guest that is set up for it dumps its memory (2.17)."""

from __future__ import annotations

from moln.compute.drivers.base import CrashDumps
from moln.compute.model import server_states
from moln.compute.model.servers import Server
from moln.compute.ops.servers import get_for, may_override
from moln.compute.store import instance_actions
from moln.kernel.context import RequestContext
from moln.kernel.db import Transaction
from moln.kernel.errors import BackendRefused, BackendUnreachable, Conflict

ACTION = "trigger_crash_dump"
CALL_S = 20.0


async def trigger(ctx: RequestContext, server_id: str) -> None:
    """Once, at most: an NMI that got lost is not repeated, nobody can know whether the guest had it. The action says how it went.

    Raises: NotFound, Forbidden, Conflict.
    """
    server = await ctx.db.write(begin_in, ctx, server_id)
    error = None
    try:
        await ctx.cloud.links.driver(server.host or "", "compute-crash-dumps", CrashDumps, deadline_s=CALL_S).trigger_crash_dump(server.id)
    except (BackendRefused, BackendUnreachable) as lost:
        error = lost.message
    await ctx.db.write(end_in, ctx, server, error)


async def begin_in(tx: Transaction, ctx: RequestContext, server_id: str) -> Server:
    server = await get_for(tx, ctx, server_id, "os_compute_api:servers:trigger_crash_dump")
    server_states.check(server, ACTION, override_lock=may_override(ctx, server))
    if server.host is None:
        raise Conflict(f"Instance {server_id} is not ready")
    await instance_actions.begin(tx, ctx, server.id, ACTION, "compute_trigger_crash_dump", server.host)
    return server


async def end_in(tx: Transaction, ctx: RequestContext, server: Server, error: str | None) -> None:
    await instance_actions.finish(tx, server, ACTION, ctx.now_us, error=error)
