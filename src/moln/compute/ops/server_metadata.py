"""A server's metadata and tags."""

from __future__ import annotations

from moln.compute.model import server_states
from moln.compute.model.servers import MOST_TAGS
from moln.compute.ops.quotas import QUOTA
from moln.compute.ops.servers import get_for, may_override
from moln.compute.store import servers as store
from moln.kernel.context import RequestContext
from moln.kernel.db import Transaction
from moln.kernel.errors import Invalid, NotFound, OverQuota

P = "os_compute_api:server-metadata"
TAGS = "os_compute_api:os-server-tags"


async def index(ctx: RequestContext, server_id: str, rule: str = "index") -> dict[str, str]:
    """Raises: NotFound, Forbidden."""
    return (await get_for(ctx.db, ctx, server_id, f"{P}:{rule}")).metadata


async def show(ctx: RequestContext, server_id: str, key: str) -> str:
    """Raises: NotFound, Forbidden."""
    found = await index(ctx, server_id, "show")
    if key not in found:
        raise NotFound("Metadata item was not found")
    return found[key]


async def update(ctx: RequestContext, server_id: str, changes: dict[str, str], *, rule: str, replace: bool = False) -> dict[str, str]:
    """Set items, or all of them. Raises: NotFound, Forbidden, Conflict, OverQuota."""
    return await ctx.db.write(update_in, ctx, server_id, changes, rule=rule, replace=replace)


async def update_in(tx: Transaction, ctx: RequestContext, server_id: str, changes: dict[str, str], *, rule: str,
                    replace: bool) -> dict[str, str]:  # fmt: skip
    server = await get_for(tx, ctx, server_id, f"{P}:{rule}")
    server_states.check(server, "update metadata", override_lock=may_override(ctx, server))
    metadata = changes if replace else server.metadata | changes
    most = (await QUOTA.limits(tx, server.project_id)).get("metadata_items", 128)
    if 0 <= most < len(metadata):
        raise OverQuota(f"Maximum number of metadata items exceeds {most}", resources=("metadata_items",))
    await store.save(tx, server, ctx.now_us, metadata=metadata)
    return metadata


async def delete(ctx: RequestContext, server_id: str, key: str) -> None:
    """Raises: NotFound, Forbidden, Conflict."""
    await ctx.db.write(delete_in, ctx, server_id, key)


async def delete_in(tx: Transaction, ctx: RequestContext, server_id: str, key: str) -> None:
    server = await get_for(tx, ctx, server_id, f"{P}:delete")
    if key not in server.metadata:
        raise NotFound("Metadata item was not found")
    server_states.check(server, "delete metadata", override_lock=may_override(ctx, server))
    await store.save(tx, server, ctx.now_us, metadata={k: v for k, v in server.metadata.items() if k != key})


async def tags(ctx: RequestContext, server_id: str, rule: str = "index") -> tuple[str, ...]:
    """Raises: NotFound, Forbidden."""
    return (await get_for(ctx.db, ctx, server_id, f"{TAGS}:{rule}")).tags


async def set_tags(ctx: RequestContext, server_id: str, wanted: list[str]) -> tuple[str, ...]:
    """All of them. Raises: NotFound, Forbidden, Conflict, Invalid."""
    return await ctx.db.write(_tags_in, ctx, server_id, "update_all", tuple(dict.fromkeys(wanted)), None, None)


async def clear_tags(ctx: RequestContext, server_id: str) -> None:
    """Raises: NotFound, Forbidden, Conflict."""
    await ctx.db.write(_tags_in, ctx, server_id, "delete_all", (), None, None)


async def add_tag(ctx: RequestContext, server_id: str, tag: str) -> bool:
    """Whether it is new. Raises: NotFound, Forbidden, Conflict, Invalid."""
    before = await tags(ctx, server_id, "update")
    await ctx.db.write(_tags_in, ctx, server_id, "update", None, tag, None)
    return tag not in before


async def remove_tag(ctx: RequestContext, server_id: str, tag: str) -> None:
    """Raises: NotFound, Forbidden, Conflict."""
    await ctx.db.write(_tags_in, ctx, server_id, "delete", None, None, tag)


async def _tags_in(tx: Transaction, ctx: RequestContext, server_id: str, rule: str, all_of: tuple[str, ...] | None, more: str | None,
                   less: str | None) -> tuple[str, ...]:  # fmt: skip
    server = await get_for(tx, ctx, server_id, f"{TAGS}:{rule}")
    server_states.check(server, "update metadata", action="update tags")
    wanted = server.tags if all_of is None else all_of
    if more is not None and more not in wanted:
        wanted = (*wanted, more)
    if less is not None:
        if less not in wanted:
            raise NotFound(f"Server {server_id} has no tag '{less[:60]}'")
        wanted = tuple(t for t in wanted if t != less)
    if len(wanted) > MOST_TAGS:
        raise Invalid(f"The number of tags exceeded the per-server limit {MOST_TAGS}")
    if wanted != server.tags:
        await store.save(tx, server, ctx.now_us, tags=wanted)
    return wanted
