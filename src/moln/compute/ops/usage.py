"""Usage reports: what a project's servers used, and all projects'."""

from __future__ import annotations

from collections.abc import AsyncIterator

from moln.compute.model.usage import Period, Used
from moln.compute.store import usage as store
from moln.kernel.context import RequestContext

P = "os_compute_api:os-simple-tenant-usage"
STEP = 1000  # servers read at once


async def find(ctx: RequestContext, period: Period, project_id: str | None, marker: str | None, limit: int | None) -> list[Used]:
    """The servers of one project, or of all (project_id None). limit: None for every one. Raises: Forbidden, Invalid."""
    if project_id is None:
        ctx.require("compute", f"{P}:list", {})
    else:
        ctx.require("compute", f"{P}:show", {"project_id": project_id})
    if limit is not None:
        return await ctx.db.read(store.page, period, project_id, marker, limit)
    return [used async for used in _all(ctx, period, project_id)]


async def _all(ctx: RequestContext, period: Period, project_id: str | None) -> AsyncIterator[Used]:
    marker: str | None = None
    while True:
        found = await ctx.db.read(store.page, period, project_id, marker, STEP)
        for used in found:
            yield used
        if len(found) < STEP:
            return
        marker = found[-1].id
