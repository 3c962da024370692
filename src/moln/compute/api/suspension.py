"""suspend, resume, and the NMI of trigger_crash_dump (2.17)."""

from __future__ import annotations

from moln.compute.api.routes import routes
from moln.compute.api.server_actions import PATH, action
from moln.compute.ops import crash_dump, power
from moln.compute.ops.suspension import RESUME, SUSPEND
from moln.kernel.context import RequestContext


@action("suspend")
async def suspend(ctx: RequestContext, server_id: str) -> None:
    await power.ask(ctx, server_id, SUSPEND)


@action("resume")
async def resume(ctx: RequestContext, server_id: str) -> None:
    await power.ask(ctx, server_id, RESUME)


@routes.post(PATH, status=202, action="trigger_crash_dump", since="2.17")
async def trigger_crash_dump(ctx: RequestContext, server_id: str) -> None:
    await crash_dump.trigger(ctx, server_id)
