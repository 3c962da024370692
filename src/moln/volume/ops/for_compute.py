"""What compute asks of volumes, in its own transactions: one page to read for both sides."""

from __future__ import annotations

import sqlalchemy as sa

from moln.image.model.images import Image
from moln.kernel.cloud import Cloud
from moln.kernel.context import RequestContext
from moln.kernel.db import Query, Reader, Transaction
from moln.kernel.errors import BackendRefused, Invalid
from moln.volume.drivers.base import Connection, VolumeDriver
from moln.volume.model.attachments import Attachment, AttachStatus
from moln.volume.model.snapshots import Snapshot
from moln.volume.model.types import VolumeType
from moln.volume.model.volumes import Volume, VolumeStatus
from moln.volume.ops import attachments, volumes
from moln.volume.ops.access import get_volume
from moln.volume.ops.exports import Holder, Loan, disconnect, end_loan, loans, take_back, take_back_all
from moln.volume.ops.pools import bound_to, near, out_of_reach, reaches
from moln.volume.store import attachments as attachment_store
from moln.volume.store import snapshots as snapshot_store
from moln.volume.store import tables
from moln.volume.store import types as type_store
from moln.volume.store import volumes as store

COPY_S = 900.0  # seconds a pool without reflinks may take to copy
HELD_BY_SERVERS = Query(sa.select(*attachment_store.COLUMNS).where(tables.attachments.c.by_compute == 1), Attachment)


async def find_volume(db: Reader, volume_id: str) -> Volume | None:
    return await store.find(db, volume_id)


async def find_snapshot(db: Reader, snapshot_id: str) -> Snapshot | None:
    return await snapshot_store.find(db, snapshot_id)


async def find_type(db: Reader, name_or_id: str) -> VolumeType | None:
    return await type_store.find(db, name_or_id) or await type_store.find_named(db, name_or_id)


async def type_names(db: Reader, type_ids: set[str]) -> dict[str, str]:
    """Whoever asks: a volume tells the name of its type to all who see it."""
    return await type_store.names(db, type_ids)


async def attachments_of_volumes(db: Reader, volume_ids: list[str]) -> dict[str, list[Attachment]]:
    return await attachment_store.of_volumes(db, volume_ids)


async def attachments_of_server(db: Reader, server_id: str) -> list[Attachment]:
    """Oldest first."""
    return await attachment_store.of_server(db, server_id)


async def server_attachments(db: Reader) -> list[Attachment]:
    """Every attachment that a server of this cloud holds, for the invariants."""
    return await db.all(HELD_BY_SERVERS)


async def create_volume_in(
    tx: Transaction,
    ctx: RequestContext,
    *,
    project_id: str,
    size_gib: int,
    image_id: str | None = None,
    snapshot_id: str | None = None,
    volume_type: str | None = None,
    name: str = "",
    host: str | None = None,
) -> Volume:
    """A volume that a server boots with, of the caller's project. Raises: Forbidden, Invalid, NotFound, OverQuota."""
    if project_id != ctx.project_id:
        raise Invalid("A server's new volumes belong to the project of its maker.")
    spec = volumes.VolumeSpec(size_gib=size_gib, name=name, volume_type=volume_type, image_id=image_id, snapshot_id=snapshot_id, host=host)
    return await volumes.create_in(tx, ctx, spec)


async def begin_attach_in(
    tx: Transaction, ctx: RequestContext, *, volume_id: str, server_id: str, device: str | None, host: str | None
) -> Attachment:
    """The volume is promised to the server; one made in this transaction (blank, or from an image) is moved to the server's host.

    Raises: NotFound, Forbidden; Invalid, when the volume is not free.
    """
    volume = await store.find(tx, volume_id)
    anywhere = volume is not None and volume.snapshot_id is None and volume.source_volid is None
    if volume and anywhere and volume.status is VolumeStatus.CREATING and volume.generation == 1 and host is not None:
        await store.save(tx, volume, host=host)
    return await attachments.reserve_in(tx, ctx, volume_id, server_id, device=device)


