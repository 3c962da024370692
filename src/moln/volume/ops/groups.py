"""What a caller may do with groups of volumes; work/groups.py brings them to their ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from moln.kernel.context import RequestContext
from moln.kernel.db import Reader, Transaction
from moln.kernel.errors import Invalid, NotFound
from moln.volume.model.groups import DELETABLE, Group, GroupSnapshot, GroupStatus
from moln.volume.model.volumes import Volume, VolumeStatus
from moln.volume.ops import group_types, pools, quotas, types, volumes
from moln.volume.ops.access import require
from moln.volume.store import attachments, snapshots
from moln.volume.store import groups as store
from moln.volume.store import volumes as volume_store

JOINS, LEAVES = {VolumeStatus.AVAILABLE, VolumeStatus.IN_USE}, {VolumeStatus.AVAILABLE, VolumeStatus.IN_USE, VolumeStatus.ERROR}


def invalid_group(reason: str) -> Invalid:
    return Invalid(f"Invalid Group: {reason}")


async def get(db: Reader, ctx: RequestContext, group_id: str, rule: str = "group:get") -> Group:
    """Raises: NotFound, Forbidden."""
    found = await store.find(db, group_id)
    if found is None or not (ctx.is_admin or found.project_id == ctx.project_id):
        raise NotFound(f"Group {group_id[:64]} could not be found.")
    require(ctx, rule, found)
    return found


async def show(ctx: RequestContext, group_id: str) -> Group:
    return await get(ctx.db, ctx, group_id)


async def index(
    ctx: RequestContext, where: list[tuple[str, str, Any]], *, sort: Sequence[tuple[str, str]], marker: str | None, limit: int
) -> list[Group]:
    require(ctx, "group:get_all", {"project_id": ctx.project_id})
    return await store.LISTING.page(ctx.db, where, sort=sort, marker=marker, limit=limit)


async def volumes_of(ctx: RequestContext, group_id: str) -> list[str]:
    """Ids of its volumes."""
    return [v.id for v in await volume_store.of_group(ctx.db, group_id)]


async def create(
    ctx: RequestContext, *, name: str | None, description: str | None, group_type: str, volume_types: list[str], zone: str | None
) -> Group:
    """An empty group. Raises: Forbidden, NotFound, Invalid, OverQuota."""
    require(ctx, "group:create", {"project_id": ctx.project_id})
    return await ctx.db.write(create_in, ctx, name, description, group_type, volume_types, zone)


async def create_in(
    tx: Transaction, ctx: RequestContext, name: str | None, description: str | None, group_type: str, volume_types: list[str],
    zone: str | None,
) -> Group:  # fmt: skip
    kind = await group_types.get(tx, ctx, group_type)
    if kind.consistent:
        raise Invalid(f"No pool of this cloud takes snapshots of several volumes at one moment, which group type {kind.id} asks for.")
    here = ctx.settings.volume.availability_zone
    if zone not in (None, here):
        raise Invalid(f"Invalid input received: Availability zone '{zone}' is invalid.", field="availability_zone")
    chosen = [(await types.choose(tx, ctx, name_or_id)).id for name_or_id in volume_types]
    made = new_group(ctx, name, description, kind.id, list(dict.fromkeys(chosen)), pools.pick(ctx.cloud, 1))
    await quotas.charge(tx, made.project_id, groups=1)
    await store.add(tx, made)
    return made


def new_group(ctx: RequestContext, name: str | None, description: str | None, kind: str, chosen: list[str], host: str | None) -> Group:
    """Raises: Invalid."""
    if ctx.project_id is None:
        raise Invalid("A group belongs to a project: use a token of a project.")
    return Group(
        id=ctx.new_id(), project_id=ctx.project_id, user_id=ctx.user_id or "", name=name, description=description,
        status=GroupStatus.AVAILABLE, group_type_id=kind, availability_zone=ctx.settings.volume.availability_zone,
        created_at=ctx.now_us, updated_at=ctx.now_us, host=host, volume_types=chosen,
    )  # fmt: skip


async def create_from(
    ctx: RequestContext, *, name: str | None, description: str | None, group_snapshot_id: str | None, source_group_id: str | None
) -> Group:
    """A group with a copy of each volume of another, or of each of a group snapshot's. Raises: Forbidden, NotFound, Invalid, OverQuota."""
    require(ctx, "group:create", {"project_id": ctx.project_id})
    return await ctx.db.write(create_from_in, ctx, name, description, group_snapshot_id, source_group_id)


async def create_from_in(
    tx: Transaction, ctx: RequestContext, name: str | None, description: str | None, group_snapshot_id: str | None,
    source_group_id: str | None,
) -> Group:  # fmt: skip
    source, specs = await copies_of(tx, ctx, group_snapshot_id, source_group_id)
    made = new_group(ctx, name, description, source.group_type_id, source.volume_types, source.host)
    made = Group(**{f: getattr(made, f) for f in made.__struct_fields__} | {
        "status": GroupStatus.CREATING, "owed": True, "group_snapshot_id": group_snapshot_id, "source_group_id": source_group_id,
    })  # fmt: skip
    await quotas.charge(tx, made.project_id, groups=1)
    await store.add(tx, made)
    for spec in specs:
        await volumes.create_in(tx, ctx, volumes.VolumeSpec(None, group_id=made.id, **spec))
    tx.wake("volume-groups", made.id)
    return made


