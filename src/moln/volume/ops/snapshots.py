"""What a caller may do with snapshots."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from moln.kernel.context import RequestContext
from moln.kernel.db import Transaction
from moln.kernel.errors import Invalid, NotFound
from moln.volume.model.snapshots import DELETABLE, Snapshot, SnapshotStatus
from moln.volume.model.volumes import VolumeStatus
from moln.volume.ops import quotas
from moln.volume.ops.access import get_snapshot, get_volume, invalid_input, invalid_snapshot, invalid_volume, require
from moln.volume.store import snapshots as store


async def create(
    ctx: RequestContext,
    volume_id: str,
    *,
    name: str | None = None,
    description: str | None = None,
    metadata: dict[str, str] | None = None,
    in_use_too: bool = False,
) -> Snapshot:
    """Record that the volume is to be kept as it is now. Raises: NotFound, Forbidden, Invalid, OverQuota."""
    return await ctx.db.write(create_in, ctx, volume_id, name=name, description=description, metadata=metadata, in_use_too=in_use_too)


async def create_in(
    tx: Transaction,
    ctx: RequestContext,
    volume_id: str,
    *,
    name: str | None = None,
    description: str | None = None,
    metadata: dict[str, str] | None = None,
    in_use_too: bool = False,
    group_snapshot_id: str | None = None,
) -> Snapshot:
    """The same inside a caller's transaction."""
    volume = await get_volume(tx, ctx, volume_id, "volume:create_snapshot")
    allowed = {VolumeStatus.AVAILABLE} | ({VolumeStatus.IN_USE} if in_use_too else set())
    if volume.status not in allowed or volume.host is None:
        raise invalid_volume(f"Volume {volume_id} status must be available, but current status is: {volume.status}.")
    await quotas.charge(tx, volume.project_id, snapshots=1, gigabytes=volume.size_gib)
    now = ctx.now_us
    snapshot = Snapshot(
        id=ctx.new_id(),
        project_id=volume.project_id,
        user_id=ctx.user_id or "",
        volume_id=volume_id,
        volume_type_id=volume.volume_type_id,
        name=name,
        description=description,
        size_gib=volume.size_gib,
        status=SnapshotStatus.CREATING,
        created_at=now,
        updated_at=now,
        host=volume.host,
        bootable=volume.bootable,
        metadata=metadata or {},
        group_snapshot_id=group_snapshot_id,
    )
    await store.add(tx, snapshot)
    tx.wake("volume-snapshots", snapshot.id)
    return snapshot


async def show(ctx: RequestContext, snapshot_id: str) -> Snapshot:
    """Raises: NotFound, Forbidden."""
    return await get_snapshot(ctx.db, ctx, snapshot_id)


async def index(
    ctx: RequestContext, where: list[tuple[str, str, Any]], *, sort: Sequence[tuple[str, str]], marker: str | None, limit: int | None
) -> list[Snapshot]:
    require(ctx, "volume:get_all_snapshots", {"project_id": ctx.project_id})
    return await store.LISTING.page(ctx.db, where, sort=sort, marker=marker, limit=limit)


async def update(ctx: RequestContext, snapshot_id: str, **changes: Any) -> Snapshot:
    """changes: name, description. Raises: NotFound, Forbidden."""
    return await ctx.db.write(update_in, ctx, snapshot_id, changes)


async def update_in(tx: Transaction, ctx: RequestContext, snapshot_id: str, changes: dict[str, Any]) -> Snapshot:
    snapshot = await get_snapshot(tx, ctx, snapshot_id, "volume:update_snapshot")
    return await store.save(tx, snapshot, **changes, updated_at=ctx.now_us)


async def delete(ctx: RequestContext, snapshot_id: str, *, force: bool = False) -> None:
    """Record that it is to go. force: whatever its status. Raises: NotFound, Forbidden, Invalid."""
    await ctx.db.write(delete_in, ctx, snapshot_id, force=force)


