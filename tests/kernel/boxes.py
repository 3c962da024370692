"""A table to write into, for the tests of databases."""

from __future__ import annotations

import sqlalchemy as sa
from msgspec import Struct

from moln.kernel.db import INT, Query, QueryBeside, Statement, Transaction, column, in_list, table

BOXES = table("test_boxes", column("id", unique=True), column("size", INT), column("note", null=True), history=True)
LIDS = table("test_lids", column("box_id", sa.Text(), sa.ForeignKey("test_boxes.id")))


class Box(Struct, frozen=True):
    id: str
    size: int
    note: str | None = None


BY_ID = Query(sa.select(BOXES.c.id, BOXES.c.size, BOXES.c.note).where(BOXES.c.id == sa.bindparam("id")), Box)
BESIDE = QueryBeside(BY_ID.element.add_columns((BOXES.c.id + " of " + sa.cast(BOXES.c.size, sa.Text())).label("beside")), Box)
EVERY = Query(sa.select(BOXES.c.id, BOXES.c.size, BOXES.c.note).order_by(BOXES.c.id), Box)
SOME = Query(sa.select(BOXES.c.id).where(in_list(BOXES.c.id, "ids")).order_by(BOXES.c.id), str)
SIZE = Query(sa.select(BOXES.c.size).where(BOXES.c.id == sa.bindparam("id")), int)
BROKEN = Statement(sa.text("UPDATE no_such_table SET a = 1"))
KEPT = Query(sa.select(sa.func.count()).select_from(sa.table("test_boxes_history")), int)


async def add(tx: Transaction, id: str, size: int = 1, then: Exception | None = None) -> str:
    await tx.insert(BOXES, Box(id, size))
    tx.changed("boxes", id)
    if then:
        raise then
    return id


async def broken(tx: Transaction) -> None:
    await tx.run(BROKEN)
