"""Roles and what they imply."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from moln.identity.model.roles import Role, implied
from moln.identity.ops.access import immutable, missing, require, taken
from moln.identity.ops.state import of, people_changed
from moln.identity.store import projects as project_store
from moln.identity.store import roles as store
from moln.identity.store.holding import hold
from moln.identity.store.projects import PROJECTS
from moln.identity.store.roles import GRANTS, IMPLIED, ROLES
from moln.kernel.context import RequestContext
from moln.kernel.db import Duplicate, Transaction
from moln.kernel.errors import Forbidden, Invalid, NotFound


async def get(ctx: RequestContext, role_id: str, verb: str = "get") -> Role:
    """verb: of the rule, identity:<verb>_role or _domain_role. Raises: Forbidden, NotFound."""
    role = await store.find(ctx.db, role_id)
    kind = "domain_role" if role is not None and role.domain_id else "role"
    require(ctx, f"identity:{verb}_{kind}", role=role)
    if role is None:
        raise missing("role", role_id)
    return role


async def create(ctx: RequestContext, values: dict[str, Any]) -> Role:
    """Raises: Forbidden, NotFound, Conflict."""
    role = Role(**({"id": ctx.cloud.ids.hex()} | values))
    require(ctx, "identity:create_domain_role" if role.domain_id else "identity:create_role", role=role)
    await ctx.db.write(create_in, role)
    return role


async def create_in(tx: Transaction, role: Role) -> None:
    """Raises: NotFound, Conflict."""
    if role.domain_id is not None and not await hold(tx, PROJECTS, role.domain_id):
        raise missing("domain", role.domain_id)
    if role.domain_id is not None and await project_store.find_domain(tx, role.domain_id) is None:
        raise missing("domain", role.domain_id)
    try:
        await tx.insert(ROLES, role)
    except Duplicate:
        raise taken("role", role.name, role.domain_id) from None
    people_changed(tx)


async def update(ctx: RequestContext, role_id: str, values: dict[str, Any]) -> Role:
    """Raises: Forbidden, NotFound, Conflict."""
    await get(ctx, role_id, "update")
    return await ctx.db.write(_update_in, role_id, values)


async def _update_in(tx: Transaction, role_id: str, values: dict[str, Any]) -> Role:
    old = await store.find(tx, role_id)
    if old is None:
        raise missing("role", role_id)
    if old.immutable and set(values) != {"options"}:
        raise immutable("role", role_id)
    if values.get("domain_id", old.domain_id) != old.domain_id:
        raise Invalid("Update of `domain_id` is not allowed.", field="domain_id")
    if "extra" in values:
        values = values | {"extra": old.extra | values["extra"]}
    try:
        await tx.update(ROLES, values, id=role_id)
    except Duplicate:
        raise taken("role", values["name"], old.domain_id) from None
    people_changed(tx)
    return replace(old, **values)


async def delete(ctx: RequestContext, role_id: str) -> None:
    """Remove a role with its assignments and implications. Raises: Forbidden, NotFound."""
    await get(ctx, role_id, "delete")
    await ctx.db.write(_delete_in, role_id)


async def _delete_in(tx: Transaction, role_id: str) -> None:
    role = await store.find(tx, role_id)
    if role is None:
        raise missing("role", role_id)
    if role.immutable:
        raise immutable("role", role_id, "delete")
    await remove_in(tx, role_id)
    people_changed(tx)


async def remove_in(tx: Transaction, role_id: str) -> None:
    """Remove a role with its assignments and implications."""
    await hold(tx, ROLES, role_id)
    await tx.delete(GRANTS, role_id=role_id)
    await tx.delete(IMPLIED, prior_id=role_id)
    await tx.delete(IMPLIED, implied_id=role_id)
    await tx.delete(ROLES, id=role_id)


async def implications(ctx: RequestContext) -> list[tuple[Role, list[Role]]]:
    """Every role that implies some, with those. Raises: Forbidden."""
    require(ctx, "identity:list_role_inference_rules")
    roles, implies = await of(ctx.cloud).roles(ctx.db)
    return [(roles[prior], [roles[i] for i in implied_ids if i in roles]) for prior, implied_ids in implies.items() if prior in roles]


async def implied_by(ctx: RequestContext, prior_id: str, rule: str = "identity:list_implied_roles") -> tuple[Role, list[Role]]:
    """A role and those that it implies directly. Raises: Forbidden, NotFound."""
    roles, implies = await of(ctx.cloud).roles(ctx.db)
    require(ctx, rule, prior_role=roles.get(prior_id))
    if prior_id not in roles:
        raise missing("role", prior_id)
    return roles[prior_id], [roles[i] for i in implies.get(prior_id, []) if i in roles]


async def get_implied(ctx: RequestContext, prior_id: str, implied_id: str, rule: str) -> tuple[Role, Role]:
    """Raises: Forbidden, NotFound."""
    prior, found = await implied_by(ctx, prior_id, rule)
    for role in found:
        if role.id == implied_id:
            return prior, role
    raise NotFound(f"{prior_id} does not imply {implied_id}.")


async def imply(ctx: RequestContext, prior_id: str, implied_id: str) -> tuple[Role, Role]:
    """Raises: Forbidden, NotFound, when it would go round in a circle too."""
    roles, _ = await of(ctx.cloud).roles(ctx.db)
    require(ctx, "identity:create_implied_role", prior_role=roles.get(prior_id), implied_role=roles.get(implied_id))
    for role_id in (prior_id, implied_id):
        if role_id not in roles:
            raise missing("role", role_id)
    if roles[implied_id].name.lower() == "admin":
        raise Forbidden(f"{implied_id} cannot be an implied roles.")
    if roles[implied_id].domain_id is not None and roles[prior_id].domain_id is None:
        raise Forbidden(f"{implied_id} is a domain's own role and cannot be implied by a global one.")
    await ctx.db.write(imply_in, prior_id, implied_id)
    return roles[prior_id], roles[implied_id]


async def imply_in(tx: Transaction, prior_id: str, implied_id: str) -> None:
    """Raises: Invalid, for a circle."""
    for role_id in sorted((prior_id, implied_id)):
        if not await hold(tx, ROLES, role_id):
            raise missing("role", role_id)
    if prior_id in implied([implied_id], await store.implications(tx)):
        raise Invalid(f"Role {implied_id} implies {prior_id} already: a circle is not allowed.")
    await tx.insert(IMPLIED, {"prior_id": prior_id, "implied_id": implied_id}, if_absent=True)
    people_changed(tx)


async def imply_no_more(ctx: RequestContext, prior_id: str, implied_id: str) -> None:
    """Raises: Forbidden, NotFound."""
    await get_implied(ctx, prior_id, implied_id, "identity:delete_implied_role")
    await ctx.db.write(_imply_no_more_in, prior_id, implied_id)


async def _imply_no_more_in(tx: Transaction, prior_id: str, implied_id: str) -> None:
    if not await tx.delete(IMPLIED, prior_id=prior_id, implied_id=implied_id):
        raise NotFound(f"{prior_id} does not imply {implied_id}.")
    people_changed(tx)
