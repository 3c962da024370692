"""A server of a host that was lost begins anew on the host that was claimed for it."""

from __future__ import annotations

from moln.compute.model.migrations import MigrationStatus
from moln.compute.model.servers import Fault, PowerState, Server, VmState
from moln.compute.store import instance_actions, leftovers, migrations
from moln.compute.store import servers as store
from moln.compute.work.server_build import attached_in
from moln.compute.work.server_leftovers import remove_from
from moln.compute.work.server_ports import wait_for_ports
from moln.compute.work.server_specs import driver_of, holder_of, spec_of
from moln.kernel.context import RequestContext
from moln.kernel.db import Transaction
from moln.kernel.errors import BackendRefused
from moln.kernel.work import Work
from moln.volume.ops import for_compute


async def apply(work: Work, server: Server) -> None:
    """Raises: Later, BackendRefused, BackendUnreachable."""
    move = server.move
    if move is None:
        raise BackendRefused("Where the server was to go is not known.")
    if move.source in work.cloud.links.nodes:  # it is said to be down and answers all the same: then it ends its guest first
        for left in await leftovers.of_server(work.db, server.id):
            if left.host == move.source:
                await remove_from(work, left.host, server.id, left.generation, ())
    for attached in server.volumes:  # whatever its former host does: from here on it writes to none of them
        await for_compute.take_back(work.cloud, attached.volume_id, move.source, holder_of(server, attached))
    await work.write(migrations.move, move.migration_id, MigrationStatus.PRE_MIGRATING, work.now_us)
    driver = driver_of(work, server)
    await driver.ensure_server(await spec_of(work, server, driver), "stopped" if move.off else "running")
    if not move.off:
        server = await wait_for_ports(work, server)
    await work.write(evacuated_in, work.ctx, server)


async def evacuated_in(tx: Transaction, ctx: RequestContext, server: Server) -> None:
    now, move = ctx.now_us, server.move
    assert move is not None
    volumes = await attached_in(tx, ctx, server)
    server = await store.save(
        tx, server, now, vm_state=VmState.STOPPED if move.off else VmState.ACTIVE, task_state=None, volumes=volumes, move=None,
        power_state=PowerState.SHUTDOWN if move.off else PowerState.RUNNING, launched_at=now, deadline=None, fault=None,
    )  # fmt: skip
    await migrations.move(tx, move.migration_id, MigrationStatus.DONE, now)
    if all(left.claim != move.migration_id for left in await leftovers.of_server(tx, server.id)):
        await migrations.complete(tx, move.migration_id, now)
    await instance_actions.finish(tx, server, "evacuate", now)


async def give_up_in(tx: Transaction, ctx: RequestContext, server: Server, reason: str) -> None:
    """In ERROR on its new host, where it may be rebuilt, or evacuated again."""
    now = ctx.now_us
    if server.move is not None:
        await migrations.move(tx, server.move.migration_id, MigrationStatus.FAILED, now)
    fault = Fault(500, reason, now, reason)
    server = await store.save(tx, server, now, vm_state=VmState.ERROR, task_state=None, deadline=None, move=None, fault=fault)
    await instance_actions.finish(tx, server, "evacuate", now, error=reason)
