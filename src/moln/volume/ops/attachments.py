"""Which server has which volume. Compute calls the `…_in` functions inside its own transactions.

reserve_in → attached_in → detaching_in → detach_in        (detaching_in → roll_detaching_in, when the guest would not let go)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from moln.kernel.context import RequestContext
from moln.kernel.db import Reader, Transaction
from moln.kernel.errors import BackendRefused, Conflict, NotFound
from moln.volume.drivers.base import Connection, VolumeDriver
from moln.volume.model.attachments import Attachment, AttachStatus
from moln.volume.model.volumes import CONNECTED, Volume, VolumeStatus
from moln.volume.ops import exports, pools, qos_specs
from moln.volume.ops.access import SERVICE, get_volume, invalid_volume, require
from moln.volume.ops.actions import resting_status, status_between
from moln.volume.ops.exports import Holder
from moln.volume.store import attachments as store
from moln.volume.store import volumes

IN_USE_BY_VM = (
    "Detected user call to delete in-use attachment. Call must come from the nova service and nova must be configured to "
    "send the service token. Bug #2004555"
)


def missing(attachment_id: str) -> NotFound:
    return NotFound(f"Volume attachment could not be found with filter: attachment_id = {attachment_id[:64]}.")


async def reserve_in(
    tx: Transaction,
    ctx: RequestContext,
    volume_id: str,
    server_id: str | None,
    *,
    mode: str = "rw",
    device: str | None = None,
    by_compute: bool = True,
) -> Attachment:
    """Promise the volume to a server. One that is still `creating` may be promised (boot in one transaction).

    Raises: NotFound, Forbidden; Invalid, when it is not free.
    """
    volume = await get_volume(tx, ctx, volume_id, "volume:attachment_create")
    made_now = volume.status is VolumeStatus.CREATING and by_compute and not await store.of_volume(tx, volume_id)
    if not made_now and volume.status is not VolumeStatus.AVAILABLE:
        raise invalid_volume(
            f"Volume {volume_id} status must be available or in-use or downloading to reserve, but the current status is {volume.status}."
        )
    attachment = Attachment(
        id=ctx.new_id(),
        volume_id=volume_id,
        project_id=volume.project_id,
        server_id=server_id,
        status=AttachStatus.RESERVED,
        mode="ro" if volume.readonly else mode,
        by_compute=by_compute,
        created_at=ctx.now_us,
        device=device,
    )
    await store.add(tx, attachment)
    status = volume.status if made_now else VolumeStatus.RESERVED
    await volumes.save(tx, volume, status=status, updated_at=ctx.now_us)
    return attachment


async def attached_in(tx: Transaction, attachment_id: str, *, now_us: int, host: str | None, device: str | None) -> None:
    """The guest has it: `in-use`. Safe to repeat. Raises: NotFound."""
    attachment = await store.find(tx, attachment_id)
    if attachment is None:
        raise missing(attachment_id)
    at = attachment.attached_at or now_us
    await store.change(tx, attachment, status=AttachStatus.ATTACHED, attached_at=at, host=host, device=device)
    await rest(tx, attachment.volume_id, now_us)


async def attach_in(tx: Transaction, attachment_id: str, *, now_us: int, host: str | None, device: str | None) -> None:
    """Another name of attached_in."""
    await attached_in(tx, attachment_id, now_us=now_us, host=host, device=device)


async def detaching_in(tx: Transaction, attachment_id: str, *, now_us: int) -> None:
    """The guest is asked to let go: `detaching`. Raises: NotFound; Conflict, unless it is attached."""
    attachment = await store.find(tx, attachment_id)
    if attachment is None:
        raise missing(attachment_id)
    if attachment.status is AttachStatus.DETACHING:
        return
    if attachment.status is not AttachStatus.ATTACHED:
        raise Conflict(f"Volume {attachment.volume_id} is {attachment.status} and cannot be detached.")
    await store.change(tx, attachment, status=AttachStatus.DETACHING)
    volume = await volumes.find(tx, attachment.volume_id)
    if volume is not None and volume.status is VolumeStatus.IN_USE:
        await volumes.save(tx, volume, status=VolumeStatus.DETACHING, updated_at=now_us)


async def doubt_in(tx: Transaction, attachment_id: str, *, now_us: int) -> None:
    """Whether the guest got it is not known: `detaching`, and nobody else's, until its host has let go. Nothing, when it ended before."""
    attachment = await store.find(tx, attachment_id)
    if attachment is not None:
        await store.change(tx, attachment, status=AttachStatus.DETACHING)
        await rest(tx, attachment.volume_id, now_us)


