"""How hosts are kept."""

from __future__ import annotations

import sqlalchemy as sa

from moln.compute.model.hosts import ComputeHost
from moln.kernel.db import INT, Query, Reader, column, table

hosts = table(
    "compute_hosts", column("id"), column("service_id"), column("name"), column("zone"), column("facts"), column("disabled", INT),
    column("disabled_reason", null=True), column("forced_down", INT), column("created_at", INT), column("updated_at", INT),
    sa.UniqueConstraint("id"), sa.UniqueConstraint("service_id"), sa.UniqueConstraint("name"),
)  # fmt: skip
ALL = Query(sa.select(hosts).order_by(hosts.c.rowid), ComputeHost)
BY_NAME = Query(sa.select(hosts).where(hosts.c.name == sa.bindparam("name")), ComputeHost)
BY_ID = Query(sa.select(hosts).where(hosts.c.id == sa.bindparam("id")), ComputeHost)
BY_SERVICE = Query(sa.select(hosts).where(hosts.c.service_id == sa.bindparam("service_id")), ComputeHost)
BY_ROWID = Query(sa.select(hosts).where(hosts.c.rowid == sa.bindparam("rowid")), ComputeHost)


async def find(db: Reader, name: str) -> ComputeHost | None:
    return await db.one(BY_NAME, name=name)
