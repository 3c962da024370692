"""Rescue and unrescue: recorded here, done by work/server_rescue.py."""

from __future__ import annotations

from collections.abc import Mapping

from moln.compute.model import server_rescue, server_states
from moln.compute.model.server_rescue import Rescue
from moln.compute.model.servers import Server, TaskState
from moln.compute.ops.power import PATIENCE_S, Action
from moln.compute.ops.servers import get_for, may_override
from moln.compute.store import instance_actions
from moln.compute.store import servers as store
from moln.image.model.images import Image
from moln.image.ops import images
from moln.kernel.context import RequestContext
from moln.kernel.db import Reader, Transaction
from moln.kernel.errors import Conflict, Forbidden, Invalid, NotFound
from moln.volume.model.volumes import VolumeStatus
from moln.volume.ops import for_compute

RULE = "os_compute_api:os-rescue"
UNRESCUE = Action(
    "os_compute_api:os-unrescue", "unrescue", TaskState.UNRESCUING, "unrescue", "unrescue", "compute_unrescue_instance"
)


async def rescue(ctx: RequestContext, server_id: str, *, image_ref: str | None, password: str, volume_backed: bool) -> None:
    """Record that the server is to boot from an image beside its own disks.

    image_ref: None for the image that it was made of. volume_backed: whether the caller knows that those can be rescued (2.87).
    Raises: NotFound, Forbidden, Conflict, Invalid.
    """
    await ctx.db.write(rescue_in, ctx, server_id, image_ref, password, volume_backed)


async def rescue_in(tx: Transaction, ctx: RequestContext, server_id: str, image_ref: str | None, password: str,
                    volume_backed: bool) -> None:  # fmt: skip
    server = await get_for(tx, ctx, server_id, RULE)
    server_states.check(server, "rescue", override_lock=may_override(ctx, server))
    asked = await _asked(tx, ctx, image_ref) if image_ref else None
    await _check_volumes(tx, server)
    if server.root_disk is None and not (volume_backed and asked and _fully_named(asked.properties)):
        raise not_rescuable(server, "Cannot rescue a volume-backed instance")
    image = asked or await _own(tx, server)
    if server.host is None:
        raise Conflict(f"Instance {server_id} is not ready")
    bus, medium = server_rescue.hardware(image.properties)
    plan = Rescue(
        ctx.new_id(), image.data_id or "", bus, medium, server_rescue.is_stable(image.properties), password,
        server.rescue.disk_ids if server.rescue else (),
    )  # fmt: skip
    await instance_actions.begin(tx, ctx, server.id, "rescue", "compute_rescue_instance", server.host)
    deadline = ctx.now_us + PATIENCE_S * 1_000_000
    await store.save(tx, server, ctx.now_us, task_state=TaskState.RESCUING, rescue=plan, deadline=deadline)
    tx.wake("servers", server.id)


def not_rescuable(server: Server, reason: str) -> Invalid:
    return Invalid(f"Instance {server.id} cannot be rescued: {reason}")


async def _asked(db: Reader, ctx: RequestContext, image_ref: str) -> Image:
    """Raises: Invalid, in Nova's words."""
    try:
        return await images.for_boot(db, ctx, image_ref)
    except (NotFound, Forbidden, Invalid) as lost:
        raise Invalid(f"Requested rescue image '{image_ref}' is not supported", field="rescue_image_ref", detail=lost.message) from None


async def _own(db: Reader, server: Server) -> Image:
    """The image that the server was made of, whether or not the caller still sees it. Raises: Invalid."""
    image = await images.find(db, server.image_id or "")
    if image is None or image.data_id is None or not image.bootable or image.status != "active":
        raise not_rescuable(server, f"Image {server.image_id} could not be found.")
    return image


def _fully_named(properties: Mapping[str, str]) -> bool:
    return server_rescue.BUS in properties and server_rescue.DEVICE in properties


async def _check_volumes(db: Reader, server: Server) -> None:
    """Raises: Conflict, when a volume of the server is at something."""
    for attached in server.volumes:
        found = await for_compute.find_volume(db, attached.volume_id)
        if found is None or found.status is not VolumeStatus.IN_USE:
            status = found.status if found else "deleted"
            raise Conflict(f"Invalid volume: volume '{attached.volume_id}' status must be 'in-use'. Currently in '{status}' status")
