"""Another flavor for a server that stays on its host: turned off, its disks kept as they were and grown, started; then kept or undone."""

from __future__ import annotations

from msgspec import structs

from moln.compute.drivers.base import DiskCopies
from moln.compute.model.migrations import MigrationStatus
from moln.compute.model.servers import RESIZE_TASKS, Fault, PowerState, Resize, Server, TaskState, VmState
from moln.compute.ops import resize as ops
from moln.compute.ops.quotas import QUOTA
from moln.compute.store import instance_actions, migrations
from moln.compute.store import servers as store
from moln.compute.work.server_build import attached_in
from moln.compute.work.server_ports import wait_for_ports
from moln.compute.work.server_power import GRACE_S
from moln.compute.work.server_specs import driver_of, spec_of
from moln.kernel.context import RequestContext
from moln.kernel.db import Transaction
from moln.kernel.errors import BackendRefused, Failure
from moln.kernel.work import Work
from moln.placement.model.allocations import INSTANCE
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
    await migrations.move(tx, held.migration_id, MigrationStatus.POST_MIGRATING, ctx.now_us)
    await store.save(tx, server, ctx.now_us, task_state=TaskState.RESIZE_FINISH, power_state=PowerState.SHUTDOWN)
    tx.wake("servers", server.id)


async def _finish(work: Work, server: Server, held: Resize) -> None:
    """Its disks grown, and on again, if it was."""
    disks = copies_of(work, server)
    for disk in held.new_disks:
        if disk.id in held.copies:
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
    await instance_actions.finish(tx, server, "resize", now)


def _power_state(was: VmState) -> PowerState:
    return PowerState.RUNNING if was is VmState.ACTIVE else PowerState.SHUTDOWN


async def _revert(work: Work, server: Server, held: Resize) -> None:
    """Off; each disk as its copy is, the copy gone with the same stroke; on again, if it was before the resize."""
    driver, disks = driver_of(work, server), copies_of(work, server)
    before = structs.replace(server, flavor=held.old_flavor, disks=held.old_disks)
    await driver.ensure_server(await spec_of(work, before, driver), "stopped")
    for disk_id, copy_id in held.copies.items():
        await disks.restore_disk(disk_id, copy_id)
    for disk_id in sorted({d.id for d in held.new_disks} - {d.id for d in held.old_disks}):
        await driver.remove_disk(disk_id)
    server = await _power(work, server, before, held.was)
    await work.write(reverted_in, work.ctx, server, held)


async def reverted_in(tx: Transaction, ctx: RequestContext, server: Server, held: Resize) -> None:
    """The old flavor, its quota and its claim, which the migration kept."""
    now, charged = ctx.now_us, server.charged
    volumes = await attached_in(tx, ctx, server)
    server = await store.save(
        tx, server, now, vm_state=held.was, task_state=None, flavor_id=held.old_flavor_id, flavor=held.old_flavor, disks=held.old_disks,
        volumes=volumes, resize=None, power_state=_power_state(held.was), deadline=None, fault=None,
    )  # fmt: skip
    await _refund(tx, server, charged)
    await claims.release_in(tx, server.id, now_us=now)
    await claims.hand_over_in(tx, held.migration_id, server.id, consumer_type=INSTANCE)
    await migrations.move(tx, held.migration_id, MigrationStatus.ERROR if held.failed else MigrationStatus.REVERTED, now)
    await instance_actions.finish(tx, server, "revertResize", now)
    if held.failed:
        await instance_actions.finish(tx, server, "resize", now, error=held.failed)


async def _refund(tx: Transaction, server: Server, charged: dict[str, int]) -> None:
    """Give back what was charged for the other flavor."""
    now = server.charged
    await QUOTA.refund(tx, server.project_id, cores=charged["cores"] - now["cores"], ram=charged["ram"] - now["ram"])


async def _confirm(work: Work, server: Server, held: Resize) -> None:
    """The copies go, and disks that only the old flavor had."""
    driver = driver_of(work, server)
    for disk_id in sorted(set(server.disk_ids) - {d.id for d in server.disks}):
        await driver.remove_disk(disk_id)
    await work.write(confirmed_in, work.ctx, server, held)


async def confirmed_in(tx: Transaction, ctx: RequestContext, server: Server, held: Resize) -> None:
    now, charged = ctx.now_us, server.charged
    state = VmState.ACTIVE if server.power_state == PowerState.RUNNING else VmState.STOPPED
    server = await store.save(tx, server, now, vm_state=state, task_state=None, resize=None, leaving=(), deadline=None, fault=None)
    await _refund(tx, server, charged)
    await claims.release_in(tx, held.migration_id, now_us=now)
    await migrations.move(tx, held.migration_id, MigrationStatus.CONFIRMED, now)
    await instance_actions.finish(tx, server, "confirmResize", now)


async def give_up_in(tx: Transaction, ctx: RequestContext, server: Server, reason: str) -> None:
    """A resize that fails is undone; what cannot be undone or confirmed is in ERROR, and may be tried again."""
    now, held = ctx.now_us, server.resize
    if held is not None and server.task_state in (TaskState.RESIZE_PREP, TaskState.RESIZE_FINISH):
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
            await instance_actions.finish(tx, server, "resize", now, error=held.failed)


async def released_in(tx: Transaction, ctx: RequestContext, server: Server) -> None:
    """The server itself is going: so does what its resize held."""
    held = server.resize
    if held is not None:
        await claims.release_in(tx, held.migration_id, now_us=ctx.now_us)
        await migrations.move(
            tx, held.migration_id, MigrationStatus.CONFIRMED if held.finished else MigrationStatus.ERROR, ctx.now_us
        )


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
