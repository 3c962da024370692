"""Which servers were there in a period: those that are, and those of the history."""

from __future__ import annotations

import sqlalchemy as sa

from moln.compute.model.usage import Period, Used
from moln.compute.store.server_lists import EVERY
from moln.kernel.db import Listing, Reader
from moln.kernel.db.listing import Where

LISTING = Listing(
    sa.select(*[EVERY.c[f] for f in Used.__struct_fields__]), Used, EVERY,  # type: ignore[arg-type]
    extra={"there-after": lambda n: sa.or_(EVERY.c.terminated_at.is_(None), EVERY.c.terminated_at > sa.bindparam(n))},
)  # fmt: skip
SORT = (("project_id", "asc"), ("id", "asc"))


async def page(db: Reader, period: Period, project_id: str | None, marker: str | None, limit: int) -> list[Used]:
    """By project, then by id; what never ran is not among them. Raises: Invalid, for an unknown marker."""
    where: list[Where] = [("launched_at", "lt", period.stop), ("there-after", "there-after", period.start)]
    if project_id is not None:
        where.append(("project_id", "eq", project_id))
    return await LISTING.page(db, where, sort=SORT, marker=marker, limit=limit)
