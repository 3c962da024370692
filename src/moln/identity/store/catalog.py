"""identity_services, identity_endpoints and identity_regions."""

from __future__ import annotations

import sqlalchemy as sa

from moln.identity.model.catalog import Endpoint, Region, Service
from moln.kernel.db import INT, TEXT, Listing, Query, Reader, column, table

SERVICES = table(
    "identity_services",
    column("id", TEXT, unique=True),
    column("type"),
    column("name"),
    column("description", null=True),
    column("enabled", INT),
    column("extra"),
)
ENDPOINTS = table(
    "identity_endpoints",
    column("id", TEXT, unique=True),
    column("service_id", TEXT, index=True),
    column("interface"),
    column("region_id", null=True),
    column("url"),
    column("enabled", INT),
    column("extra"),
)
REGIONS = table(
    "identity_regions",
    column("id", TEXT, unique=True),
    column("description"),
    column("parent_region_id", null=True),
    column("extra"),
)


def _all(of: sa.Table) -> sa.Select[tuple[object, ...]]:
    return sa.select(*[c for c in of.columns if c.name != "rowid"])


SERVICE_LISTING = Listing(_all(SERVICES), Service, SERVICES)
ENDPOINT_LISTING = Listing(_all(ENDPOINTS), Endpoint, ENDPOINTS)
REGION_LISTING = Listing(_all(REGIONS), Region, REGIONS)
_SERVICE = Query(_all(SERVICES).where(SERVICES.c.id == sa.bindparam("id")), Service)
_ENDPOINT = Query(_all(ENDPOINTS).where(ENDPOINTS.c.id == sa.bindparam("id")), Endpoint)
_REGION = Query(_all(REGIONS).where(REGIONS.c.id == sa.bindparam("id")), Region)
_ENABLED_SERVICES = Query(_all(SERVICES).where(SERVICES.c.enabled == 1).order_by(SERVICES.c.rowid), Service)
_ENABLED_ENDPOINTS = Query(_all(ENDPOINTS).where(ENDPOINTS.c.enabled == 1).order_by(ENDPOINTS.c.rowid), Endpoint)


async def find_service(db: Reader, service_id: str) -> Service | None:
    return await db.one(_SERVICE, id=service_id)


async def find_endpoint(db: Reader, endpoint_id: str) -> Endpoint | None:
    return await db.one(_ENDPOINT, id=endpoint_id)


async def find_region(db: Reader, region_id: str) -> Region | None:
    return await db.one(_REGION, id=region_id)


async def enabled_services(db: Reader) -> list[Service]:
    return await db.all(_ENABLED_SERVICES)


async def enabled_endpoints(db: Reader) -> list[Endpoint]:
    return await db.all(_ENABLED_ENDPOINTS)
