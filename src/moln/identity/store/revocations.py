"""identity_revocations: tokens revoked one by one, kept until they would have expired."""

from __future__ import annotations

import sqlalchemy as sa

from moln.kernel.db import INT, TEXT, Query, Reader, Statement, Transaction, column, table

REVOCATIONS = table(
    "identity_revocations",
    column("audit_id", TEXT, unique=True),
    column("user_id"),
    column("expires_at", INT),
)
_R = REVOCATIONS.c
_FIND = Query(sa.select(_R.audit_id).where(_R.audit_id == sa.bindparam("audit_id")), str)
_PURGE = Statement(sa.delete(REVOCATIONS).where(_R.expires_at < sa.bindparam("now")))


async def is_revoked(db: Reader, audit_id: str) -> bool:
    return await db.one(_FIND, audit_id=audit_id) is not None


async def purge(tx: Transaction, now_us: int) -> None:
    await tx.run(_PURGE, now=now_us)
