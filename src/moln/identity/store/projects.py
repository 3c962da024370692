"""identity_projects: projects and, with is_domain, domains."""

from __future__ import annotations

import sqlalchemy as sa

from moln.identity.model.projects import Project
from moln.kernel import quota_trees
from moln.kernel.db import INT, TEXT, Listing, Query, Reader, column, partial_index, table

PROJECTS = table(
    "identity_projects",
    column("id", TEXT, unique=True),
    column("name", index=True),
    column("domain_id", null=True, index=True),
    column("parent_id", null=True, index=True),
    column("description"),
    column("enabled", INT),
    column("is_domain", INT),
    column("tags"),
    column("options"),
    column("extra"),
    sa.UniqueConstraint("domain_id", "name"),
)
_P = PROJECTS.c
partial_index("identity_domain_names", _P.name, unique=True, where=_P.is_domain == 1)

quota_trees.declare(_P.id, _P.domain_id)

_ALL = sa.select(PROJECTS)
LISTING = Listing(_ALL, Project, PROJECTS)
_GET = Query(_ALL.where(_P.id == sa.bindparam("id")), Project)
_NAMED = Query(_ALL.where(_P.name == sa.bindparam("name"), _P.domain_id == sa.bindparam("domain_id")), Project)
_DOMAIN_NAMED = Query(_ALL.where(_P.name == sa.bindparam("name"), _P.is_domain == 1), Project)
_CHILDREN = Query(_ALL.where(_P.parent_id == sa.bindparam("id")).order_by(_P.rowid), Project)
_IN_DOMAIN = Query(_ALL.where(_P.domain_id == sa.bindparam("id")), Project)


async def find(db: Reader, project_id: str) -> Project | None:
    """A project or a domain."""
    return await db.one(_GET, id=project_id)


async def find_domain(db: Reader, domain_id: str) -> Project | None:
    found = await db.one(_GET, id=domain_id)
    return found if found and found.is_domain else None


async def find_named(db: Reader, name: str, domain_id: str) -> Project | None:
    return await db.one(_NAMED, name=name, domain_id=domain_id)


async def find_domain_named(db: Reader, name: str) -> Project | None:
    return await db.one(_DOMAIN_NAMED, name=name)


async def children(db: Reader, project_id: str) -> list[Project]:
    return await db.all(_CHILDREN, id=project_id)


async def in_domain(db: Reader, domain_id: str) -> list[Project]:
    return await db.all(_IN_DOMAIN, id=domain_id)


async def ancestors(db: Reader, project: Project) -> list[Project]:
    """The projects above, nearest first, the domain last."""
    found: list[Project] = []
    above = project.parent_id
    while above is not None and len(found) < 64:
        parent = await find(db, above)
        if parent is None:
            break
        found.append(parent)
        above = parent.parent_id
    return found


async def ancestor_ids(db: Reader, project: Project) -> set[str]:
    """The ids of `ancestors`; one project below its domain costs no read."""
    if project.parent_id is None or project.parent_id == project.domain_id:
        return {project.parent_id} if project.parent_id is not None else set()
    return {above.id for above in await ancestors(db, project)}


async def subtree(db: Reader, project_id: str) -> list[Project]:
    """Every project below, parents before children."""
    found: list[Project] = []
    level = await children(db, project_id)
    while level:
        found += level
        level = [child for project in level for child in await children(db, project.id)]
    return found
