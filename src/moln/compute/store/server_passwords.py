"""How passwords that guests told are kept: beside their servers, for lists never need them."""

from __future__ import annotations

import sqlalchemy as sa

from moln.kernel.db import TEXT, Query, Reader, Transaction, column, table

server_passwords = table("server_passwords", column("server_id", TEXT, unique=True), column("password"))
GET = Query(sa.select(server_passwords.c.password).where(server_passwords.c.server_id == sa.bindparam("server_id")), str)


async def find(db: Reader, server_id: str) -> str:
    return await db.one(GET, server_id=server_id) or ""


async def add(tx: Transaction, server_id: str, password: str) -> bool:
    """Whether there was none yet."""
    return await tx.insert(server_passwords, {"server_id": server_id, "password": password}, if_absent=True)


async def remove(tx: Transaction, server_id: str) -> None:
    await tx.delete(server_passwords, server_id=server_id)
