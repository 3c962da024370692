"""identity_users with the hash of their password beside them and never in the User, identity_old_passwords, identity_sign_ins."""

from __future__ import annotations

import sqlalchemy as sa
from msgspec import Struct

from moln.identity.model.users import User
from moln.identity.store.directory import here
from moln.kernel.db import INT, TEXT, Listing, Query, QueryBeside, Reader, Statement, Transaction, column, in_list, table

USERS = table(
    "identity_users",
    column("id", TEXT, unique=True),
    column("name", index=True),
    column("domain_id", index=True),
    column("enabled", INT),
    column("default_project_id", null=True),
    column("password_hash", null=True),
    column("tokens_from", INT),
    column("password_set_at", INT, null=True),
    column("password_expires_at", INT, null=True),
    column("options"),
    column("extra"),
    sa.UniqueConstraint("domain_id", "name"),
)
OLD_PASSWORDS = table("identity_old_passwords", column("user_id", TEXT, index=True), column("password_hash"))
SIGN_INS = table(
    "identity_sign_ins",
    column("user_id", TEXT, unique=True),
    column("failures", INT),
    column("failed_at", INT),
    column("active_at", INT),
    column("totp_step", INT),
)
_U, _O, _S = USERS.c, OLD_PASSWORDS.c, SIGN_INS.c
_ALL = sa.select(*[c for c in USERS.columns if c.name not in ("rowid", "password_hash")])
_HERE = {"here": lambda param: here(param, _U.id)}
LISTING = Listing(_ALL, User, USERS, extra=_HERE)
_UNSEEN = ("rowid", "password_hash", "tokens_from", "password_set_at")  # what no list shows: each column costs a tenth of a row
SHOWN = Listing(sa.select(*[c for c in USERS.columns if c.name not in _UNSEEN]), User, USERS, extra=_HERE)
_GET = Query(_ALL.where(_U.id == sa.bindparam("id")), User)
_AMONG = Query(_ALL.where(in_list(_U.id, "ids")), User)
_NAMED = Query(_ALL.where(_U.name == sa.bindparam("name"), _U.domain_id == sa.bindparam("domain_id")), User)
_GET_WITH_HASH = QueryBeside(_GET.element.add_columns(_U.password_hash), User)
_NAMED_WITH_HASH = QueryBeside(_NAMED.element.add_columns(_U.password_hash), User)
_HASH = Query(sa.select(_U.password_hash).where(_U.id == sa.bindparam("id")), str)
_IN_DOMAIN = Query(_ALL.where(_U.domain_id == sa.bindparam("id")), User)
_OLD = Query(
    sa.select(_O.password_hash).where(_O.user_id == sa.bindparam("id")).order_by(_O.rowid.desc()).limit(sa.bindparam("count", type_=INT)), str
)
_STEP = Statement(
    sa.update(SIGN_INS).where(_S.user_id == sa.bindparam("by_id"), _S.totp_step < sa.bindparam("step")).values(totp_step=sa.bindparam("step"))
)
_FAILED = Statement(
    sa.update(SIGN_INS).where(_S.user_id == sa.bindparam("by_id")).values(failures=_S.failures + 1, failed_at=sa.bindparam("now"))
)


class SignIns(Struct, frozen=True):
    """How a user has fared. failures: wrong passwords since the last right one. failed_at, active_at: µs UTC."""

    user_id: str
    failures: int = 0
    failed_at: int = 0
    active_at: int = 0
    totp_step: int = 0


_SIGN_INS = Query(sa.select(*[c for c in SIGN_INS.columns if c.name != "rowid"]).where(_S.user_id == sa.bindparam("id")), SignIns)


async def find(db: Reader, user_id: str) -> User | None:
    return await db.one(_GET, id=user_id)


async def among(db: Reader, ids: list[str]) -> dict[str, User]:
    """Those of these ids that there are, by id."""
    return {user.id: user for user in await db.all(_AMONG, ids=ids)}


async def find_named(db: Reader, name: str, domain_id: str) -> User | None:
    return await db.one(_NAMED, name=name, domain_id=domain_id)


async def find_with_hash(db: Reader, user_id: str) -> tuple[User, str | None] | None:
    """A user, and the hash of their password."""
    return await db.one(_GET_WITH_HASH, id=user_id)


async def find_named_with_hash(db: Reader, name: str, domain_id: str) -> tuple[User, str | None] | None:
    return await db.one(_NAMED_WITH_HASH, name=name, domain_id=domain_id)


async def password_hash(db: Reader, user_id: str) -> str | None:
    return await db.one(_HASH, id=user_id)


async def old_passwords(db: Reader, user_id: str, count: int) -> list[str]:
    """The newest `count` hashes before the present one, newest first."""
    return await db.all(_OLD, id=user_id, count=count)


async def in_domain(db: Reader, domain_id: str) -> list[User]:
    return await db.all(_IN_DOMAIN, id=domain_id)


async def sign_ins(db: Reader, user_id: str) -> SignIns:
    return await db.one(_SIGN_INS, id=user_id) or SignIns(user_id)


async def note_failure(tx: Transaction, user_id: str, now_us: int) -> None:
    await tx.insert(SIGN_INS, SignIns(user_id), if_absent=True)
    await tx.run(_FAILED, by_id=user_id, now=now_us)


async def note_success(tx: Transaction, user_id: str, now_us: int) -> None:
    await tx.insert(SIGN_INS, SignIns(user_id), if_absent=True)
    await tx.update(SIGN_INS, {"failures": 0, "active_at": now_us}, user_id=user_id)


async def take_step(tx: Transaction, user_id: str, step: int) -> bool:
    """Note that a passcode of this step was used; False, when it or a later one was before."""
    await tx.insert(SIGN_INS, SignIns(user_id), if_absent=True)
    return bool(await tx.run(_STEP, by_id=user_id, step=step))


async def forget(tx: Transaction, user_id: str) -> None:
    await tx.delete(OLD_PASSWORDS, user_id=user_id)
    await tx.delete(SIGN_INS, user_id=user_id)