async def copies_of(
    tx: Transaction, ctx: RequestContext, group_snapshot_id: str | None, source_group_id: str | None
) -> tuple[Group, list[dict[str, Any]]]:
    """The group that is the pattern, and what each of the new volumes is made from."""
    if group_snapshot_id:
        snapshot = await get_snapshot(tx, ctx, group_snapshot_id)
        group = await get(tx, ctx, snapshot.group_id)
        taken = await snapshots.of_group_snapshot(tx, snapshot.id)
        if snapshot.status is not GroupStatus.AVAILABLE or not taken:
            raise Invalid(f"Invalid GroupSnapshot: it is {snapshot.status} and has {len(taken)} snapshots.")
        return group, [{"snapshot_id": s.id, "name": s.name, "volume_type": s.volume_type_id} for s in taken]
    group = await get(tx, ctx, source_group_id or "")
    held = await volume_store.of_group(tx, group.id)
    if group.status is not GroupStatus.AVAILABLE or not held:
        raise invalid_group(f"Source Group is {group.status} and has {len(held)} volumes.")
    return group, [{"source_volid": v.id, "name": v.name, "volume_type": v.volume_type_id} for v in held]


async def get_snapshot(db: Reader, ctx: RequestContext, id: str, rule: str = "group:get_group_snapshot") -> GroupSnapshot:
    """A group's snapshot. Raises: NotFound, Forbidden."""
    found = await store.find_snapshot(db, id)
    if found is None or not (ctx.is_admin or found.project_id == ctx.project_id):
        raise NotFound(f"GroupSnapshot {id[:64]} could not be found.")
    require(ctx, rule, found)
    return found


async def update(ctx: RequestContext, group_id: str, *, add: list[str], remove: list[str], **changes: Any) -> None:
    """add, remove: ids of volumes; changes: name, description. Raises: NotFound, Forbidden, Invalid."""
    await ctx.db.write(update_in, ctx, group_id, add, remove, changes)


async def update_in(
    tx: Transaction, ctx: RequestContext, group_id: str, add: list[str], remove: list[str], changes: dict[str, Any]
) -> None:
    group = await get(tx, ctx, group_id, "group:update")
    if group.status is not GroupStatus.AVAILABLE:
        raise invalid_group(f"Group status must be available, but current status is: {group.status}.")
    if both := set(add) & set(remove):
        raise invalid_group(f"The same volume {min(both)[:64]} is to be added and removed.")
    for volume_id in remove:
        volume = await volume_store.find(tx, volume_id)
        if volume is None or volume.group_id != group.id:
            raise invalid_group(f"Cannot remove volume {volume_id[:64]} from group {group.id} because it is not in the group.")
        if volume.status not in LEAVES:
            raise invalid_group(f"Cannot remove volume {volume_id} from group {group.id} because it is {volume.status}.")
        await volume_store.save(tx, volume, group_id=None, updated_at=ctx.now_us)
    for volume_id in add:
        volume = await volume_store.find(tx, volume_id)
        await volume_store.save(tx, may_join(ctx, group, volume_id, volume), group_id=group.id, updated_at=ctx.now_us)
    await store.save(tx, group, **changes, updated_at=ctx.now_us)


def may_join(ctx: RequestContext, group: Group, volume_id: str, volume: Volume | None) -> Volume:
    """Raises: Invalid."""
    reason = None
    if volume is None or volume.project_id != group.project_id:
        raise invalid_group(f"Cannot add volume {volume_id[:64]} to group {group.id} because the volume cannot be found.")
    if volume.group_id:
        reason = "it is in a group already" if volume.group_id == group.id else "it belongs to another group"
    elif volume.volume_type_id not in group.volume_types:
        reason = "its volume type is not supported by the group"
    elif volume.status not in JOINS:
        reason = f"it is {volume.status}"
    elif volume.host != group.host:
        reason = f"it lies on another node ({volume.host}) than the group ({group.host})" if ctx.is_admin else "it lies on another node"
    if reason:
        raise invalid_group(f"Cannot add volume {volume_id} to group {group.id} because {reason}.")
    return volume


async def delete(ctx: RequestContext, group_id: str, *, volumes_too: bool) -> None:
    """Raises: NotFound, Forbidden; Invalid, for what its state, its snapshots or its volumes forbid."""
    await ctx.db.write(delete_in, ctx, group_id, volumes_too)


async def delete_in(tx: Transaction, ctx: RequestContext, group_id: str, volumes_too: bool) -> None:
    group = await get(tx, ctx, group_id, "group:delete")
    held = await volume_store.of_group(tx, group.id)
    if held and not volumes_too:
        raise invalid_group(f"Group {group_id} still contains volumes. The delete-volumes flag is required to delete it.")
    if group.status not in DELETABLE:
        raise invalid_group(f"Group status must be available or error, but current status is: {group.status}.")
    if await store.snapshots_of(tx, group.id):
        raise invalid_group(f"Group {group_id} has existing group snapshots.")
    for volume in held:
        if await attachments.of_volume(tx, volume.id):
            raise invalid_group(f"Volume in group {group_id} is attached. Need to detach first.")
        await volumes.delete_in(tx, ctx, volume.id, with_group=True)
    await store.save(tx, group, status=GroupStatus.DELETING, owed=True, updated_at=ctx.now_us)
    tx.wake("volume-groups", group.id)


async def reset_status(ctx: RequestContext, group_id: str, status: str) -> None:
    """What an administrator says it is. Raises: NotFound, Forbidden, Invalid."""
    await ctx.db.write(reset_status_in, ctx, group_id, status)


async def reset_status_in(tx: Transaction, ctx: RequestContext, group_id: str, status: str) -> None:
    group = await get(tx, ctx, group_id, "group:reset_status")
    await store.save(tx, group, status=known_status(status), owed=False, updated_at=ctx.now_us)


def known_status(status: str) -> GroupStatus:
    """Raises: Invalid."""
    try:
        return GroupStatus(status)
    except ValueError:
        raise Invalid(f"Must specify a valid status; {status[:40]!r} is none.", field="status") from None
