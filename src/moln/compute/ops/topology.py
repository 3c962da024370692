"""A server's NUMA topology: no server here has one, for `hw:numa…` changes nothing, and such a server shows no nodes in Nova, too."""

from __future__ import annotations

from moln.compute.ops.servers import get_for
from moln.kernel.context import RequestContext


async def show(ctx: RequestContext, server_id: str) -> None:
    """Raises: NotFound, Forbidden."""
    await get_for(ctx.db, ctx, server_id, "compute:server:topology:index")
