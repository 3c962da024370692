"""Lists of servers: filters, sort keys and pages, over those that are there and, where asked, those that were."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from msgspec import Struct, field

from moln.compute.model.patterns import Pattern
from moln.compute.model.server_lines import Line
from moln.compute.store.server_tables import servers
from moln.kernel.db import Listing, Reader, each_of, history_of
from moln.kernel.db.listing import Where

STEP = 500  # servers read at once, where patterns are tried on them
FIELDS = Line.__struct_fields__
OLD = history_of(servers)
EVERY = sa.union_all(
    sa.select(*servers.c), sa.select((-OLD.c.rowid).label("rowid"), *[OLD.c[c.name] for c in servers.c if c.name != "rowid"])
).subquery("every_server")  # fmt: skip


class Wanted(Struct, kw_only=True):
    """What a caller lists. where: on columns, as Listing takes them. with_deleted: the history too.

    matching: patterns that a field must match, tried on what the columns let through. limit: 0 for none at all.
    """

    where: list[Where] = field(default_factory=list)
    matching: list[tuple[str, Pattern]] = field(default_factory=list)
    all_projects: bool = False
    with_deleted: bool = False
    sort: tuple[tuple[str, str], ...] = (("created_at", "desc"),)
    marker: str | None = None
    limit: int = 1000


def _tags(column: Any, param: str, *, missing: bool = False) -> Any:
    """Whether any of the JSON list in the parameter is among the tags in the column; missing: whether any is not."""
    asked = each_of(sa.bindparam(param)).table_valued("value").alias("asked")
    has = each_of(column).table_valued("value").alias("has")
    there = sa.select(has.c.value).where(has.c.value == asked.c.value).exists()
    return sa.select(asked.c.value).where(sa.not_(there) if missing else there).exists()


def _extra(table: Any) -> dict[str, Any]:
    c = table.c
    return {
        "tagged": lambda n: sa.func.instr(c.tags, sa.bindparam(n)) > 0,
        "untagged": lambda n: sa.func.instr(c.tags, sa.bindparam(n)) == 0,
        "tagged-any": lambda n: _tags(c.tags, n),
        "untagged-all": lambda n: _tags(c.tags, n, missing=True),
        "ip": lambda n: sa.func.instr(c.nics, sa.bindparam(n)) > 0,
        "not-rebooting": lambda n: sa.or_(sa.bindparam(n) != "ACTIVE", c.task_state.is_(None), c.task_state.not_like("reboot%")),
    }


LIVE = Listing(sa.select(*[servers.c[f] for f in FIELDS]), Line, servers, extra=_extra(servers))
WITH_DELETED = Listing(sa.select(*[EVERY.c[f] for f in FIELDS]), Line, EVERY, extra=_extra(EVERY))  # type: ignore[arg-type]


async def page(db: Reader, wanted: Wanted) -> list[Line]:
    """Raises: Invalid, when no server has the marker's id."""
    listing = WITH_DELETED if wanted.with_deleted else LIVE
    found: list[Line] = []
    marker = wanted.marker
    while len(found) < wanted.limit:
        step = max(wanted.limit, STEP) if wanted.matching else wanted.limit
        lines = await listing.page(db, wanted.where, sort=wanted.sort, marker=marker, limit=step)
        found += [line for line in lines if all(p.found_in(getattr(line, name) or "") for name, p in wanted.matching)]
        if len(lines) < step:
            break
        marker = lines[-1].id
    return found[: wanted.limit]
