"""identity_revocations: tokens revoked one by one, kept until they would have expired."""

from __future__ import annotations

import sqlalchemy as sa
from msgspec import Struct

from moln.identity.model.users import User
from moln.identity.store.users import USERS
from moln.kernel.db import INT, TEXT, Query, Reader, Statement, Transaction, column, table

MOST = 10_000  # in one list
REVOCATIONS = table(
    "identity_revocations",
    column("audit_id", TEXT, unique=True),
    column("user_id"),
    column("expires_at", INT),
    column("revoked_at", INT),
)
_R = REVOCATIONS.c
_FIND = Query(sa.select(_R.audit_id).where(_R.audit_id == sa.bindparam("audit_id")), str)
_PURGE = Statement(sa.delete(REVOCATIONS).where(_R.expires_at < sa.bindparam("now")))


async def is_revoked(db: Reader, audit_id: str) -> bool:
    return await db.one(_FIND, audit_id=audit_id) is not None


async def purge(tx: Transaction, now_us: int) -> None:
    await tx.run(_PURGE, now=now_us)


class Revocation(Struct, frozen=True):
    """A token that was revoked. expires_at, revoked_at: µs UTC."""

    audit_id: str
    user_id: str
    expires_at: int
    revoked_at: int


_SINCE = Query(
    sa.select(*[c for c in _R if c.name != "rowid"])
    .where(_R.revoked_at >= sa.bindparam("since"), _R.expires_at > sa.bindparam("now"))
    .order_by(_R.rowid)
    .limit(MOST),
    Revocation,
)
_U = USERS.c
_USERS = Query(
    sa.select(*[c for c in _U if c.name not in ("rowid", "password_hash")]).where(_U.tokens_from >= sa.bindparam("since")).order_by(_U.rowid).limit(MOST),
    User,
)


async def since(db: Reader, since_us: int, now_us: int) -> list[Revocation]:
    return await db.all(_SINCE, since=since_us, now=now_us)


async def users_since(db: Reader, since_us: int) -> list[User]:
    """Those whose tokens from before a time later than this are void."""
    return await db.all(_USERS, since=max(since_us, 1))
