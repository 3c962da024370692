"""RBAC policies: what a caller may do to them, and what `shared` and `router:external` mean by them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec import structs

from moln.kernel.context import RequestContext
from moln.kernel.db import Reader, Transaction
from moln.kernel.errors import Conflict, Invalid, OverQuota
from moln.network.model.ports import Owner
from moln.network.model.sharing import ACTIONS, EVERYONE, EXTERNAL, SHARED, RbacPolicy
from moln.network.ops import authority
from moln.network.ops.common import QUOTA, conflict, get, invalid, look_at, missing
from moln.network.store import qos, rows
from moln.network.store.address_groups import address_groups
from moln.network.store.reads import Table

TABLES: dict[str, Table[Any]] = {
    "network": rows.networks, "subnetpool": rows.subnet_pools, "address_scope": rows.address_scopes, "security_group": rows.groups,
    "qos_policy": qos.policies, "address_group": address_groups,
}  # fmt: skip


async def create_in(
    tx: Transaction, ctx: RequestContext, *, project_id: str, object_type: str, object_id: str, action: str, target_project: str,
    set_: frozenset[str] = frozenset(),
) -> RbacPolicy:  # fmt: skip
    """Let another project use a thing of the caller's. Raises: NotFound, Invalid, Forbidden, Conflict, OverQuota."""
    authority.require(ctx, "create_rbac_policy", authority.of_project(project_id, target_tenant=target_project), set_)
    if action not in ACTIONS[object_type]:
        raise invalid(f"'{action}' is not in {list(ACTIONS[object_type])}")
    thing = await TABLES[object_type].find(tx, object_id)
    if thing is None or not _sees(ctx, object_type, thing):
        raise missing(RESOURCES.get(object_type, object_type), object_id)
    if thing.project_id != ctx.project_id and not ctx.is_admin:
        kind = "networks" if object_type == "network" else "objects"
        raise invalid(f"Only admins can manipulate policies on {kind} they do not own")
    if object_type == "subnetpool" and thing.address_scope_id is not None:
        scope = await get(tx, rows.address_scopes, "address_scope", thing.address_scope_id)
        if target_project not in (scope.project_id, *scope.shared_with) and EVERYONE not in scope.shared_with:
            raise Invalid(
                f"Failed to create RBAC policy on object {object_id} because Subnet pool is associated with an address scope not shared with target project.",
                type="RbacPolicyInitError",
            )
    policy = await add_in(tx, ctx, project_id, object_type, object_id, action, target_project, bounded=True)
    await _settle(tx, ctx, object_type, object_id)
    return policy


RESOURCES = {"qos_policy": "policy"}  # names in policy and in faults that are not the object type's


def _sees(ctx: RequestContext, object_type: str, thing: Any) -> bool:
    target = authority.of_network(ctx, thing) if object_type == "network" else authority.of_shareable(ctx, thing)
    return authority.sees(ctx, RESOURCES.get(object_type, object_type), target)


async def add_in(
    tx: Transaction, ctx: RequestContext, project_id: str, object_type: str, object_id: str, action: str, target: str = EVERYONE, *, bounded: bool = False
) -> RbacPolicy:
    """The policy's row; the caller writes the object's own. Raises: Conflict for a second alike, OverQuota.

    What `shared` and `router:external` make is counted, but never refused for the quota, as in Neutron.
    """
    try:
        await QUOTA.charge(tx, project_id, rbac_policy=1)
    except OverQuota:
        if bounded:
            raise
        await QUOTA.refund(tx, project_id, rbac_policy=-1)
    now = ctx.now_us
    policy = RbacPolicy(
        id=ctx.new_id(), project_id=project_id, object_type=object_type, object_id=object_id, action=action, target_project=target,
        created_at=now, updated_at=now,
    )  # fmt: skip
    if not await rows.rbac.add(tx, policy, if_absent=True):
        raise conflict("DuplicateRbacPolicy", "An RBAC policy already exists with those values.")
    return policy


async def update_in(
    tx: Transaction, ctx: RequestContext, id: str, *, set_: frozenset[str], revision: int | None = None, **changes: Any
) -> RbacPolicy:
    """Aim the policy at another project. Raises: NotFound, Forbidden, Invalid, Conflict while the present one depends on it."""
    policy = await get(tx, rows.rbac, "rbac_policy", id)
    target = changes.get("target_project", policy.target_project)
    authority.require(ctx, "update_rbac_policy", authority.of_project(policy.project_id, target_tenant=target), set_)
    if target == policy.target_project:
        return policy
    same = [p for p in await rows.rbac.by(tx, "object_id", policy.object_id) if p.action == policy.action]
    if any(p.target_project == target for p in same):
        raise conflict("DuplicateRbacPolicy", "An RBAC policy already exists with those values.")
    await _check_loss(tx, policy, [target, *(p.target_project for p in same if p.id != id)])
    policy = await rows.rbac.save(tx, policy, ctx.now_us, target_project=target)
    await _settle(tx, ctx, policy.object_type, policy.object_id)
    return policy


