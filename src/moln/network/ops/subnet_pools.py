"""Subnet pools: what a caller may do to them, and how subnets are cut from them (network v2.0 api-ref, "Subnet pools")."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Any

from msgspec import structs

from moln.kernel.context import RequestContext
from moln.kernel.db import Reader, Transaction
from moln.kernel.db.database import Duplicate
from moln.kernel.errors import Conflict, Forbidden, Invalid, NotFound, OverQuota
from moln.network.model import subnet_pools as model
from moln.network.model.addresses import Cidr
from moln.network.model.sharing import SHARED
from moln.network.model.subnet_pools import SubnetPool
from moln.network.model.subnets import Subnet
from moln.network.ops import authority, sharing
from moln.network.ops.common import QUOTA, bad, check_revision, conflict, get, invalid, missing
from moln.network.store import rows


async def create_in(
    tx: Transaction, ctx: RequestContext, *, project_id: str, prefixes: Sequence[str], set_: frozenset[str] = frozenset(),
    shared: bool = False, min_prefixlen: int | None = None, default_prefixlen: int | None = None, max_prefixlen: int | None = None,
    **fields: Any,
) -> SubnetPool:  # fmt: skip
    """Record a pool. Prefix lengths left out: Neutron's defaults. Raises: NotFound, Invalid, Forbidden, OverQuota."""
    authority.require(ctx, "create_subnetpool", authority.of_project(project_id, shared=shared), set_)
    compacted = model.compact(prefixes)
    version = ipaddress.ip_network(compacted[0]).version
    low = model.LOWEST[version] if min_prefixlen is None else min_prefixlen
    high = model.HIGHEST[version] if max_prefixlen is None else max_prefixlen
    default = low if default_prefixlen is None else default_prefixlen
    model.check_bounds(version, low, default, high)
    await QUOTA.charge(tx, project_id, subnetpool=1)
    now = ctx.now_us
    pool = SubnetPool(
        id=ctx.new_id(), project_id=project_id, ip_version=version, prefixes=compacted, min_prefixlen=low, default_prefixlen=default,
        max_prefixlen=high, created_at=now, updated_at=now, **fields,
    )  # fmt: skip
    await _check_scope(tx, ctx, pool)
    try:
        await rows.subnet_pools.add(tx, sharing.shared_fields(pool, shared))
    except Duplicate:
        raise _second_default() from None
    if shared:
        await sharing.add_in(tx, ctx, project_id, "subnetpool", pool.id, SHARED)
    return pool


def _second_default() -> Invalid:
    return invalid("A default subnetpool for this IP family has already been set. Only one default may exist per IP family")


async def _check_scope(tx: Transaction, ctx: RequestContext, pool: SubnetPool) -> None:
    """A pool joins scopes of its own version, its project's or shared ones, and overlaps no other pool there."""
    if pool.address_scope_id is None:
        return
    scope = await rows.address_scopes.find(tx, pool.address_scope_id)
    if scope is None or not authority.sees(ctx, "address_scope", authority.of_shareable(ctx, scope)):
        raise missing("address_scope", pool.address_scope_id)
    if scope.ip_version != pool.ip_version:
        raise Invalid(
            f"Illegal subnetpool association: subnetpool {pool.id} cannot associate with address scope {scope.id} because subnetpool "
            f"ip_version is not {scope.ip_version}.", type="IllegalSubnetPoolIpVersionAssociationToAddressScope",
        )  # fmt: skip
    for other in await rows.subnet_pools.by(tx, "address_scope_id", scope.id):
        if other.id != pool.id and model.meets(pool.prefixes, other.prefixes):
            raise conflict(
                "AddressScopePrefixConflict",
                "Failed to associate address scope: subnetpools within an address scope must have unique prefixes.",
            )


async def _check_affinity(tx: Transaction, pool: SubnetPool) -> None:
    """Subnets of one version on one network stay in one scope."""
    mine = await rows.subnets.by(tx, "subnetpool_id", pool.id)
    around = await rows.subnets.by_any(tx, "network_id", {s.network_id for s in mine})
    if any(s.ip_version == pool.ip_version and s.subnetpool_id != pool.id for s in around):
        raise _other_scope()


def _other_scope() -> Invalid:
    return Invalid(
        "Subnets of the same address family hosted on the same network must all participate in the same address scope.",
        type="NetworkAddressScopeAffinityError",
    )


async def update_in(
    tx: Transaction, ctx: RequestContext, id: str, *, set_: frozenset[str], revision: int | None = None, **changes: Any
) -> SubnetPool:
    """Change what the caller gave; prefixes may only grow. Raises: NotFound, Forbidden, Invalid, PreconditionFailed."""
    pool = await get(tx, rows.subnet_pools, "subnetpool", id)
    authority.require(ctx, "update_subnetpool", authority.of_shareable(ctx, pool), set_)
    check_revision(pool.revision_number, revision)
    return await change_in(tx, ctx, pool, **changes)


