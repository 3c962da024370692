"""Another flavor for a server, or another host, or both: turned off, its disks kept as they were and grown, started; then kept or undone.

On its own host each disk is copied beside itself. On another one they are copied there, and what is left at the source is the way back.
"""

from __future__ import annotations

from msgspec import structs

from moln.compute.drivers.base import DiskCopies
from moln.compute.model.migrations import MigrationStatus
from moln.compute.model.servers import RESIZE_TASKS, RESIZING, DiskKind, Fault, PowerState, Resize, Server, TaskState, VmState
from moln.compute.ops import moves
from moln.compute.ops import resize as ops
from moln.compute.ops.quotas import QUOTA
from moln.compute.store import instance_actions, migrations
from moln.compute.store import servers as store
from moln.compute.work.server_build import attached_in
from moln.compute.work.server_leftovers import remove_from
from moln.compute.work.server_moves import carry_disks
from moln.compute.work.server_ports import wait_for_ports
from moln.compute.work.server_power import GRACE_S
from moln.compute.work.server_specs import driver_of, spec_of
from moln.kernel.context import RequestContext
from moln.kernel.db import Transaction
from moln.kernel.errors import BackendRefused, Failure
from moln.kernel.work import Work
from moln.placement.ops import claims

COPY_S = 1800.0  # seconds a pool without reflinks may take to copy a disk
UNDO_S = 900


async def apply(work: Work, server: Server) -> None:
    """Raises: Later, BackendRefused, BackendUnreachable."""
    if server.resize is None:
        raise BackendRefused("What the server was to be resized to is not known.")
    match server.task_state:
        case TaskState.RESIZE_PREP:
            await _prepare(work, server, server.resize)
        case TaskState.RESIZE_MIGRATING:
            await _migrate(work, server, server.resize)
        case TaskState.RESIZE_FINISH:
            await _finish(work, server, server.resize)
        case TaskState.RESIZE_REVERTING:
            await _revert(work, server, server.resize)
        case TaskState.RESIZE_CONFIRMING:
            await _confirm(work, server, server.resize)


def copies_of(work: Work, server: Server) -> DiskCopies:
    """The disks of the server's host, fenced by the server's generation."""
    return work.driver(
        server.host or "", "compute-disks", DiskCopies, resource=f"server:{server.id}", generation=server.generation, deadline_s=COPY_S
    )


async def _prepare(work: Work, server: Server, held: Resize) -> None:
    """Off, and its disks copied. It is not started again before the row says that all of them are: then it is found again."""
    driver, disks = driver_of(work, server, deadline_s=GRACE_S + 120), copies_of(work, server)
    await driver.ensure_server(await spec_of(work, server, driver), "stopped", GRACE_S)
    for disk_id, copy_id in held.copies.items():
        await disks.ensure_disk_copy(copy_id, disk_id)
    await work.write(prepared_in, work.ctx, server, held)


async def prepared_in(tx: Transaction, ctx: RequestContext, server: Server, held: Resize) -> None:
    status = MigrationStatus.MIGRATING if held.moves else MigrationStatus.POST_MIGRATING
    await migrations.move(tx, held.migration_id, status, ctx.now_us)
    task = TaskState.RESIZE_MIGRATING if held.moves else TaskState.RESIZE_FINISH
    await store.save(tx, server, ctx.now_us, task_state=task, power_state=PowerState.SHUTDOWN)
    tx.wake("servers", server.id)


async def _migrate(work: Work, server: Server, held: Resize) -> None:
    """Its disks are at the destination, too: those that a revert needs stay where they are."""
    await carry_disks(work, server, held.source, held.dest, _carried(held))
    await work.write(migrated_in, work.ctx, server, held)


def _carried(held: Resize) -> list[str]:
    """The disks that both flavors have; swap begins anew."""
    stay = {d.id for d in held.new_disks}
    return [d.id for d in held.old_disks if d.id in stay and d.kind is not DiskKind.SWAP]


async def migrated_in(tx: Transaction, ctx: RequestContext, server: Server, held: Resize) -> None:
    """The server is on its new host, and may return."""
    await migrations.move(tx, held.migration_id, MigrationStatus.POST_MIGRATING, ctx.now_us)
    await moves.switch_in(tx, ctx, server, held.dest, task_state=TaskState.RESIZE_FINISH, other_host=held.source)
    tx.wake("servers", server.id)


