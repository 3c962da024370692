"""What a caller may do with snapshots of groups."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from moln.kernel.context import RequestContext
from moln.kernel.db import Transaction
from moln.kernel.errors import Invalid
from moln.volume.model.groups import DELETABLE, GroupSnapshot, GroupStatus
from moln.volume.ops import groups, snapshots
from moln.volume.ops.access import require
from moln.volume.store import groups as store
from moln.volume.store import snapshots as snapshot_store
from moln.volume.store import volumes


async def show(ctx: RequestContext, id: str) -> GroupSnapshot:
    return await groups.get_snapshot(ctx.db, ctx, id)


async def index(
    ctx: RequestContext, where: list[tuple[str, str, Any]], *, sort: Sequence[tuple[str, str]], marker: str | None, limit: int
) -> list[GroupSnapshot]:
    require(ctx, "group:get_all_group_snapshots", {"project_id": ctx.project_id})
    return await store.SNAPSHOT_LISTING.page(ctx.db, where, sort=sort, marker=marker, limit=limit)


async def create(ctx: RequestContext, group_id: str, *, name: str | None, description: str | None) -> GroupSnapshot:
    """A snapshot of each volume of the group, one after the other. Raises: NotFound, Forbidden, Invalid, OverQuota."""
    return await ctx.db.write(create_in, ctx, group_id, name, description)


async def create_in(tx: Transaction, ctx: RequestContext, group_id: str, name: str | None, description: str | None) -> GroupSnapshot:
    group = await groups.get(tx, ctx, group_id, "group:create_group_snapshot")
    if group.status is not GroupStatus.AVAILABLE:
        raise groups.invalid_group(f"Group status must be available, but current status is: {group.status}.")
    held = await volumes.of_group(tx, group.id)
    if not held:
        raise groups.invalid_group(f"Group {group_id} has no volumes to snapshot.")
    made = GroupSnapshot(
        id=ctx.new_id(), project_id=group.project_id, user_id=ctx.user_id or "", name=name, description=description,
        status=GroupStatus.CREATING, group_id=group.id, group_type_id=group.group_type_id, created_at=ctx.now_us,
        updated_at=ctx.now_us, owed=True,
    )  # fmt: skip
    await store.add(tx, made)
    for volume in held:
        await snapshots.create_in(tx, ctx, volume.id, name=name, description=description, in_use_too=True, group_snapshot_id=made.id)
    tx.wake("volume-group-snapshots", made.id)
    return made


async def update(ctx: RequestContext, id: str, **changes: Any) -> GroupSnapshot:
    """changes: name, description. Raises: NotFound, Forbidden."""
    return await ctx.db.write(update_in, ctx, id, changes)


async def update_in(tx: Transaction, ctx: RequestContext, id: str, changes: dict[str, Any]) -> GroupSnapshot:
    found = await groups.get_snapshot(tx, ctx, id, "group:update_group_snapshot")
    return await store.save(tx, found, **changes, updated_at=ctx.now_us)


async def delete(ctx: RequestContext, id: str) -> None:
    """Raises: NotFound, Forbidden, Invalid."""
    await ctx.db.write(delete_in, ctx, id)


async def delete_in(tx: Transaction, ctx: RequestContext, id: str) -> None:
    found = await groups.get_snapshot(tx, ctx, id, "group:delete_group_snapshot")
    if found.status not in DELETABLE:
        raise Invalid(f"Invalid GroupSnapshot: Group snapshot status must be available or error, but it is {found.status}.")
    for snapshot in await snapshot_store.of_group_snapshot(tx, id):
        await snapshots.delete_in(tx, ctx, snapshot.id, with_group=True)
    await store.save(tx, found, status=GroupStatus.DELETING, owed=True, updated_at=ctx.now_us)
    tx.wake("volume-group-snapshots", id)


async def reset_status(ctx: RequestContext, id: str, status: str) -> None:
    """What an administrator says it is. Raises: NotFound, Forbidden, Invalid."""
    await ctx.db.write(reset_status_in, ctx, id, status)


async def reset_status_in(tx: Transaction, ctx: RequestContext, id: str, status: str) -> None:
    found = await groups.get_snapshot(tx, ctx, id, "group:reset_group_snapshot_status")
    await store.save(tx, found, status=groups.known_status(status), owed=False, updated_at=ctx.now_us)
