"""What a caller may do with volumes; actions.py has the rarer verbs. work/volumes.py makes all of it true."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from moln.image.model.images import Image
from moln.image.ops import data as image_data
from moln.image.ops import images
from moln.kernel.context import RequestContext
from moln.kernel.db import Reader, Transaction
from moln.kernel.errors import Invalid, NotFound
from moln.volume.model.backups import Backup, BackupStatus
from moln.volume.model.groups import Group, GroupStatus
from moln.volume.model.snapshots import DELETABLE as SNAPSHOT_DELETABLE
from moln.volume.model.snapshots import SnapshotStatus
from moln.volume.model.volumes import DELETABLE, MAX_SIZE_GIB, Volume, VolumeStatus
from moln.volume.ops import pools, quotas, types
from moln.volume.ops.access import get_snapshot, get_volume, invalid_input, invalid_volume, require
from moln.volume.store import attachments, backups, groups, snapshots, transfers
from moln.volume.store import volumes as store

GIB = 1 << 30
STATES = "available or error or error_restoring or error_extending or error_managing"


class VolumeSpec(Struct, frozen=True):
    """What a new volume is to be. At most one of the sources; size_gib None: as large as a snapshot or volume it comes from.

    host: the node that must hold it (compute's choice at boot); None: the pool with most room. id: the caller's own choice of one.
    """

    size_gib: int | None
    name: str | None = None
    description: str | None = None
    volume_type: str | None = None
    availability_zone: str | None = None
    metadata: dict[str, str] = {}
    image_id: str | None = None
    snapshot_id: str | None = None
    source_volid: str | None = None
    host: str | None = None
    id: str | None = None
    group_id: str | None = None
    backup_id: str | None = None


class Origin(Struct):
    """What a volume begins as. gib: its size, host: where it must be made, both None where nothing says so."""

    gib: int | None = None
    host: str | None = None
    bootable: bool = False
    image_data_id: str | None = None
    image_metadata: dict[str, str] = {}
    backup: Backup | None = None


async def create(ctx: RequestContext, spec: VolumeSpec) -> Volume:
    """Record that the project wants a volume. Raises: Forbidden, NotFound, Invalid, OverQuota."""
    return await ctx.db.write(create_in, ctx, spec)


async def create_in(tx: Transaction, ctx: RequestContext, spec: VolumeSpec) -> Volume:
    """The same inside a caller's transaction."""
    project_id = ctx.project_id
    if project_id is None:
        raise Invalid("A volume belongs to a project: use a token of a project.")
    rule = "volume:create_from_image" if spec.image_id else "volume:create"
    require(ctx, rule, {"project_id": project_id})
    volume_type = await types.choose(tx, ctx, spec.volume_type)
    await types.check_offered(tx, volume_type)
    zone = ctx.settings.volume.availability_zone
    if spec.availability_zone not in (None, zone):
        raise invalid_input(f"Availability zone '{spec.availability_zone}' is invalid.", "availability_zone")
    origin = await origin_of(tx, ctx, spec)
    group = await group_of(tx, ctx, spec, volume_type.id, origin.host)
    size = spec.size_gib if spec.size_gib is not None or spec.image_id else origin.gib
    if size is None:
        raise invalid_input("Size must be specified as an integer greater than zero.", "size")
    if not 0 < size <= MAX_SIZE_GIB:
        raise invalid_input(f"Volume size '{size}' must be an integer and greater than 0", "size")
    if origin.gib is not None and size < origin.gib:
        kind = "snapshot" if spec.snapshot_id else "original volume" if spec.source_volid else "backup" if spec.backup_id else "image"
        raise invalid_input(f"Volume size '{size}'GB cannot be smaller than the {kind} size {origin.gib}GB.", "size")
    pools.check_thawed(ctx.cloud, origin.host)
    await quotas.check_size(tx, project_id, size)
    await quotas.charge(tx, project_id, volumes=1, gigabytes=size)
    now = ctx.now_us
    volume = Volume(
        id=spec.id or ctx.new_id(),
        project_id=project_id,
        user_id=ctx.user_id or "",
        name=spec.name,
        description=spec.description,
        size_gib=size,
        status=VolumeStatus.CREATING,
        volume_type_id=volume_type.id,
        availability_zone=zone,
        created_at=now,
        updated_at=now,
        host=origin.host or spec.host or (group.host if group else None) or pools.pick(ctx.cloud, size),
        bootable=origin.bootable,
        snapshot_id=spec.snapshot_id,
        source_volid=spec.source_volid,
        group_id=spec.group_id,
        backup_id=spec.backup_id,
        task_id=origin.backup.object_id if origin.backup else None,
        image_data_id=origin.image_data_id,
        image_metadata=origin.image_metadata,
        metadata=spec.metadata,
    )
    await store.add(tx, volume)
    if origin.backup:
        await backups.save(tx, origin.backup, status=BackupStatus.RESTORING, restore_volume_id=volume.id, updated_at=now)
    tx.wake("volumes", volume.id)
    return volume


async def group_of(tx: Transaction, ctx: RequestContext, spec: VolumeSpec, type_id: str, host: str | None) -> Group | None:
    """The group that it is to be in. host: where its source lies. Raises: NotFound, Invalid."""
    if spec.group_id is None:
        return None
    group = await groups.find(tx, spec.group_id)
    if group is None or group.project_id != ctx.project_id:
        raise NotFound(f"Group {spec.group_id[:64]} could not be found.")
    if spec.volume_type is None:
        raise invalid_input("volume_type must be provided when creating a volume in a group.", "volume_type")
    if type_id not in group.volume_types:
        raise invalid_input(f"Invalid volume_type {type_id} provided when creating a volume in a group: it must be one of the group's.", "volume_type")
    if group.status not in (GroupStatus.AVAILABLE, GroupStatus.CREATING):
        raise Invalid(f"Invalid Group: Group {group.id} is {group.status}.")
    if host is not None and host != group.host:
        raise invalid_input("The source lies on another node than the group.", "group_id")
    return group


async def origin_of(tx: Transaction, ctx: RequestContext, spec: VolumeSpec) -> Origin:
    """What it begins as. Raises: NotFound, Invalid."""
    if sum(s is not None for s in (spec.image_id, spec.snapshot_id, spec.source_volid, spec.backup_id)) > 1:
        raise Invalid("imageRef, source_volid, snapshot_id and backup_id cannot be used together.")
    if spec.image_id:
        return await image_origin(tx, ctx, spec.image_id, spec.size_gib)
    if spec.snapshot_id:
        snapshot = await get_snapshot(tx, ctx, spec.snapshot_id)
        if snapshot.status is not SnapshotStatus.AVAILABLE:
            raise Invalid(f"Originating snapshot status must be one of 'available' values: {snapshot.status}")
        source = await store.find(tx, snapshot.volume_id)
        metadata = source.image_metadata if source else {}
        return Origin(snapshot.size_gib, snapshot.host, snapshot.bootable, None, metadata)
    if spec.source_volid:
        volume = await get_volume(tx, ctx, spec.source_volid)
        if volume.status not in (VolumeStatus.AVAILABLE, VolumeStatus.IN_USE) or volume.host is None:
            raise Invalid(f"Originating volume status must be one of 'available', 'in-use' values: {volume.status}")
        return Origin(volume.size_gib, volume.host, volume.bootable, None, volume.image_metadata)
    if spec.backup_id:
        backup = await backups.find(tx, spec.backup_id)
        if backup is None or not (ctx.is_admin or backup.project_id == ctx.project_id):
            raise NotFound(f"Backup {spec.backup_id[:64]} could not be found.")
        check_restorable(backup)
        return Origin(backup.size_gib, backup.host, backup.was_bootable, None, backup.was_image_metadata, backup)
    return Origin()


def check_restorable(backup: Backup) -> None:
    """Raises: Invalid."""
    if backup.status is not BackupStatus.AVAILABLE:
        raise Invalid(f"Invalid backup: Backup status must be available, but it is {backup.status}.")


async def image_origin(tx: Transaction, ctx: RequestContext, image_id: str, size_gib: int | None) -> Origin:
    """An image's raw base. Raises: Invalid, where it cannot be one or does not fit."""
    try:
        image = await images.for_boot(tx, ctx, image_id)
    except NotFound:
        raise Invalid("Invalid image identifier or unable to access requested image.", field="imageRef") from None
    least = max(image.min_disk, -(-(image.virtual_size or image.size or 0) // GIB), 1)
    if size_gib is not None and image.min_disk > size_gib:
        raise invalid_input(f"Volume size {size_gib}GB cannot be smaller than the image minDisk size {image.min_disk}GB.", "size")
    return Origin(least, None, True, image.data_id, described(image))


def described(image: Image) -> dict[str, str]:
    """`volume_image_metadata` of a volume that begins as an image."""
    return image.properties | {
        "image_id": image.id,
        "image_name": image.name or "",
        "checksum": image.checksum or "",
        "container_format": image.container_format or "",
        "disk_format": image.disk_format or "",
        "min_disk": str(image.min_disk),
        "min_ram": str(image.min_ram),
        "size": str(image.size),
    }


async def show(ctx: RequestContext, volume_id: str) -> Volume:
    """Raises: NotFound, Forbidden."""
    return await get_volume(ctx.db, ctx, volume_id)


async def get(db: Reader, ctx: RequestContext, volume_id: str) -> Volume:
    """The same over a caller's transaction."""
    return await get_volume(db, ctx, volume_id)


async def index(
    ctx: RequestContext, where: list[tuple[str, str, Any]], *, sort: Sequence[tuple[str, str]], marker: str | None, limit: int | None
) -> list[Volume]:
    """One page of what the caller may see. where: conditions on columns, as Listing takes them. Raises: Forbidden, Invalid."""
    require(ctx, "volume:get_all", {"project_id": ctx.project_id})
    return await store.LISTING.page(ctx.db, where, sort=sort, marker=marker, limit=limit)


async def update(ctx: RequestContext, volume_id: str, **changes: Any) -> Volume:
    """changes: name, description, metadata. Raises: NotFound, Forbidden."""
    return await ctx.db.write(update_in, ctx, volume_id, changes)


async def update_in(tx: Transaction, ctx: RequestContext, volume_id: str, changes: dict[str, Any]) -> Volume:
    volume = await get_volume(tx, ctx, volume_id, "volume:update")
    return await store.save(tx, volume, **changes, updated_at=ctx.now_us)


async def set_metadata(ctx: RequestContext, volume_id: str, metadata: dict[str, str], *, replace: bool, rule: str) -> dict[str, str]:
    """All of the metadata afterwards. Raises: NotFound, Forbidden, Invalid."""
    return await ctx.db.write(set_metadata_in, ctx, volume_id, metadata, replace, rule)


async def set_metadata_in(
    tx: Transaction, ctx: RequestContext, volume_id: str, metadata: dict[str, str], replace: bool, rule: str
) -> dict[str, str]:
    volume = await get_volume(tx, ctx, volume_id, rule)
    if volume.status is VolumeStatus.MAINTENANCE:
        raise invalid_volume("Updating volume metadata is not allowed for volumes in maintenance status.")
    after = metadata if replace else volume.metadata | metadata
    if len(after) > 128:
        raise Invalid("A volume has at most 128 pieces of metadata.", field="metadata")
    return (await store.save(tx, volume, metadata=after, updated_at=ctx.now_us)).metadata


async def delete_metadata(ctx: RequestContext, volume_id: str, key: str) -> None:
    """Raises: NotFound, Forbidden."""
    await ctx.db.write(delete_metadata_in, ctx, volume_id, key)


async def delete_metadata_in(tx: Transaction, ctx: RequestContext, volume_id: str, key: str) -> None:
    volume = await get_volume(tx, ctx, volume_id, "volume:delete_volume_metadata")
    if key not in volume.metadata:
        raise NotFound("Metadata item was not found")
    rest = {k: v for k, v in volume.metadata.items() if k != key}
    await store.save(tx, volume, metadata=rest, updated_at=ctx.now_us)


async def delete(ctx: RequestContext, volume_id: str, *, cascade: bool = False, force: bool = False) -> None:
    """Record that the volume is to go. Raises: NotFound, Forbidden; Invalid, for what its state forbids."""
    await ctx.db.write(delete_in, ctx, volume_id, cascade=cascade, force=force)


async def delete_in(
    tx: Transaction, ctx: RequestContext, volume_id: str, *, cascade: bool = False, force: bool = False, with_group: bool = False
) -> None:
    """The same inside a caller's transaction. cascade: its snapshots too. force: whatever its status, but not while attached.

    with_group: its group goes as well.
    """
    volume = await get_volume(tx, ctx, volume_id, "volume:delete")
    if force:
        require(ctx, "volume:force_delete", volume)
    if volume.status is VolumeStatus.DELETING:
        return
    pools.check_thawed(ctx.cloud, volume.host)
    attached = await attachments.of_volume(tx, volume_id)
    if attached or (volume.status not in DELETABLE and not force) or (volume.group_id and not with_group):
        raise invalid_volume(
            f"Volume status must be {STATES} and must not be migrating, attached, belong to a group, have snapshots, "
            "awaiting a transfer, or be disassociated from snapshots after volume transfer."
        )
    for snapshot in await snapshots.of_volume(tx, volume_id):
        if snapshot.status is SnapshotStatus.DELETING:
            continue
        if not cascade:
            raise invalid_volume(f"Volume {volume_id} still has dependent snapshots. Delete them first, or cascade.")
        if snapshot.status not in SNAPSHOT_DELETABLE:
            raise invalid_volume(f"Snapshot {snapshot.id} is {snapshot.status}: wait for it.")
        await snapshots.save(tx, snapshot, status=SnapshotStatus.DELETING, updated_at=ctx.now_us)
        tx.wake("volume-snapshots", snapshot.id)
    await transfers.withdraw(tx, volume_id)
    await give_up_in(tx, volume, ctx.now_us)
    await store.save(tx, volume, forced=force, status=VolumeStatus.DELETING, next_size_gib=None, updated_at=ctx.now_us)
    tx.wake("volumes", volume.id)


async def give_up_in(tx: Transaction, volume: Volume, now_us: int) -> None:
    """What is under way will not come: growth gives its quota back, an image waits for no bytes any more."""
    if volume.status is VolumeStatus.EXTENDING and volume.next_size_gib:
        await quotas.refund(tx, volume.project_id, gigabytes=volume.next_size_gib - volume.size_gib)
    elif volume.status is VolumeStatus.UPLOADING and volume.task_id:
        await image_data.fail_in(tx, volume.task_id, now_us)
