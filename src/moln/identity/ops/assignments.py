"""The list of all role assignments, as given or as they amount to (effective)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec import Struct

from moln.identity.model.projects import Project
from moln.identity.model.roles import SYSTEM, Assignment, Grant, implied
from moln.identity.ops.access import missing, require
from moln.identity.ops.state import of
from moln.identity.store import groups as group_store
from moln.identity.store import projects as project_store
from moln.identity.store import roles as store
from moln.identity.store import users as user_store
from moln.identity.store.roles import GRANT_LISTING
from moln.kernel.context import RequestContext
from moln.kernel.db import Reader
from moln.kernel.errors import Invalid

MOST = 50_000  # grants read for one list, at most


class Asked(Struct, frozen=True):
    """The filters of GET /v3/role_assignments."""

    role_id: str | None = None
    user_id: str | None = None
    group_id: str | None = None
    project_id: str | None = None
    domain_id: str | None = None
    system: bool = False
    inherited: bool | None = None
    effective: bool = False
    subtree: bool = False


async def find(ctx: RequestContext, asked: Asked) -> list[Assignment]:
    """Raises: Forbidden, NotFound, Invalid."""
    targets = await _authorise(ctx, asked)
    if asked.user_id and asked.group_id:
        raise Invalid("Specify a user or group, not both")
    if asked.domain_id and asked.project_id:
        raise Invalid("Specify a domain or project, not both")
    if asked.system and (asked.domain_id or asked.project_id):
        raise Invalid("Specify system or domain, not both" if asked.domain_id else "Specify system or project, not both")
    if asked.effective and asked.group_id:
        raise Invalid("Combining effective and group filter will always result in an empty list.")
    if asked.effective and asked.inherited and asked.domain_id:
        raise Invalid("Combining effective, domain and inherited filters will always result in an empty list.")
    if asked.effective:
        known = await of(ctx.cloud).roles(ctx.db)
        if asked.user_id and targets and not asked.subtree:  # few rows: not worth another thread
            found = await _effective(ctx.db, asked, targets, *known)
        else:
            found = await ctx.db.read(_effective, asked, targets, *known)
    else:
        found = await _given(ctx.db, asked, targets)
    if ctx.domain_id:
        mine = {p.id for p in await project_store.in_domain(ctx.db, ctx.domain_id)} | {ctx.domain_id}
        found = [a for a in found if a.grant.target_id in mine]
    return found


async def _authorise(ctx: RequestContext, asked: Asked) -> set[str]:
    """The projects asked for. Raises: Forbidden, NotFound, Invalid."""
    if not asked.subtree:
        about: dict[str, Any] = {"domain_id": ctx.domain_id} if ctx.domain_id else {}
        require(ctx, "identity:list_role_assignments", **about)
        return {asked.project_id} if asked.project_id else set()
    project = await project_store.find(ctx.db, asked.project_id) if asked.project_id else None
    about = {"domain_id": project.domain_id, "project": project} if project else {}
    require(ctx, "identity:list_role_assignments_for_tree", **about)
    if asked.project_id is None:
        raise Invalid("scope.project.id must be specified if include_subtree is also specified")
    if project is None:
        raise missing("project", asked.project_id)
    return {project.id, *(p.id for p in await project_store.subtree(ctx.db, project.id))}


async def _given(db: Reader, asked: Asked, projects: set[str]) -> list[Assignment]:
    where: list[tuple[str, str, Any]] = []
    if asked.role_id:
        where.append(("role_id", "eq", asked.role_id))
    for kind, actor in (("user", asked.user_id), ("group", asked.group_id)):
        if actor:
            where += [("actor_kind", "eq", kind), ("actor_id", "eq", actor)]
    if projects:
        where += [("target_kind", "eq", "project"), ("target_id", "in", sorted(projects))]
    if asked.domain_id:
        where += [("target_kind", "eq", "domain"), ("target_id", "eq", asked.domain_id)]
    if asked.system:
        where.append(("target_kind", "eq", SYSTEM))
    if asked.inherited is not None:
        where.append(("inherited", "eq", int(asked.inherited)))
    return [Assignment(grant) for grant in await GRANT_LISTING.page(db, where, limit=MOST)]


async def _effective(db: Reader, asked: Asked, projects: set[str], roles: dict[str, Any], implications: dict[str, list[str]]) -> list[Assignment]:
    """Every grant as what it amounts to: one user, one real target, one role each. projects: the only ones asked for, if any."""
    where: list[tuple[str, str, Any]] = []
    if asked.user_id:
        where.append(("actor_id", "in", [asked.user_id, *await group_store.ids_of_user(db, asked.user_id)]))
    if asked.inherited is not None:
        where.append(("inherited", "eq", int(asked.inherited)))
    above = {id_: await _above(db, id_) for id_ in projects}
    if projects:
        where.append(("target_id", "in", sorted(projects.union(*above.values()))))
    elif asked.domain_id or asked.system:
        where.append(("target_id", "eq", asked.domain_id or SYSTEM))
    found: dict[Grant, Assignment] = {}
    for grant in await GRANT_LISTING.page(db, where, limit=MOST):
        real_roles = [id_ for id_ in implied([grant.role_id], implications) if asked.role_id in (None, id_) and id_ in roles and not roles[id_].domain_id]
        users = await _real_users(db, grant, asked)
        for kind, target_id in await _real_targets(db, grant, above):
            if not _wanted(asked, kind, target_id):
                continue
            for role_id in real_roles:
                for user_id in users:
                    real = Grant("user", user_id, kind, target_id, role_id)
                    found.setdefault(real, Assignment(
                        real,
                        via_group=grant.actor_id if grant.actor_kind == "group" else None,
                        via_target=(grant.target_kind, grant.target_id) if grant.inherited else None,
                        via_role=grant.role_id if role_id != grant.role_id else None,
                    ))  # fmt: skip
    return list(found.values())


async def _above(db: Reader, project_id: str) -> set[str]:
    """The ids of what a project may inherit from."""
    project = await project_store.find(db, project_id)
    return await project_store.ancestor_ids(db, project) if project else set()


async def _real_users(db: Reader, grant: Grant, asked: Asked) -> list[str]:
    """Whose a grant is, of those asked for: it was found by them, where somebody was."""
    if asked.user_id:
        return [asked.user_id]
    return [grant.actor_id] if grant.actor_kind == "user" else [user.id for user in await group_store.members(db, grant.actor_id)]


def _wanted(asked: Asked, kind: str, target_id: str) -> bool:
    return (
        (not asked.project_id or kind == "project")
        and (not asked.domain_id or (kind, target_id) == ("domain", asked.domain_id))
        and (not asked.system or kind == SYSTEM)
    )


async def _real_targets(db: Reader, grant: Grant, above: dict[str, set[str]]) -> list[tuple[str, str]]:
    """above: what the only projects asked for inherit from; empty, where none were asked for."""
    if not grant.inherited:
        return [(grant.target_kind, grant.target_id)] if not above or grant.target_id in above else []
    if above:
        return [("project", id_) for id_, parents in above.items() if grant.target_id in parents]
    below: Iterable[Project]
    if grant.target_kind == "domain":
        below = await project_store.in_domain(db, grant.target_id)
    else:
        below = await project_store.subtree(db, grant.target_id)
    return [("project", project.id) for project in below]


class Names:
    """Names of what assignments name, each looked up once."""

    def __init__(self, db: Reader):
        self._db = db
        self._projects: dict[str, Project | None] = {}

    async def project(self, id_: str) -> dict[str, Any]:
        project = await self._project(id_)
        shown: dict[str, Any] = {"id": id_, "name": project.name if project else ""}
        if project is not None and project.domain_id is not None:
            shown["domain"] = await self.project(project.domain_id)
        return shown

    async def _project(self, id_: str) -> Project | None:
        if id_ not in self._projects:
            self._projects[id_] = await project_store.find(self._db, id_)
        return self._projects[id_]

    async def actor(self, kind: str, id_: str) -> dict[str, Any]:
        found = await (user_store.find(self._db, id_) if kind == "user" else group_store.find(self._db, id_))
        if found is None:
            return {"id": id_, "name": "", "domain": {"id": "", "name": ""}}
        return {"id": id_, "name": found.name, "domain": await self.project(found.domain_id)}

    async def role(self, id_: str) -> dict[str, Any]:
        role = await store.find(self._db, id_)
        shown: dict[str, Any] = {"id": id_, "name": role.name if role else ""}
        if role is not None and role.domain_id is not None:
            shown["domain"] = await self.project(role.domain_id)
        return shown
