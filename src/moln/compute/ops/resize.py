"""Resize, on the server's own host where it has room, else on another; cold migration, to another; confirm and revert. work/server_resize.py does it."""

from __future__ import annotations

from msgspec import structs

from moln.compute.model import resizes, server_states, wishes
from moln.compute.model.flavors import Flavor
from moln.compute.model.migrations import MigrationStatus, MigrationType
from moln.compute.model.scheduling import Choice, Host, Refusal, explain, why_not_suited
from moln.compute.model.servers import Flavor as FlavorThen
from moln.compute.model.servers import Resize, Server, TaskState
from moln.compute.ops import create, flavors, hosts, moves, scheduling, server_disks
from moln.compute.ops.quotas import QUOTA
from moln.compute.ops.servers import get_for, may_override
from moln.compute.store import instance_actions, migrations
from moln.compute.store import servers as store
from moln.image.ops import images
from moln.kernel.context import RequestContext
from moln.kernel.db import Transaction
from moln.kernel.errors import Conflict, Invalid, NotFound, OverQuota
from moln.placement.model.allocations import MIGRATION
from moln.placement.ops import claims

PATIENCE_S = 3600  # where the pool has no reflinks, disks are copied byte by byte
P = "os_compute_api:servers:"
MIGRATE = "os_compute_api:os-migrate-server:migrate"


async def resize(ctx: RequestContext, server_id: str, flavor_ref: str, disk_config: str | None = None) -> None:
    """Record that the server is to have another flavor. Raises: NotFound, Forbidden, Conflict, Invalid, OverQuota."""
    server = await get_for(ctx.db, ctx, server_id, f"{P}resize")
    _check_resizable(ctx, server)
    try:
        flavor = await flavors.for_boot(ctx.db, ctx, flavor_ref)
    except NotFound:
        raise Invalid(f"Flavor {flavor_ref[:64]} could not be found.", field="flavorRef") from None
    if flavor.id == server.flavor_id:
        raise Invalid("When resizing, instances must change flavor!", field="flavorRef")
    await ctx.db.write(resize_in, ctx, server_id, flavor, disk_config)


def _check_resizable(ctx: RequestContext, server: Server, action: str = "resize") -> None:
    """Raises: Conflict."""
    server_states.check(server, action, override_lock=may_override(ctx, server))
    if server.host is None:
        raise Conflict(f"Instance {server.id} is not ready")
    if server.move is not None:
        raise Conflict(f"Instance {server.id} has a live migration that must end first.")
    if server.resize is not None:
        raise Conflict(f"Instance {server.id} has a resize that must be confirmed or reverted first.")


async def resize_in(tx: Transaction, ctx: RequestContext, server_id: str, flavor: Flavor, disk_config: str | None) -> None:
    """Quota for what is more, room for the new flavor beside the old one, the record and the work. May run again."""
    server = await get_for(tx, ctx, server_id, f"{P}resize")
    _check_resizable(ctx, server)
    new = FlavorThen(
        flavor.vcpus, flavor.ram_mib, flavor.disk_gib, flavor.ephemeral_gib, flavor.swap_mib, flavor.name, flavor.extra_specs
    )
    await _check_image(tx, ctx, server, new, disk_config)
    disks = resizes.disks_after(server, new, ctx.new_id)
    await _charge(tx, server, new)
    migration_id = ctx.new_id()
    after = structs.replace(server, flavor=new, disks=disks)
    dest = await _claim(tx, ctx, server, after, migration_id)
    copies = resizes.copied(server.disks, disks, ctx.new_id) if _in_place(ctx, server.host or "", dest) else {}
    asked = Resize(
        migration_id, server.flavor_id, server.flavor, flavor.id, new, server.disks, disks, copies, server.vm_state,
        source=server.host or "", dest=dest,
    )  # fmt: skip
    await _begin(tx, ctx, server, asked, MigrationType.RESIZE, disk_config=disk_config or server.disk_config)


