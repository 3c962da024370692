"""Host aggregates: made by administrators; those with a zone decide in which availability zone a host is."""

from __future__ import annotations

from typing import Any

from moln.compute.model.aggregates import Aggregate
from moln.compute.store import aggregates as store
from moln.compute.store import hosts, servers
from moln.kernel.context import RequestContext
from moln.kernel.db import Duplicate, Transaction
from moln.kernel.errors import Conflict, Invalid, NotFound
from moln.placement.ops import providers

P = "os_compute_api:os-aggregates"
ZONE = "availability_zone"


async def search(ctx: RequestContext) -> list[Aggregate]:
    ctx.require("compute", f"{P}:index", {})
    return await store.everything(ctx.db)


async def show(ctx: RequestContext, id: int) -> Aggregate:
    """Raises: NotFound."""
    ctx.require("compute", f"{P}:show", {})
    return _there(await store.find(ctx.db, id), id)


def _there(found: Aggregate | None, id: int) -> Aggregate:
    if found is None:
        raise NotFound(f"Aggregate {id} could not be found.")
    return found


async def create(ctx: RequestContext, name: str, zone: str | None) -> Aggregate:
    """Raises: Conflict, when the name is taken."""
    ctx.require("compute", f"{P}:create", {})
    return await ctx.db.write(_create_in, ctx.new_id(), name, zone, ctx.now_us)


async def _create_in(tx: Transaction, id: str, name: str, zone: str | None, now: int) -> Aggregate:
    row = {"id": id, "name": name, "zone": zone, "metadata": {}, "created_at": now, "updated_at": None}
    try:
        await tx.insert(store.aggregates, row)
    except Duplicate:
        raise Conflict(f"Aggregate {name} already exists.") from None
    made = await tx.one(store.BY_ID, id=id)
    assert made is not None
    return made


async def update(ctx: RequestContext, id: int, values: dict[str, Any]) -> Aggregate:
    """values: `name`, `zone`. Raises: NotFound; Conflict (name); Invalid, when its hosts cannot go to that zone."""
    ctx.require("compute", f"{P}:update", {})
    return await ctx.db.write(_update_in, ctx, id, values, "update aggregate")


async def set_metadata(ctx: RequestContext, id: int, metadata: dict[str, str | None]) -> Aggregate:
    """Add, change, and with None remove; `availability_zone` is the zone. Raises: NotFound, Invalid."""
    ctx.require("compute", f"{P}:set_metadata", {})
    return await ctx.db.write(_set_metadata_in, ctx, id, metadata)


async def _set_metadata_in(tx: Transaction, ctx: RequestContext, id: int, metadata: dict[str, str | None]) -> Aggregate:
    found = _there(await store.find(tx, id), id)
    merged = found.metadata | metadata
    values: dict[str, Any] = {"metadata": {k: v for k, v in merged.items() if v is not None and k != ZONE}}
    if ZONE in metadata:
        values["zone"] = metadata[ZONE]
    return await _update_in(tx, ctx, id, values, "update metadata of aggregate")


async def _update_in(tx: Transaction, ctx: RequestContext, id: int, values: dict[str, Any], what: str) -> Aggregate:
    found = _there(await store.find(tx, id), id)
    if values.get("zone", ...) == "":
        raise Invalid(f"Cannot {what} {id}. Reason: Aggregate {found.name} does not support empty named availability zone.")
    try:
        await tx.update(store.aggregates, values | {"updated_at": ctx.now_us}, id=found.id)
    except Duplicate:
        raise Conflict(f"Aggregate {values['name']} already exists.") from None
    for host in found.hosts:
        reason = await _rezone(tx, ctx, host)
        if reason:
            raise Invalid(f"Cannot {what} {id}. Reason: {reason}.")
    return _there(await store.find(tx, id), id)


async def _rezone(tx: Transaction, ctx: RequestContext, host: str) -> str:
    """Bring a host to the zone that its aggregates say. Returns why that cannot be, or nothing."""
    zones = sorted({a.zone for a in await tx.all(store.OF_HOST, host=host) if a.zone})
    if len(zones) > 1:
        return f"One or more hosts already in availability zone(s) {zones}"
    zone = zones[0] if zones else ctx.settings.compute.zone
    row = await hosts.find(tx, host)
    if row is None or row.zone == zone:
        return ""
    if await servers.on_host(tx, host):
        return "One or more hosts contain instances in this zone"
    await tx.update(hosts.hosts, {"zone": zone, "updated_at": ctx.now_us}, name=host)
    tx.changed("compute.hosts", host)
    return ""


async def remove(ctx: RequestContext, id: int) -> None:
    """Raises: NotFound; Invalid, while it has hosts."""
    ctx.require("compute", f"{P}:delete", {})
    await ctx.db.write(_remove_in, id)


async def _remove_in(tx: Transaction, id: int) -> None:
    found = _there(await store.find(tx, id), id)
    if found.hosts:
        raise Invalid(f"Cannot remove aggregate {id}. Reason: Host aggregate is not empty.")
    await tx.delete(store.aggregates, id=found.id)


async def add_host(ctx: RequestContext, id: int, host: str) -> Aggregate:
    """Placement is told, too. Raises: NotFound; Conflict, when it is there, or in a zone that it cannot leave."""
    ctx.require("compute", f"{P}:add_host", {})
    return await ctx.db.write(_add_host_in, ctx, id, host)


async def _add_host_in(tx: Transaction, ctx: RequestContext, id: int, host: str) -> Aggregate:
    found = _there(await store.find(tx, id), id)
    row = await hosts.find(tx, host)
    if row is None:
        raise NotFound(f"Compute host {host} could not be found.")
    if not await tx.insert(store.members, {"aggregate_id": found.id, "host": host}, if_absent=True):
        raise Conflict(f"Aggregate {id} already has host {host}.")
    reason = await _rezone(tx, ctx, host)
    if reason:
        raise Conflict(f"Cannot add host to aggregate {id}. Reason: {reason}.")
    await providers.group_in(tx, row.id, found.id, True, ctx.now_us)
    return _there(await store.find(tx, id), id)


async def remove_host(ctx: RequestContext, id: int, host: str) -> Aggregate:
    """Raises: NotFound; Conflict, when its servers would change their zone."""
    ctx.require("compute", f"{P}:remove_host", {})
    return await ctx.db.write(_remove_host_in, ctx, id, host)


async def _remove_host_in(tx: Transaction, ctx: RequestContext, id: int, host: str) -> Aggregate:
    found = await store.find(tx, id)
    if found is None or not await tx.delete(store.members, aggregate_id=found.id, host=host):
        raise NotFound(f"Cannot remove host {host} in aggregate {id}")
    reason = await _rezone(tx, ctx, host)
    if reason:
        raise Conflict(f"Cannot remove host from aggregate {id}. Reason: {reason}.")
    row = await hosts.find(tx, host)
    if row is not None:
        await providers.group_in(tx, row.id, found.id, False, ctx.now_us)
    return _there(await store.find(tx, id), id)