async def change_in(tx: Transaction, ctx: RequestContext, pool: SubnetPool, **changes: Any) -> SubnetPool:
    """Change a pool as its caller was allowed to."""
    if "prefixes" in changes:
        changes["prefixes"] = model.compact(changes["prefixes"])
        if ipaddress.ip_network(changes["prefixes"][0]).version != pool.ip_version:
            raise Invalid("Cannot mix IPv4 and IPv6 prefixes in a subnet pool.", type="PrefixVersionMismatch")
        if model.minus(pool.prefixes, changes["prefixes"]):
            raise _bad_prefixes("Existing prefixes must be a subset of the new prefixes")
    bounds = [changes.get(name, getattr(pool, name)) for name in ("min_prefixlen", "default_prefixlen", "max_prefixlen")]
    model.check_bounds(pool.ip_version, *bounds)
    if pool.address_scope_id is not None:
        scope = await get(tx, rows.address_scopes, "address_scope", pool.address_scope_id)
        if scope.project_id != ctx.project_id and not ctx.is_admin:
            raise _bad_update(f"subnetpool {pool.id} cannot be updated when associated with shared address scope {scope.id}")
    rescoped = changes.get("address_scope_id", pool.address_scope_id) != pool.address_scope_id
    if rescoped or "prefixes" in changes:
        after = structs.replace(pool, **changes)
        if rescoped:
            await _check_affinity(tx, after)
        await _check_scope(tx, ctx, after)
    try:
        return await rows.subnet_pools.save(tx, pool, ctx.now_us, **changes)
    except Duplicate:
        raise _second_default() from None


def _bad_prefixes(message: str) -> Invalid:
    return Invalid(f"Illegal update to prefixes: {message}.", type="IllegalSubnetPoolPrefixUpdate")


def _bad_update(reason: str) -> Invalid:
    return Invalid(f"Illegal subnetpool update : {reason}.", type="IllegalSubnetPoolUpdate")


async def delete_in(tx: Transaction, ctx: RequestContext, id: str, *, revision: int | None = None) -> None:
    """Remove a pool that no subnet is of. Raises: NotFound, Forbidden, Invalid."""
    pool = await get(tx, rows.subnet_pools, "subnetpool", id)
    authority.require(ctx, "delete_subnetpool", authority.of_shareable(ctx, pool))
    check_revision(pool.revision_number, revision)
    if await rows.subnets.by(tx, "subnetpool_id", id):
        raise Invalid("Unable to delete subnet pool: Subnet pool has existing allocations.", type="SubnetPoolDeleteError")
    await sharing.forget_in(tx, id)
    await rows.set_tags(tx, id, ())
    await rows.subnet_pools.remove(tx, id)
    await QUOTA.refund(tx, pool.project_id, subnetpool=1)


async def change_prefixes_in(tx: Transaction, ctx: RequestContext, id: str, action: str, prefixes: Sequence[str]) -> SubnetPool:
    """`add_prefixes`, or `remove_prefixes` that no subnet uses (subnetpool-prefix-ops). Raises: NotFound, Forbidden, Invalid."""
    pool = await get(tx, rows.subnet_pools, "subnetpool", id)
    authority.require(ctx, action, authority.of_shareable(ctx, pool))
    if not prefixes:
        return pool
    if action == "add_prefixes":
        return await change_in(tx, ctx, pool, prefixes=(*pool.prefixes, *prefixes))
    if not model.meets(pool.prefixes, prefixes):
        return pool
    await rows.mark_allocation(tx, id)
    if model.meets([s.cidr for s in await rows.subnets.by(tx, "subnetpool_id", id)], prefixes):
        raise _bad_prefixes("One or more the prefixes to be removed is in use by a subnet.")
    return await rows.subnet_pools.save(tx, pool, ctx.now_us, prefixes=model.minus(pool.prefixes, prefixes))


async def onboard_in(tx: Transaction, ctx: RequestContext, id: str, *, network_id: str) -> list[Subnet]:
    """Let a network's subnets, made without a pool, be the pool's (subnet_onboard). Raises: NotFound, Forbidden, Invalid."""
    pool = await get(tx, rows.subnet_pools, "subnetpool", id)
    authority.require(ctx, "onboard_network_subnets", authority.of_shareable(ctx, pool))
    network = await rows.networks.find(tx, network_id)
    if network is None or not authority.sees(ctx, "network", authority.of_network(ctx, network)):
        raise missing("network", network_id)
    if network.project_id != ctx.project_id and not ctx.is_admin:
        raise Forbidden("Not authorized.", type="NotAuthorized")
    await rows.mark_allocation(tx, id)
    taken = [s.cidr for s in await rows.subnets.by(tx, "subnetpool_id", id)]
    wanted = [s for s in await rows.subnets.by(tx, "network_id", network_id) if s.ip_version == pool.ip_version]
    for subnet in wanted:
        if model.meets(taken, [subnet.cidr]):
            raise _bad_update(f"Onboarding subnet {subnet.id}: {subnet.cidr} conflicts with allocated prefixes in subnet pool {id}")
    if wanted:
        for subnet in wanted:
            await rows.subnets.save(tx, subnet, ctx.now_us, subnetpool_id=id)
        await change_in(tx, ctx, pool, prefixes=(*pool.prefixes, *(s.cidr for s in wanted)))
    return wanted


