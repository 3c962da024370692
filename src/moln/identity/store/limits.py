"""identity_registered_limits and identity_limits."""

from __future__ import annotations

import sqlalchemy as sa

from moln.identity.model.limits import Limit, RegisteredLimit
from moln.kernel.db import INT, TEXT, Listing, Query, Reader, Transaction, column, table

REGISTERED = table(
    "identity_registered_limits",
    column("id", TEXT, unique=True),
    column("service_id"),
    column("resource_name"),
    column("default_limit", INT),
    column("region_id", null=True),
    column("description", null=True),
)
LIMITS = table(
    "identity_limits",
    column("id", TEXT, unique=True),
    column("service_id"),
    column("resource_name"),
    column("resource_limit", INT),
    column("region_id", null=True),
    column("project_id", TEXT, null=True, index=True),
    column("domain_id", TEXT, null=True, index=True),
    column("description", null=True),
)
_R, _L = REGISTERED.c, LIMITS.c
_REGISTERED = sa.select(*[c for c in _R if c.name != "rowid"])
_LIMIT = sa.select(*[c for c in _L if c.name != "rowid"])
REGISTERED_LISTING = Listing(_REGISTERED, RegisteredLimit, REGISTERED)
LISTING = Listing(_LIMIT, Limit, LIMITS)
_GET_REGISTERED = Query(_REGISTERED.where(_R.id == sa.bindparam("id")), RegisteredLimit)
_GET = Query(_LIMIT.where(_L.id == sa.bindparam("id")), Limit)
_SAME_REGISTERED = Query(
    _REGISTERED.where(
        _R.service_id == sa.bindparam("service_id"), _R.resource_name == sa.bindparam("resource_name"),
        _R.region_id.is_not_distinct_from(sa.bindparam("region_id")),
    ),
    RegisteredLimit,
)  # fmt: skip
_SAME = Query(
    _LIMIT.where(
        _L.service_id == sa.bindparam("service_id"), _L.resource_name == sa.bindparam("resource_name"),
        _L.region_id.is_not_distinct_from(sa.bindparam("region_id")),
    ).order_by(_L.rowid),
    Limit,
)  # fmt: skip


async def find_registered(db: Reader, id_: str) -> RegisteredLimit | None:
    return await db.one(_GET_REGISTERED, id=id_)


async def find(db: Reader, id_: str) -> Limit | None:
    return await db.one(_GET, id=id_)


async def registered_for(db: Reader, service_id: str, resource_name: str, region_id: str | None) -> RegisteredLimit | None:
    return await db.one(_SAME_REGISTERED, service_id=service_id, resource_name=resource_name, region_id=region_id)


async def of_resource(db: Reader, service_id: str, resource_name: str, region_id: str | None) -> list[Limit]:
    """Everybody's limits of one resource."""
    return await db.all(_SAME, service_id=service_id, resource_name=resource_name, region_id=region_id)


async def forget_project(tx: Transaction, project_id: str) -> None:
    """Of a project, or of a domain."""
    await tx.delete(LIMITS, project_id=project_id)
    await tx.delete(LIMITS, domain_id=project_id)


async def forget_service(tx: Transaction, service_id: str) -> None:
    await tx.delete(LIMITS, service_id=service_id)
    await tx.delete(REGISTERED, service_id=service_id)


async def forget_region(tx: Transaction, region_id: str) -> None:
    await tx.delete(LIMITS, region_id=region_id)
    await tx.delete(REGISTERED, region_id=region_id)