def _in_place(ctx: RequestContext, source: str, dest: str) -> bool:
    """Whether the disks stay where they are, so that only copies are a way back."""
    return source == dest or hosts.share_disks(ctx.cloud, source, dest)


async def _begin(tx: Transaction, ctx: RequestContext, server: Server, asked: Resize, type: MigrationType, **changes: str) -> None:
    """The record, the action and the work."""
    await migrations.add(
        tx, uuid=asked.migration_id, type=type, status=MigrationStatus.PRE_MIGRATING, server=server, user_id=ctx.user_id,
        project_id=ctx.project_id, host=asked.source, dest_host=asked.dest, new_flavor_id=asked.new_flavor_id, now_us=ctx.now_us,
    )  # fmt: skip
    await instance_actions.begin(tx, ctx, server.id, asked.action, "cold_migrate", server.host)
    await store.save(
        tx, server, ctx.now_us, task_state=TaskState.RESIZE_PREP, resize=asked, other_host=asked.dest if asked.moves else None,
        deadline=ctx.now_us + PATIENCE_S * 1_000_000, **changes,
    )  # fmt: skip
    tx.wake("servers", server.id)


async def _check_image(tx: Transaction, ctx: RequestContext, server: Server, new: FlavorThen, disk_config: str | None) -> None:
    """The image, where it is still there, against the new flavor. Raises: Invalid."""
    server_disks.check_disk_config(server.image_id or "", server.image_properties, disk_config)
    image = await images.find(tx, server.image_id) if server.image_id else None
    if image is not None:
        server_disks.check_image(image, server_disks.Sizes(new.disk, new.ephemeral, new.swap, new.ram))


async def _charge(tx: Transaction, server: Server, new: FlavorThen) -> None:
    """Take quota for what the new flavor has more. Raises: OverQuota, in Nova's words."""
    more = {"cores": max(0, new.vcpus - server.flavor.vcpus), "ram": max(0, new.ram - server.flavor.ram)}
    try:
        await QUOTA.charge(tx, server.project_id, **more)
    except OverQuota as over:
        limits, used = await QUOTA.limits(tx, server.project_id), await QUOTA.used(tx, server.project_id)
        raise create.over_quota(over.resources, more, 1, limits, used) from None


async def _claim(tx: Transaction, ctx: RequestContext, server: Server, after: Server, migration_id: str) -> str:
    """The migration holds what the server held, and the server what the new flavor asks for: on its own host, or else on another.

    Returns the host. Raises: Invalid, when no host can.
    """
    wanted = wishes.wanted(
        vcpus=after.flavor.vcpus, ram_mib=after.flavor.ram, disk_gib=sum(d.size_gib for d in after.disks),
        extra_specs=after.flavor.extra_specs, image_properties=server.image_properties, host=server.host,
    )  # fmt: skip
    known = hosts.table(ctx.cloud).hosts
    host = known.get(server.host or "")
    if host is None:
        raise no_valid_host(None, None)
    why = why_not_suited(host, structs.replace(wanted, more={}))
    if why is None and (host.disabled or not host.up):
        why = Refusal("is disabled" if host.disabled else "is down", "")
    if why is None:
        await claims.hand_over_in(tx, server.id, migration_id, consumer_type=MIGRATION)
        if await claims.claim_in(
            tx, now_us=ctx.now_us, consumer_id=server.id, project_id=server.project_id, user_id=server.user_id, provider_id=host.id,
            resources=scheduling.resources(wanted),
        ):  # fmt: skip
            return host.name
        why = explain(host, wanted)
    if not host.up or len(known) == 1:
        raise no_valid_host(host, why)
    return (await moves.claim_elsewhere_in(tx, ctx, server, after, migration_id, own=why)).name


def no_valid_host(host: Host | None, why: Refusal | None) -> Invalid:
    refusals = {host.name: why} if host is not None and why is not None else {}
    return Invalid(Choice((), refusals, 0 if host is None else 1).no_valid_host())


async def confirm(ctx: RequestContext, server_id: str) -> None:
    """Record that the new flavor stays. Raises: NotFound, Forbidden, Conflict."""
    await ctx.db.write(confirm_in, ctx, server_id)


