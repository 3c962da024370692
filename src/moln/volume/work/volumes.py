"""Brings each volume's backend to what its row asks."""

from __future__ import annotations

from moln.image.ops import data as image_data
from moln.image.ops import images
from moln.kernel.db import Transaction
from moln.kernel.errors import BackendRefused, Conflict, Gone, StaleGeneration, UnsupportedMedia
from moln.kernel.work import Later, Reconciler, Work
from moln.volume.drivers.base import SourceKind, VolumeDriver
from moln.volume.model.types import not_offered
from moln.volume.model.volumes import Volume, VolumeStatus
from moln.volume.ops import pools, quotas
from moln.volume.ops.actions import resting_status
from moln.volume.store import messages, snapshots, types
from moln.volume.store import volumes as store

GROWN = "volumes.grown"  # on the feed, after `volumes`
COPY_S = 900.0  # seconds a pool without reflinks may take to copy
DONE_S, GONE_S = 900, 6 * 3600
S = VolumeStatus


async def settle(work: Work, volume: Volume) -> None:
    """Safe to repeat, and to die at any line."""
    try:
        match volume.status:
            case S.CREATING:
                await make(work, volume)
            case S.DELETING:
                await unmake(work, volume)
            case S.EXTENDING:
                await driver_of(work, volume).extend_volume(volume.id, volume.next_size_gib or volume.size_gib)
                await work.write(grown_in, volume)
            case S.UPLOADING:
                await upload(work, volume)
            case S.RESTORING_BACKUP:
                await driver_of(work, volume).restore_backup(volume.id, volume.task_id or "")
                await work.write(rested_in, volume)
            case S.REVERTING:
                await driver_of(work, volume).revert_volume(volume.id, volume.task_id or "")
                await work.write(rested_in, volume)
    except StaleGeneration as stale:  # the row that we read is old: look again
        raise Conflict(stale.message) from None


def driver_of(work: Work, volume: Volume) -> VolumeDriver:
    """The pool of the volume's node, fenced by the volume's generation."""
    return work.driver(
        volume.host or "", "volume", VolumeDriver, resource=f"volume:{volume.id}", generation=volume.generation, deadline_s=COPY_S
    )


async def make(work: Work, volume: Volume) -> None:
    """Raises: Later, while no node has room; BackendRefused, when no pool is what its type asks for."""
    volume_type = await types.find(work.db, volume.volume_type_id)
    lacking = not_offered(volume_type.extra_specs) if volume_type else []
    if lacking:
        raise BackendRefused(f"schedule allocate volume: No valid backend was found; the volume type asks for {', '.join(lacking)}.")
    if volume.host is None:
        host = pools.pick(work.cloud, volume.size_gib)
        if host is None:
            raise Later("no node offers a pool with room")
        volume = await work.write(placed_in, volume, host)
    source, source_id = source_of(volume)
    await driver_of(work, volume).ensure_volume(volume.id, volume.size_gib, source, source_id)
    await work.write(rested_in, volume)


async def placed_in(tx: Transaction, volume: Volume, host: str) -> Volume:
    return await store.save(tx, volume, host=host)


def source_of(volume: Volume) -> tuple[SourceKind, str]:
    if volume.image_data_id:
        return "image", volume.image_data_id
    if volume.backup_id:
        return "backup", volume.task_id or ""
    if volume.snapshot_id:
        return "snapshot", volume.snapshot_id
    if volume.source_volid:
        return "volume", volume.source_volid
    return "blank", ""


async def rested_in(tx: Transaction, volume: Volume) -> None:
    """Nothing is under way any more: what its attachments make of it."""
    status = await resting_status(tx, volume.id)
    await store.save(tx, volume, status=status, previous_status=None, task_id=None)
    wake_others(tx, volume)


