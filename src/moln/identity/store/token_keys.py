"""Keys that seal tokens, where several controllers have to have the same ones: sealed themselves, by the keys that do not rotate."""

from __future__ import annotations

import sqlalchemy as sa
from msgspec import Struct

from moln.kernel.db import INT, Query, Reader, Statement, Transaction, column, table

token_keys = table("token_keys", column("number", INT), column("sealed"), column("since", INT), sa.UniqueConstraint("number"))


class TokenKey(Struct, frozen=True):
    """number: the highest one that may seals. since: when it may begin to (seconds since 1970)."""

    number: int
    sealed: str
    since: int


ALL = Query(sa.select(*(token_keys.c[name] for name in TokenKey.__struct_fields__)).order_by(token_keys.c.number), TokenKey)
FORGET = Statement(sa.delete(token_keys).where(token_keys.c.number <= sa.bindparam("last", type_=INT)))


async def all(db: Reader) -> list[TokenKey]:
    return await db.all(ALL)


async def add(tx: Transaction, key: TokenKey, keep: int) -> None:
    """Another controller may have added that number; then its key is the one. Those of before the newest `keep` are forgotten."""
    await tx.insert(token_keys, key, if_absent=True)
    await tx.run(FORGET, last=key.number - keep)
