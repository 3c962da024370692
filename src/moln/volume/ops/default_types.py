"""Which volume type a project's new volumes have when none is asked for."""

from __future__ import annotations

from moln.kernel.context import RequestContext
from moln.kernel.db import Transaction
from moln.kernel.errors import NotFound
from moln.volume.ops import types
from moln.volume.ops.access import require
from moln.volume.store import default_types as store

RULE = "volume_extension:default"


async def show(ctx: RequestContext, project_id: str) -> str:
    """The type's id. Raises: Forbidden, NotFound."""
    require(ctx, f"{RULE}_get", {"project_id": project_id})
    found = await store.of_project(ctx.db, project_id)
    if found is None:
        raise NotFound(f"Default type for project {project_id[:64]} not found.")
    return found


async def index(ctx: RequestContext) -> list[dict[str, str]]:
    require(ctx, f"{RULE}_get_all", {"project_id": ctx.project_id})
    return await store.all_of_them(ctx.db)


async def set_for(ctx: RequestContext, project_id: str, name_or_id: str) -> str:
    """The type's id. Raises: Forbidden, NotFound."""
    require(ctx, f"{RULE}_set_or_update", {"project_id": project_id})
    return await ctx.db.write(set_in, ctx, project_id, name_or_id)


async def set_in(tx: Transaction, ctx: RequestContext, project_id: str, name_or_id: str) -> str:
    found = await types.choose(tx, ctx, name_or_id)
    await store.set_for(tx, project_id, found.id)
    return found.id


async def unset(ctx: RequestContext, project_id: str) -> None:
    """Back to the cloud's. Nothing, when there was none. Raises: Forbidden."""
    require(ctx, f"{RULE}_unset", {"project_id": project_id})
    await ctx.db.write(store.unset, project_id)
