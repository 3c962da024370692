"""Evacuation: servers of a host that is lost begin anew on another one. work/server_evacuation.py does it.

Only of a host that is certain to run nothing any more: the link to it is down, and an administrator (or who watches over hosts) has fenced it
and said so by `forced_down`. Its own disks are lost with it; those of the server are made anew, from its image, under other ids.
"""

from __future__ import annotations

from msgspec import structs

from moln.compute.model import server_states
from moln.compute.model.migrations import MigrationStatus, MigrationType
from moln.compute.model.moves import Move, MoveKind
from moln.compute.model.servers import Server, TaskState, VmState
from moln.compute.ops import hosts, moves
from moln.compute.ops.servers import get_for, let_image_go_in, may_override
from moln.compute.store import hosts as host_store
from moln.compute.store import instance_actions, migrations
from moln.kernel.context import RequestContext
from moln.kernel.db import Reader, Transaction
from moln.kernel.errors import Conflict, Invalid

PATIENCE_S = 1800
RULE = "os_compute_api:os-evacuate"


async def evacuate(ctx: RequestContext, server_id: str, *, host: str | None, forced: bool, off: bool) -> None:
    """Record that the server is to begin anew elsewhere. host: only there; forced: whatever else speaks against it. off: it is not started (2.95).

    Raises: NotFound, Forbidden, Conflict, Invalid.
    """
    await ctx.db.write(evacuate_in, ctx, server_id, host, forced, off)


async def evacuate_in(tx: Transaction, ctx: RequestContext, server_id: str, host: str | None, forced: bool, off: bool) -> None:
    """The claim, the ports, the new disks, the record, what is left behind and the work, at once. May run again."""
    server = await get_for(tx, ctx, server_id, RULE)
    _check(ctx, server, host)
    await _check_lost(tx, ctx, server)
    source, migration_id, left = server.host or "", ctx.new_id(), server.disk_ids
    dest = await moves.claim_elsewhere_in(tx, ctx, server, server, migration_id, host=host, forced=forced)
    kept = hosts.share_disks(ctx.cloud, source, dest.name)
    disks = server.disks if kept else tuple(structs.replace(d, id=ctx.new_id()) for d in server.disks)
    if server.move is not None:  # the host to which it was being evacuated is lost, too
        await migrations.move(tx, server.move.migration_id, MigrationStatus.FAILED, ctx.now_us)
        await instance_actions.finish(tx, server, "evacuate", ctx.now_us, error=f"Host {source} was lost.")
    await migrations.add(
        tx, uuid=migration_id, type=MigrationType.EVACUATION, status=MigrationStatus.ACCEPTED, server=server, user_id=ctx.user_id,
        project_id=ctx.project_id, host=source, dest_host=dest.name, now_us=ctx.now_us,
    )  # fmt: skip
    await instance_actions.overtake(tx, server, ctx.now_us, "evacuate")
    await instance_actions.begin(tx, ctx, server.id, "evacuate", "rebuild_server", dest.name)
    image = await let_image_go_in(tx, ctx, server)
    volumes = tuple(structs.replace(v, state="attaching") if v.state == "attached" else v for v in server.volumes)
    after = await moves.switch_in(
        tx, ctx, server, dest.name, task_state=TaskState.REBUILDING, disks=disks, volumes=volumes, leaving=(), rescue=None,
        move=Move(migration_id, MoveKind.EVACUATION, source, dest.name, off=off or server.vm_state is VmState.STOPPED),
        deadline=ctx.now_us + PATIENCE_S * 1_000_000, **image,
    )  # fmt: skip
    await moves.leave_in(tx, ctx, after, source, left, migration_id)
    tx.wake("servers", server.id)


def _check(ctx: RequestContext, server: Server, host: str | None) -> None:
    """Raises: Conflict, Invalid."""
    if host is not None:
        moves.check_host(ctx, host)
        if host == server.host:
            raise Invalid("The target host can't be the same one.", field="host")
    server_states.check(server, "evacuate", override_lock=may_override(ctx, server))
    if server.host is None:
        raise Conflict(f"Instance {server.id} is not ready")
    if server.task_state in (TaskState.DELETING, TaskState.MIGRATING):
        raise server_states.refusal(server, "evacuate", "task_state", str(server.task_state))
    if server.move is not None and server.move.kind is MoveKind.LIVE:
        raise Conflict(f"Instance {server.id} has a live migration that must end first.")
    if server.resize is not None:
        raise Conflict(f"Instance {server.id} has a resize that must be confirmed or reverted first.")


async def _check_lost(db: Reader, ctx: RequestContext, server: Server) -> None:
    """Raises: Invalid, while the host works; Conflict, while nobody vouches that nothing runs there."""
    name = server.host or ""
    row = await host_store.find(db, name)
    known = hosts.table(ctx.cloud).hosts.get(name)
    if row is None or row.forced_down:
        return
    if known is not None and known.up:
        raise Invalid(f"Compute service of {name} is still in use.")
    raise Conflict(
        f"Compute service of {name} is down, but its guests may still run. Make sure that they do not, then say so: "
        f"openstack compute service set --down {name} nova-compute"
    )