async def confirm_in(tx: Transaction, ctx: RequestContext, server_id: str) -> None:
    server = await get_for(tx, ctx, server_id, f"{P}confirm_resize")
    held = _held(ctx, server, "confirmResize")
    if not held.finished:
        raise server_states.refusal(server, "confirmResize", "vm_state", server.vm_state)
    await instance_actions.begin(tx, ctx, server.id, "confirmResize", "compute_confirm_resize", server.host)
    await migrations.move(tx, held.migration_id, MigrationStatus.CONFIRMING, ctx.now_us)
    await store.save(
        tx, server, ctx.now_us, task_state=TaskState.RESIZE_CONFIRMING, resize=structs.replace(held, confirming=True),
        deadline=ctx.now_us + PATIENCE_S * 1_000_000,
    )  # fmt: skip
    tx.wake("servers", server.id)


async def revert(ctx: RequestContext, server_id: str) -> None:
    """Record that the old flavor comes back, and the disks as they were. Raises: NotFound, Forbidden, Conflict."""
    await ctx.db.write(revert_in, ctx, server_id)


async def revert_in(tx: Transaction, ctx: RequestContext, server_id: str) -> None:
    server = await get_for(tx, ctx, server_id, f"{P}revert_resize")
    held = _held(ctx, server, "revertResize")
    if held.confirming:
        raise server_states.refusal(server, "revertResize", "vm_state", server.vm_state)
    await instance_actions.begin(tx, ctx, server.id, "revertResize", "compute_revert_resize", server.host)
    await migrations.move(tx, held.migration_id, MigrationStatus.REVERTING, ctx.now_us)
    await store.save(
        tx, server, ctx.now_us, task_state=TaskState.RESIZE_REVERTING, deadline=ctx.now_us + PATIENCE_S * 1_000_000
    )
    tx.wake("servers", server.id)


def _held(ctx: RequestContext, server: Server, action: str) -> Resize:
    """The resize to be ended. One that went wrong, or whose state was reset, can be ended from any state. Raises: Conflict."""
    rule = action if server.resize is None else "end resize"
    server_states.check(server, rule, action=action, override_lock=may_override(ctx, server))
    if server.resize is None:
        raise Conflict(f"Instance {server.id} has not been resized.")
    return server.resize


async def migrate(ctx: RequestContext, server_id: str, host: str | None) -> None:
    """Record that the server is to be turned off and go on elsewhere. host: only there. Raises: NotFound, Forbidden, Conflict, Invalid."""
    await ctx.db.write(migrate_in, ctx, server_id, host)


async def migrate_in(tx: Transaction, ctx: RequestContext, server_id: str, host: str | None) -> None:
    """A resize to the flavor that it has, on any host but its own. May run again."""
    server = await get_for(tx, ctx, server_id, MIGRATE)
    if host is not None:
        ctx.require("compute", f"{MIGRATE}:host", {"project_id": server.project_id, "user_id": server.user_id})
        if host == server.host:
            raise Invalid("Cannot migrate to the host where the server exists.", field="host")
        moves.check_host(ctx, host)
    _check_resizable(ctx, server, "migrate")
    source = hosts.table(ctx.cloud).hosts.get(server.host or "")
    if source is not None and not source.up:
        raise Conflict(f"Service is unavailable at this time: the host {source.name} of instance {server.id} is down.")
    migration_id = ctx.new_id()
    dest = await moves.claim_elsewhere_in(tx, ctx, server, server, migration_id, host=host)
    copies = resizes.copied(server.disks, server.disks, ctx.new_id) if _in_place(ctx, server.host or "", dest.name) else {}
    asked = Resize(
        migration_id, server.flavor_id, server.flavor, server.flavor_id, server.flavor, server.disks, server.disks, copies, server.vm_state,
        source=server.host or "", dest=dest.name,
    )  # fmt: skip
    await _begin(tx, ctx, server, asked, MigrationType.MIGRATION)
