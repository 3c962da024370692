"""Rebuild: the same server, host, addresses and claim, with new disks of an image; work/server_rebuild.py makes them."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, structs

from moln.compute.model import server_states, wishes
from moln.compute.model.scheduling import why_not_suited
from moln.compute.model.server_requests import InjectedFile
from moln.compute.model.servers import DiskKind, LocalDisk, Server, TaskState
from moln.compute.ops import hosts, keypairs, server_disks, server_files
from moln.compute.ops.create import check_metadata
from moln.compute.ops.resize import no_valid_host
from moln.compute.ops.servers import get_for, may_override
from moln.compute.store import instance_actions
from moln.compute.store import servers as store
from moln.image.model.images import Image
from moln.image.ops import images
from moln.kernel.context import RequestContext
from moln.kernel.db import Transaction
from moln.kernel.errors import Conflict, Forbidden, Invalid, NotFound
from moln.volume.ops import for_compute

PATIENCE_S = 900
RULE = "os_compute_api:servers:rebuild"


class Unchanged(Struct, frozen=True):
    """The caller said nothing."""


UNCHANGED = Unchanged()


class RebuildRequest(Struct, frozen=True, kw_only=True):
    """columns: of the server's row, as PUT changes them. key_name, user_data: None takes them away. files: what the config drive gets.

    reimage_volume: whether a volume that it boots from begins anew, too (2.93).
    """

    image_id: str
    columns: dict[str, Any] = {}
    metadata: dict[str, str] | None = None
    key_name: str | None | Unchanged = UNCHANGED
    user_data: str | None | Unchanged = UNCHANGED
    preserve_ephemeral: bool = False
    files: tuple[InjectedFile, ...] = ()
    reimage_volume: bool = False


async def rebuild(ctx: RequestContext, server_id: str, request: RebuildRequest) -> None:
    """Record that the server is to begin anew. Raises: NotFound, Forbidden, Conflict, Invalid, OverQuota."""
    server = await get_for(ctx.db, ctx, server_id, RULE)
    _check(ctx, server)
    await check_metadata(ctx, request.metadata or {})
    await server_files.check(ctx, request.files)
    try:
        image = await images.for_boot(ctx.db, ctx, request.image_id)
    except (NotFound, Forbidden):
        raise Invalid("Cannot find image for rebuild", field="imageRef") from None
    await ctx.db.write(rebuild_in, ctx, server_id, request, image)


def _check(ctx: RequestContext, server: Server) -> None:
    """Raises: Conflict."""
    server_states.check(server, "rebuild", override_lock=may_override(ctx, server))
    if server.host is None:
        raise Conflict(f"Instance {server.id} is not ready")
    if server.resize is not None:
        raise Conflict(f"Instance {server.id} has a resize that must be confirmed or reverted first.")


async def rebuild_in(tx: Transaction, ctx: RequestContext, server_id: str, request: RebuildRequest, image: Image) -> None:
    """May run again. The claim is the server's as before: nothing here asks placement for anything."""
    server = await get_for(tx, ctx, server_id, RULE)
    _check(ctx, server)
    root = server.root_disk
    changes: dict[str, Any] = dict(request.columns)
    task, disk_config = TaskState.REBUILDING, request.columns.get("disk_config", server.disk_config)
    if root is None and request.reimage_volume:
        task = TaskState.REBUILD_MAPPING
        check_new_image(ctx, server, image, disk_config)
        await for_compute.reimage_in(tx, ctx, root_volume(server), image)
        changes["image_properties"] = dict(image.properties)
    elif root is None:
        await _check_same_image(tx, server, request)
    else:
        check_new_image(ctx, server, image, disk_config, root)
        changes |= {"image_id": image.id, "image_properties": dict(image.properties)}
        changes |= _disks(ctx, server, image, keep_ephemeral=request.preserve_ephemeral)
    if server.rescue is not None:  # what a rescue that failed left behind
        changes |= {"rescue": None, "leaving": (*changes.get("leaving", server.leaving), *server.rescue.disk_ids)}
    if request.metadata is not None:
        changes["metadata"] = request.metadata
    if not isinstance(request.key_name, Unchanged):
        changes |= {"key_name": request.key_name, "key_data": await _key(tx, server, request.key_name)}
    if not isinstance(request.user_data, Unchanged):
        await store.set_user_data(tx, server.id, request.user_data)
    await store.set_files(tx, server.id, request.files)
    await instance_actions.begin(tx, ctx, server.id, "rebuild", "rebuild_server", server.host)
    deadline = ctx.now_us + PATIENCE_S * 1_000_000
    await store.save(tx, server, ctx.now_us, task_state=task, deadline=deadline, **changes)
    tx.wake("servers", server.id)


