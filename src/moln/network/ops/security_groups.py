"""Security groups: what a caller may do to them; each project has a default one from its first use on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from moln.kernel.context import RequestContext
from moln.kernel.db import Reader, Transaction
from moln.network.model.security_groups import SecurityGroup, SecurityGroupRule, canonical
from moln.network.model.sharing import reaches
from moln.network.ops import authority, default_rules, logs, sharing
from moln.network.ops.common import QUOTA, changed, check_revision, conflict, get, look_at, missing
from moln.network.store import rows
from moln.network.store.address_groups import address_groups

DEFAULT_DESCRIPTION = "Default security group"


async def default_in(tx: Transaction, ctx: RequestContext, project_id: str) -> SecurityGroup:
    """The project's default group, made when it is missing."""
    found = await rows.default_group_id(tx, project_id)
    if found is not None:
        return await get(tx, rows.groups, "security_group", found)
    group = await _make(tx, ctx, project_id, name="default", description=DEFAULT_DESCRIPTION, is_default=True)
    await rows.name_default(tx, project_id, group.id)
    return group


async def default_id_in(tx: Transaction, ctx: RequestContext, project_id: str) -> str:
    """Its id alone, for what only names it."""
    return await rows.default_group_id(tx, project_id) or (await default_in(tx, ctx, project_id)).id


async def ensure_default(ctx: RequestContext, project_id: str) -> None:
    """Make the project's default group unless it is there; for reads that must show it."""
    if project_id and await rows.default_group_id(ctx.db, project_id) is None:
        await ctx.db.write(default_in, ctx, project_id)


async def _make(tx: Transaction, ctx: RequestContext, project_id: str, **fields: Any) -> SecurityGroup:
    await QUOTA.charge(tx, project_id, security_group=1)
    now = ctx.now_us
    if fields.get("stateful") is None:
        fields["stateful"] = await default_rules.stateful_for(tx, project_id)
    group = SecurityGroup(id=ctx.new_id(), project_id=project_id, created_at=now, updated_at=now, **fields)
    await rows.groups.add(tx, group)
    for template in await default_rules.for_group(tx, default=group.is_default):
        rule = canonical(template.within(group.id, ctx.new_id(), project_id, now))
        if not await _remote_is_there(tx, rule):  # the template has outlived it
            continue
        if await rows.rules.add(tx, rule, if_absent=True):
            await QUOTA.charge(tx, project_id, security_group_rule=1)
    look_at(tx, "group", group.id)
    return group


async def _remote_is_there(db: Reader, rule: SecurityGroupRule) -> bool:
    for table, id in ((rows.groups, rule.remote_group_id), (address_groups, rule.remote_address_group_id)):
        if id is not None and await table.find(db, id) is None:
            return False
    return True


async def named(db: Reader, project_id: str, names: Iterable[str]) -> list[tuple[str, str]]:
    """(id, name) of a project's groups given by name or id, in the order asked. Raises: NotFound; Conflict for an ambiguous name."""
    own = await rows.groups.by(db, "project_id", project_id)
    found = []
    for name in dict.fromkeys(names):
        match = [g for g in own if g.id == name] or [g for g in own if g.name == name]
        if not match:
            raise missing("security_group", name)
        if len(match) > 1:
            raise conflict("NoUniqueMatch", f"Multiple security groups found matching '{name}'. Use an ID to be more specific.")
        found.append((match[0].id, match[0].name))
    return found


async def names_of(db: Reader, ids: Iterable[str]) -> dict[str, str]:
    """Names by id."""
    return {group.id: group.name for group in await rows.groups.some(db, ids)}


def usable(ctx: RequestContext, group: SecurityGroup, project_id: str) -> bool:
    """Whether things of the project may refer to the group: its own, the caller's, or one shared with either."""
    mine = (project_id, ctx.project_id)
    return ctx.is_admin or group.project_id in mine or any(reaches(group.shared_with, p) for p in mine)