async def default_for(db: Reader, version: int) -> SubnetPool | None:
    """The pool that subnets of this version come from when nobody names one."""
    found = await rows.subnet_pools.by(db, "default_for", version)
    return found[0] if found else None


async def named_in(tx: Transaction, ctx: RequestContext, subnetpool_id: str | None, use_default: bool, version: int) -> SubnetPool | None:
    """The pool that a new subnet is to be of, or None. Raises: NotFound, Invalid."""
    if use_default and subnetpool_id is not None:
        raise bad("subnets", "subnetpool_id and use_default_subnetpool cannot both be specified")
    if use_default:
        pool = await default_for(tx, version)
        if pool is None or not authority.sees(ctx, "subnetpool", authority.of_shareable(ctx, pool)):
            raise bad("subnets", f"No default subnetpool found for IPv{version}")
        return pool
    if subnetpool_id is None:
        return None
    pool = await rows.subnet_pools.find(tx, subnetpool_id)
    if pool is None or not authority.sees(ctx, "subnetpool", authority.of_shareable(ctx, pool)):
        raise missing("subnetpool", subnetpool_id)
    return pool


async def take_in(tx: Transaction, pool: SubnetPool, project_id: str, wanted: Cidr | None, length: int | None) -> Cidr:
    """Cut a network from the pool: exactly `wanted`, or some network of `length`. Raises: Invalid, Conflict, OverQuota."""
    length = wanted.prefixlen if wanted is not None else pool.default_prefixlen if length is None else length
    if length > pool.max_prefixlen:
        raise Invalid(
            f"Unable to allocate subnet with prefix length {length}, maximum allowed prefix is {pool.max_prefixlen}.",
            type="MaxPrefixSubnetAllocationError",
        )
    if length < pool.min_prefixlen:
        raise Invalid(
            f"Unable to allocate subnet with prefix length {length}, minimum allowed prefix is {pool.min_prefixlen}.",
            type="MinPrefixSubnetAllocationError",
        )
    if not await rows.mark_allocation(tx, pool.id):
        raise NotFound(f"Subnet pool {pool.id} could not be found.", type="SubnetPoolNotFound")
    there = await rows.subnets.by(tx, "subnetpool_id", pool.id)
    if pool.default_quota:
        used = sum(model.quota_units(pool.ip_version, int(s.cidr.partition("/")[2])) for s in there if s.project_id == project_id)
        if used + model.quota_units(pool.ip_version, length) > pool.default_quota:
            raise OverQuota("Per-project subnet pool prefix quota exceeded.", resources=("subnetpool",), type="SubnetPoolQuotaExceeded")
    taken = [s.cidr for s in there]
    if wanted is None:
        found = model.cut(pool.prefixes, taken, length)
        if found is None:
            raise _no_room(f"Insufficient prefix space to allocate subnet size /{length}")
        return found
    if not model.holds(pool.prefixes, wanted) or model.meets(taken, [str(wanted)]):
        raise _no_room("Cannot allocate requested subnet from the available set of prefixes")
    return wanted


def _no_room(reason: str) -> Conflict:
    return Conflict(f"Failed to allocate subnet: {reason}.", type="SubnetAllocationError")


async def check_same_pool(tx: Transaction, there: Sequence[Subnet], pool: SubnetPool | None) -> None:
    """Subnets of one version on one network come from one pool, or from pools of one scope. Raises: Invalid."""
    scope_id = (await scopes_of(tx, there)).get(there[0].network_id, {}).get(there[0].ip_version) if there else None
    if scope_id is not None and pool is not None:
        if pool.address_scope_id != scope_id:
            raise _other_scope()
        return
    if any(s.subnetpool_id != (None if pool is None else pool.id) for s in there):
        raise Invalid(
            "Subnets hosted on the same network must be allocated from the same subnet pool.", type="NetworkSubnetPoolAffinityError"
        )


async def scopes_of(db: Reader, subnets: Sequence[Subnet]) -> dict[str, dict[int, str]]:
    """By network and IP version, the address scope that the network's subnets are in."""
    pools = {p.id: p for p in await rows.subnet_pools.some(db, {s.subnetpool_id for s in subnets if s.subnetpool_id})}
    found: dict[str, dict[int, str]] = {}
    for subnet in subnets:
        pool = pools.get(subnet.subnetpool_id or "")
        if pool is not None and pool.address_scope_id is not None:
            found.setdefault(subnet.network_id, {})[subnet.ip_version] = pool.address_scope_id
    return found
