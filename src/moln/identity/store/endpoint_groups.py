"""identity_endpoint_groups, identity_project_endpoints and identity_project_endpoint_groups."""

from __future__ import annotations

import sqlalchemy as sa

from moln.identity.model.catalog import Endpoint
from moln.identity.model.endpoint_groups import EndpointGroup
from moln.identity.store.catalog import ENDPOINTS
from moln.kernel.db import TEXT, Listing, Query, Reader, Transaction, column, table

GROUPS = table(
    "identity_endpoint_groups",
    column("id", TEXT, unique=True),
    column("name"),
    column("filters"),
    column("description", null=True),
    column("extra"),
)
BY_ENDPOINT = table(
    "identity_project_endpoints",
    column("endpoint_id"),
    column("project_id", TEXT, index=True),
    sa.UniqueConstraint("endpoint_id", "project_id"),
)
BY_GROUP = table(
    "identity_project_endpoint_groups",
    column("endpoint_group_id"),
    column("project_id", TEXT, index=True),
    sa.UniqueConstraint("endpoint_group_id", "project_id"),
)
_G, _E, _PG, _PE = GROUPS.c, ENDPOINTS.c, BY_GROUP.c, BY_ENDPOINT.c
_ALL = sa.select(*[c for c in _G if c.name != "rowid"])
_ENDPOINT = sa.select(*[c for c in _E if c.name != "rowid"])
LISTING = Listing(_ALL, EndpointGroup, GROUPS)
_GET = Query(_ALL.where(_G.id == sa.bindparam("id")), EndpointGroup)
_GROUPS_OF = Query(
    _ALL.join(BY_GROUP, _PG.endpoint_group_id == _G.id).where(_PG.project_id == sa.bindparam("id")).order_by(_PG.rowid), EndpointGroup
)
_ENDPOINTS_OF = Query(
    _ENDPOINT.join(BY_ENDPOINT, _PE.endpoint_id == _E.id).where(_PE.project_id == sa.bindparam("id")).order_by(_PE.rowid), Endpoint
)
_PROJECTS_OF_ENDPOINT = Query(sa.select(_PE.project_id).where(_PE.endpoint_id == sa.bindparam("id")).order_by(_PE.rowid), str)
_PROJECTS_OF_GROUP = Query(sa.select(_PG.project_id).where(_PG.endpoint_group_id == sa.bindparam("id")).order_by(_PG.rowid), str)
_ANY = [Query(sa.select(t.c.project_id).limit(1), str) for t in (BY_ENDPOINT, BY_GROUP)]


async def find(db: Reader, group_id: str) -> EndpointGroup | None:
    return await db.one(_GET, id=group_id)


async def groups_of(db: Reader, project_id: str) -> list[EndpointGroup]:
    return await db.all(_GROUPS_OF, id=project_id)


async def endpoints_of(db: Reader, project_id: str) -> list[Endpoint]:
    """Those that a project was given one by one."""
    return await db.all(_ENDPOINTS_OF, id=project_id)


async def projects_of_endpoint(db: Reader, endpoint_id: str) -> list[str]:
    return await db.all(_PROJECTS_OF_ENDPOINT, id=endpoint_id)


async def projects_of_group(db: Reader, group_id: str) -> list[str]:
    return await db.all(_PROJECTS_OF_GROUP, id=group_id)


async def any_at_all(db: Reader) -> bool:
    """Whether some project's catalogue may differ from the others'."""
    return any([await db.all(query) for query in _ANY])


async def forget_project(tx: Transaction, project_id: str) -> None:
    await tx.delete(BY_ENDPOINT, project_id=project_id)
    await tx.delete(BY_GROUP, project_id=project_id)
