"""Projects whose quota was changed."""

from __future__ import annotations

import sqlalchemy as sa

from moln.kernel.db import Query, Reader
from moln.kernel.quota import limits

PROJECTS = Query(
    sa.select(limits.c.project_id)
    .where(limits.c.service == sa.bindparam("service"), limits.c.project_id != "")
    .distinct()
    .order_by(limits.c.project_id),
    str,
)


async def projects(db: Reader, service: str) -> list[str]:
    """Their ids."""
    return await db.all(PROJECTS, service=service)
