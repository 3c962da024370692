"""What was done to a server, for those who may know; also when the server is gone (2.21)."""

from __future__ import annotations

from collections.abc import Sequence

from moln.compute.model.instance_actions import InstanceAction
from moln.compute.model.servers import Server
from moln.compute.ops.servers import SERVICE, target
from moln.compute.store import instance_actions
from moln.compute.store import servers as store
from moln.kernel.context import RequestContext
from moln.kernel.db.listing import Where
from moln.kernel.errors import NotFound

P = "os_compute_api:os-instance-actions"


async def _server(ctx: RequestContext, server_id: str, rule: str, deleted: bool) -> Server:
    server = await store.find(ctx.db, server_id)
    if server is None and deleted:
        server = await store.find_deleted(ctx.db, server_id)
    if server is None or server.project_id != ctx.project_id and not ctx.is_admin:
        raise store.missing(server_id)
    ctx.require(SERVICE, rule, target(server))
    return server


async def index(ctx: RequestContext, server_id: str, where: Sequence[Where], *, marker: str | None, limit: int,
                deleted: bool) -> list[InstanceAction]:  # fmt: skip
    """Newest first. deleted: whether a server that is gone still tells. Raises: NotFound, Forbidden, Invalid."""
    await _server(ctx, server_id, f"{P}:list", deleted)
    conditions: list[Where] = [("server_id", "eq", server_id), *where]
    return await instance_actions.LISTING.page(
        ctx.db, conditions, sort=(("start_time", "desc"),), marker=marker, limit=limit
    )


async def show(ctx: RequestContext, server_id: str, request_id: str, *, deleted: bool) -> InstanceAction:
    """Raises: NotFound, Forbidden."""
    await _server(ctx, server_id, f"{P}:show", deleted)
    found = await instance_actions.find(ctx.db, server_id, request_id)
    if found is None:
        raise NotFound(f"Action {request_id[:64]} not found")
    return found
