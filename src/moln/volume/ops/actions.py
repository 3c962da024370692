"""The verbs of POST /volumes/{id}/action."""

from __future__ import annotations

from typing import Any

from moln.image.model.images import Image
from moln.image.ops import images
from moln.kernel.context import RequestContext
from moln.kernel.db import Transaction
from moln.kernel.errors import Conflict, Invalid, NotFound
from moln.volume.model.attachments import AttachStatus
from moln.volume.model.volumes import MAX_SIZE_GIB, Volume, VolumeStatus
from moln.volume.ops import pools, quotas, types
from moln.volume.ops.access import get_volume, invalid_input, invalid_volume, require
from moln.volume.ops.volumes import give_up_in
from moln.volume.store import attachments, snapshots
from moln.volume.store import volumes as store

RESETTABLE = {s.value for s in VolumeStatus}
GIB = 1 << 30


async def extend(ctx: RequestContext, volume_id: str, size_gib: int, *, attached: bool) -> None:
    """Record that the volume is to grow. attached: whether one in use may. Raises: NotFound, Forbidden, Invalid, OverQuota."""
    await ctx.db.write(extend_in, ctx, volume_id, size_gib, attached)


async def extend_in(tx: Transaction, ctx: RequestContext, volume_id: str, size_gib: int, attached: bool) -> None:
    volume = await get_volume(tx, ctx, volume_id, "volume:extend")
    if volume.status is VolumeStatus.IN_USE and attached:
        require(ctx, "volume:extend_attached_volume", volume)
    elif volume.status is not VolumeStatus.AVAILABLE:
        raise invalid_volume(f"Volume {volume_id} status must be '{{'available'}}' to extend, currently {volume.status}.")
    pools.check_thawed(ctx.cloud, volume.host)
    if not volume.size_gib < size_gib <= MAX_SIZE_GIB:
        raise invalid_input(
            f"New size for extend must be greater than current size. (current: {volume.size_gib}, extended: {size_gib}).",
            "new_size",
        )
    await quotas.check_size(tx, volume.project_id, size_gib)
    await quotas.charge(tx, volume.project_id, gigabytes=size_gib - volume.size_gib)
    await store.save(
        tx, volume, status=VolumeStatus.EXTENDING, previous_status=volume.status, next_size_gib=size_gib, updated_at=ctx.now_us
    )
    tx.wake("volumes", volume_id)


async def revert(ctx: RequestContext, volume_id: str, snapshot_id: str | None) -> None:
    """Back to the latest snapshot. Raises: NotFound, Forbidden, Invalid, Conflict."""
    await ctx.db.write(revert_in, ctx, volume_id, snapshot_id)


async def revert_in(tx: Transaction, ctx: RequestContext, volume_id: str, snapshot_id: str | None) -> None:
    volume = await get_volume(tx, ctx, volume_id, "volume:revert_to_snapshot")
    taken = await snapshots.of_volume(tx, volume_id)
    if not taken:
        raise Invalid(f"Volume {volume_id} doesn't have any snapshots.")
    if snapshot_id != taken[-1].id:
        raise Invalid(f"Specified snapshot {snapshot_id} is None or not the latest one of volume {volume_id}.")
    if volume.size_gib != taken[-1].size_gib:
        raise Invalid(f"Can't revert volume {volume_id}: its size must be equal to the snapshot size.")
    if volume.status is not VolumeStatus.AVAILABLE or taken[-1].status != "available":
        raise Conflict(f"Invalid volume: Can't revert volume {volume_id} to its latest snapshot: both must be available.")
    await store.save(tx, volume, status=VolumeStatus.REVERTING, task_id=snapshot_id, updated_at=ctx.now_us)
    tx.wake("volumes", volume_id)


async def set_flag(ctx: RequestContext, volume_id: str, *, rule: str, **flag: bool) -> None:
    """flag: bootable or readonly. Raises: NotFound, Forbidden."""
    await ctx.db.write(set_flag_in, ctx, volume_id, rule, flag)


async def set_flag_in(tx: Transaction, ctx: RequestContext, volume_id: str, rule: str, flag: dict[str, bool]) -> None:
    volume = await get_volume(tx, ctx, volume_id, rule)
    if "readonly" in flag and volume.status is not VolumeStatus.AVAILABLE:
        raise invalid_volume("Updating the read-only flag needs an available volume.")
    await store.save(tx, volume, **flag, updated_at=ctx.now_us)


async def retype(ctx: RequestContext, volume_id: str, new_type: str) -> None:
    """Every type lies in the same pools, so that nothing moves. Raises: NotFound, Forbidden, Invalid."""
    await ctx.db.write(retype_in, ctx, volume_id, new_type)


