"""identity_groups and identity_memberships."""

from __future__ import annotations

import sqlalchemy as sa

from moln.identity.model.users import Group, User
from moln.identity.store.directory import here
from moln.identity.store.users import USERS
from moln.kernel.db import TEXT, Listing, Query, Reader, column, in_list, table

GROUPS = table(
    "identity_groups",
    column("id", TEXT, unique=True),
    column("name", index=True),
    column("domain_id", index=True),
    column("description"),
    column("extra"),
    sa.UniqueConstraint("domain_id", "name"),
)
MEMBERSHIPS = table(
    "identity_memberships",
    column("group_id"),
    column("user_id", TEXT, index=True),
    sa.UniqueConstraint("group_id", "user_id"),
)
_G, _M, _U = GROUPS.c, MEMBERSHIPS.c, USERS.c
_ALL = sa.select(*[c for c in GROUPS.columns if c.name != "rowid"])
LISTING = Listing(_ALL, Group, GROUPS, extra={"here": lambda param: here(param, _G.id)})
_GET = Query(_ALL.where(_G.id == sa.bindparam("id")), Group)
_AMONG = Query(_ALL.where(in_list(_G.id, "ids")), Group)
_NAMED = Query(_ALL.where(_G.name == sa.bindparam("name"), _G.domain_id == sa.bindparam("domain_id")), Group)
_OF_USER = Query(_ALL.join(MEMBERSHIPS, _M.group_id == _G.id).where(_M.user_id == sa.bindparam("id")), Group)
_IDS_OF_USER = Query(sa.select(_M.group_id).where(_M.user_id == sa.bindparam("id")), str)
_MEMBER = Query(sa.select(_M.user_id).where(_M.group_id == sa.bindparam("id"), _M.user_id == sa.bindparam("user_id")), str)
_MEMBERS = Query(
    sa.select(*[c for c in USERS.columns if c.name not in ("rowid", "password_hash")])
    .join(MEMBERSHIPS, _M.user_id == _U.id)
    .where(_M.group_id == sa.bindparam("id"))
    .order_by(_M.rowid),
    User,
)


async def find(db: Reader, group_id: str) -> Group | None:
    return await db.one(_GET, id=group_id)


async def among(db: Reader, ids: list[str]) -> dict[str, Group]:
    """Those of these ids that there are, by id."""
    return {group.id: group for group in await db.all(_AMONG, ids=ids)}


async def find_named(db: Reader, name: str, domain_id: str) -> Group | None:
    return await db.one(_NAMED, name=name, domain_id=domain_id)


async def of_user(db: Reader, user_id: str) -> list[Group]:
    return await db.all(_OF_USER, id=user_id)


async def ids_of_user(db: Reader, user_id: str) -> list[str]:
    return await db.all(_IDS_OF_USER, id=user_id)


async def members(db: Reader, group_id: str) -> list[User]:
    return await db.all(_MEMBERS, id=group_id)


async def is_member(db: Reader, group_id: str, user_id: str) -> bool:
    return await db.one(_MEMBER, id=group_id, user_id=user_id) is not None


_IN_DOMAIN = Query(_ALL.where(_G.domain_id == sa.bindparam("id")), Group)


async def in_domain(db: Reader, domain_id: str) -> list[Group]:
    return await db.all(_IN_DOMAIN, id=domain_id)