async def _finish(work: Work, server: Server, held: Resize) -> None:
    """Its disks grown, and on again, if it was."""
    disks = copies_of(work, server)
    had = _carried(held) if held.moves else held.copies
    for disk in held.new_disks:
        if disk.id in had:
            await disks.grow_disk(disk.id, disk.size_gib)
    after = structs.replace(server, flavor=held.new_flavor, disks=held.new_disks)
    server = await _power(work, server, after, held.was)
    await work.write(finished_in, work.ctx, server, held)


async def _power(work: Work, server: Server, after: Server, was: VmState) -> Server:
    """The hypervisor runs it as `after` says, or knows of it, as it was before. The server with its ports as they are now."""
    driver = driver_of(work, server)
    running = was is VmState.ACTIVE
    await driver.ensure_server(await spec_of(work, after, driver), "running" if running else "stopped")
    return await wait_for_ports(work, server) if running else server


async def finished_in(tx: Transaction, ctx: RequestContext, server: Server, held: Resize) -> None:
    now = ctx.now_us
    volumes = await attached_in(tx, ctx, server)
    server = await store.save(
        tx, server, now, vm_state=VmState.RESIZED, task_state=None, flavor_id=held.new_flavor_id, flavor=held.new_flavor,
        disks=held.new_disks, volumes=volumes, resize=structs.replace(held, finished=True), power_state=_power_state(held.was), deadline=None,
        launched_at=now,
    )  # fmt: skip
    await migrations.move(tx, held.migration_id, MigrationStatus.FINISHED, now)
    await instance_actions.finish(tx, server, held.action, now)


def _power_state(was: VmState) -> PowerState:
    return PowerState.RUNNING if was is VmState.ACTIVE else PowerState.SHUTDOWN


async def _revert(work: Work, server: Server, held: Resize) -> None:
    """Off; each disk as its copy is, the copy gone with the same stroke; on again, if it was before the resize. A server that moved goes home first."""
    if held.moves and server.host == held.dest:
        disks = moves.not_kept(work.cloud, held.source, held.dest, server.disk_ids, server.disk_ids)
        await remove_from(work, held.dest, server.id, server.generation, disks)
        await work.write(home_in, work.ctx, server, held)
        return
    driver, disks = driver_of(work, server), copies_of(work, server)
    before = structs.replace(server, flavor=held.old_flavor, disks=held.old_disks)
    if not held.moves or held.copies:
        await driver.ensure_server(await spec_of(work, before, driver), "stopped")
        for disk_id, copy_id in held.copies.items():
            await disks.restore_disk(disk_id, copy_id)
        for disk_id in sorted({d.id for d in held.new_disks} - {d.id for d in held.old_disks}):
            await driver.remove_disk(disk_id)
    server = await _power(work, server, before, held.was)
    await work.write(reverted_in, work.ctx, server, held)


async def home_in(tx: Transaction, ctx: RequestContext, server: Server, held: Resize) -> None:
    """Nothing of it is at its destination any more: from here on it is where it came from."""
    await moves.switch_in(tx, ctx, server, held.source, other_host=held.dest)
    tx.wake("servers", server.id)


async def reverted_in(tx: Transaction, ctx: RequestContext, server: Server, held: Resize) -> None:
    """The old flavor, its quota and its claim, which the migration kept. What is at the destination goes, whether it came that far or not."""
    now, charged, before = ctx.now_us, server.charged, server
    volumes = await attached_in(tx, ctx, server)
    server = await store.save(
        tx, server, now, vm_state=held.was, task_state=None, flavor_id=held.old_flavor_id, flavor=held.old_flavor, disks=held.old_disks,
        volumes=volumes, resize=None, other_host=None, power_state=_power_state(held.was), deadline=None, fault=None,
    )  # fmt: skip
    if held.moves:
        await moves.leave_in(tx, ctx, server, held.dest, before.disk_ids)
    await _refund(tx, server, charged)
    await moves.give_back_in(tx, ctx, server, held.migration_id)
    await migrations.move(tx, held.migration_id, MigrationStatus.ERROR if held.failed else MigrationStatus.REVERTED, now)
    await instance_actions.finish(tx, server, "revertResize", now)
    if held.failed:
        await instance_actions.finish(tx, server, held.action, now, error=held.failed)


