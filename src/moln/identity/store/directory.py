"""identity_directory_entries: who and what of directories is known here. What else is known of them stands beside our own, in
identity_users, identity_groups and identity_memberships.
"""

from __future__ import annotations

import sqlalchemy as sa

from moln.identity.model.directory import Entry
from moln.kernel.db import INT, TEXT, Query, Reader, Transaction, column, in_list, table

ENTRIES = table(
    "identity_directory_entries",
    column("id", TEXT, unique=True),
    column("domain_id"),
    column("kind"),
    column("local_id"),
    column("present", INT),
    column("signed_in_at", INT),
    sa.UniqueConstraint("domain_id", "kind", "local_id"),
)
_E = ENTRIES.c
_ALL = sa.select(*[c for c in ENTRIES.columns if c.name != "rowid"])
_GET = Query(_ALL.where(_E.id == sa.bindparam("id")), Entry)
_AMONG = Query(_ALL.where(in_list(_E.id, "ids")), Entry)
_OF_DOMAIN = Query(_ALL.where(_E.domain_id == sa.bindparam("domain_id"), _E.kind == sa.bindparam("kind")).order_by(_E.rowid), Entry)
_SIGNED_IN = Query(
    _ALL.where(_E.domain_id == sa.bindparam("domain_id"), _E.kind == "user", _E.signed_in_at > 0).order_by(_E.rowid), Entry
)


def here(param: str, id_: sa.Column[str]) -> sa.ColumnElement[bool]:
    """A listing's condition: what a directory has no more is left out, what never came from one is not."""
    present = sa.select(_E.present).where(_E.id == id_).correlate(id_.table).scalar_subquery()
    return sa.func.coalesce(present, 1) == sa.bindparam(param)


async def find(db: Reader, id_: str) -> Entry | None:
    return await db.one(_GET, id=id_)


async def among(db: Reader, ids: list[str]) -> dict[str, Entry]:
    """Those of these ids that are a directory's, by id."""
    return {entry.id: entry for entry in await db.all(_AMONG, ids=ids)}


async def of_domain(db: Reader, domain_id: str, kind: str) -> list[Entry]:
    return await db.all(_OF_DOMAIN, domain_id=domain_id, kind=kind)


async def signed_in(db: Reader, domain_id: str) -> list[Entry]:
    """Those of a domain who may have a token."""
    return await db.all(_SIGNED_IN, domain_id=domain_id)


async def forget(tx: Transaction, id_: str) -> None:
    await tx.delete(ENTRIES, id=id_)
