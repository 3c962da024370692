"""identity_users: users, with the hash of their password beside them and never in the User."""

from __future__ import annotations

import sqlalchemy as sa

from moln.identity.model.users import User
from moln.kernel.db import INT, TEXT, Listing, Query, Reader, column, table

USERS = table(
    "identity_users",
    column("id", TEXT, unique=True),
    column("name"),
    column("domain_id"),
    column("enabled", INT),
    column("default_project_id", null=True),
    column("password_hash", null=True),
    column("tokens_from", INT),
    column("options"),
    column("extra"),
    sa.UniqueConstraint("domain_id", "name"),
)
_U = USERS.c
_ALL = sa.select(*[c for c in USERS.columns if c.name not in ("rowid", "password_hash")])
LISTING = Listing(_ALL, User, USERS)
_GET = Query(_ALL.where(_U.id == sa.bindparam("id")), User)
_NAMED = Query(_ALL.where(_U.name == sa.bindparam("name"), _U.domain_id == sa.bindparam("domain_id")), User)
_HASH = Query(sa.select(_U.password_hash).where(_U.id == sa.bindparam("id")), str)
_IN_DOMAIN = Query(_ALL.where(_U.domain_id == sa.bindparam("id")), User)


async def find(db: Reader, user_id: str) -> User | None:
    return await db.one(_GET, id=user_id)


async def find_named(db: Reader, name: str, domain_id: str) -> User | None:
    return await db.one(_NAMED, name=name, domain_id=domain_id)


async def password_hash(db: Reader, user_id: str) -> str | None:
    return await db.one(_HASH, id=user_id)


async def in_domain(db: Reader, domain_id: str) -> list[User]:
    return await db.all(_IN_DOMAIN, id=domain_id)
