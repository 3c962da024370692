"""createImage: of a server's root disk, which work/server_images.py copies; of a server that boots from a volume, snapshots of its volumes."""

from __future__ import annotations

from typing import Any

from msgspec import structs

from moln.compute.model import server_states
from moln.compute.model.servers import Server, TaskState
from moln.compute.ops import image_mappings
from moln.compute.ops.servers import get_for, may_override
from moln.compute.store import instance_actions
from moln.compute.store import servers as store
from moln.image.ops import images
from moln.kernel.context import RequestContext
from moln.kernel.db import Transaction
from moln.volume.ops import snapshots

PATIENCE_S = 3600
NOT_INHERITED = ("cache_in_nova", "bittorrent", "img_signature_hash_method", "img_signature", "img_signature_key_type",
                 "img_signature_certificate_uuid")  # fmt: skip


async def create(ctx: RequestContext, server_id: str, name: str, metadata: dict[str, str]) -> str:
    """Record that the server is to become an image; its id. Raises: NotFound, Forbidden, Conflict, OverQuota."""
    return await ctx.db.write(create_in, ctx, server_id, name, metadata)


async def create_in(tx: Transaction, ctx: RequestContext, server_id: str, name: str, metadata: dict[str, str]) -> str:
    server = await get_for(tx, ctx, server_id, "os_compute_api:servers:create_image")
    server_states.check(server, "createImage", override_lock=may_override(ctx, server))
    await instance_actions.begin(tx, ctx, server.id, "createImage", "compute_snapshot_instance", server.host)
    if server.root_disk is None:
        image_id = await _of_volumes_in(tx, ctx, server, name, metadata)
        await instance_actions.finish(tx, server, "createImage", ctx.now_us)
        return image_id
    return await copy_root_in(tx, ctx, server, spec(ctx, server, name, metadata), TaskState.IMAGE_SNAPSHOT)


async def copy_root_in(tx: Transaction, ctx: RequestContext, server: Server, wanted: images.ImageSpec, task: TaskState,
                       **more: Any) -> str:  # fmt: skip
    """An image that waits for the root disk's copy; its id. Raises: OverQuota, TooLarge."""
    image = await images.create_in(tx, ctx, wanted, from_node=True)
    await store.save(tx, server, None, task_state=task, snapshot=image.id, deadline=ctx.now_us + PATIENCE_S * 1_000_000, **more)
    tx.wake("servers", server.id)
    return image.id


def spec(ctx: RequestContext, server: Server, name: str, metadata: dict[str, str], image_type: str = "snapshot") -> images.ImageSpec:
    """The image that a server's root disk becomes."""
    properties = {k: v for k, v in server.image_properties.items() if k not in NOT_INHERITED}
    properties |= {
        "image_type": image_type, "base_image_ref": server.image_id or "", "instance_uuid": server.id, "user_id": ctx.user_id or "",
        "owner_id": ctx.project_id or "", "owner_project_name": ctx.who.project_name or "" if ctx.who else "",
        "boot_roles": ",".join(sorted(ctx.roles)),
    } | metadata  # fmt: skip
    return images.ImageSpec(
        name=name, owner=ctx.project_id, visibility="private", container_format="bare", disk_format="raw",
        min_disk=server.flavor.disk, properties=properties,
    )  # fmt: skip


async def _of_volumes_in(tx: Transaction, ctx: RequestContext, server: Server, name: str, metadata: dict[str, str]) -> str:
    """Snapshots of every volume, and an image without data that says how to boot from them; its id. Raises: Invalid, OverQuota."""
    mappings = []
    for attached in server.volumes:
        if attached.state == "attached":
            taken = await snapshots.create_in(tx, ctx, attached.volume_id, name=f"snapshot for {name}"[:255], in_use_too=True)
            mappings.append(image_mappings.of_snapshot(attached, taken.id, taken.size_gib))
    wanted = spec(ctx, server, name, metadata)
    said = wanted.properties | image_mappings.properties(mappings, server.root_device or "/dev/vda") | metadata
    properties = {k: v for k, v in said.items() if k in metadata or k not in ("image_type", "base_image_ref")}
    return (await images.create_empty_in(tx, ctx, structs.replace(wanted, min_disk=0, properties=properties))).id