def check_new_image(ctx: RequestContext, server: Server, image: Image, disk_config: str, root: LocalDisk | None = None) -> None:
    """What a boot would check (SEC-20): the flavor is large enough, the claimed disk too, and the host is one for this image.

    root: None for a volume, whose size is checked elsewhere. Raises: Invalid.
    """
    then = server.flavor
    server_disks.check_disk_config(image.id, image.properties, disk_config)
    server_disks.check_image(image, server_disks.Sizes(then.disk if root else 0, then.ephemeral, then.swap, then.ram))
    size = image.virtual_size or image.size or 0
    if root is not None and size > root.size_gib * server_disks.GIB:
        raise Invalid(
            f"Flavor's disk is too small for requested image. Flavor disk is {root.size_gib * server_disks.GIB} bytes, image is {size} bytes.",
            field="imageRef",
        )
    wanted = wishes.wanted(vcpus=then.vcpus, ram_mib=then.ram, disk_gib=0, extra_specs=then.extra_specs, image_properties=image.properties)
    host = hosts.table(ctx.cloud).hosts.get(server.host or "")
    unsuited = why_not_suited(host, structs.replace(wanted, more={})) if host is not None else None
    if unsuited is not None:
        raise no_valid_host(host, unsuited)


def root_volume(server: Server) -> str:
    """The id of the volume that it boots from. Raises: Invalid."""
    found = next((v for v in server.volumes if v.boot_index == 0), None)
    if found is None:
        raise Invalid(f"Instance {server.id} has no root disk that could be rebuilt.")
    return found.volume_id


async def _check_same_image(tx: Transaction, server: Server, request: RebuildRequest) -> None:
    """Before 2.93 a volume's data stays: only what is around it is made anew. Raises: Invalid."""
    if await server_disks.image_of_volume(tx, root_volume(server)) != request.image_id:
        raise Invalid(
            f"Image {request.image_id} is unacceptable: Unable to rebuild with a different image for a volume-backed server.", field="imageRef"
        )


def _disks(ctx: RequestContext, server: Server, image: Image, *, keep_ephemeral: bool) -> dict[str, Any]:
    """Fresh disks in the old ones' places; those stay with the host until the new ones run."""
    fresh: list[LocalDisk] = []
    for disk in server.disks:
        if keep_ephemeral and disk.kind is DiskKind.EPHEMERAL:
            fresh.append(disk)
        else:
            fresh.append(structs.replace(disk, id=ctx.new_id(), image=image.data_id if disk.kind is DiskKind.ROOT else None))
    kept = {d.id for d in fresh}
    return {"disks": tuple(fresh), "leaving": (*server.leaving, *(d.id for d in server.disks if d.id not in kept))}


async def _key(tx: Transaction, server: Server, name: str | None) -> str | None:
    """The public key, of the server's own user. Raises: Invalid."""
    if name is None:
        return None
    key = await keypairs.find(tx, server.user_id, name)
    if key is None:
        raise Invalid("Invalid key_name provided.", field="key_name")
    return key.public_key
