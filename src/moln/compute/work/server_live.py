"""A running server moves to another host: made ready there, sent, followed until it is there; or all of it is taken back.

Only the source knows how far it is, and after the last byte only the destination has the guest. Where one of them does not answer, the other is
asked; where neither does, the server waits: nobody may start it anywhere before it is known where it is.
"""

from __future__ import annotations

from msgspec import structs

from moln.compute.drivers.moves import Sending, Target
from moln.compute.model.migrations import MigrationStatus
from moln.compute.model.moves import Move, MoveKind, Stage
from moln.compute.model.servers import PowerState, Server, VmState
from moln.compute.ops import moves as ops
from moln.compute.ops import server_networks
from moln.compute.store import instance_actions, migrations
from moln.compute.store import servers as store
from moln.compute.work.server_leftovers import remove_from
from moln.compute.work.server_moves import at, driver_at, moves_of
from moln.compute.work.server_specs import spec_of
from moln.kernel.context import RequestContext
from moln.kernel.db import Transaction
from moln.kernel.errors import BackendRefused, BackendUnreachable
from moln.kernel.work import Later, Work
from moln.placement.ops import claims

LOOK_S = 0.1  # until the next look; the look itself waits for the end (Moves.follow_server): the guest's addresses are to follow it at once


async def apply(work: Work, server: Server) -> None:
    """Raises: Later, BackendRefused, BackendUnreachable."""
    move = server.move
    if move is None:
        raise BackendRefused("Where the server was to go is not known.")
    match move.stage:
        case Stage.PREPARING:
            await _prepare(work, server, move)
        case Stage.RUNNING:
            await _follow(work, server, move)
        case Stage.UNDOING:
            await _undo(work, server, move)


def _there(server: Server, move: Move) -> Server:
    """As its destination is to see it: the disks are made there to be written over, not begun as their image."""
    disks = tuple(structs.replace(d, image=None) for d in server.disks)
    return structs.replace(at(server, move.dest), disks=disks)


async def _prepare(work: Work, server: Server, move: Move) -> None:
    """Disks and cards are there, and somebody listens."""
    await work.write(migrations.move, move.migration_id, MigrationStatus.PREPARING, work.now_us)
    there = _there(server, move)
    spec = await spec_of(work, there, driver_at(work, server, move.dest))
    address = await moves_of(work, server, move.dest).await_server(spec)
    await work.write(prepared_in, work.ctx, server, move, address)


async def prepared_in(tx: Transaction, ctx: RequestContext, server: Server, move: Move, address: str) -> None:
    await migrations.move(tx, move.migration_id, MigrationStatus.RUNNING, ctx.now_us)
    await store.save(tx, server, ctx.now_us, move=structs.replace(move, stage=Stage.RUNNING, address=address))
    tx.wake("servers", server.id)


async def _follow(work: Work, server: Server, move: Move) -> None:
    """Begun, if it was not; looked at until it ended."""
    source = moves_of(work, server, move.source)
    try:
        if move.forced:
            await source.hurry_server(server.id)
        sending = await source.follow_server(server.id, move.migration_id)
    except BackendUnreachable:
        if not await _runs_at(work, server, move.dest):
            raise
        sending = Sending("done")
    if sending.state == "idle":
        spec = await spec_of(work, _there(server, move), driver_at(work, server, move.dest))
        await source.send_server(spec, Target(move.migration_id, move.address, tuple(d.id for d in server.disks)))
        sending = await source.follow_server(server.id, move.migration_id)
    if sending.state == "absent":
        sending = Sending("done") if await _runs_at(work, server, move.dest) else Sending("failed", "The guest ended while it moved.")
    match sending.state:
        case "running":
            await work.write(migrations.advance, move.migration_id, sending.progress, work.now_us)
            raise Later("the server is on its way", LOOK_S)
        case "done":
            await work.write(arrived_in, work.ctx, server, move)
        case _:
            await work.write(turn_back_in, work.ctx, server, "failed", sending.reason)


async def _runs_at(work: Work, server: Server, host: str) -> bool:
    """Raises: BackendUnreachable."""
    found = await driver_at(work, server, host).find_server(server.id)
    return found is not None and found.power in ("running", "paused")


