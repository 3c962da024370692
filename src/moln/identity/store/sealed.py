"""Whatever identity keeps sealed by the keys that do not rotate: all of it is sealed anew, when those keys are in the wrong hands."""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa
from msgspec import Struct

from moln.identity.store.credentials import CREDENTIALS
from moln.identity.store.domain_configs import OPTIONS
from moln.identity.store.oauth1 import ACCESS_TOKENS, CONSUMERS, REQUEST_TOKENS
from moln.identity.store.token_keys import token_keys
from moln.kernel.db import INT, Query, Statement, Transaction


class Sealed(Struct, frozen=True):
    rowid: int
    text: str


class _Kept(Struct, frozen=True):
    read: Query[Sealed]
    write: Statement


def _kept(table: sa.Table, column: str, where: sa.ColumnElement[bool] | None = None) -> _Kept:
    read = sa.select(table.c.rowid, table.c[column].label("text")).order_by(table.c.rowid)
    write = sa.update(table).where(table.c.rowid == sa.bindparam("of", type_=INT)).values({column: sa.bindparam("text")})
    return _Kept(Query(read if where is None else read.where(where), Sealed), Statement(write))


_ALL = (*(_kept(table, "sealed") for table in (CREDENTIALS, CONSUMERS, REQUEST_TOKENS, ACCESS_TOKENS)), _kept(OPTIONS, "value", OPTIONS.c.sensitive == 1))
_FORGET_KEYS = Statement(sa.delete(token_keys))


async def again(tx: Transaction, seal: Callable[[str], str]) -> int:
    """Each as `seal` makes it of what is there; how many there were. Keys of tokens that wait in the database are forgotten."""
    count = 0
    for kept in _ALL:
        for row in await tx.all(kept.read):
            await tx.run(kept.write, of=row.rowid, text=seal(row.text))
            count += 1
    await tx.run(_FORGET_KEYS)
    return count
