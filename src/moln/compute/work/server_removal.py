"""A server taken down, and all it held given back in one transaction."""

from __future__ import annotations

from moln.compute.model.servers import Server
from moln.compute.ops import server_disks, server_networks, shelving
from moln.compute.ops.quotas import QUOTA
from moln.compute.store import instance_actions
from moln.compute.store import servers as store
from moln.compute.work import server_live, server_resize
from moln.compute.work.server_specs import disconnect, driver_of
from moln.kernel.context import RequestContext
from moln.kernel.db import Transaction
from moln.kernel.work import Work
from moln.placement.ops import claims


async def remove(work: Work, server: Server) -> None:
    """Raises: BackendRefused, BackendUnreachable."""
    await server_live.stop(work, server)
    if server.host is not None:
        driver = driver_of(work, server)
        await driver.remove_server(server.id)
        for disk_id in server.disk_ids:
            await driver.remove_disk(disk_id)
        await disconnect(work, server, server.host)
    await work.write(removed_in, work.ctx, server)


async def removed_in(tx: Transaction, ctx: RequestContext, server: Server) -> None:
    """Ports, volumes, claim and quota given back; the row goes to the history."""
    now = ctx.now_us
    await server_networks.release_in(tx, ctx, server.nics, server.id)
    await server_disks.release_in(tx, ctx, server.volumes)
    await shelving.forget_image_in(tx, ctx, server)
    await claims.release_in(tx, server.id, now_us=now)
    await server_resize.released_in(tx, ctx, server)
    await server_live.released_in(tx, ctx, server)
    await QUOTA.refund(tx, server.project_id, **server.charged)
    await instance_actions.finish(tx, server, "delete", now)
    await store.remove(tx, server, now)
