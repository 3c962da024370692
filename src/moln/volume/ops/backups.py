"""What a caller may do with backups; work/backups.py makes it true."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from moln.kernel.context import RequestContext
from moln.kernel.db import Duplicate, Reader, Transaction
from moln.kernel.errors import Conflict, Invalid, NotFound
from moln.volume.model.backups import DELETABLE, Backup, BackupStatus
from moln.volume.model.snapshots import SnapshotStatus
from moln.volume.model.volumes import Volume, VolumeStatus
from moln.volume.ops import quotas, volumes
from moln.volume.ops.access import get_snapshot, get_volume, invalid_input, invalid_volume, require
from moln.volume.ops.actions import resting_status
from moln.volume.store import backups as store
from moln.volume.store import volumes as volume_store


class BackupSpec(Struct, frozen=True):
    """What a new backup is to be of. force: also of a volume in use."""

    volume_id: str
    name: str | None = None
    description: str | None = None
    container: str | None = None
    incremental: bool = False
    force: bool = False
    snapshot_id: str | None = None
    metadata: dict[str, str] = {}


def invalid_backup(reason: str) -> Invalid:
    return Invalid(f"Invalid backup: {reason}")


async def get(db: Reader, ctx: RequestContext, backup_id: str, rule: str = "backup:get") -> Backup:
    """Raises: NotFound, Forbidden."""
    found = await store.find(db, backup_id)
    if found is None or not (ctx.is_admin or found.project_id == ctx.project_id):
        raise NotFound(f"Backup {backup_id[:64]} could not be found.")
    require(ctx, rule, found)
    return found


async def show(ctx: RequestContext, backup_id: str) -> Backup:
    return await get(ctx.db, ctx, backup_id)


async def index(
    ctx: RequestContext, where: list[tuple[str, str, Any]], *, sort: Sequence[tuple[str, str]], marker: str | None, limit: int | None
) -> list[Backup]:
    require(ctx, "backup:get_all", {"project_id": ctx.project_id})
    return await store.LISTING.page(ctx.db, where, sort=sort, marker=marker, limit=limit)


async def create(ctx: RequestContext, spec: BackupSpec) -> Backup:
    """Record that the volume is to be copied as it is now. Raises: NotFound, Forbidden, Invalid, OverQuota."""
    require(ctx, "backup:create", {"project_id": ctx.project_id})
    return await ctx.db.write(create_in, ctx, spec)


async def create_in(tx: Transaction, ctx: RequestContext, spec: BackupSpec) -> Backup:
    volume = await get_volume(tx, ctx, spec.volume_id)
    taken_at = await source_in(tx, ctx, spec, volume)
    parent = await store.latest(tx, volume.id) if spec.incremental else None
    if spec.incremental and (parent is None or parent.host != volume.host):
        raise invalid_backup("No backups available to do an incremental backup.")
    await quotas.charge(tx, volume.project_id, backups=1, backup_gigabytes=volume.size_gib)
    new_id, now = ctx.new_id(), ctx.now_us
    made = Backup(
        id=new_id, project_id=volume.project_id, user_id=ctx.user_id or "", volume_id=volume.id, name=spec.name,
        description=spec.description, size_gib=volume.size_gib, status=BackupStatus.CREATING, object_id=new_id, host=volume.host or "",
        availability_zone=volume.availability_zone, created_at=now, updated_at=now, data_timestamp=taken_at,
        snapshot_id=spec.snapshot_id, parent_id=parent.id if parent else None, container=spec.container, metadata=spec.metadata,
        was_type_id=volume.volume_type_id, was_bootable=volume.bootable, was_metadata=volume.metadata,
        was_image_metadata=volume.image_metadata,
    )  # fmt: skip
    await store.add(tx, made)
    if spec.snapshot_id is None:
        await volume_store.save(tx, volume, status=VolumeStatus.BACKING_UP, previous_status=volume.status, updated_at=now)
    tx.wake("volume-backups", made.id)
    return made


async def source_in(tx: Transaction, ctx: RequestContext, spec: BackupSpec, volume: Volume) -> int:
    """When the bytes are of, µs UTC. Raises: Invalid, when they cannot be had now."""
    if spec.snapshot_id is not None:
        snapshot = await get_snapshot(tx, ctx, spec.snapshot_id)
        if snapshot.volume_id != volume.id or snapshot.status is not SnapshotStatus.AVAILABLE:
            raise invalid_input(f"Snapshot {snapshot.id} is of volume {snapshot.volume_id} and {snapshot.status}.", "snapshot_id")
        return snapshot.created_at
    if volume.status is VolumeStatus.IN_USE and not spec.force:
        raise invalid_volume("Backing up an in-use volume must use the force flag.")
    if volume.status not in (VolumeStatus.AVAILABLE, VolumeStatus.IN_USE) or volume.host is None:
        raise invalid_volume(f"Volume to be backed up should be in status available or in-use, but it is {volume.status}.")
    return ctx.now_us


async def update(ctx: RequestContext, backup_id: str, **changes: Any) -> Backup:
    """changes: name, description, metadata. Raises: NotFound, Forbidden."""
    return await ctx.db.write(update_in, ctx, backup_id, changes)


async def update_in(tx: Transaction, ctx: RequestContext, backup_id: str, changes: dict[str, Any]) -> Backup:
    return await store.save(tx, await get(tx, ctx, backup_id, "backup:update"), **changes, updated_at=ctx.now_us)


async def delete(ctx: RequestContext, backup_id: str, *, force: bool = False) -> None:
    """force: whatever its status. Raises: NotFound, Forbidden, Invalid."""
    await ctx.db.write(delete_in, ctx, backup_id, force)


async def delete_in(tx: Transaction, ctx: RequestContext, backup_id: str, force: bool) -> None:
    rule = "volume_extension:backup_admin_actions:force_delete" if force else "backup:delete"
    backup = await get(tx, ctx, backup_id, rule)
    if backup.status not in DELETABLE and not force:
        raise invalid_backup(f"Backup status must be available or error, but it is {backup.status}.")
    if await store.depended_on(tx, [backup_id]):
        raise invalid_backup("Incremental backups exist for this backup.")
    if backup.status is BackupStatus.CREATING and not backup.imported:
        await release_in(tx, backup, ctx.now_us)
    await store.save(tx, backup, status=BackupStatus.DELETING, updated_at=ctx.now_us)
    tx.wake("volume-backups", backup_id)


async def release_in(tx: Transaction, backup: Backup, now_us: int) -> None:
    """The volume of a backup that is not being made any more is what its attachments make of it."""
    volume = await volume_store.find(tx, backup.volume_id)
    if volume is not None and volume.status is VolumeStatus.BACKING_UP and backup.snapshot_id is None:
        status = await resting_status(tx, volume.id)
        await volume_store.save(tx, volume, status=status, previous_status=None, updated_at=now_us)


async def reset_status(ctx: RequestContext, backup_id: str, status: str) -> None:
    """What an administrator says it is: available or error. Raises: NotFound, Forbidden, Invalid."""
    if status not in (BackupStatus.AVAILABLE, BackupStatus.ERROR):
        raise Invalid(f"Invalid backup status {status[:40]!r}: only available and error can be set.", field="status")
    await ctx.db.write(reset_status_in, ctx, backup_id, BackupStatus(status))


async def reset_status_in(tx: Transaction, ctx: RequestContext, backup_id: str, status: BackupStatus) -> None:
    backup = await get(tx, ctx, backup_id, "volume_extension:backup_admin_actions:reset_status")
    if backup.status is BackupStatus.CREATING and not backup.imported:
        await release_in(tx, backup, ctx.now_us)
    await store.save(tx, backup, status=status, restore_volume_id=None, updated_at=ctx.now_us)


async def restore(ctx: RequestContext, backup_id: str, volume_id: str | None, name: str | None) -> Volume:
    """Into a volume that is there, or a new one. Raises: NotFound, Forbidden, Invalid, OverQuota."""
    return await ctx.db.write(restore_in, ctx, backup_id, volume_id, name)


async def restore_in(tx: Transaction, ctx: RequestContext, backup_id: str, volume_id: str | None, name: str | None) -> Volume:
    backup = await get(tx, ctx, backup_id, "backup:restore")
    if volume_id is None:
        spec = volumes.VolumeSpec(
            None, name=name or f"restore_backup_{backup_id}", backup_id=backup_id, metadata=backup.was_metadata,
            volume_type=backup.was_type_id or None,
        )  # fmt: skip
        return await volumes.create_in(tx, ctx, spec)
    volumes.check_restorable(backup)
    volume = await get_volume(tx, ctx, volume_id)
    if volume.status is not VolumeStatus.AVAILABLE:
        raise invalid_volume("Volume to be restored to must be available")
    if volume.size_gib < backup.size_gib:
        raise invalid_volume(f"volume size {volume.size_gib} is too small to restore backup of size {backup.size_gib}.")
    if volume.host != backup.host:  # it is in files of its node, whoever else reaches the volume
        raise invalid_volume("The volume lies on another node than the backup: restore it into a new volume.")
    after = await volume_store.save(
        tx, volume, status=VolumeStatus.RESTORING_BACKUP, task_id=backup.object_id, previous_status=volume.status, updated_at=ctx.now_us
    )
    await store.save(tx, backup, status=BackupStatus.RESTORING, restore_volume_id=volume_id, updated_at=ctx.now_us)
    tx.wake("volumes", volume_id)
    return after


async def import_record(ctx: RequestContext, backup: Backup) -> Backup:
    """A record of another time or cloud whose data is in a node's pool. Raises: Forbidden, Conflict, OverQuota."""
    require(ctx, "backup:backup-import", {"project_id": ctx.project_id})
    try:
        return await ctx.db.write(import_in, ctx, backup)
    except Duplicate:
        raise Conflict(f"Invalid backup: Backup {backup.id} already exists in database.") from None


async def import_in(tx: Transaction, ctx: RequestContext, backup: Backup) -> Backup:
    await quotas.charge(tx, backup.project_id, backups=1, backup_gigabytes=backup.size_gib)
    await store.add(tx, backup)
    tx.wake("volume-backups", backup.id)
    return backup
