"""Hosts as an administrator sees them: compute services and hypervisors; taking a host out of service."""

from __future__ import annotations

from moln.compute.model.hosts import OFF, ComputeHost
from moln.compute.model.servers import Flavor
from moln.compute.ops.hosts import table
from moln.compute.store import aggregates, leftovers, migrations, servers
from moln.compute.store import hosts as store
from moln.kernel.context import RequestContext
from moln.kernel.db import Transaction
from moln.kernel.errors import Conflict, NotFound
from moln.placement.model.providers import Inventory
from moln.placement.ops import claims, providers

P = "os_compute_api:os-services"
HYPERVISORS = "os_compute_api:os-hypervisors"


def is_up(ctx: RequestContext, host: ComputeHost) -> bool:
    return not host.forced_down and host.name in ctx.cloud.links.nodes


def last_seen(ctx: RequestContext, host: ComputeHost) -> int:
    """µs UTC."""
    if is_up(ctx, host):
        return ctx.now_us
    return table(ctx.cloud).seen_us.get(host.name, host.updated_at)


async def services(ctx: RequestContext, *, host: str | None = None) -> list[ComputeHost]:
    ctx.require("compute", f"{P}:list", {})
    return [row for row in await ctx.db.all(store.ALL) if host in (None, row.name)]


async def everything(ctx: RequestContext) -> list[ComputeHost]:
    """Every host, for an operation that asks by a rule of its own."""
    return await ctx.db.all(store.ALL)


async def hypervisors(ctx: RequestContext, rule: str = "list") -> list[ComputeHost]:
    ctx.require("compute", f"{HYPERVISORS}:{rule}", {})
    return await ctx.db.all(store.ALL)


async def hypervisor(ctx: RequestContext, id: str, rule: str = "show") -> ComputeHost:
    """By its uuid, or its number before 2.53. Raises: NotFound."""
    ctx.require("compute", f"{HYPERVISORS}:{rule}", {})
    by_number = ctx.version < (2, 53)
    found = await (ctx.db.one(store.BY_ROWID, rowid=int(id)) if by_number else ctx.db.one(store.BY_ID, id=id))
    if found is None:
        raise NotFound(f"Hypervisor with ID '{id}' could not be found.")
    return found


async def room(ctx: RequestContext, host: ComputeHost) -> dict[str, Inventory]:
    """What placement holds of it."""
    held, _ = await providers.room_in(ctx.db, host.id)
    return held


async def servers_on(ctx: RequestContext, host: ComputeHost) -> list[tuple[str, str, bool]]:
    """(id, name, whether something is under way) of each server there."""
    return [(s.id, s.name, s.task_state is not None) for s in await servers.on_host(ctx.db, host.name)]


async def flavors_on(ctx: RequestContext, host: ComputeHost) -> list[tuple[str, Flavor]]:
    """(project, flavor) of each server there."""
    return [(s.project_id, s.flavor) for s in await servers.on_host(ctx.db, host.name)]


async def service(ctx: RequestContext, id: str) -> ComputeHost:
    """By its uuid, or its number before 2.53. Raises: NotFound."""
    by_number = ctx.version < (2, 53)
    found = await (ctx.db.one(store.BY_ROWID, rowid=int(id)) if by_number else ctx.db.one(store.BY_SERVICE, service_id=id))
    if found is None:
        raise NotFound(f"Service {id} could not be found.")
    return found


async def named(ctx: RequestContext, host: str) -> ComputeHost:
    """Raises: NotFound."""
    found = await store.find(ctx.db, host)
    if found is None:
        raise NotFound(f"Compute host {host} could not be found.")
    return found


async def update(ctx: RequestContext, host: ComputeHost, *, disabled: bool | None, reason: str | None,
                 forced_down: bool | None) -> ComputeHost:  # fmt: skip
    """disabled: takes no new servers (placement is told, too); None leaves it. forced_down: counts as down, whatever it reports."""
    ctx.require("compute", f"{P}:update", {})
    return await ctx.db.write(_update_in, host.name, disabled, reason, forced_down, ctx.now_us)


async def switch(ctx: RequestContext, host: ComputeHost, *, disabled: bool) -> ComputeHost:
    """The same for a caller who was authorised by the rule of another operation."""
    return await ctx.db.write(_update_in, host.name, disabled, None, None, ctx.now_us)


async def switch_for(ctx: RequestContext, host: ComputeHost, reason: str | None) -> ComputeHost:
    """The cloud itself has it take no new servers, for this reason; None: it takes them again."""
    return await ctx.db.write(_update_in, host.name, reason is not None, reason, None, ctx.now_us)


async def _update_in(tx: Transaction, name: str, disabled: bool | None, reason: str | None, forced_down: bool | None,
                     now: int) -> ComputeHost:  # fmt: skip
    values: dict[str, object] = {"updated_at": now}
    if disabled is not None:
        values |= {"disabled": disabled, "disabled_reason": reason}
    if forced_down is not None:
        values["forced_down"] = forced_down
    if not await tx.update(store.hosts, values, name=name):
        raise NotFound(f"Compute host {name} could not be found.")
    changed = await store.find(tx, name)
    assert changed is not None
    if disabled is not None:
        await providers.mark_in(tx, changed.id, OFF, disabled, now)
    tx.changed("compute.hosts", name)
    return changed


async def remove(ctx: RequestContext, id: str) -> None:
    """Forget a host for good; it is there again when its node connects. Raises: NotFound; Conflict, while it has servers."""
    ctx.require("compute", f"{P}:delete", {})
    host = await service(ctx, id)
    await ctx.db.write(_remove_in, host)


async def _remove_in(tx: Transaction, host: ComputeHost) -> None:
    if await servers.on_host(tx, host.name):
        raise Conflict("Unable to delete compute service that is hosting instances. Migrate or delete the instances first.")
    if await migrations.under_way(tx, host.name):
        raise Conflict(
            "Unable to delete compute service that has in-progress migrations. Complete the migrations first or delete the instances."
        )
    for left in await leftovers.on_host(tx, host.name):  # nobody will ever remove it there; what it held goes with the provider
        await leftovers.remove(tx, left)
        if left.claim:
            await claims.release_in(tx, left.claim, now_us=host.updated_at)
            await migrations.complete(tx, left.claim, host.updated_at)
    if not await tx.delete(store.hosts, name=host.name):
        raise NotFound(f"Service {host.service_id} could not be found.")
    await tx.delete(aggregates.members, host=host.name)
    await providers.remove_in(tx, host.id)
    tx.changed("compute.hosts", host.name)
