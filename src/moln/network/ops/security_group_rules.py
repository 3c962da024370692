"""Rules of security groups: what a caller may do to them."""

from __future__ import annotations

from typing import Any

from moln.kernel.context import RequestContext
from moln.kernel.db import Transaction
from moln.network.model.security_groups import SecurityGroupRule, canonical
from moln.network.ops import address_groups, authority, security_groups
from moln.network.ops.common import QUOTA, check_revision, conflict, get, look_at, missing
from moln.network.store import rows


async def create_in(
    tx: Transaction, ctx: RequestContext, *, project_id: str, set_: frozenset[str] = frozenset(), **fields: Any
) -> SecurityGroupRule:
    """Record a rule; the engine has it within moments. Raises: NotFound, Invalid, Forbidden, Conflict for a second alike, OverQuota."""
    group = await rows.groups.find(tx, fields["security_group_id"])
    if group is None or not authority.sees(ctx, "security_group", authority.of_shareable(ctx, group)):
        raise missing("security_group", fields["security_group_id"])
    authority.require(ctx, "create_security_group_rule", authority.in_group(group.project_id, group), set_)
    now = ctx.now_us
    rule = canonical(SecurityGroupRule(id=ctx.new_id(), project_id=group.project_id, created_at=now, updated_at=now, **fields))
    if rule.remote_group_id is not None:
        remote = await rows.groups.find(tx, rule.remote_group_id)
        if remote is None or not security_groups.usable(ctx, remote, group.project_id):
            raise missing("security_group", rule.remote_group_id)
    await address_groups.check_usable(tx, ctx, rule.remote_address_group_id)
    await QUOTA.charge(tx, group.project_id, security_group_rule=1)
    if not await rows.rules.add(tx, rule, if_absent=True):
        same = [r for r in await rows.rules.by(tx, "security_group_id", group.id) if r.sameness() == rule.sameness()]
        raise conflict("SecurityGroupRuleExists", f"Security group rule already exists. Rule id is {same[0].id if same else ''}.")
    await rows.groups.bump(tx, group, now)
    look_at(tx, "group", group.id)
    return rule


async def delete_in(tx: Transaction, ctx: RequestContext, id: str, *, revision: int | None = None) -> None:
    """Remove a rule. Raises: NotFound, Forbidden, PreconditionFailed."""
    rule = await get(tx, rows.rules, "security_group_rule", id)
    group = await get(tx, rows.groups, "security_group", rule.security_group_id)
    authority.require(ctx, "delete_security_group_rule", authority.in_group(rule.project_id, group))
    check_revision(rule.revision_number, revision)
    await rows.rules.remove(tx, id)
    await QUOTA.refund(tx, rule.project_id, security_group_rule=1)
    await rows.groups.bump(tx, group, ctx.now_us)
    look_at(tx, "group", group.id)