async def _refund(tx: Transaction, server: Server, charged: dict[str, int]) -> None:
    """Give back what was charged for the other flavor."""
    now = server.charged
    await QUOTA.refund(tx, server.project_id, cores=charged["cores"] - now["cores"], ram=charged["ram"] - now["ram"])


async def _confirm(work: Work, server: Server, held: Resize) -> None:
    """The copies go, and disks that only the old flavor had. What a server that moved left behind goes when its former host answers."""
    driver = driver_of(work, server)
    if not held.moves:
        for disk_id in sorted(set(server.disk_ids) - {d.id for d in server.disks}):
            await driver.remove_disk(disk_id)
    await work.write(confirmed_in, work.ctx, server, held)


async def confirmed_in(tx: Transaction, ctx: RequestContext, server: Server, held: Resize) -> None:
    now, charged = ctx.now_us, server.charged
    state = VmState.ACTIVE if server.power_state == PowerState.RUNNING else VmState.STOPPED
    left = server.disk_ids
    server = await store.save(
        tx, server, now, vm_state=state, task_state=None, resize=None, other_host=None, leaving=(), deadline=None, fault=None
    )
    await _refund(tx, server, charged)
    if held.moves:
        await moves.leave_in(tx, ctx, server, held.source, left, held.migration_id)
    else:
        await claims.release_in(tx, held.migration_id, now_us=now)
    await migrations.move(tx, held.migration_id, MigrationStatus.CONFIRMED, now)
    await instance_actions.finish(tx, server, "confirmResize", now)


async def give_up_in(tx: Transaction, ctx: RequestContext, server: Server, reason: str) -> None:
    """A resize that fails is undone; what cannot be undone or confirmed is in ERROR, and may be tried again."""
    now, held = ctx.now_us, server.resize
    if held is not None and server.task_state in RESIZING:
        await store.save(
            tx, server, now, task_state=TaskState.RESIZE_REVERTING, resize=structs.replace(held, failed=reason),
            deadline=now + UNDO_S * 1_000_000,
        )  # fmt: skip
        tx.wake("servers", server.id)
        return
    action = "confirmResize" if server.task_state is TaskState.RESIZE_CONFIRMING else "revertResize"
    fault = Fault(500, reason, now, held.failed or "" if held else "")
    server = await store.save(tx, server, now, vm_state=VmState.ERROR, task_state=None, deadline=None, fault=fault)
    await instance_actions.finish(tx, server, action, now, error=reason)
    if held is not None:
        await migrations.move(tx, held.migration_id, MigrationStatus.ERROR, now)
        if held.failed:
            await instance_actions.finish(tx, server, held.action, now, error=held.failed)


async def released_in(tx: Transaction, ctx: RequestContext, server: Server) -> None:
    """The server itself is going: so does what its resize held."""
    held = server.resize
    if held is None:
        return
    other = held.source if server.host == held.dest else held.dest
    if held.moves:
        await moves.leave_in(tx, ctx, server, other, server.disk_ids, held.migration_id)
    else:
        await claims.release_in(tx, held.migration_id, now_us=ctx.now_us)
    status = MigrationStatus.CONFIRMED if held.finished else MigrationStatus.ERROR
    await migrations.move(tx, held.migration_id, status, ctx.now_us)


async def confirm_overdue(work: Work) -> None:
    """Confirm what waited for longer than the operator's window; 0, the default, waits for ever."""
    window = work.cloud.settings.compute.resize_confirm_window_s  # type: ignore[attr-defined]
    if not window:
        return
    for server_id in await migrations.overdue(work.db, work.now_us - window * 1_000_000):
        try:
            await work.write(ops.confirm_in, work.ctx, server_id)
        except Failure:
            continue  # gone, or at work: the next turn looks again


STEPS = dict.fromkeys(RESIZE_TASKS, apply)
GIVE_UPS = dict.fromkeys(RESIZE_TASKS, give_up_in)