def wake_others(tx: Transaction, volume: Volume) -> None:
    """Its group, or the backup that it came from, may be waiting for it."""
    if volume.backup_id or volume.status is S.RESTORING_BACKUP:
        tx.wake("volume-backups")
    if volume.group_id:
        tx.wake("volume-groups", volume.group_id)


async def grown_in(tx: Transaction, volume: Volume) -> None:
    status = await resting_status(tx, volume.id)
    size = volume.next_size_gib or volume.size_gib
    await store.save(tx, volume, status=status, size_gib=size, next_size_gib=None, previous_status=None)
    tx.changed(GROWN, volume.id)


async def unmake(work: Work, volume: Volume) -> None:
    """Raises: Later, while its snapshots are going."""
    if await snapshots.of_volume(work.db, volume.id):
        raise Later("its snapshots go first", 1.0)
    if volume.host is not None:
        await driver_of(work, volume).remove_volume(volume.id)
    await work.write(removed_in, volume)


async def removed_in(tx: Transaction, volume: Volume) -> None:
    """The row goes, and its quota comes back."""
    await store.remove(tx, volume)
    await quotas.refund(tx, volume.project_id, volumes=1, gigabytes=volume.size_gib)
    wake_others(tx, volume)


async def upload(work: Work, volume: Volume) -> None:
    """Its bytes become an image; an image that was deleted meanwhile ends it well."""
    image = await images.find(work.db, volume.task_id or "")
    if image is not None and image.data_id is not None:
        await driver_of(work, volume).ensure_image_data(image.data_id, volume.id)
        try:
            await image_data.adopt(work.ctx, image.id)
        except UnsupportedMedia as unsafe:
            await work.write(tell_in, work, volume, f"The volume cannot become an image: {unsafe.message}")
        except Gone:
            pass  # its owner deleted the image meanwhile
    await work.write(rested_in, volume)


async def fail(work: Work, volume: Volume, reason: str) -> None:
    """End it in error, with a message that its owner can read (GET /messages)."""
    await work.write(failed_in, work, volume, reason)


async def failed_in(tx: Transaction, work: Work, volume: Volume, reason: str) -> None:
    now = work.now_us
    match volume.status:
        case S.EXTENDING:
            await quotas.refund(tx, volume.project_id, gigabytes=(volume.next_size_gib or volume.size_gib) - volume.size_gib)
            status = S.ERROR_EXTENDING
            if volume.previous_status is S.IN_USE:
                status = S.IN_USE  # the guest goes on with the size it has
            await store.save(tx, volume, status=status, next_size_gib=None, updated_at=now)
        case S.DELETING:
            await store.save(tx, volume, status=S.ERROR_DELETING, updated_at=now)
        case S.UPLOADING:
            await image_data.fail_in(tx, volume.task_id or "", now)
            await store.save(tx, volume, status=await resting_status(tx, volume.id), task_id=None, updated_at=now)
        case S.RESTORING_BACKUP:
            await store.save(tx, volume, status=S.ERROR_RESTORING, task_id=None, updated_at=now)
        case _:
            await store.save(tx, volume, status=S.ERROR, updated_at=now)
    await tell_in(tx, work, volume, reason)
    wake_others(tx, volume)


async def tell_in(tx: Transaction, work: Work, volume: Volume, reason: str) -> None:
    message = messages.Message(
        work.cloud.ids.uuid(), volume.project_id, "VOLUME", volume.id, "req-" + work.cloud.ids.uuid(), reason, work.now_us
    )
    await messages.add(tx, message)


def deadline(volume: Volume) -> int:
    """When trying ends, µs UTC: nothing is stuck for ever. What is to go, or may have grown, waits longest for a node that is away."""
    return volume.updated_at + (GONE_S if volume.status in (S.DELETING, S.EXTENDING) else DONE_S) * 1_000_000


VOLUMES = Reconciler("volumes", find=store.unsettled, settle=settle, fail=fail, every_s=30, at_once=8, deadline=deadline)
