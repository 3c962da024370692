"""QoS policies and rules: what a caller may do to them (network v2.0 api-ref, "QoS policies", "QoS rules")."""

from __future__ import annotations

from typing import Any

from msgspec import structs

from moln.kernel.context import RequestContext
from moln.kernel.db import Reader, Transaction
from moln.kernel.db.database import Duplicate
from moln.kernel.errors import Conflict
from moln.network.model.qos import QosKind, QosPolicy, QosRule
from moln.network.model.sharing import SHARED
from moln.network.ops import authority, sharing
from moln.network.ops.common import check_revision, conflict, get, look_at, missing
from moln.network.store import qos, rows

USERS = {"network": rows.networks, "port": rows.ports, "floatingip": rows.floating_ips, "router": rows.routers}


async def create_in(
    tx: Transaction, ctx: RequestContext, *, project_id: str, set_: frozenset[str] = frozenset(), shared: bool = False, **fields: Any
) -> QosPolicy:
    """Record a policy without rules. Raises: Forbidden, Conflict for a second default, OverQuota."""
    authority.require(ctx, "create_policy", authority.of_project(project_id, shared=shared), set_)
    now = ctx.now_us
    policy = QosPolicy(id=ctx.new_id(), project_id=project_id, created_at=now, updated_at=now, **fields)
    try:
        await qos.policies.add(tx, sharing.shared_fields(policy, shared))
    except Duplicate:
        raise _second_default(project_id) from None
    if shared:
        await sharing.add_in(tx, ctx, project_id, "qos_policy", policy.id, SHARED)
    return policy


def _second_default(project_id: str) -> Conflict:
    return conflict("QoSPolicyDefaultAlreadyExists", f"A default QoS policy exists for project {project_id}.")


async def update_in(
    tx: Transaction, ctx: RequestContext, id: str, *, set_: frozenset[str], revision: int | None = None, **changes: Any
) -> QosPolicy:
    """Rename, describe, share, or make it the default. Raises: NotFound, Forbidden, Conflict, PreconditionFailed."""
    policy = await get(tx, qos.policies, "policy", id)
    authority.require(ctx, "update_policy", authority.of_shareable(ctx, policy), set_)
    check_revision(policy.revision_number, revision)
    if "shared" in changes:
        policy = await sharing.set_shared_in(tx, ctx, "qos_policy", policy, changes.pop("shared"))
    try:
        return await qos.policies.save(tx, policy, ctx.now_us, **changes)
    except Duplicate:
        raise _second_default(policy.project_id) from None


async def delete_in(tx: Transaction, ctx: RequestContext, id: str, *, revision: int | None = None) -> None:
    """Remove a policy that nothing refers to, with its rules. Raises: NotFound, Forbidden, Conflict."""
    policy = await get(tx, qos.policies, "policy", id)
    authority.require(ctx, "delete_policy", authority.of_shareable(ctx, policy))
    check_revision(policy.revision_number, revision)
    for kind, table in USERS.items():
        if users := await table.by(tx, "qos_policy_id", id):  # type: ignore[attr-defined]
            raise conflict("QosPolicyInUse", f"QoS Policy {id} is used by {kind} {users[0].id}.")
    for rule in await qos.rules.by(tx, "policy_id", id):
        await qos.rules.remove(tx, rule.id)
    await sharing.forget_in(tx, id)
    await rows.set_tags(tx, id, ())
    await qos.policies.remove(tx, id)


async def check_usable(db: Reader, ctx: RequestContext, policy_id: str | None) -> None:
    """The policy that something is to refer to is one the caller may know of. Raises: NotFound."""
    if policy_id is None:
        return
    policy = await qos.policies.find(db, policy_id)
    if policy is None or not authority.sees(ctx, "policy", authority.of_shareable(ctx, policy)):
        raise missing("policy", policy_id)


async def default_for(db: Reader, project_id: str) -> str | None:
    """The policy that a project's new networks have."""
    found = await qos.policies.by(db, "default_for", project_id)
    return found[0].id if found else None


def of_parent(policy: QosPolicy) -> authority.Target:
    """A rule as policy sees it."""
    return authority.of_project(policy.project_id, **{"ext_parent:project_id": policy.project_id, "ext_parent:tenant_id": policy.project_id})


async def add_rule_in(
    tx: Transaction, ctx: RequestContext, *, project_id: str, policy_id: str, kind: QosKind, set_: frozenset[str] = frozenset(), **fields: Any
) -> QosRule:
    """Add a rule to a policy. Raises: NotFound, Forbidden, Conflict for a second of its kind and direction."""
    policy = await get(tx, qos.policies, "policy", policy_id)
    authority.require(ctx, f"create_policy_{kind}_rule", of_parent(policy), set_)
    now = ctx.now_us
    rule = QosRule(id=ctx.new_id(), project_id=policy.project_id, policy_id=policy_id, kind=kind, created_at=now, updated_at=now, **fields)
    if not await qos.rules.add(tx, rule, if_absent=True):
        raise await _twice(tx, rule)
    await _touch(tx, ctx, policy)
    return rule


async def _twice(tx: Transaction, rule: QosRule) -> Conflict:
    there = [r for r in await qos.rules.by(tx, "policy_id", rule.policy_id) if (r.kind, r.direction) == (rule.kind, rule.direction)]
    return conflict(
        "QoSRulesConflict",
        f"Rule {rule.kind} conflicts with rule {there[0].id if there else ''} which already exists in QoS Policy {rule.policy_id}.",
    )


async def _touch(tx: Transaction, ctx: RequestContext, policy: QosPolicy) -> None:
    await qos.policies.bump(tx, policy, ctx.now_us)
    look_at(tx, "qos", policy.id)


async def change_rule_in(
    tx: Transaction, ctx: RequestContext, id: str, *, set_: frozenset[str], revision: int | None = None, **changes: Any
) -> QosRule:
    """Change what the caller gave. Raises: NotFound, Forbidden, Conflict."""
    rule = await get(tx, qos.rules, "policy_bandwidth_limit_rule", id)
    policy = await get(tx, qos.policies, "policy", rule.policy_id)
    authority.require(ctx, f"update_policy_{rule.kind}_rule", of_parent(policy), set_)
    new = structs.replace(rule, **changes)
    others = [r for r in await qos.rules.by(tx, "policy_id", policy.id) if r.id != id]
    if any((r.kind, r.direction) == (new.kind, new.direction) for r in others):
        raise await _twice(tx, new)
    new = await qos.rules.save(tx, rule, ctx.now_us, **changes)
    await _touch(tx, ctx, policy)
    return new


async def drop_rule_in(tx: Transaction, ctx: RequestContext, id: str, *, revision: int | None = None) -> None:
    """Take a rule out of its policy. Raises: NotFound, Forbidden."""
    rule = await get(tx, qos.rules, "policy_bandwidth_limit_rule", id)
    policy = await get(tx, qos.policies, "policy", rule.policy_id)
    authority.require(ctx, f"delete_policy_{rule.kind}_rule", of_parent(policy))
    await qos.rules.remove(tx, id)
    await _touch(tx, ctx, policy)