async def end_attach_in(tx: Transaction, ctx: RequestContext, attachment_id: str) -> None:
    """The guest has it: `in-use`. Safe to repeat. Raises: NotFound."""
    found = await attachment_store.find(tx, attachment_id)
    if found is None or found.status is not AttachStatus.ATTACHED:
        volume = await store.find(tx, found.volume_id) if found else None
        host, device = volume.host if volume else None, found.device if found else None
        await attachments.attached_in(tx, attachment_id, now_us=ctx.now_us, host=host, device=device)


async def begin_detach_in(tx: Transaction, ctx: RequestContext, attachment_id: str) -> None:
    """The guest is asked to let go: `detaching`. Raises: NotFound, Conflict."""
    await attachments.detaching_in(tx, attachment_id, now_us=ctx.now_us)


async def abort_detach_in(tx: Transaction, ctx: RequestContext, attachment_id: str) -> None:
    """The guest did not let go: `in-use` again."""
    await attachments.roll_detaching_in(tx, attachment_id, now_us=ctx.now_us)


async def end_detach_in(tx: Transaction, ctx: RequestContext, attachment_id: str) -> None:
    """The volume is free again. Nothing, when it was before."""
    await attachments.detach_in(tx, attachment_id, now_us=ctx.now_us)


async def delete_volume_in(tx: Transaction, ctx: RequestContext, volume_id: str) -> None:
    """It goes with its server, whoever asked; snapshots of it keep it. Nothing, when it is gone or cannot go now."""
    volume = await store.find(tx, volume_id)
    if volume is None:
        return
    if volume.status is VolumeStatus.CREATING and not await attachment_store.of_volume(tx, volume_id):
        await store.save(tx, volume, status=VolumeStatus.DELETING, updated_at=ctx.now_us)
        tx.wake("volumes", volume_id)
        return
    try:
        await volumes.delete_in(tx, ctx.cloud.system_context(ctx.request_id), volume_id)
    except Invalid:
        return


async def reimage_in(tx: Transaction, ctx: RequestContext, volume_id: str, image: Image) -> None:
    """What the volume is to begin as anew, when its server has let go of it. Raises: NotFound; Invalid, when it cannot now."""
    volume = await get_volume(tx, ctx, volume_id)
    if volume.status is not VolumeStatus.IN_USE:
        raise Invalid(f"Invalid volume: volume '{volume_id}' status must be 'in-use'. Currently in '{volume.status}' status")
    least = max(image.min_disk, -(-(image.virtual_size or image.size or 0) // volumes.GIB))
    if volume.size_gib < least:
        raise Invalid(
            f"Volume is smaller than the minimum size specified in image metadata. Volume size is {volume.size_gib * volumes.GIB} bytes, "
            f"minimum size is {least * volumes.GIB} bytes."
        )
    metadata = volumes.described(image)
    await store.save(tx, volume, image_data_id=image.data_id, image_metadata=metadata, bootable=True, updated_at=ctx.now_us)


async def reimage(cloud: Cloud, volume_id: str) -> None:
    """Make that true; nobody may use the volume meanwhile. Raises: BackendRefused, BackendUnreachable."""
    volume = await store.find(cloud.db, volume_id)
    if volume is None or volume.host is None or volume.image_data_id is None:
        raise BackendRefused(f"Volume {volume_id} is gone.")
    driver = cloud.links.driver(
        volume.host, "volume", VolumeDriver, resource=f"volume:{volume.id}", generation=volume.generation, deadline_s=COPY_S
    )
    await driver.reimage_volume(volume.id, volume.image_data_id)


async def connection(cloud: Cloud, volume_id: str, host: str) -> Connection | None:
    """How the host opens the volume, asked anew each time; None while it is not made. Raises: BackendRefused, BackendUnreachable."""
    volume = await store.find(cloud.db, volume_id)
    if volume is None or volume.host is None or volume.status in (VolumeStatus.CREATING, VolumeStatus.REVERTING):
        return None
    return await attachments.connect(cloud.system_context(), volume, host)


__all__ = [
    "Holder", "Loan", "abort_detach_in", "attachments_of_server", "attachments_of_volumes", "begin_attach_in", "begin_detach_in", "bound_to",
    "connection", "create_volume_in", "delete_volume_in", "disconnect", "end_attach_in", "end_detach_in", "end_loan", "find_snapshot", "find_type",
    "find_volume", "loans", "near", "out_of_reach", "reaches", "reimage", "reimage_in", "server_attachments", "take_back", "take_back_all", "type_names",
]  # fmt: skip
