"""Brings each snapshot's backend to what its row asks."""

from __future__ import annotations

from moln.kernel.db import Transaction
from moln.kernel.errors import Conflict, StaleGeneration
from moln.kernel.work import Reconciler, Work
from moln.volume.drivers.base import VolumeDriver
from moln.volume.model.snapshots import Snapshot, SnapshotStatus
from moln.volume.ops import quotas
from moln.volume.store import messages
from moln.volume.store import snapshots as store
from moln.volume.work.volumes import COPY_S, DONE_S, GONE_S


async def settle(work: Work, snapshot: Snapshot) -> None:
    """Safe to repeat, and to die at any line."""
    driver = work.driver(
        snapshot.host or "", "volume", VolumeDriver, resource=f"snapshot:{snapshot.id}", generation=snapshot.generation,
        deadline_s=COPY_S,
    )  # fmt: skip
    try:
        if snapshot.status is SnapshotStatus.CREATING:
            await driver.ensure_snapshot(snapshot.id, snapshot.volume_id)
            await work.write(made_in, snapshot)
        else:
            await driver.remove_snapshot(snapshot.id)
            await work.write(removed_in, snapshot)
    except StaleGeneration as stale:
        raise Conflict(stale.message) from None


async def made_in(tx: Transaction, snapshot: Snapshot) -> None:
    await store.save(tx, snapshot, status=SnapshotStatus.AVAILABLE)
    wake_group(tx, snapshot)


def wake_group(tx: Transaction, snapshot: Snapshot) -> None:
    """The snapshot of its group may be waiting for it."""
    if snapshot.group_snapshot_id:
        tx.wake("volume-group-snapshots", snapshot.group_snapshot_id)


async def removed_in(tx: Transaction, snapshot: Snapshot) -> None:
    """The row goes, and its quota comes back."""
    await store.remove(tx, snapshot)
    await quotas.refund(tx, snapshot.project_id, snapshots=1, gigabytes=snapshot.size_gib)
    tx.wake("volumes", snapshot.volume_id)  # which may be waiting to go
    wake_group(tx, snapshot)


async def fail(work: Work, snapshot: Snapshot, reason: str) -> None:
    await work.write(failed_in, work, snapshot, reason)


async def failed_in(tx: Transaction, work: Work, snapshot: Snapshot, reason: str) -> None:
    status = SnapshotStatus.ERROR if snapshot.status is SnapshotStatus.CREATING else SnapshotStatus.ERROR_DELETING
    await store.save(tx, snapshot, status=status, updated_at=work.now_us)
    new_id = work.cloud.ids.uuid
    message = messages.Message(new_id(), snapshot.project_id, "VOLUME_SNAPSHOT", snapshot.id, "req-" + new_id(), reason, work.now_us)
    await messages.add(tx, message)
    wake_group(tx, snapshot)


def deadline(snapshot: Snapshot) -> int:
    """When trying ends, µs UTC."""
    return snapshot.updated_at + (GONE_S if snapshot.status is SnapshotStatus.DELETING else DONE_S) * 1_000_000


SNAPSHOTS = Reconciler("volume-snapshots", find=store.unsettled, settle=settle, fail=fail, every_s=30, at_once=8, deadline=deadline)
