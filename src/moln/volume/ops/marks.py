"""How others than this cloud's compute mark a volume as theirs: the verbs from before attachments had an API of their own.

reserve → attach → begin_detaching → detach. A server of this cloud lets go of a volume only through compute (OSSA-2023-003).
"""

from __future__ import annotations

from moln.kernel.context import RequestContext
from moln.kernel.db import Transaction
from moln.kernel.errors import Conflict, Invalid, NotFound
from moln.volume.model.attachments import Attachment, AttachStatus
from moln.volume.model.volumes import Volume, VolumeStatus
from moln.volume.ops.access import get_volume, invalid_volume
from moln.volume.ops.attachments import IN_USE_BY_VM, attached_in, detach_in, rest
from moln.volume.store import attachments as store
from moln.volume.store import volumes

RULE = "volume_extension:volume_actions"


async def reserve(ctx: RequestContext, volume_id: str) -> None:
    """`attaching`, before anybody is known who will have it. Raises: NotFound, Forbidden, Invalid."""
    await ctx.db.write(reserve_in, ctx, volume_id)


async def reserve_in(tx: Transaction, ctx: RequestContext, volume_id: str) -> None:
    volume = await get_volume(tx, ctx, volume_id, f"{RULE}:reserve")
    await _promise(tx, ctx, volume, None, "rw")


async def _promise(tx: Transaction, ctx: RequestContext, volume: Volume, server_id: str | None, mode: str) -> Attachment:
    if volume.status is not VolumeStatus.AVAILABLE:
        raise invalid_volume(f"Volume {volume.id} status must be available to reserve, but the current status is {volume.status}.")
    made = Attachment(
        id=ctx.new_id(), volume_id=volume.id, project_id=volume.project_id, server_id=server_id, status=AttachStatus.ATTACHING,
        mode=mode, by_compute=False, created_at=ctx.now_us,
    )  # fmt: skip
    await store.add(tx, made)
    await rest(tx, volume.id, ctx.now_us)
    return made


async def unreserve(ctx: RequestContext, volume_id: str) -> None:
    """Nothing, unless it is reserved. Raises: NotFound, Forbidden."""
    await ctx.db.write(unreserve_in, ctx, volume_id)


async def unreserve_in(tx: Transaction, ctx: RequestContext, volume_id: str) -> None:
    await get_volume(tx, ctx, volume_id, f"{RULE}:unreserve")
    for held in await _marks(tx, volume_id):
        if held.status is AttachStatus.ATTACHING and held.server_id is None:
            await detach_in(tx, held.id, now_us=ctx.now_us)


async def _marks(tx: Transaction, volume_id: str) -> list[Attachment]:
    return [a for a in await store.of_volume(tx, volume_id) if not a.by_compute]


async def attach(ctx: RequestContext, volume_id: str, *, server_id: str | None, host: str | None, device: str | None, mode: str) -> None:
    """It is in use by a server or a host that we do not manage. Raises: NotFound, Forbidden, Invalid."""
    await ctx.db.write(attach_in, ctx, volume_id, server_id, host, device, mode)


async def attach_in(
    tx: Transaction, ctx: RequestContext, volume_id: str, server_id: str | None, host: str | None, device: str | None, mode: str
) -> None:
    volume = await get_volume(tx, ctx, volume_id, f"{RULE}:attach")
    if volume.readonly and mode == "rw":
        raise Invalid(f"Invalid attaching mode '{mode}' for volume {volume_id}.", field="mode")
    held = next((a for a in await _marks(tx, volume_id) if a.status is AttachStatus.ATTACHING), None)
    if held is None:
        held = await _promise(tx, ctx, volume, server_id, mode)
    await store.change(tx, held, server_id=server_id, mode=mode)
    await attached_in(tx, held.id, now_us=ctx.now_us, host=host, device=device)


async def begin_detaching(ctx: RequestContext, volume_id: str) -> None:
    """`detaching`. Raises: NotFound, Forbidden, Invalid, Conflict."""
    await ctx.db.write(begin_detaching_in, ctx, volume_id)


async def begin_detaching_in(tx: Transaction, ctx: RequestContext, volume_id: str) -> None:
    volume = await get_volume(tx, ctx, volume_id, f"{RULE}:begin_detaching")
    if volume.status is not VolumeStatus.IN_USE:
        raise invalid_volume(f"Unable to detach volume. Volume status must be 'in-use', but the status is {volume.status}.")
    held = await _one(tx, volume_id, None)
    await store.change(tx, held, status=AttachStatus.DETACHING)
    await rest(tx, volume_id, ctx.now_us)


async def roll_detaching(ctx: RequestContext, volume_id: str) -> None:
    """`in-use` again; nothing, unless it is detaching. Raises: NotFound, Forbidden."""
    await ctx.db.write(roll_detaching_in, ctx, volume_id)


async def roll_detaching_in(tx: Transaction, ctx: RequestContext, volume_id: str) -> None:
    await get_volume(tx, ctx, volume_id, f"{RULE}:roll_detaching")
    for held in await _marks(tx, volume_id):
        if held.status is AttachStatus.DETACHING:
            await store.change(tx, held, status=AttachStatus.ATTACHED)
    await rest(tx, volume_id, ctx.now_us)


async def detach(ctx: RequestContext, volume_id: str, attachment_id: str | None) -> None:
    """Nobody has it any more. Raises: NotFound, Forbidden, Invalid; Conflict, while a server of ours has it."""
    await ctx.db.write(detach_volume_in, ctx, volume_id, attachment_id)


async def detach_volume_in(tx: Transaction, ctx: RequestContext, volume_id: str, attachment_id: str | None) -> None:
    await get_volume(tx, ctx, volume_id, f"{RULE}:detach")
    if not await store.of_volume(tx, volume_id):
        return
    held = await _one(tx, volume_id, attachment_id)
    await detach_in(tx, held.id, now_us=ctx.now_us)


async def _one(tx: Transaction, volume_id: str, attachment_id: str | None) -> Attachment:
    """The mark meant. Raises: NotFound, Invalid, Conflict."""
    found = [a for a in await store.of_volume(tx, volume_id) if attachment_id in (None, a.id)]
    if any(a.by_compute for a in found):
        raise Conflict(IN_USE_BY_VM)
    if not found:
        raise NotFound(f"Volume attachment could not be found with filter: attachment_id = {attachment_id}.")
    if len(found) > 1:
        raise invalid_volume("Detach volume failed: More than one attachment, but no attachment_id provided.")
    return found[0]


async def force_detach(ctx: RequestContext, volume_id: str, attachment_id: str | None) -> None:
    """What an administrator does for a volume whose status says error: it is available. Raises: NotFound, Forbidden, Conflict."""
    await ctx.db.write(force_detach_in, ctx, volume_id, attachment_id)


async def force_detach_in(tx: Transaction, ctx: RequestContext, volume_id: str, attachment_id: str | None) -> None:
    volume = await get_volume(tx, ctx, volume_id, "volume_extension:volume_admin_actions:force_detach")
    held = await _one(tx, volume_id, attachment_id)
    await store.remove(tx, held)
    await volumes.save(tx, volume, forced=True, status=VolumeStatus.AVAILABLE, updated_at=ctx.now_us)
    await rest(tx, volume_id, ctx.now_us)