async def existing(tx: Transaction, ctx: RequestContext, project_id: str, ids: Iterable[str]) -> tuple[str, ...]:
    """The ids, each a group that the port's project may use. Raises: NotFound."""
    wanted = tuple(dict.fromkeys(ids))
    found = {group.id: group for group in await rows.groups.some(tx, wanted)}
    for id in wanted:
        if id not in found or not usable(ctx, found[id], project_id):
            raise missing("security_group", id)
    if len({group.stateful for group in found.values()}) > 1:
        raise conflict("SecurityGroupConflict", "Cannot apply both stateful and stateless security groups on the same port.")
    return wanted


async def create_in(
    tx: Transaction, ctx: RequestContext, *, project_id: str, set_: frozenset[str] = frozenset(), **fields: Any
) -> SecurityGroup:
    """Record a group with the rules that new ones have. Raises: Forbidden, Conflict for a second "default", OverQuota."""
    authority.require(ctx, "create_security_group", authority.of_project(project_id), set_)
    await default_in(tx, ctx, project_id)
    if fields.get("name", "").lower() == "default":
        raise conflict("SecurityGroupDefaultAlreadyExists", "Default security group already exists.")
    return await _make(tx, ctx, project_id, **fields)


async def update_in(
    tx: Transaction, ctx: RequestContext, id: str, *, set_: frozenset[str], revision: int | None = None, **changes: Any
) -> SecurityGroup:
    """Rename, describe, or change statefulness while no port wears it. Raises: NotFound, Forbidden, Conflict."""
    group = await get(tx, rows.groups, "security_group", id)
    authority.require(ctx, "update_security_group", authority.of_shareable(ctx, group), set_)
    check_revision(group.revision_number, revision)
    if group.is_default and "name" in changes and changes["name"] != group.name:
        raise conflict("SecurityGroupCannotUpdateDefault", "Updating default security group not allowed.")
    if not group.is_default and changes.get("name", "").lower() == "default":
        raise conflict("SecurityGroupDefaultAlreadyExists", "Default security group already exists.")
    if changes.get("stateful", group.stateful) != group.stateful and await rows.is_worn(tx, id):
        raise conflict("SecurityGroupInUse", f"Security Group {id} in use.")
    if changes.get("name", group.name) != group.name:
        for port in await rows.ports.listing.page(tx, [("in_group", "eq", [id])]):
            changed(tx, port)
    group = await rows.groups.save(tx, group, ctx.now_us, **changes)
    look_at(tx, "group", id)
    return group


async def delete_in(tx: Transaction, ctx: RequestContext, id: str, *, revision: int | None = None) -> None:
    """Remove a group that no port wears, with its rules and those that name it. Raises: NotFound, Forbidden, Conflict."""
    group = await get(tx, rows.groups, "security_group", id)
    authority.require(ctx, "delete_security_group", authority.of_shareable(ctx, group))
    check_revision(group.revision_number, revision)
    if await rows.is_worn(tx, id):
        raise conflict("SecurityGroupInUse", f"Security Group {id} in use.")
    if group.is_default and not ctx.is_admin:
        raise conflict("SecurityGroupCannotRemoveDefault", "Insufficient rights for removing default security group.")
    for rule in [*await rows.rules.by(tx, "security_group_id", id), *await rows.rules.by(tx, "remote_group_id", id)]:
        if await rows.rules.remove(tx, rule.id):
            await QUOTA.refund(tx, rule.project_id, security_group_rule=1)
            look_at(tx, "group", rule.security_group_id)
    await logs.forget_in(tx, "resource_id", id)
    await rows.unname_default(tx, id)
    await sharing.forget_in(tx, id)
    await rows.set_tags(tx, id, ())
    await rows.groups.remove(tx, id)
    await QUOTA.refund(tx, group.project_id, security_group=1)
    look_at(tx, "group", id)
