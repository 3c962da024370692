"""Live migration: a running server goes to another host without being turned off; aborted, or hurried. work/server_live.py does it."""

from __future__ import annotations

from msgspec import Struct, structs

from moln.compute.model import server_states
from moln.compute.model.migrations import Migration, MigrationStatus, MigrationType
from moln.compute.model.moves import Move, MoveKind, Stage
from moln.compute.model.servers import Server, TaskState
from moln.compute.ops import hosts, moves, server_networks
from moln.compute.ops.servers import get_for, may_override, target
from moln.compute.store import instance_actions, migrations
from moln.compute.store import servers as store
from moln.kernel.context import RequestContext
from moln.kernel.db import Transaction
from moln.kernel.errors import Conflict, Invalid, NotFound

PATIENCE_S = 3600
RULE = "os_compute_api:os-migrate-server:migrate_live"
OF_SERVER = "os_compute_api:servers:migrations"


class LiveRequest(Struct, frozen=True):
    """host: only there. forced: without asking whether it is a good place. with_disks: whether the server's own disks are to be copied;
    None for as it needs. late: what is found not to work is told by the record and the action (2.34), not by the answer."""

    host: str | None = None
    forced: bool = False
    with_disks: bool | None = None
    late: bool = False


async def migrate(ctx: RequestContext, server_id: str, request: LiveRequest) -> None:
    """Record that the server is to go on elsewhere. Raises: NotFound, Forbidden, Conflict, Invalid."""
    try:
        await ctx.db.write(migrate_in, ctx, server_id, request)
    except _Unfit as unfit:
        if not request.late:
            raise
        await ctx.db.write(_unfit_in, ctx, server_id, request, unfit.message)


class _Unfit(Invalid):
    """The checks that Nova makes after it answered, since 2.34."""


async def _asked_for(tx: Transaction, ctx: RequestContext, server_id: str, request: LiveRequest) -> Server:
    """The server, when the request itself is right. Raises: NotFound, Forbidden, Conflict, Invalid."""
    server = await get_for(tx, ctx, server_id, RULE)
    if request.host is not None:
        ctx.require("compute", f"{RULE}:host", target(server))
        moves.check_host(ctx, request.host)
    server_states.check(server, "os-migrateLive", override_lock=may_override(ctx, server))
    if server.host is None:
        raise Conflict(f"Instance {server.id} is not ready")
    if server.move is not None:
        raise Conflict(f"Instance {server.id} has a live migration that must end first.")
    return server


async def migrate_in(tx: Transaction, ctx: RequestContext, server_id: str, request: LiveRequest) -> None:
    """The claim on the destination beside the one that is left, the record and the work, at once. May run again."""
    server = await _asked_for(tx, ctx, server_id, request)
    _check_possible(ctx, server, request)
    migration_id = ctx.new_id()
    try:
        dest = await moves.claim_elsewhere_in(tx, ctx, server, server, migration_id, host=request.host, forced=request.forced)
    except Invalid as nowhere:
        raise _Unfit(nowhere.message) from None
    await server_networks.expect_in(tx, server, dest.name, comes=True)
    await _record(tx, ctx, server, migration_id, MigrationStatus.QUEUED, dest.name)
    move = Move(migration_id, MoveKind.LIVE, server.host or "", dest.name)
    await store.save(
        tx, server, ctx.now_us, task_state=TaskState.MIGRATING, move=move, other_host=dest.name,
        deadline=ctx.now_us + PATIENCE_S * 1_000_000,
    )  # fmt: skip
    tx.wake("servers", server.id)


def _check_possible(ctx: RequestContext, server: Server, request: LiveRequest) -> None:
    """Raises: _Unfit."""
    source = hosts.table(ctx.cloud).hosts.get(server.host or "")
    if source is None or not source.up:
        raise _Unfit(f"Compute service of {server.host} is unavailable at this time.")
    if request.host == server.host:
        raise _Unfit(f"Unable to migrate instance ({server.id}) to current host ({server.host}).")
    shared = bool(source.shared_disks)
    if request.with_disks is False and server.disks and not shared:
        raise _Unfit(
            f"{server.host} is not on shared storage: Shared storage live-migration requires either shared storage or boot-from-volume "
            "with no local disks."
        )
    if request.with_disks and (shared or not server.disks):
        raise _Unfit(f"{server.host} is not on local storage: Block migration can not be used with shared storage.")


