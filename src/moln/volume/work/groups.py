"""Brings groups and their snapshots to their ends: each is what its volumes or snapshots have come to."""

from __future__ import annotations

from collections.abc import Set

from moln.kernel.db import Transaction
from moln.kernel.work import Later, Reconciler, Work
from moln.volume.model.groups import Group, GroupSnapshot, GroupStatus
from moln.volume.ops import quotas
from moln.volume.store import groups as store
from moln.volume.store import snapshots, volumes
from moln.volume.work.volumes import GONE_S

S = GroupStatus
SLACK_S = 3600  # its volumes have their own deadlines; this one is behind them all


async def settle(work: Work, group: Group) -> None:
    """Raises: Later, while its volumes are on their way."""
    await _follow(work, group, {v.status for v in await volumes.of_group(work.db, group.id)}, "volumes")


async def settle_snapshot(work: Work, taken: GroupSnapshot) -> None:
    """Raises: Later, while its snapshots are on their way."""
    await _follow(work, taken, {s.status for s in await snapshots.of_group_snapshot(work.db, taken.id)}, "snapshots")


async def _follow(work: Work, whole: Group | GroupSnapshot, left: Set[str], parts: str) -> None:
    """End as the parts do. left: the statuses of those there are."""
    if whole.status is S.DELETING:
        if "deleting" in left:
            raise Later(f"its {parts} go first", 1.0)
        await work.write(ended_in if left else removed_in, work, whole, S.ERROR_DELETING)
    elif "creating" in left:
        raise Later(f"its {parts} are being made", 1.0)
    else:
        await work.write(ended_in, work, whole, S.ERROR if "error" in left else S.AVAILABLE)


async def ended_in(tx: Transaction, work: Work, found: Group | GroupSnapshot, status: GroupStatus) -> None:
    if isinstance(found, Group):
        await store.save(tx, found, status=status, owed=False, updated_at=work.now_us)
    else:
        await store.save(tx, found, status=status, owed=False, updated_at=work.now_us)


async def removed_in(tx: Transaction, work: Work, found: Group | GroupSnapshot, _: GroupStatus) -> None:
    """The row goes, and a group's place in its quota comes back."""
    await store.remove(tx, found)
    if isinstance(found, Group):
        await quotas.refund(tx, found.project_id, groups=1)


async def fail(work: Work, found: Group | GroupSnapshot, reason: str) -> None:
    """Its volumes' or snapshots' own messages say why."""
    await work.write(ended_in, work, found, S.ERROR_DELETING if found.status is S.DELETING else S.ERROR)


def deadline(found: Group | GroupSnapshot) -> int:
    """When waiting ends, µs UTC."""
    return found.updated_at + (GONE_S + SLACK_S) * 1_000_000


GROUPS = Reconciler("volume-groups", find=store.owed, settle=settle, fail=fail, every_s=30, at_once=8, deadline=deadline)
GROUP_SNAPSHOTS = Reconciler(
    "volume-group-snapshots", find=store.snapshots_owed, settle=settle_snapshot, fail=fail, every_s=30, at_once=8, deadline=deadline
)