async def roll_detaching_in(tx: Transaction, attachment_id: str, *, now_us: int) -> None:
    """The guest did not let go: `in-use` again. Nothing, when it is not detaching."""
    attachment = await store.find(tx, attachment_id)
    if attachment is not None and attachment.status is AttachStatus.DETACHING:
        await store.change(tx, attachment, status=AttachStatus.ATTACHED)
        await rest(tx, attachment.volume_id, now_us)


async def detach_in(tx: Transaction, attachment_id: str, *, now_us: int) -> None:
    """Nobody has it any more: the promise ends, the volume is free again. Nothing, when it ended before."""
    attachment = await store.find(tx, attachment_id)
    if attachment is not None:
        await store.remove(tx, attachment)
        await rest(tx, attachment.volume_id, now_us)


async def disconnect_in(tx: Transaction, attachment_id: str, *, now_us: int) -> None:
    """Its server keeps it but runs nowhere: `reserved`, until the guest has it again. Nothing, when it is not attached."""
    attachment = await store.find(tx, attachment_id)
    if attachment is not None and attachment.status is AttachStatus.ATTACHED:
        await store.change(tx, attachment, status=AttachStatus.RESERVED, attached_at=None, host=None)
        await rest(tx, attachment.volume_id, now_us)


async def rest(tx: Transaction, volume_id: str, now_us: int) -> None:
    """Give the volume the status that its attachments call for; one that is at work or broken keeps its own."""
    volume = await volumes.find(tx, volume_id)
    if volume is None:
        return
    status = await resting_status(tx, volume_id)
    if volume.status in CONNECTED or volume.status is VolumeStatus.AVAILABLE:
        if volume.status is not status:
            await volumes.save(tx, volume, forced=True, status=status, updated_at=now_us)
    elif volume.previous_status is not None:
        await volumes.save(tx, volume, previous_status=status)


async def of_server(db: Reader, server_id: str) -> list[Attachment]:
    """A server's, oldest first, whoever asks (compute's own question)."""
    return await store.of_server(db, server_id)


async def of_volume(db: Reader, volume_id: str) -> list[Attachment]:
    """A volume's, oldest first (compute's own question)."""
    return await store.of_volume(db, volume_id)


async def connect(ctx: RequestContext, volume: Volume, node: str, holder: Holder | None = None) -> Connection:
    """How `node` opens the volume: ask just before each use, so that a re-used path is never another's (OSSA-2023-003).

    holder: for whom it is lent, where it lies on another node. Raises: BackendRefused, when that cannot be or it is gone; BackendUnreachable.
    """
    if volume.host is None:
        raise BackendRefused(f"Volume {volume.id} is on no node yet.")
    shared = pools.shares(ctx.cloud, node, volume.host)
    if holder is not None and not shared and pools.reaches(ctx.cloud, node, volume.host):
        return await exports.lend(ctx.cloud, volume, node, holder)
    lost = volume.host not in ctx.cloud.links.nodes
    asked = node if lost and shared else volume.host
    found = await ctx.cloud.links.driver(asked, "volume", VolumeDriver).find_connection(volume.id)
    if found is None:
        raise BackendRefused(f"The pool of node {asked} has no volume {volume.id}.")
    if not shared:
        raise BackendRefused(f"Volume {volume.id} lies on node {volume.host} and cannot be reached from node {node}.")
    return found


async def get(db: Reader, ctx: RequestContext, attachment_id: str, rule: str) -> Attachment:
    """Raises: NotFound, Forbidden."""
    found = await store.find(db, attachment_id)
    if found is None or not (ctx.is_admin or ctx.project_id == found.project_id):
        raise missing(attachment_id)
    require(ctx, rule, found)
    return found


async def show(ctx: RequestContext, attachment_id: str) -> Attachment:
    """Raises: NotFound."""
    return await get(ctx.db, ctx, attachment_id, "volume:get")


