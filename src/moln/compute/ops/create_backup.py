"""createBackup: an image of a server's root disk, and only the newest few of its kind kept."""

from __future__ import annotations

import logging

from moln.compute.model import server_states
from moln.compute.model.servers import TaskState
from moln.compute.ops import create_image
from moln.compute.ops.servers import get_for, may_override
from moln.compute.store import instance_actions
from moln.image.ops import images
from moln.kernel.context import RequestContext
from moln.kernel.db import Reader, Transaction
from moln.kernel.errors import Failure, Invalid

MOST_BACKUPS = 1000  # of one server and kind, looked at together
_log = logging.getLogger("moln.compute")


async def create(ctx: RequestContext, server_id: str, name: str, backup_type: str, rotation: int, metadata: dict[str, str]) -> str:
    """Record that the server is to be backed up; the image's id. rotation: how many to keep. Raises: NotFound, Forbidden, Conflict, Invalid."""
    return await ctx.db.write(create_in, ctx, server_id, name, backup_type, rotation, metadata)


async def create_in(tx: Transaction, ctx: RequestContext, server_id: str, name: str, backup_type: str, rotation: int,
                    metadata: dict[str, str]) -> str:  # fmt: skip
    server = await get_for(tx, ctx, server_id, "os_compute_api:os-create-backup")
    server_states.check(server, "createBackup", override_lock=may_override(ctx, server))
    if server.root_disk is None:
        raise Invalid("Backup is not supported for volume-backed instances.")
    await instance_actions.begin(tx, ctx, server.id, "createBackup", "compute_backup_instance", server.host)
    spec = create_image.spec(ctx, server, name, {"backup_type": backup_type} | metadata, "backup")
    return await create_image.copy_root_in(tx, ctx, server, spec, TaskState.IMAGE_BACKUP, rotation=rotation)


async def rotate(db: Reader, ctx: RequestContext, server_id: str, backup_type: str, keep: int) -> None:
    """Delete the oldest backups of this kind, down to `keep`. One that may not be deleted stays."""
    wanted = images.Wanted(
        properties={"image_type": "backup", "backup_type": backup_type, "instance_uuid": server_id}, visibility="all"
    )
    found = await images.index(ctx, wanted, sort=(("created_at", "desc"), ("id", "desc")), marker=None, limit=MOST_BACKUPS)
    for old in [i for i in found if str(i.status) in ("active", "deactivated")][keep:]:
        try:
            await images.delete(ctx, old.id)
        except Failure as stays:
            _log.info("backup %s of server %s stays: %s", old.id, server_id, stays)
