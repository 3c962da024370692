"""Role assignments: given, taken away, listed."""

from __future__ import annotations

from typing import Any

from moln.identity.model.projects import Project
from moln.identity.model.roles import SYSTEM, Grant, Role
from moln.identity.model.users import Group, User
from moln.identity.ops.access import missing, require
from moln.identity.ops.state import people_changed
from moln.identity.store import groups as group_store
from moln.identity.store import projects as project_store
from moln.identity.store import roles as store
from moln.identity.store import users as user_store
from moln.identity.store.credentials import APPLICATION_CREDENTIALS
from moln.identity.store.groups import GROUPS
from moln.identity.store.holding import hold
from moln.identity.store.projects import PROJECTS
from moln.identity.store.roles import GRANTS, ROLES
from moln.identity.store.users import USERS
from moln.kernel.context import RequestContext
from moln.kernel.db import Transaction
from moln.kernel.errors import Forbidden, NotFound

_SYSTEM_RULES = {
    "check": "identity:check_system_grant_for_{}",
    "list": "identity:list_system_grants_for_{}",
    "create": "identity:create_system_grant_for_{}",
    "revoke": "identity:revoke_system_grant_for_{}",
}


async def _require(ctx: RequestContext, verb: str, grant: Grant) -> None:
    """Check policy against everything the grant names, then that all of it is there. Raises: Forbidden, NotFound."""
    actor: User | Group | None
    if grant.actor_kind == "user":
        actor = await user_store.find(ctx.db, grant.actor_id)
    else:
        actor = await group_store.find(ctx.db, grant.actor_id)
    target: Project | None = None
    if grant.target_kind == "project":
        target = await project_store.find(ctx.db, grant.target_id)
    elif grant.target_kind == "domain":
        target = await project_store.find_domain(ctx.db, grant.target_id)
    role = await store.find(ctx.db, grant.role_id) if grant.role_id else None
    if grant.target_kind == SYSTEM:
        rule = _SYSTEM_RULES[verb].format(grant.actor_kind)
    else:
        rule = f"identity:{verb}_grant" + ("s" if verb == "list" else "")
    about: dict[str, Any] = {grant.actor_kind: actor, grant.target_kind: target, "role": role}
    require(ctx, rule, **about)
    if role is None and grant.role_id:
        raise missing("role", grant.role_id)
    if actor is None:
        raise missing(grant.actor_kind, grant.actor_id)
    if target is None and grant.target_kind != SYSTEM:
        raise missing(grant.target_kind, grant.target_id)
    if verb == "create":
        _check_domains(grant, role, target)


def _check_domains(grant: Grant, role: Role | None, target: Project | None) -> None:
    """A domain's own role stays in that domain. Raises: Forbidden."""
    if role is None or role.domain_id is None:
        return
    if target is None or (target.domain_id or target.id) != role.domain_id:
        raise Forbidden(
            f"Project {grant.target_id} must be in the same domain as the role {grant.role_id} being assigned."
        )


async def create(ctx: RequestContext, grant: Grant) -> None:
    """Give a role; giving it twice is giving it once. Raises: Forbidden, NotFound."""
    await _require(ctx, "create", grant)
    await ctx.db.write(create_in, grant)


async def create_in(tx: Transaction, grant: Grant) -> None:
    """The same inside a caller's transaction. Raises: NotFound."""
    held = [("role", ROLES, grant.role_id), (grant.actor_kind, USERS if grant.actor_kind == "user" else GROUPS, grant.actor_id)]
    if grant.target_kind != SYSTEM:
        held.append((grant.target_kind, PROJECTS, grant.target_id))
    for kind, table, id_ in held:
        if not await hold(tx, table, id_):
            raise missing(kind, id_)
    await tx.insert(GRANTS, grant, if_absent=True)
    people_changed(tx, grant.actor_id if grant.actor_kind == "user" else "")


async def revoke(ctx: RequestContext, grant: Grant) -> None:
    """Take a role away. Raises: Forbidden, NotFound."""
    await _require(ctx, "revoke", grant)
    await ctx.db.write(_revoke_in, grant)


async def _revoke_in(tx: Transaction, grant: Grant) -> None:
    if not await tx.delete(GRANTS, **_columns(grant)):
        raise _absent(grant)
    if (grant.actor_kind, grant.target_kind) == ("user", "project"):  # what was delegated of it is void
        await tx.delete(APPLICATION_CREDENTIALS, user_id=grant.actor_id, project_id=grant.target_id)
    people_changed(tx, grant.actor_id if grant.actor_kind == "user" else "")


async def check(ctx: RequestContext, grant: Grant) -> None:
    """Raises: Forbidden, NotFound, when there is no such assignment."""
    await _require(ctx, "check", grant)
    if grant not in await store.of_actors_on(ctx.db, [grant.actor_id], [grant.target_id]):
        raise _absent(grant)


async def roles(ctx: RequestContext, grant: Grant) -> list[Role]:
    """The roles given to an actor on a target, as such (grant.role_id is empty). Raises: Forbidden, NotFound."""
    await _require(ctx, "list", grant)
    given = await store.of_actors_on(ctx.db, [grant.actor_id], [grant.target_id])
    kind = (grant.actor_kind, grant.target_kind, grant.inherited)
    ids = {g.role_id for g in given if (g.actor_kind, g.target_kind, g.inherited) == kind}
    return [role for role in await store.every(ctx.db) if role.id in ids]


def _columns(grant: Grant) -> dict[str, object]:
    return {name: int(value) if isinstance(value := getattr(grant, name), bool) else value for name in grant.__struct_fields__}


def _absent(grant: Grant) -> NotFound:
    target = None if grant.target_kind == SYSTEM else grant.target_id
    return NotFound(f"Could not find role assignment with role: {grant.role_id}, user or group: {grant.actor_id}, "
                    f"project, domain, or system: {target}.")  # fmt: skip
