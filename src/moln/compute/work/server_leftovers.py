"""What servers left on hosts that they are no longer on, removed as soon as those answer: never two guests of one server, never a lost disk.

A host that comes back after its servers were evacuated is the case that matters: whatever it still runs of them is destroyed here.
"""

from __future__ import annotations

import logging

from moln.compute.drivers.base import ComputeDriver
from moln.compute.model.moves import Leftover
from moln.compute.ops import moves
from moln.compute.store import leftovers as store
from moln.compute.store import migrations, servers
from moln.kernel.context import RequestContext
from moln.kernel.db import Transaction
from moln.kernel.work import Later, Reconciler, Work
from moln.placement.ops import claims
from moln.volume.ops import for_compute

_log = logging.getLogger("moln.compute")
CALL_S = 120.0


async def settle(work: Work, left: Leftover) -> None:
    """Raises: Later, BackendRefused, BackendUnreachable."""
    if left.host not in work.cloud.links.nodes:
        raise Later(f"host {left.host} is not there", 60.0)
    await remove_from(work, left.host, left.server_id, left.generation, left.disks)
    await work.write(gone_in, work.ctx, left)


async def remove_from(work: Work, host: str, server_id: str, generation: int, disks: tuple[str, ...]) -> None:
    """Nothing of the server is on that host, no older command brings it back, and volumes of others are not lent to it for that server.

    Raises: BackendRefused, BackendUnreachable.
    """
    driver = work.driver(
        host, "compute", ComputeDriver, resource=f"server:{server_id}", generation=generation, deadline_s=CALL_S
    )
    await driver.remove_server(server_id)
    for disk_id in disks:
        await driver.remove_disk(disk_id)
    for held in await for_compute.attachments_of_server(work.db, server_id):
        await for_compute.disconnect(work.cloud, held.volume_id, host, for_compute.Holder(held.id, generation))


async def gone_in(tx: Transaction, ctx: RequestContext, left: Leftover) -> None:
    """What it held there is given back."""
    if await store.remove(tx, left) and left.claim:
        await claims.release_in(tx, left.claim, now_us=ctx.now_us)
        await migrations.complete(tx, left.claim, ctx.now_us)


async def fail(work: Work, left: Leftover, reason: str) -> None:
    """It is nobody's server any more: there is no owner to tell. It stays, and is tried again."""
    _log.warning("what server %s left on host %s cannot be removed: %s", left.server_id, left.host, reason)


async def disown(work: Work, host: str, server_id: str) -> None:
    """A host has a server whose row names others: it is removed there, unless the row meanwhile says otherwise."""
    await work.write(disown_in, work.ctx, host, server_id)


async def disown_in(tx: Transaction, ctx: RequestContext, host: str, server_id: str) -> None:
    server = await servers.find(tx, server_id)
    if server is None or host in (server.host, server.other_host) or any(x.host == host for x in await store.of_server(tx, server_id)):
        return
    _log.warning("host %s has server %s, which is on %s: it is removed there", host, server_id, server.host)
    await moves.leave_in(tx, ctx, server, host, server.disk_ids)


LEFTOVERS = Reconciler("server-leftovers", find=store.unsettled, settle=settle, fail=fail, every_s=30, deadline=lambda left: None)
