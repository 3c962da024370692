"""Group types: made by administrators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from moln.kernel.context import RequestContext
from moln.kernel.db import Duplicate, Reader, Transaction
from moln.kernel.errors import Conflict, Invalid, NotFound
from moln.volume.model.group_types import GroupType
from moln.volume.ops.access import require
from moln.volume.store import group_types as store
from moln.volume.store import groups


async def get(db: Reader, ctx: RequestContext, id_or_name: str) -> GroupType:
    """One that the caller may use. Raises: NotFound."""
    found = await store.find(db, id_or_name)
    if found is None or not (found.is_public or ctx.is_admin):
        raise NotFound(f"Group type {id_or_name[:64]} could not be found.")
    return found


async def index(
    ctx: RequestContext, *, public: bool | None, sort: Sequence[tuple[str, str]], marker: str | None, limit: int
) -> list[GroupType]:
    """public: only those, only the others, or all (None)."""
    where = [] if public is None else [("is_public", "eq", int(public))]
    return await store.LISTING.page(ctx.db, where, sort=sort, marker=marker, limit=limit)


async def create(ctx: RequestContext, *, name: str, description: str | None, is_public: bool, group_specs: dict[str, str]) -> GroupType:
    """Raises: Forbidden, Conflict."""
    require(ctx, "group:group_types:create", {"project_id": ctx.project_id})
    made = GroupType(ctx.new_id(), name, description, is_public, ctx.now_us, ctx.now_us, group_specs)
    try:
        await ctx.db.write(store.add, made)
    except Duplicate:
        raise Conflict(f"Group Type {name} already exists.") from None
    return made


async def update(ctx: RequestContext, type_id: str, **changes: Any) -> GroupType:
    """Raises: Forbidden, NotFound, Conflict."""
    require(ctx, "group:group_types:update", {"project_id": ctx.project_id})
    try:
        return await ctx.db.write(update_in, ctx, type_id, changes)
    except Duplicate:
        raise Conflict(f"Group Type {changes.get('name')} already exists.") from None


async def update_in(tx: Transaction, ctx: RequestContext, type_id: str, changes: dict[str, Any]) -> GroupType:
    found = await get(tx, ctx, type_id)
    await store.change(tx, found.id, **changes, updated_at=ctx.now_us)
    return await get(tx, ctx, found.id)


async def delete(ctx: RequestContext, type_id: str) -> None:
    """Raises: Forbidden, NotFound; Invalid, while groups have it."""
    require(ctx, "group:group_types:delete", {"project_id": ctx.project_id})
    await ctx.db.write(delete_in, ctx, type_id)


async def delete_in(tx: Transaction, ctx: RequestContext, type_id: str) -> None:
    found = await get(tx, ctx, type_id)
    if await tx.one(groups.OF_TYPE, id=found.id):
        raise Invalid("Target group type is still in use. Group Type is still in use.")
    await store.remove(tx, found.id)


async def specs(ctx: RequestContext, type_id: str, rule: str) -> dict[str, str]:
    """rule: get or get_all. Raises: Forbidden, NotFound."""
    require(ctx, f"group:group_types_specs:{rule}", {"project_id": ctx.project_id})
    return (await get(ctx.db, ctx, type_id)).group_specs


async def set_specs(ctx: RequestContext, type_id: str, given: dict[str, str], rule: str) -> None:
    """Add or replace; rule: create or update. Raises: Forbidden, NotFound."""
    require(ctx, f"group:group_types_specs:{rule}", {"project_id": ctx.project_id})
    await ctx.db.write(set_specs_in, ctx, type_id, given, None)


async def delete_spec(ctx: RequestContext, type_id: str, key: str) -> None:
    """Raises: Forbidden, NotFound."""
    require(ctx, "group:group_types_specs:delete", {"project_id": ctx.project_id})
    await ctx.db.write(set_specs_in, ctx, type_id, {}, key)


async def set_specs_in(tx: Transaction, ctx: RequestContext, type_id: str, given: dict[str, str], without: str | None) -> None:
    found = await get(tx, ctx, type_id)
    if without is not None and without not in found.group_specs:
        raise NotFound(f"Group Type {type_id} has no group specs with key {without[:255]}.")
    after = {k: v for k, v in (found.group_specs | given).items() if k != without}
    if len(after) > 128:
        raise Invalid("A group type has at most 128 group specs.", field="group_specs")
    await store.change(tx, found.id, group_specs=after, updated_at=ctx.now_us)
