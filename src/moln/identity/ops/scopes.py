"""Which roles somebody has where, and where they have any (effective role assignments)."""

from __future__ import annotations

from collections.abc import Iterable

from moln.identity.model.projects import Project
from moln.identity.model.roles import SYSTEM, Grant, Role, implied
from moln.identity.model.tokens import Scope
from moln.identity.ops.state import State
from moln.identity.store import groups as group_store
from moln.identity.store import projects as project_store
from moln.identity.store import roles as role_store
from moln.kernel.db import Reader


async def roles_on(
    db: Reader, state: State, user_id: str, scope: Scope, project: Project | None, groups: Iterable[str] = ()
) -> list[Role]:
    """A user's roles on a scope: their own and their groups', inherited and implied ones too; domain-specific ones only
    as what they imply. project: the scope's project, where it has one. groups: those that a federated token has besides.
    """
    actors = [user_id, *await group_store.ids_of_user(db, user_id), *groups]
    above: set[str] = set()
    if scope.project_id is not None and project is not None:
        target, kind = scope.project_id, "project"
        above = await project_store.ancestor_ids(db, project)
    elif scope.domain_id is not None:
        target, kind = scope.domain_id, "domain"
    elif scope.system:
        target, kind = SYSTEM, "system"
    else:
        return []
    held = {
        grant.role_id
        for grant in await role_store.of_actors_on(db, actors, [target, *above])
        if (grant.target_id in above if grant.inherited else (grant.target_id, grant.target_kind) == (target, kind))
    }
    roles, implications = await state.roles(db)
    found = [roles[role_id] for role_id in implied(held, implications) if role_id in roles]
    return sorted((role for role in found if role.domain_id is None), key=lambda role: role.name)


async def projects_of(db: Reader, user_id: str, groups: Iterable[str] = ()) -> list[Project]:
    """The projects that a user has a role on, by name. groups: those that a federated token has besides."""
    found: dict[str, Project] = {}
    for grant in await _grants_of(db, user_id, groups):
        if grant.target_kind == "system":
            continue
        if not grant.inherited:
            below = [] if grant.target_kind == "domain" else [await project_store.find(db, grant.target_id)]
        elif grant.target_kind == "domain":
            below = list(await project_store.in_domain(db, grant.target_id))
        else:
            below = list(await project_store.subtree(db, grant.target_id))
        found |= {project.id: project for project in below if project is not None}
    return sorted(found.values(), key=lambda project: (project.name, project.id))


async def domains_of(db: Reader, user_id: str, groups: Iterable[str] = ()) -> list[Project]:
    """The domains that a user has a role on, by name. groups: those that a federated token has besides."""
    found: dict[str, Project] = {}
    for grant in await _grants_of(db, user_id, groups):
        if grant.target_kind == "domain" and not grant.inherited:
            domain = await project_store.find_domain(db, grant.target_id)
            if domain is not None:
                found[domain.id] = domain
    return sorted(found.values(), key=lambda domain: domain.name)


async def on_system(db: Reader, user_id: str) -> bool:
    return any(grant.target_kind == "system" for grant in await _grants_of(db, user_id))


async def _grants_of(db: Reader, user_id: str, groups: Iterable[str] = ()) -> list[Grant]:
    return await role_store.of_actors(db, [user_id, *await group_store.ids_of_user(db, user_id), *groups])
