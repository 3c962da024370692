"""identity_roles, identity_implied_roles and identity_grants."""

from __future__ import annotations

import sqlalchemy as sa

from moln.identity.model.roles import Grant, Role
from moln.kernel.db import INT, TEXT, Listing, Query, Reader, column, in_list, partial_index, table

ROLES = table(
    "identity_roles",
    column("id", TEXT, unique=True),
    column("name"),
    column("domain_id", null=True),
    column("description", null=True),
    column("options"),
    column("extra"),
    sa.UniqueConstraint("domain_id", "name"),
)
_R = ROLES.c
partial_index("identity_role_names", _R.name, unique=True, where=_R.domain_id.is_(None))
IMPLIED = table(
    "identity_implied_roles",
    column("prior_id"),
    column("implied_id"),
    sa.UniqueConstraint("prior_id", "implied_id"),
)
GRANTS = table(
    "identity_grants",
    column("actor_kind"),
    column("actor_id"),
    column("target_kind"),
    column("target_id", TEXT, index=True),
    column("role_id", TEXT, index=True),
    column("inherited", INT),
    sa.UniqueConstraint("actor_id", "target_id", "role_id", "inherited", "actor_kind", "target_kind"),
)
_I, _G = IMPLIED.c, GRANTS.c
_ALL = sa.select(*[c for c in ROLES.columns if c.name != "rowid"])
LISTING = Listing(_ALL, Role, ROLES)
_GET = Query(_ALL.where(_R.id == sa.bindparam("id")), Role)
_IN_DOMAIN = Query(_ALL.where(_R.domain_id == sa.bindparam("id")), Role)
_EVERY = Query(_ALL.order_by(_R.rowid), Role)
_IMPLICATIONS = Query(sa.select(_I.prior_id, _I.implied_id).order_by(_I.rowid), dict)
_GRANT = sa.select(*[c for c in GRANTS.columns if c.name != "rowid"])
_OF_ACTORS = Query(_GRANT.where(in_list(_G.actor_id, "actors")), Grant)
_OF_ACTORS_ON = Query(_GRANT.where(in_list(_G.actor_id, "actors"), in_list(_G.target_id, "targets")), Grant)
GRANT_LISTING = Listing(_GRANT, Grant, GRANTS)


async def find(db: Reader, role_id: str) -> Role | None:
    return await db.one(_GET, id=role_id)


async def in_domain(db: Reader, domain_id: str) -> list[Role]:
    return await db.all(_IN_DOMAIN, id=domain_id)


async def every(db: Reader) -> list[Role]:
    return await db.all(_EVERY)


async def implications(db: Reader) -> dict[str, list[str]]:
    """What each role implies, directly."""
    found: dict[str, list[str]] = {}
    for row in await db.all(_IMPLICATIONS):
        found.setdefault(row["prior_id"], []).append(row["implied_id"])
    return found


async def of_actors(db: Reader, actors: list[str]) -> list[Grant]:
    return await db.all(_OF_ACTORS, actors=actors)


async def of_actors_on(db: Reader, actors: list[str], targets: list[str]) -> list[Grant]:
    return await db.all(_OF_ACTORS_ON, actors=actors, targets=targets)
