"""What new security groups begin with: rules (security-groups-default-rules) and statefulness (security-groups-default-statefulness)."""

from __future__ import annotations

from typing import Any

from moln.kernel.context import RequestContext
from moln.kernel.db import Reader, Transaction
from moln.kernel.db.database import Duplicate
from moln.kernel.errors import Invalid
from moln.network.model.security_groups import PARENT, DefaultRule, Statefulness, canonical
from moln.network.ops import authority
from moln.network.ops.common import conflict, get
from moln.network.store import rows
from moln.network.store.default_rules import default_rules, statefulness

FIRST: tuple[dict[str, Any], ...] = tuple(  # Neutron's: everything out; into a project's default group, from itself
    {"direction": direction, "ethertype": version, "remote_group_id": remote, "used_in_default_sg": True, "used_in_non_default_sg": others,
     "description": f"Legacy default SG rule for {direction} traffic"}
    for direction, remote, others in (("egress", None, True), ("ingress", PARENT, False))
    for version in ("IPv4", "IPv6")
)


async def seed_in(tx: Transaction, ctx: RequestContext) -> None:
    """Once in a cloud's life: what an administrator removes stays away."""
    if not await rows.first_time(tx, "default-rules"):
        return
    for fields in FIRST:
        await default_rules.add(tx, DefaultRule(id=ctx.new_id(), created_at=ctx.now_us, updated_at=ctx.now_us, **fields))


async def create_in(
    tx: Transaction, ctx: RequestContext, *, project_id: str, set_: frozenset[str] = frozenset(), **fields: Any
) -> DefaultRule:
    """Give later groups one more rule. Raises: Forbidden, Invalid, Conflict for a second alike."""
    authority.require(ctx, "create_default_security_group_rule", authority.of_project(""), set_)
    now = ctx.now_us
    rule = DefaultRule(id=ctx.new_id(), created_at=now, updated_at=now, **fields)
    if not (rule.used_in_default_sg or rule.used_in_non_default_sg):
        raise Invalid("A default rule must be used in default or in other security groups.", field="used_in_default_sg")
    canonical(rule.within("", "", "", now))
    same = [r for r in await default_rules.all(tx) if r.doubles(rule)]
    if same or not await default_rules.add(tx, rule, if_absent=True):
        raise conflict(
            "DefaultSecurityGroupRuleExists", f"Default Security group rule already exists. Rule id is {same[0].id if same else ''}."
        )
    return rule


async def delete_in(tx: Transaction, ctx: RequestContext, id: str, *, revision: int | None = None) -> None:
    """Later groups begin without it. Raises: NotFound, Forbidden."""
    await get(tx, default_rules, "default_security_group_rule", id)
    authority.require(ctx, "delete_default_security_group_rule", authority.of_project(""))
    await default_rules.remove(tx, id)


async def for_group(db: Reader, *, default: bool) -> list[DefaultRule]:
    """Rules that a new group gets, a project's default one or another."""
    return [r for r in await default_rules.all(db) if (r.used_in_default_sg if default else r.used_in_non_default_sg)]


async def stateful_for(db: Reader, project_id: str) -> bool:
    """Whether a project's new groups are stateful."""
    found = {s.project_id: s.stateful for s in await statefulness.by_any(db, "project_id", [project_id, ""])}
    return found.get(project_id, found.get("", True))


async def create_statefulness_in(
    tx: Transaction, ctx: RequestContext, *, project_id: str, stateful: bool, set_: frozenset[str] = frozenset()
) -> Statefulness:
    """Say it for a project; "" for all. Raises: Forbidden, Conflict."""
    authority.require(ctx, "create_security_groups_default_statefulness", authority.of_project(project_id), set_)
    now = ctx.now_us
    one = Statefulness(id=ctx.new_id(), project_id=project_id, stateful=stateful, created_at=now, updated_at=now)
    try:
        await statefulness.add(tx, one)
    except Duplicate:
        raise conflict(
            "SecurityGroupDefaultStatefulnessAlreadyExists",
            f"A security group default statefulness setting already exists for project '{project_id or 'system-wide'}'.",
        ) from None
    return one


async def update_statefulness_in(
    tx: Transaction, ctx: RequestContext, id: str, *, set_: frozenset[str], revision: int | None = None, **changes: Any
) -> Statefulness:
    """Raises: NotFound, Forbidden."""
    one = await get(tx, statefulness, "security_groups_default_statefulness", id)
    authority.require(ctx, "update_security_groups_default_statefulness", authority.of_project(one.project_id), set_)
    return await statefulness.save(tx, one, ctx.now_us, **changes)


async def delete_statefulness_in(tx: Transaction, ctx: RequestContext, id: str, *, revision: int | None = None) -> None:
    """Raises: NotFound, Forbidden."""
    one = await get(tx, statefulness, "security_groups_default_statefulness", id)
    authority.require(ctx, "delete_security_groups_default_statefulness", authority.of_project(one.project_id))
    await statefulness.remove(tx, id)