async def _record(tx: Transaction, ctx: RequestContext, server: Server, uuid: str, status: MigrationStatus, dest: str) -> None:
    await migrations.add(
        tx, uuid=uuid, type=MigrationType.LIVE, status=status, server=server, user_id=ctx.user_id, project_id=ctx.project_id,
        host=server.host or "", dest_host=dest, now_us=ctx.now_us,
    )  # fmt: skip
    await instance_actions.begin(tx, ctx, server.id, "live-migration", "compute_live_migration", server.host)


async def _unfit_in(tx: Transaction, ctx: RequestContext, server_id: str, request: LiveRequest, why: str) -> None:
    """Nothing moves; record and action say why."""
    server = await _asked_for(tx, ctx, server_id, request)
    await _record(tx, ctx, server, ctx.new_id(), MigrationStatus.ERROR, request.host or "")
    await instance_actions.finish(tx, server, "live-migration", ctx.now_us, error=why)


async def abort(ctx: RequestContext, server_id: str, number: int, *, early: bool) -> None:
    """Record that the guest is to stay where it is. early: also while it is not being sent yet (2.65). Raises: NotFound, Forbidden, Conflict, Invalid."""
    await ctx.db.write(abort_in, ctx, server_id, number, early)


async def abort_in(tx: Transaction, ctx: RequestContext, server_id: str, number: int, early: bool) -> None:
    server, migration, move = await _under_way(tx, ctx, server_id, number, "delete", "abort live migration")
    if migration.status is not MigrationStatus.RUNNING:
        if migration.status in (MigrationStatus.QUEUED, MigrationStatus.PREPARING) and early:
            pass
        elif migration.status in (MigrationStatus.QUEUED, MigrationStatus.PREPARING):
            raise Conflict(f"Aborting live migration {migration.rowid} with status {migration.status} is not supported before microversion 2.65.")
        else:
            raise _wrong_state(migration, "abort live migration")
    if move.stage is Stage.UNDOING:
        return
    await instance_actions.begin(tx, ctx, server.id, "live_migration_cancel", "compute_live_migration_abort", server.host)
    await store.save(
        tx, server, ctx.now_us, move=structs.replace(move, stage=Stage.UNDOING, outcome="cancelled", reason="Its owner aborted it."),
        deadline=None,
    )  # fmt: skip
    tx.wake("servers", server.id)


async def force_complete(ctx: RequestContext, server_id: str, number: int) -> None:
    """Record that the guest may stand still for it. Raises: NotFound, Forbidden, Conflict, Invalid."""
    await ctx.db.write(force_complete_in, ctx, server_id, number)


async def force_complete_in(tx: Transaction, ctx: RequestContext, server_id: str, number: int) -> None:
    server, migration, move = await _under_way(tx, ctx, server_id, number, "force_complete", "force_complete")
    if migration.status is not MigrationStatus.RUNNING or move.stage is not Stage.RUNNING:
        raise _wrong_state(migration, "force complete")
    await instance_actions.begin(
        tx, ctx, server.id, "live_migration_force_complete", "compute_live_migration_force_complete", server.host
    )
    server = await store.save(tx, server, ctx.now_us, move=structs.replace(move, forced=True))
    await instance_actions.finish(tx, server, "live_migration_force_complete", ctx.now_us)
    tx.wake("servers", server.id)


def _wrong_state(migration: Migration, method: str) -> Invalid:
    return Invalid(
        f"Migration {migration.rowid} state of instance {migration.server_id} is {migration.status}. "
        f"Cannot {method} while the migration is in this state."
    )


async def _under_way(tx: Transaction, ctx: RequestContext, server_id: str, number: int, rule: str, method: str) -> tuple[Server, Migration, Move]:
    """Raises: NotFound, Forbidden, Conflict."""
    server = await get_for(tx, ctx, server_id, f"{OF_SERVER}:{rule}")
    if server.locked and not may_override(ctx, server):
        raise Conflict(f"Instance {server.id} is locked")
    if server.task_state is not TaskState.MIGRATING:
        raise server_states.refusal(server, method, "task_state", str(server.task_state))
    migration = await migrations.find(tx, server_id, number)
    if migration is None:
        raise NotFound(f"Migration {number} not found for instance {server_id}")
    if server.move is None or migration.uuid != server.move.migration_id:
        raise _wrong_state(migration, method)
    return server, migration, server.move
