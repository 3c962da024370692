"""Brings each backup to what its row asks."""

from __future__ import annotations

from moln.kernel.db import Transaction
from moln.kernel.errors import BackendRefused, Conflict, StaleGeneration
from moln.kernel.work import Later, Reconciler, Work
from moln.volume.drivers.base import BackupFacts, SourceKind, VolumeDriver
from moln.volume.model.backups import Backup, BackupStatus
from moln.volume.model.volumes import VolumeStatus
from moln.volume.ops import quotas
from moln.volume.ops.backups import release_in
from moln.volume.store import backups as store
from moln.volume.store import messages, volumes
from moln.volume.work.volumes import DONE_S, GONE_S

COPY_S = 3600.0  # seconds that the bytes of a large volume may take
S = BackupStatus


async def settle(work: Work, backup: Backup) -> None:
    """Safe to repeat, and to die at any line. Raises: Later, while the volume of a restore is under way."""
    driver = work.driver(
        backup.host, "volume", VolumeDriver, resource=f"backup:{backup.id}", generation=backup.generation, deadline_s=COPY_S
    )
    try:
        match backup.status:
            case S.CREATING:
                await work.write(made_in, work, backup, await make(work, driver, backup))
            case S.RESTORING:
                volume = await volumes.find(work.db, backup.restore_volume_id or "")
                if volume is not None and volume.status in (VolumeStatus.CREATING, VolumeStatus.RESTORING_BACKUP):
                    raise Later("its volume is being restored", 5.0)
                await work.write(rested_in, work, backup)
            case S.DELETING:
                if not await store.shares_data(work.db, backup):
                    await driver.remove_backup(backup.object_id)
                await work.write(removed_in, backup)
    except StaleGeneration as stale:
        raise Conflict(stale.message) from None


async def make(work: Work, driver: VolumeDriver, backup: Backup) -> BackupFacts:
    """Raises: BackendRefused, for an imported record whose data is not there."""
    if backup.imported:
        found = await driver.find_backup(backup.object_id)
        if found is None:
            raise BackendRefused(f"The pool of node {backup.host} has no data of this backup.")
        return found
    source: tuple[SourceKind, str] = ("snapshot", backup.snapshot_id) if backup.snapshot_id else ("volume", backup.volume_id)
    parent = await store.find(work.db, backup.parent_id) if backup.parent_id else None
    return await driver.ensure_backup(backup.object_id, *source, parent.object_id if parent else "")


async def made_in(tx: Transaction, work: Work, backup: Backup, facts: BackupFacts) -> None:
    await store.save(tx, backup, status=S.AVAILABLE, object_count=facts.objects, fail_reason=None, updated_at=work.now_us)
    if not backup.imported:
        await release_in(tx, backup, work.now_us)


async def rested_in(tx: Transaction, work: Work, backup: Backup) -> None:
    await store.save(tx, backup, status=S.AVAILABLE, restore_volume_id=None, updated_at=work.now_us)


async def removed_in(tx: Transaction, backup: Backup) -> None:
    """The row goes, and its quota comes back."""
    await store.remove(tx, backup)
    await quotas.refund(tx, backup.project_id, backups=1, backup_gigabytes=backup.size_gib)


async def fail(work: Work, backup: Backup, reason: str) -> None:
    await work.write(failed_in, work, backup, reason)


async def failed_in(tx: Transaction, work: Work, backup: Backup, reason: str) -> None:
    status = {S.CREATING: S.ERROR, S.DELETING: S.ERROR_DELETING}.get(backup.status, S.AVAILABLE)
    await store.save(tx, backup, status=status, fail_reason=reason[:255], restore_volume_id=None, updated_at=work.now_us)
    if backup.status is S.CREATING and not backup.imported:
        await release_in(tx, backup, work.now_us)
    new_id = work.cloud.ids.uuid
    message = messages.Message(new_id(), backup.project_id, "VOLUME_BACKUP", backup.id, "req-" + new_id(), reason, work.now_us)
    await messages.add(tx, message)


def deadline(backup: Backup) -> int:
    """When trying ends, µs UTC."""
    return backup.updated_at + (GONE_S if backup.status is S.DELETING else DONE_S + int(COPY_S)) * 1_000_000


BACKUPS = Reconciler(
    "volume-backups", find=store.unsettled, settle=settle, fail=fail, every_s=30, at_once=2, deadline=deadline, at_most_s=COPY_S
)
