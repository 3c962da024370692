"""Groups and who is in them."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from moln.identity.model.users import Group, User
from moln.identity.ops import directories, directory_entries
from moln.identity.ops.access import missing, require, taken
from moln.identity.ops.projects import own_domain
from moln.identity.ops.state import people_changed
from moln.identity.store import directory
from moln.identity.store import groups as store
from moln.identity.store import projects as project_store
from moln.identity.store import users as user_store
from moln.identity.store.groups import GROUPS, MEMBERSHIPS
from moln.identity.store.holding import hold
from moln.identity.store.projects import PROJECTS
from moln.identity.store.roles import GRANTS
from moln.identity.store.users import USERS
from moln.kernel.context import RequestContext
from moln.kernel.db import Duplicate, Transaction
from moln.kernel.errors import Invalid, NotFound

MEMBERS = "identity:list_users_in_group"


async def get(ctx: RequestContext, group_id: str, rule: str = "identity:get_group") -> Group:
    """Raises: Forbidden, NotFound."""
    group = await store.find(ctx.db, group_id)
    require(ctx, rule, group=group)
    if group is not None and group.domain_id in await directories.domains(ctx.cloud):
        await directory_entries.refresh_group(ctx.cloud, group_id, members=rule == MEMBERS)
        entry = await directory.find(ctx.db, group_id)
        group = await store.find(ctx.db, group_id) if entry is None or entry.present else None
    if group is None:
        raise missing("group", group_id)
    return group


async def create(ctx: RequestContext, values: dict[str, Any]) -> Group:
    """Raises: Forbidden, NotFound, Conflict."""
    values = values | {"description": values.get("description") or ""}
    values["domain_id"] = values.get("domain_id") or own_domain(ctx)
    group = Group(id=ctx.cloud.ids.hex(), **values)
    require(ctx, "identity:create_group", group=group)
    await directories.check_writable(ctx.cloud, domain_id=group.domain_id)
    await ctx.db.write(_create_in, group)
    return group


async def _create_in(tx: Transaction, group: Group) -> None:
    if not await hold(tx, PROJECTS, group.domain_id) or await project_store.find_domain(tx, group.domain_id) is None:
        raise missing("domain", group.domain_id)
    try:
        await tx.insert(GROUPS, group)
    except Duplicate:
        raise taken("group", group.name, group.domain_id) from None


async def update(ctx: RequestContext, group_id: str, values: dict[str, Any]) -> Group:
    """Raises: Forbidden, NotFound, Invalid, Conflict."""
    await get(ctx, group_id, "identity:update_group")
    await directories.check_writable(ctx.cloud, group_id)
    return await ctx.db.write(_update_in, group_id, values)


async def _update_in(tx: Transaction, group_id: str, values: dict[str, Any]) -> Group:
    old = await store.find(tx, group_id)
    if old is None:
        raise missing("group", group_id)
    if values.get("domain_id", old.domain_id) != old.domain_id:
        raise Invalid("Cannot change Domain ID", field="domain_id")
    if "description" in values:
        values = values | {"description": values["description"] or ""}
    if "extra" in values:
        values = values | {"extra": old.extra | values["extra"]}
    try:
        await tx.update(GROUPS, values, id=group_id)
    except Duplicate:
        raise taken("group", values["name"], old.domain_id) from None
    return replace(old, **values)


async def delete(ctx: RequestContext, group_id: str) -> None:
    """Raises: Forbidden, NotFound."""
    await get(ctx, group_id, "identity:delete_group")
    await directories.check_writable(ctx.cloud, group_id)
    await ctx.db.write(remove_in, group_id)


async def remove_in(tx: Transaction, group_id: str) -> None:
    """Remove a group with its memberships and assignments."""
    await hold(tx, GROUPS, group_id)
    await tx.delete(MEMBERSHIPS, group_id=group_id)
    await tx.delete(GRANTS, actor_id=group_id)
    await directory.forget(tx, group_id)
    await tx.delete(GROUPS, id=group_id)
    people_changed(tx)


async def members(ctx: RequestContext, group_id: str) -> list[User]:
    """Raises: Forbidden, NotFound."""
    await get(ctx, group_id, MEMBERS)
    return await store.members(ctx.db, group_id)


async def of_user(ctx: RequestContext, user_id: str) -> list[Group]:
    """Raises: Forbidden, NotFound."""
    user = await user_store.find(ctx.db, user_id)
    require(ctx, "identity:list_groups_for_user", path={"user_id": user_id}, user=user)
    if user is None:
        raise missing("user", user_id)
    await directory_entries.refresh_user(ctx.cloud, user_id, circles=True)
    return await store.of_user(ctx.db, user_id)


async def _both(ctx: RequestContext, group_id: str, user_id: str, rule: str) -> None:
    group, user = await store.find(ctx.db, group_id), await user_store.find(ctx.db, user_id)
    require(ctx, rule, group=group, user=user)
    if group is None:
        raise missing("group", group_id)
    if user is None:
        raise missing("user", user_id)


async def add(ctx: RequestContext, group_id: str, user_id: str) -> None:
    """Raises: Forbidden, NotFound."""
    await _both(ctx, group_id, user_id, "identity:add_user_to_group")
    await directories.check_writable(ctx.cloud, group_id, user_id)
    await ctx.db.write(_add_in, group_id, user_id)


async def _add_in(tx: Transaction, group_id: str, user_id: str) -> None:
    if not await hold(tx, GROUPS, group_id):
        raise missing("group", group_id)
    if not await hold(tx, USERS, user_id):
        raise missing("user", user_id)
    await tx.insert(MEMBERSHIPS, {"group_id": group_id, "user_id": user_id}, if_absent=True)
    people_changed(tx, user_id)


async def check(ctx: RequestContext, group_id: str, user_id: str) -> None:
    """Raises: Forbidden, NotFound, when the user is not in the group."""
    await _both(ctx, group_id, user_id, "identity:check_user_in_group")
    await directory_entries.refresh_user(ctx.cloud, user_id, circles=True)
    if not await store.is_member(ctx.db, group_id, user_id):
        raise NotFound(f"User '{user_id}' not found in group '{group_id}'")


async def remove(ctx: RequestContext, group_id: str, user_id: str) -> None:
    """Raises: Forbidden, NotFound, when the user is not in the group."""
    await _both(ctx, group_id, user_id, "identity:remove_user_from_group")
    await directories.check_writable(ctx.cloud, group_id, user_id)
    await ctx.db.write(_remove_in, group_id, user_id)


async def _remove_in(tx: Transaction, group_id: str, user_id: str) -> None:
    if not await tx.delete(MEMBERSHIPS, group_id=group_id, user_id=user_id):
        raise NotFound(f"User '{user_id}' not found in group '{group_id}'")
    people_changed(tx, user_id)
