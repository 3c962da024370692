"""identity_policy_associations: which policy is whose. An endpoint, a service, or a service in a region has one at most."""

from __future__ import annotations

import sqlalchemy as sa

from moln.kernel.db import Query, Reader, Transaction, column, table

ASSOCIATIONS = table(
    "identity_policy_associations",
    column("policy_id"),
    column("endpoint_id"),
    column("service_id"),
    column("region_id"),
    sa.UniqueConstraint("endpoint_id", "service_id", "region_id"),
)
_A = ASSOCIATIONS.c
_FIND = Query(
    sa.select(_A.policy_id).where(
        _A.endpoint_id == sa.bindparam("endpoint_id"), _A.service_id == sa.bindparam("service_id"), _A.region_id == sa.bindparam("region_id")
    ),
    str,
)
_OF_POLICY = Query(sa.select(_A.endpoint_id, _A.service_id, _A.region_id).where(_A.policy_id == sa.bindparam("id")).order_by(_A.rowid), dict)


async def policy_of(db: Reader, endpoint_id: str = "", service_id: str = "", region_id: str = "") -> str | None:
    """The policy's id. Named are an endpoint, or a service and perhaps a region; "" where there is none."""
    return await db.one(_FIND, endpoint_id=endpoint_id, service_id=service_id, region_id=region_id)


async def of_policy(db: Reader, policy_id: str) -> list[dict[str, str]]:
    return await db.all(_OF_POLICY, id=policy_id)


async def forget(tx: Transaction, **by: str) -> None:
    """Remove what names a policy_id, endpoint_id, service_id or region_id."""
    await tx.delete(ASSOCIATIONS, **by)
