"""A server's root disk copied to the image store, the server running on."""

from __future__ import annotations

from moln.compute.drivers.base import Snapshots
from moln.compute.model.servers import DiskKind, Server, TaskState
from moln.compute.ops import create_backup
from moln.compute.store import instance_actions
from moln.compute.store import servers as store
from moln.image.ops import data, images
from moln.kernel.context import RequestContext
from moln.kernel.db import Transaction
from moln.kernel.errors import BackendRefused, Gone, NotFound, UnsupportedMedia
from moln.kernel.work import Work

COPY_S = 1800.0


async def snapshot(work: Work, server: Server) -> None:
    """Raises: BackendRefused, BackendUnreachable."""
    await copy_root(work, server)
    image = await images.find(work.db, server.snapshot or "")
    if server.rotation is not None and image is not None:
        await create_backup.rotate(work.db, work.ctx, server.id, image.properties.get("backup_type", ""), server.rotation)
    await work.write(done_in, work.ctx, server, None)


async def copy_root(work: Work, server: Server) -> None:
    """The image `server.snapshot` has the root disk's bytes, if it is still wanted. Raises: BackendRefused, BackendUnreachable."""
    image = await images.find(work.db, server.snapshot or "")
    if image is not None and image.data_id is not None and str(image.status) == "saving":
        root = next(d for d in server.disks if d.kind is DiskKind.ROOT)
        driver = work.driver(
            server.host or "", "compute-snapshots", Snapshots, resource=f"server:{server.id}", generation=server.generation,
            deadline_s=COPY_S,
        )  # fmt: skip
        await driver.ensure_image_data(image.data_id, server.id, root.id)
        try:
            await data.adopt(work.ctx, image.id)
        except (Gone, NotFound, UnsupportedMedia) as lost:
            raise BackendRefused(lost.message) from None


async def done_in(tx: Transaction, ctx: RequestContext, server: Server, error: str | None) -> None:
    action = "createBackup" if server.task_state is TaskState.IMAGE_BACKUP else "createImage"
    server = await store.save(tx, server, ctx.now_us, task_state=None, snapshot=None, rotation=None, deadline=None)
    await instance_actions.finish(tx, server, action, ctx.now_us, error=error)


async def give_up_in(tx: Transaction, ctx: RequestContext, server: Server, reason: str) -> None:
    """The image will not be; the server is as it was."""
    await data.fail_in(tx, server.snapshot or "", ctx.now_us)
    await done_in(tx, ctx, server, reason)