async def retype_in(tx: Transaction, ctx: RequestContext, volume_id: str, new_type: str) -> None:
    volume = await get_volume(tx, ctx, volume_id, "volume:retype")
    if volume.status not in (VolumeStatus.AVAILABLE, VolumeStatus.IN_USE):
        raise invalid_volume(f"Volume {volume_id} status must be available or in-use to retype, currently {volume.status}.")
    wanted = await types.choose(tx, ctx, new_type)
    if wanted.id == volume.volume_type_id:
        raise invalid_input(f"New volume_type same as original: {wanted.id}.", "new_type")
    await types.check_offered(tx, wanted)
    await store.save(tx, volume, volume_type_id=wanted.id, updated_at=ctx.now_us)


async def reset_status(ctx: RequestContext, volume_id: str, status: str) -> None:
    """What an administrator says it is. Raises: NotFound, Forbidden, Invalid."""
    await ctx.db.write(reset_status_in, ctx, volume_id, status)


async def reset_status_in(tx: Transaction, ctx: RequestContext, volume_id: str, status: str) -> None:
    volume = await get_volume(tx, ctx, volume_id, "volume_extension:volume_admin_actions:reset_status")
    if status not in RESETTABLE:
        raise invalid_input(f"Must specify a valid status; {status[:40]!r} is none.", "status")
    await give_up_in(tx, volume, ctx.now_us)
    await store.save(tx, volume, forced=True, status=VolumeStatus(status), next_size_gib=None, task_id=None, updated_at=ctx.now_us)


async def set_image_metadata(ctx: RequestContext, volume_id: str, metadata: dict[str, str]) -> dict[str, str]:
    """All of it afterwards. Raises: NotFound, Forbidden."""
    rule = "volume_extension:volume_image_metadata:set"
    return await ctx.db.write(change_image_metadata_in, ctx, volume_id, rule, metadata, None)


async def unset_image_metadata(ctx: RequestContext, volume_id: str, key: str) -> None:
    """Raises: NotFound, Forbidden."""
    rule = "volume_extension:volume_image_metadata:remove"
    await ctx.db.write(change_image_metadata_in, ctx, volume_id, rule, {}, key)


async def change_image_metadata_in(
    tx: Transaction, ctx: RequestContext, volume_id: str, rule: str, metadata: dict[str, str], without: str | None
) -> dict[str, str]:
    volume = await get_volume(tx, ctx, volume_id, rule)
    if without is not None and without not in volume.image_metadata:
        raise NotFound("Metadata does not exist.")
    after = {k: v for k, v in (volume.image_metadata | metadata).items() if k != without}
    if len(after) > 128:
        raise Invalid("A volume has at most 128 pieces of image metadata.", field="metadata")
    return (await store.save(tx, volume, image_metadata=after)).image_metadata


async def upload_image(
    ctx: RequestContext, volume_id: str, *, name: str, visibility: str, protected: bool, force: bool
) -> tuple[Volume, Image]:
    """Record that the volume is to become a raw image. force: also while in use. Raises: NotFound, Forbidden, Invalid."""
    return await ctx.db.write(upload_image_in, ctx, volume_id, name, visibility, protected, force)


async def upload_image_in(
    tx: Transaction, ctx: RequestContext, volume_id: str, name: str, visibility: str, protected: bool, force: bool
) -> tuple[Volume, Image]:
    volume = await get_volume(tx, ctx, volume_id, "volume_extension:volume_actions:upload_image")
    if visibility == "public":
        require(ctx, "volume_extension:volume_actions:upload_public", volume)
    allowed = {VolumeStatus.AVAILABLE} | ({VolumeStatus.IN_USE} if force else set())
    if volume.status not in allowed or volume.host is None:
        raise invalid_volume(f"Volume {volume_id} status must be available, but current status is: {volume.status}.")
    hidden = {"image_id", "image_name", "checksum", "container_format", "disk_format", "min_disk", "min_ram", "size"}
    spec = images.ImageSpec(
        name=name,
        owner=ctx.project_id,
        visibility=visibility,
        container_format="bare",
        disk_format="raw",
        min_disk=volume.size_gib,
        protected=protected,
        properties={k: v for k, v in volume.image_metadata.items() if k not in hidden},
    )
    image = await images.create_in(tx, ctx, spec, from_node=True)
    after = await store.save(
        tx, volume, status=VolumeStatus.UPLOADING, previous_status=volume.status, task_id=image.id, updated_at=ctx.now_us
    )
    tx.wake("volumes", volume_id)
    return after, image


def status_between(present: list[Any]) -> VolumeStatus:
    """What a volume's attachments make of it once nothing is under way."""
    found = {a.status for a in present}
    if AttachStatus.ATTACHED in found:
        return VolumeStatus.IN_USE
    if AttachStatus.DETACHING in found:
        return VolumeStatus.DETACHING
    if AttachStatus.ATTACHING in found:
        return VolumeStatus.ATTACHING
    return VolumeStatus.RESERVED if found else VolumeStatus.AVAILABLE


async def resting_status(tx: Transaction, volume_id: str) -> VolumeStatus:
    """The same for a volume."""
    return status_between(await attachments.of_volume(tx, volume_id))