async def delete_in(tx: Transaction, ctx: RequestContext, snapshot_id: str, *, force: bool = False, with_group: bool = False) -> None:
    """The same inside a caller's transaction. with_group: the snapshot of its group goes as well."""
    rule = "volume_extension:snapshot_admin_actions:force_delete" if force else "volume:delete_snapshot"
    snapshot = await get_snapshot(tx, ctx, snapshot_id, rule)
    if snapshot.status is SnapshotStatus.DELETING:
        tx.wake("volume-snapshots", snapshot_id)
        return
    if (snapshot.status not in DELETABLE and not force) or (snapshot.group_snapshot_id and not with_group):
        raise invalid_snapshot("Snapshot status must be available or error, and it must not be part of a group.")
    await store.save(tx, snapshot, forced=force, status=SnapshotStatus.DELETING, updated_at=ctx.now_us)
    tx.wake("volume-snapshots", snapshot_id)


async def reset_status(ctx: RequestContext, snapshot_id: str, status: str) -> None:
    """What an administrator says it is. Raises: NotFound, Forbidden, Invalid."""
    await ctx.db.write(reset_status_in, ctx, snapshot_id, status)


async def reset_status_in(tx: Transaction, ctx: RequestContext, snapshot_id: str, status: str) -> None:
    snapshot = await get_snapshot(tx, ctx, snapshot_id, "volume_extension:snapshot_admin_actions:reset_status")
    if status not in {s.value for s in SnapshotStatus}:
        raise invalid_input(f"Must specify a valid status; {status[:40]!r} is none.", "status")
    await store.save(tx, snapshot, forced=True, status=SnapshotStatus(status), updated_at=ctx.now_us)


UPDATES = {  # what a driver outside may say of a snapshot that is under way (Cinder's os-update_snapshot_status)
    SnapshotStatus.CREATING: {SnapshotStatus.CREATING, SnapshotStatus.AVAILABLE, SnapshotStatus.ERROR},
    SnapshotStatus.DELETING: {SnapshotStatus.DELETING, SnapshotStatus.ERROR_DELETING},
}


async def update_status(ctx: RequestContext, snapshot_id: str, status: str, progress: str | None) -> None:
    """Raises: NotFound, Forbidden, Invalid."""
    await ctx.db.write(update_status_in, ctx, snapshot_id, status, progress)


async def update_status_in(tx: Transaction, ctx: RequestContext, snapshot_id: str, status: str, progress: str | None) -> None:
    snapshot = await get_snapshot(tx, ctx, snapshot_id, "snapshot_extension:snapshot_actions:update_snapshot_status")
    if status not in UPDATES.get(snapshot.status, set()):
        raise Invalid(f"Provided snapshot status {status[:40]} not allowed for snapshot with status {snapshot.status}.", field="status")
    await store.save(tx, snapshot, forced=True, status=SnapshotStatus(status), progress=progress, updated_at=ctx.now_us)


async def set_metadata(ctx: RequestContext, snapshot_id: str, metadata: dict[str, str], *, replace: bool) -> dict[str, str]:
    """All of it afterwards. Raises: NotFound, Forbidden, Invalid."""
    return await ctx.db.write(set_metadata_in, ctx, snapshot_id, metadata, replace)


async def set_metadata_in(
    tx: Transaction, ctx: RequestContext, snapshot_id: str, metadata: dict[str, str], replace: bool
) -> dict[str, str]:
    snapshot = await get_snapshot(tx, ctx, snapshot_id, "volume:update_snapshot_metadata")
    after = metadata if replace else snapshot.metadata | metadata
    if len(after) > 128:
        raise Invalid("A snapshot has at most 128 pieces of metadata.", field="metadata")
    return (await store.save(tx, snapshot, metadata=after, updated_at=ctx.now_us)).metadata


async def delete_metadata(ctx: RequestContext, snapshot_id: str, key: str) -> None:
    """Raises: NotFound, Forbidden."""
    await ctx.db.write(delete_metadata_in, ctx, snapshot_id, key)


async def delete_metadata_in(tx: Transaction, ctx: RequestContext, snapshot_id: str, key: str) -> None:
    snapshot = await get_snapshot(tx, ctx, snapshot_id, "volume:delete_snapshot_metadata")
    if key not in snapshot.metadata:
        raise NotFound("Metadata item was not found")
    rest = {k: v for k, v in snapshot.metadata.items() if k != key}
    await store.save(tx, snapshot, metadata=rest, updated_at=ctx.now_us)