async def arrived_in(tx: Transaction, ctx: RequestContext, server: Server, move: Move) -> None:
    """The server is on its new host; its disks leave the old one, and with them its claim there."""
    now = ctx.now_us
    power = PowerState.PAUSED if server.vm_state is VmState.PAUSED else PowerState.RUNNING
    after = await ops.switch_in(
        tx, ctx, server, move.dest, task_state=None, move=None, other_host=None, deadline=None, power_state=power
    )
    await ops.leave_in(tx, ctx, after, move.source, server.disk_ids, move.migration_id)
    await migrations.move(tx, move.migration_id, MigrationStatus.COMPLETED, now)
    await instance_actions.finish(tx, after, "live-migration", now)
    if move.outcome == "cancelled":
        await instance_actions.finish(tx, after, "live_migration_cancel", now, error="The server had arrived before.")


async def turn_back_in(tx: Transaction, ctx: RequestContext, server: Server, outcome: str, reason: str) -> None:
    """From here on the move is taken back. Without a deadline: until it is known where the guest is, nothing else may be done to it."""
    if server.move is not None:
        move = structs.replace(server.move, stage=Stage.UNDOING, outcome=outcome, reason=reason)
        await store.save(tx, server, ctx.now_us, move=move, deadline=None)
        tx.wake("servers", server.id)


async def _undo(work: Work, server: Server, move: Move) -> None:
    """The guest stays where it was; unless it arrived meanwhile, which cannot be taken back."""
    try:
        here = await moves_of(work, server, move.source).keep_server(server.id)
    except BackendUnreachable:
        here = False
        if not await _runs_at(work, server, move.dest):  # then it is nowhere else, once it can no longer arrive there
            disks = ops.not_kept(work.cloud, move.source, move.dest, server.disk_ids, server.disk_ids)
            await remove_from(work, move.dest, server.id, server.generation, disks)
            here = True
    if not here and await _runs_at(work, server, move.dest):
        await work.write(arrived_in, work.ctx, server, move)
        return
    await work.write(undone_in, work.ctx, server, move)


async def undone_in(tx: Transaction, ctx: RequestContext, server: Server, move: Move) -> None:
    now, cancelled = ctx.now_us, move.outcome == "cancelled"
    after = await store.save(tx, server, now, task_state=None, move=None, other_host=None, deadline=None)
    await server_networks.expect_in(tx, after, move.dest, comes=False)
    await ops.give_back_in(tx, ctx, after, move.migration_id)
    await ops.leave_in(tx, ctx, after, move.dest, server.disk_ids)
    await migrations.move(tx, move.migration_id, MigrationStatus.CANCELLED if cancelled else MigrationStatus.FAILED, now)
    await instance_actions.finish(tx, after, "live_migration_cancel", now)
    await instance_actions.finish(tx, after, "live-migration", now, error=move.reason)


async def give_up_in(tx: Transaction, ctx: RequestContext, server: Server, reason: str) -> None:
    """A move that fails, or is late, is taken back. One that is being taken back is tried again for as long as it needs."""
    if server.move is not None and server.move.stage is not Stage.UNDOING:
        await turn_back_in(tx, ctx, server, "failed", reason)


async def stop(work: Work, server: Server) -> None:
    """The server itself is going: wherever its guest is, it is sent nowhere. Raises: BackendRefused, BackendUnreachable."""
    move = server.move
    if move is not None and move.kind is MoveKind.LIVE:
        await moves_of(work, server, move.source).keep_server(server.id)
        await driver_at(work, server, move.dest).remove_server(server.id)


async def released_in(tx: Transaction, ctx: RequestContext, server: Server) -> None:
    """The server itself is going: so does what it holds at both ends."""
    move = server.move
    if move is None:
        return
    if move.kind is MoveKind.LIVE:
        await ops.leave_in(tx, ctx, server, move.dest, server.disk_ids)
        await claims.release_in(tx, move.migration_id, now_us=ctx.now_us)
    await migrations.move(tx, move.migration_id, MigrationStatus.FAILED, ctx.now_us)