async def delete_in(tx: Transaction, ctx: RequestContext, id: str, *, revision: int | None = None) -> None:
    """Take the permission back. Raises: NotFound, Forbidden, Conflict while something depends on it."""
    policy = await get(tx, rows.rbac, "rbac_policy", id)
    authority.require(ctx, "delete_rbac_policy", authority.of_project(policy.project_id))
    same = [p for p in await rows.rbac.by(tx, "object_id", policy.object_id) if p.action == policy.action and p.id != id]
    await _check_loss(tx, policy, [p.target_project for p in same])
    await _drop(tx, policy)
    await _settle(tx, ctx, policy.object_type, policy.object_id)


async def _drop(tx: Transaction, policy: RbacPolicy) -> None:
    if await rows.rbac.remove(tx, policy.id):
        await QUOTA.refund(tx, policy.project_id, rbac_policy=1)


async def forget_in(tx: Transaction, object_id: str, *actions: str) -> None:
    """An object goes, and its policies with it (those for one of the actions, if any are named)."""
    for policy in await rows.rbac.by(tx, "object_id", object_id):
        if not actions or policy.action in actions:
            await _drop(tx, policy)


async def set_shared_in(tx: Transaction, ctx: RequestContext, object_type: str, thing: Any, on: bool, action: str = SHARED) -> Any:
    """Share a thing with everyone, or no longer (`shared`, `router:external`). The thing as it is then. Raises: Conflict."""
    wild = [p for p in await rows.rbac.by(tx, "object_id", thing.id) if p.action == action and p.target_project == EVERYONE]
    if on and not wild:
        await add_in(tx, ctx, thing.project_id, object_type, thing.id, action)
    elif not on and wild:
        others = [p.target_project for p in await rows.rbac.by(tx, "object_id", thing.id) if p.action == action and p.id != wild[0].id]
        await _check_loss(tx, wild[0], others)
        await _drop(tx, wild[0])
    return await _settle(tx, ctx, object_type, thing.id)


async def _settle(tx: Transaction, ctx: RequestContext, object_type: str, object_id: str) -> Any:
    """Write into the object who may use it, as its policies say."""
    table = TABLES[object_type]
    policies = await rows.rbac.by(tx, "object_id", object_id)
    thing = await table.find(tx, object_id)
    wanted: dict[str, Any] = {"shared_with": tuple(sorted(p.target_project for p in policies if p.action == SHARED))}
    if object_type == "network":
        wanted["external_to"] = tuple(sorted(p.target_project for p in policies if p.action == EXTERNAL))
        wanted["external"] = bool(wanted["external_to"])
    changes = {name: value for name, value in wanted.items() if getattr(thing, name) != value}
    if not changes:
        return thing
    if "external" in changes:
        look_at(tx, "network", object_id)
    return await table.save(tx, thing, ctx.now_us, **changes)


async def _check_loss(tx: Transaction, policy: RbacPolicy, left: Iterable[str]) -> None:
    """Refuse when a project that uses the object would lose its right to."""
    left = set(left)
    if EVERYONE in left:
        return
    thing = await get(tx, TABLES[policy.object_type], policy.object_type, policy.object_id)
    users = await _users(tx, policy) - {thing.project_id, ""} - left
    if policy.target_project != EVERYONE:
        users &= {policy.target_project}
    if policy.action == EXTERNAL and policy.target_project == EVERYONE and thing.is_default:
        raise _in_use(policy, "Default external networks must be shared to everyone.")
    if users:
        raise _in_use(policy, f"project_id={policy.target_project}")


def _in_use(policy: RbacPolicy, details: str) -> Conflict:
    return conflict(
        "RbacPolicyInUse",
        f"RBAC policy on object {policy.object_id} cannot be removed because other objects depend on it.\nDetails: {details}",
    )


async def _users(db: Reader, policy: RbacPolicy) -> set[str]:
    """Projects with something that needs the object."""
    id = policy.object_id
    match policy.object_type:
        case "network" if policy.action == EXTERNAL:
            gates = [p for p in await rows.ports.by(db, "network_id", id) if p.device_owner == Owner.ROUTER_GATEWAY]
            return {r.project_id for r in await rows.routers.some(db, [p.device_id for p in gates])}
        case "network":
            outer = (Owner.ROUTER_GATEWAY, Owner.FLOATING_IP)
            return {p.project_id for p in await rows.ports.by(db, "network_id", id) if p.device_owner not in outer}
        case "subnetpool":
            return {s.project_id for s in await rows.subnets.by(db, "subnetpool_id", id)}
        case "address_scope":
            return {p.project_id for p in await rows.subnet_pools.by(db, "address_scope_id", id)}
        case "security_group":
            return {p.project_id for p in await rows.ports.listing.page(db, [("in_group", "eq", [id])])}
        case "address_group":
            return {r.project_id for r in await rows.rules.by(db, "remote_address_group_id", id)}
        case "qos_policy":
            tables: tuple[Table[Any], ...] = (rows.networks, rows.ports, rows.floating_ips, rows.routers)
            return {user.project_id for table in tables for user in await table.by(db, "qos_policy_id", id)}
    return set()


def shared_fields(thing: Any, shared: bool) -> Any:
    """A thing about to be recorded, shared with everyone or not."""
    return structs.replace(thing, shared_with=(EVERYONE,)) if shared else thing
