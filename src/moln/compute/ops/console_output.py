"""What a server wrote to its serial console."""

from __future__ import annotations

from moln.compute.drivers.base import ComputeDriver
from moln.compute.ops.servers import get_for
from moln.kernel.context import RequestContext
from moln.kernel.errors import Conflict

CALL_S = 20.0


async def show(ctx: RequestContext, server_id: str, lines: int | None) -> str:
    """The last `lines`, None for all that is kept. Raises: NotFound, Forbidden, Conflict, Unavailable."""
    server = await get_for(ctx.db, ctx, server_id, "os_compute_api:os-console-output")
    if server.host is None:
        raise Conflict(f"Instance {server.id} is not ready")
    driver = ctx.cloud.links.driver(server.host, "compute", ComputeDriver, deadline_s=CALL_S)
    text = await driver.console_output(server.id, lines)
    return text if not lines else "\n".join(text.split("\n")[-lines:])  # what stands behind the last line break is a line, to Nova