async def index(
    ctx: RequestContext, where: list[tuple[str, str, Any]], *, sort: Sequence[tuple[str, str]], marker: str | None, limit: int
) -> list[Attachment]:
    require(ctx, "volume:get_all", {"project_id": ctx.project_id})
    return await store.LISTING.page(ctx.db, where, sort=sort, marker=marker, limit=limit)


async def create(ctx: RequestContext, volume_id: str, server_id: str | None, connector: dict[str, Any] | None, mode: str) -> Attachment:
    """POST /attachments: a promise to something outside this cloud's compute. Raises: NotFound, Forbidden, Invalid."""
    made = await ctx.db.write(reserve_in, ctx, volume_id, server_id, mode=mode, by_compute=False)
    return await update(ctx, made.id, connector) if connector else made


async def update(ctx: RequestContext, attachment_id: str, connector: dict[str, Any]) -> Attachment:
    """Tell how to connect. Only services and administrators are told a node's paths. Raises: NotFound, Forbidden, Conflict."""
    attachment = await get(ctx.db, ctx, attachment_id, "volume:attachment_update")
    volume = await get_volume(ctx.db, ctx, attachment.volume_id)
    if "error" in volume.status:
        raise Conflict(f"Volume attachments can not be updated if the volume is in an error state: it is {volume.status}.")
    if not (ctx.is_admin or "service" in ctx.roles):
        raise invalid_volume("The volumes of this cloud can only be connected to its own servers.")
    if attachment.by_compute:
        raise Conflict(IN_USE_BY_VM)
    connection = await connect(ctx, volume, str(connector.get("host", "")))
    data: dict[str, object] = {"device_path": connection.path, "access_mode": attachment.mode, "encrypted": False, "discard": True}
    data["qos_specs"] = await qos_specs.limits(ctx.db, volume.volume_type_id)
    info: dict[str, object] = {"driver_volume_type": "local", **data, "attachment_id": attachment.id, "volume_id": volume.id}
    return await ctx.db.write(update_in, ctx, attachment_id, connector, info)


async def update_in(
    tx: Transaction, ctx: RequestContext, attachment_id: str, connector: dict[str, Any], info: dict[str, object]
) -> Attachment:
    attachment = await get(tx, ctx, attachment_id, "volume:attachment_update")
    mode = connector.get("mode") if connector.get("mode") in ("rw", "ro") else attachment.mode
    device = str(connector["mountpoint"])[:255] if connector.get("mountpoint") else attachment.device
    await store.change(
        tx, attachment, status=AttachStatus.ATTACHING, connector=connector, connection=info, mode=mode, device=device,
        host=str(connector.get("host", ""))[:255],
    )  # fmt: skip
    await rest(tx, attachment.volume_id, ctx.now_us)
    return await get(tx, ctx, attachment_id, "volume:attachment_update")


async def complete(ctx: RequestContext, attachment_id: str) -> None:
    """POST …/action os-complete: it is in use. Raises: NotFound, Forbidden, Conflict."""
    await ctx.db.write(complete_in, ctx, attachment_id)


async def complete_in(tx: Transaction, ctx: RequestContext, attachment_id: str) -> None:
    attachment = await get(tx, ctx, attachment_id, "volume:attachment_complete")
    if attachment.by_compute:
        raise Conflict(IN_USE_BY_VM)
    await attached_in(tx, attachment_id, now_us=ctx.now_us, host=attachment.host, device=attachment.device)


async def delete(ctx: RequestContext, attachment_id: str) -> list[Attachment]:
    """DELETE /attachments/{id}: what is left of the volume's. Raises: NotFound, Forbidden; Conflict, while a server has it."""
    return await ctx.db.write(delete_in, ctx, attachment_id)


async def delete_in(tx: Transaction, ctx: RequestContext, attachment_id: str) -> list[Attachment]:
    attachment = await get(tx, ctx, attachment_id, "volume:attachment_delete")
    if attachment.by_compute:
        raise Conflict(IN_USE_BY_VM)
    await detach_in(tx, attachment_id, now_us=ctx.now_us)
    return await store.of_volume(tx, attachment.volume_id)


__all__ = [
    "SERVICE", "attach_in", "status_between", "attached_in", "connect", "detach_in", "detaching_in", "of_server", "reserve_in", "roll_detaching_in",
]  # fmt: skip
