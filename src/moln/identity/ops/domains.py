"""Domains: projects that own projects, users, groups and roles."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from moln.identity.model.projects import Project
from moln.identity.ops import domain_configs, groups, roles, users
from moln.identity.ops.access import immutable, missing, require
from moln.identity.ops.projects import remove_in
from moln.identity.ops.state import people_changed
from moln.identity.store import federation
from moln.identity.store import groups as group_store
from moln.identity.store import projects as store
from moln.identity.store import roles as role_store
from moln.identity.store import users as user_store
from moln.identity.store.holding import hold
from moln.identity.store.projects import PROJECTS
from moln.kernel.context import RequestContext
from moln.kernel.db import Duplicate, Transaction
from moln.kernel.errors import Conflict, Forbidden


async def get(ctx: RequestContext, domain_id: str, rule: str = "identity:get_domain") -> Project:
    """Raises: Forbidden, NotFound."""
    domain = await store.find_domain(ctx.db, domain_id)
    require(ctx, rule, domain=domain)
    if domain is None:
        raise missing("domain", domain_id)
    return domain


async def create(ctx: RequestContext, values: dict[str, Any]) -> Project:
    """Raises: Forbidden, Conflict."""
    require(ctx, "identity:create_domain")
    values = values | {"description": values.get("description") or ""}
    domain = Project(id=ctx.cloud.ids.hex(), domain_id=None, parent_id=None, is_domain=True, **values)
    await ctx.db.write(create_in, domain)
    return domain


async def create_in(tx: Transaction, domain: Project) -> None:
    """Raises: Conflict."""
    try:
        await tx.insert(PROJECTS, domain)
    except Duplicate:
        raise _twin(domain.name) from None


def _twin(name: str) -> Conflict:
    return Conflict(f"Conflict occurred attempting to store domain - Duplicate entry found with name {name}.")


async def update(ctx: RequestContext, domain_id: str, values: dict[str, Any]) -> Project:
    """Raises: Forbidden, NotFound, Conflict."""
    await get(ctx, domain_id, "identity:update_domain")
    return await ctx.db.write(_update_in, domain_id, values)


async def _update_in(tx: Transaction, domain_id: str, values: dict[str, Any]) -> Project:
    old = await store.find_domain(tx, domain_id)
    if old is None:
        raise missing("domain", domain_id)
    if old.immutable and set(values) != {"options"}:
        raise immutable("domain", domain_id)
    if "description" in values:
        values = values | {"description": values["description"] or ""}
    if "extra" in values:
        values = values | {"extra": old.extra | values["extra"]}
    try:
        await tx.update(PROJECTS, values, id=domain_id)
    except Duplicate:
        raise _twin(values["name"]) from None
    people_changed(tx)
    return replace(old, **values)


async def delete(ctx: RequestContext, domain_id: str) -> None:
    """Remove a disabled domain with all that it owns. Raises: Forbidden, NotFound."""
    await get(ctx, domain_id, "identity:delete_domain")
    await ctx.db.write(_delete_in, domain_id)


async def delete_as_project(ctx: RequestContext, domain_id: str) -> None:
    """DELETE /projects/{id} of a project that acts as a domain: the same, if nothing is below it. Raises: Forbidden."""
    require(ctx, "identity:delete_project", project=await store.find(ctx.db, domain_id))
    if await store.children(ctx.db, domain_id):
        raise Forbidden(f"Cannot delete the project {domain_id} since it is not a leaf in the hierarchy.")
    await ctx.db.write(_delete_in, domain_id)


async def _delete_in(tx: Transaction, domain_id: str) -> None:
    await hold(tx, PROJECTS, domain_id)
    domain = await store.find_domain(tx, domain_id)
    if domain is None:
        raise missing("domain", domain_id)
    if domain.immutable:
        raise immutable("domain", domain_id, "delete")
    if domain.enabled:
        raise Forbidden("Cannot delete a domain that is enabled, please disable it first.")
    for user in await user_store.in_domain(tx, domain_id):
        await users.remove_in(tx, user.id)
    for group in await group_store.in_domain(tx, domain_id):
        await groups.remove_in(tx, group.id)
    for project in await store.in_domain(tx, domain_id):
        await remove_in(tx, project.id)
    for role in await role_store.in_domain(tx, domain_id):
        await roles.remove_in(tx, role.id)
    await domain_configs.forget_in(tx, domain_id)
    await federation.forget_domain(tx, domain_id)
    await remove_in(tx, domain_id)
    people_changed(tx)
