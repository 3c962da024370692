"""Emptying a host: it takes no new servers, and those that it has go elsewhere, live where they run, turned off where they are off.

Nothing of it is remembered but rows: the host's that says disabled, and the records of moves. Whoever drains asks again until all is told;
whoever stops asking leaves moves that end by themselves.
"""

from __future__ import annotations

from msgspec import Struct

from moln.compute.model.hosts import ComputeHost
from moln.compute.model.migrations import Migration, MigrationStatus, MigrationType
from moln.compute.model.servers import Server, VmState
from moln.compute.ops import live_migration, resize, services
from moln.compute.store import migrations, servers
from moln.kernel.context import RequestContext
from moln.kernel.errors import Failure

TRIES = 2  # moves of one server that may fail, until it is said to stay
REASON = "drained"
LIVE, COLD = MigrationType.LIVE, MigrationType.MIGRATION
MOVABLE = frozenset({VmState.ACTIVE, VmState.PAUSED, VmState.STOPPED})
FAILED = frozenset({MigrationStatus.FAILED, MigrationStatus.ERROR, MigrationStatus.CANCELLED})


class Guest(Struct, frozen=True):
    """A server that is or was on the host. state: moving, waiting (for others, or what is under way), moved, or staying; why, or where to."""

    id: str
    name: str
    state: str
    why: str = ""


async def begin(ctx: RequestContext, host: ComputeHost) -> None:
    """No new servers from now on. What an operator wrote as the reason of his own stays."""
    if not host.disabled:
        await services.switch_for(ctx, host, REASON)


async def go_on(ctx: RequestContext, host: ComputeHost, *, since_us: int, cold: bool = False, at_once: int = 4) -> list[Guest]:
    """Begin the moves that there is room for, end those that arrived; how each server is. since_us: when this drain began.

    cold: turn off and move what runs and cannot move otherwise. at_once: moves from this host, at most.
    """
    told = []
    mine = await migrations.from_host(ctx.db, host.name, since_us)
    here = await servers.on_host(ctx.db, host.name)
    moving = sum(server.task_state is not None for server in here)
    for server in here:
        tried = [m for m in mine if m.server_id == server.id and m.status in FAILED]
        how = _ways(server, tried, cold)
        guest = _standing(server, how)
        if guest is None and moving >= at_once:
            guest = _as(server, "waiting")
        elif guest is None:
            guest = await _begin_move(ctx, server, how)
            moving += guest.state == "moving"
        told.append(guest)
    gone = {m.server_id: m for m in mine}
    for server in await servers.some(ctx.db, sorted(gone.keys() - {s.id for s in here})):
        told.append(await _arrived(ctx, server, gone[server.id]))
    return sorted(told, key=lambda guest: (guest.name, guest.id))


def _as(server: Server, state: str, why: str = "") -> Guest:
    return Guest(server.id, server.name, state, why)


def _ways(server: Server, failed: list[Migration], cold: bool) -> list[MigrationType]:
    """How it may move, the better first, without what has failed too often."""
    ways = {VmState.ACTIVE: [LIVE, COLD] if cold else [LIVE], VmState.PAUSED: [LIVE], VmState.STOPPED: [COLD]}
    return [way for way in ways.get(server.vm_state, []) if sum(m.migration_type == way for m in failed) < TRIES]


def _standing(server: Server, ways: list[MigrationType]) -> Guest | None:
    """What is under way, or why nothing is to be done; None: it can be moved."""
    if server.task_state is not None:
        to = server.other_host or ""
        return _as(server, "moving", to) if to else _as(server, "waiting", f"until it is done with {server.task_state}")
    if server.resize is not None:
        return _as(server, "staying", "its owner has to confirm or revert its resize")
    if server.vm_state not in MOVABLE:
        return _as(server, "staying", f"a server that is {server.vm_state} cannot move")
    if not ways:
        return _as(server, "staying", f"its move failed {TRIES} times: openstack server event list {server.id}")
    return None


async def _begin_move(ctx: RequestContext, server: Server, ways: list[MigrationType]) -> Guest:
    """The first that is possible, or why none is."""
    why = ""
    for way in ways:
        try:
            if way is LIVE:
                await live_migration.migrate(ctx, server.id, live_migration.LiveRequest())
            else:
                await resize.migrate(ctx, server.id, None)
        except Failure as failure:
            why = why or failure.message
        else:
            return _as(server, "moving")
    return _as(server, "staying", why)


async def _arrived(ctx: RequestContext, server: Server, record: Migration) -> Guest:
    """A cold move that this drain began is confirmed, so that nothing of it stays behind."""
    held = server.resize
    if held is None or held.migration_id != record.uuid:
        return _as(server, "moved", server.host or "")
    if record.user_id != ctx.user_id:
        return _as(server, "staying", "its owner has to confirm or revert its resize")
    if server.task_state is None and held.finished and not held.confirming:
        try:
            await resize.confirm(ctx, server.id)
        except Failure as failure:
            return _as(server, "staying", failure.message)
    return _as(server, "moving", server.host or "")
