"""Records of resizes and moves, as administrators and managers of a project see them."""

from __future__ import annotations

from collections.abc import Sequence

from moln.compute.model.migrations import IN_PROGRESS, Migration, MigrationType
from moln.compute.ops.servers import get_for
from moln.compute.store import migrations as store
from moln.kernel.context import RequestContext
from moln.kernel.db.listing import Where
from moln.kernel.errors import NotFound

P = "os_compute_api:os-migrations:index"
OF_SERVER = "os_compute_api:servers:migrations"


async def index(ctx: RequestContext, where: list[Where], *, project_id: str | None, limit: int, marker: str | None) -> list[Migration]:
    """The newest first. project_id: None for all, where the caller may see them; its own otherwise. Raises: Forbidden, Invalid."""
    ctx.require("compute", P, {"project_id": project_id or ctx.project_id})
    if not ctx.allows("compute", f"{P}:all_projects"):
        if project_id not in (None, ctx.project_id):
            ctx.require("compute", f"{P}:all_projects")
        project_id = ctx.project_id
    if project_id is not None:
        where = [*where, ("project_id", "eq", project_id)]
    order: Sequence[tuple[str, str]] = (("created_at", "desc"),)
    return await store.LISTING.page(ctx.db, where, sort=order, marker=marker, limit=limit)


def shows_hosts(ctx: RequestContext) -> bool:
    return ctx.allows("compute", f"{P}:host")


async def live_of(ctx: RequestContext, server_id: str) -> list[Migration]:
    """Live migrations of a server under way. Raises: NotFound, Forbidden."""
    await get_for(ctx.db, ctx, server_id, f"{OF_SERVER}:index")
    return await store.live_of(ctx.db, server_id)


def shows_hosts_of(ctx: RequestContext) -> bool:
    return ctx.allows("compute", f"{OF_SERVER}:index:host")


async def get_live(ctx: RequestContext, server_id: str, number: int) -> Migration:
    """Raises: NotFound, Forbidden."""
    await get_for(ctx.db, ctx, server_id, f"{OF_SERVER}:show")
    found = await store.find(ctx.db, server_id, number)
    if found is None:
        raise NotFound(f"In-progress live migration {number} is not found for server {server_id}.")
    if found.migration_type != MigrationType.LIVE:
        raise NotFound(f"Migration {number} for server {server_id} is not live-migration.")
    if found.status not in IN_PROGRESS:
        raise NotFound(f"Live migration {number} for server {server_id} is not in progress.")
    return found
