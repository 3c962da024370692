"""How host aggregates are kept."""

from __future__ import annotations

import sqlalchemy as sa
from msgspec import Struct
from msgspec.structs import replace

from moln.compute.model.aggregates import Aggregate
from moln.kernel.db import INT, Query, Reader, column, table

aggregates = table(
    "aggregates", column("id"), column("name"), column("zone", null=True), column("metadata"), column("created_at", INT),
    column("updated_at", INT, null=True), sa.UniqueConstraint("id"), sa.UniqueConstraint("name"),
)  # fmt: skip
members = table(
    "aggregate_hosts", column("aggregate_id"), column("host"), sa.UniqueConstraint("aggregate_id", "host"),
    sa.Index("aggregate_hosts_host", "host"),
)  # fmt: skip


class _Member(Struct, frozen=True):
    aggregate_id: str
    host: str


ALL = Query(sa.select(aggregates).order_by(aggregates.c.rowid), Aggregate)
BY_ROWID = Query(sa.select(aggregates).where(aggregates.c.rowid == sa.bindparam("rowid")), Aggregate)
BY_ID = Query(sa.select(aggregates).where(aggregates.c.id == sa.bindparam("id")), Aggregate)
MEMBERS = Query(sa.select(members.c.aggregate_id, members.c.host).order_by(members.c.rowid), _Member)
OF_HOST = Query(
    sa.select(aggregates).select_from(aggregates.join(members, members.c.aggregate_id == aggregates.c.id))
    .where(members.c.host == sa.bindparam("host")).order_by(aggregates.c.rowid),
    Aggregate,
)  # fmt: skip


async def everything(db: Reader) -> list[Aggregate]:
    """All of them, with their hosts."""
    hosts: dict[str, list[str]] = {}
    for member in await db.all(MEMBERS):
        hosts.setdefault(member.aggregate_id, []).append(member.host)
    return [replace(a, hosts=tuple(hosts.get(a.id, ()))) for a in await db.all(ALL)]


async def find(db: Reader, rowid: int) -> Aggregate | None:
    """One of them, with its hosts."""
    found = await db.one(BY_ROWID, rowid=rowid)
    if found is None:
        return None
    return replace(found, hosts=tuple(m.host for m in await db.all(MEMBERS) if m.aggregate_id == found.id))


async def zone_of(db: Reader, host: str) -> str | None:
    """The zone that an aggregate gives to a host."""
    return next((a.zone for a in await db.all(OF_HOST, host=host) if a.zone), None)
