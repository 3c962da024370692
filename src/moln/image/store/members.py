"""How image members are kept."""

from __future__ import annotations

import sqlalchemy as sa

from moln.image.model.images import Member
from moln.image.store.tables import image_members
from moln.kernel.db import Query, Reader, Transaction

COLUMNS = [image_members.c[f] for f in Member.__struct_fields__]
OF_IMAGE = Query(sa.select(*COLUMNS).where(image_members.c.image_id == sa.bindparam("image_id")).order_by(image_members.c.rowid), Member)
ONE = Query(
    sa.select(*COLUMNS).where(image_members.c.image_id == sa.bindparam("image_id"), image_members.c.member_id == sa.bindparam("member_id")),
    Member,
)


async def of_image(db: Reader, image_id: str) -> list[Member]:
    """Every member, oldest first; there are at most MAX_MEMBERS."""
    return await db.all(OF_IMAGE, image_id=image_id)


async def find(db: Reader, image_id: str, member_id: str) -> Member | None:
    return await db.one(ONE, image_id=image_id, member_id=member_id)


async def add(tx: Transaction, member: Member) -> bool:
    """False: it was there."""
    return await tx.insert(image_members, member, if_absent=True)


async def set_status(tx: Transaction, member: Member, status: str, now_us: int) -> bool:
    by = {"image_id": member.image_id, "member_id": member.member_id}
    return bool(await tx.update(image_members, {"status": status, "updated_at": now_us}, **by))


async def remove(tx: Transaction, member: Member) -> None:
    await tx.delete(image_members, image_id=member.image_id, member_id=member.member_id)
