"""createImage: an image made of a server's root disk; work/server_images.py copies it."""

from __future__ import annotations

from moln.compute.model import server_states
from moln.compute.model.servers import Server, TaskState
from moln.compute.ops.servers import get_for, may_override
from moln.compute.store import instance_actions
from moln.compute.store import servers as store
from moln.image.ops import images
from moln.kernel.context import RequestContext
from moln.kernel.db import Transaction
from moln.kernel.errors import NotSupported

PATIENCE_S = 3600
NOT_INHERITED = ("cache_in_nova", "bittorrent", "img_signature_hash_method", "img_signature", "img_signature_key_type",
                 "img_signature_certificate_uuid")  # fmt: skip


async def create(ctx: RequestContext, server_id: str, name: str, metadata: dict[str, str]) -> str:
    """Record that the server is to become an image; its id. Raises: NotFound, Forbidden, Conflict, OverQuota."""
    return await ctx.db.write(create_in, ctx, server_id, name, metadata)


async def create_in(tx: Transaction, ctx: RequestContext, server_id: str, name: str, metadata: dict[str, str]) -> str:
    server = await get_for(tx, ctx, server_id, "os_compute_api:servers:create_image")
    server_states.check(server, "createImage", override_lock=may_override(ctx, server))
    if server.root_disk is None:
        raise NotSupported("An image of a server that boots from a volume cannot be made; make one of the volume.")
    image = await images.create_in(tx, ctx, spec(ctx, server, name, metadata), from_node=True)
    await instance_actions.begin(tx, ctx, server.id, "createImage", "compute_snapshot_instance", server.host)
    await store.save(
        tx, server, None, task_state=TaskState.IMAGE_SNAPSHOT, snapshot=image.id, deadline=ctx.now_us + PATIENCE_S * 1_000_000
    )
    tx.wake("servers", server.id)
    return image.id


def spec(ctx: RequestContext, server: Server, name: str, metadata: dict[str, str]) -> images.ImageSpec:
    """The image that a server's root disk becomes."""
    properties = {k: v for k, v in server.image_properties.items() if k not in NOT_INHERITED}
    properties |= {
        "image_type": "snapshot", "base_image_ref": server.image_id or "", "instance_uuid": server.id, "user_id": ctx.user_id or "",
        "owner_id": ctx.project_id or "", "owner_project_name": ctx.who.project_name or "" if ctx.who else "",
        "boot_roles": ",".join(sorted(ctx.roles)),
    } | metadata  # fmt: skip
    return images.ImageSpec(
        name=name, owner=ctx.project_id, visibility="private", container_format="bare", disk_format="raw",
        min_disk=server.flavor.disk, properties=properties,
    )  # fmt: skip
