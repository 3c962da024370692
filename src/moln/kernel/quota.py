"""Quotas: `used` counters charged by predicate UPDATE in the same transaction as what they count."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Protocol

import sqlalchemy as sa
from msgspec import Struct

from moln.kernel.db import INT, Query, Reader, Statement, Transaction, column, greatest, table
from moln.kernel.errors import OverQuota

UNLIMITED = -1
EVERYBODY = ""  # the reserved project
MODE = "-"  # the reserved service, of what holds for all of them

usages = table(
    "quota_usages", column("service"), column("project_id"), column("resource"), column("used", INT),
    sa.UniqueConstraint("service", "project_id", "resource"),
)  # fmt: skip
limits = table(
    "quota_limits", column("service"), column("project_id"), column("resource"), column("limit", INT),
    sa.UniqueConstraint("service", "project_id", "resource"),
)  # fmt: skip


class _Tree(Protocol):
    async def full(self, tx: Transaction, service: str, project_id: str, amounts: dict[str, int]) -> set[str]:
        """The resources of which the project's tree has not so much left."""
        ...


class _Trees(Struct):
    """of: who is below whom. watched: whether some cloud of this process may bind a root's projects together; most clouds never do."""

    of: _Tree | None = None
    watched: bool = False


TREES = _Trees()  # kernel/quota_trees.py fills it in


class _Count(Struct, frozen=True):
    resource: str
    count: int


_of: tuple[Any, Any] = (sa.bindparam("service"), sa.bindparam("project_id"))
LIMITS = Query(  # the reserved project's first
    sa.select(limits.c.resource, limits.c.limit.label("count"))
    .where(limits.c.service == _of[0], sa.or_(limits.c.project_id == sa.literal_column("''"), limits.c.project_id == _of[1]))
    .order_by(limits.c.project_id),
    _Count,
)
USAGES = Query(
    sa.select(usages.c.resource, usages.c.used.label("count")).where(usages.c.service == _of[0], usages.c.project_id == _of[1]), _Count
)
ALL_USAGES = Query(sa.select(usages.c.project_id, usages.c.resource, usages.c.used).where(usages.c.service == _of[0]), dict)
REFUND = Statement(
    sa.update(usages)
    .where(usages.c.service == _of[0], usages.c.project_id == _of[1], usages.c.resource == sa.bindparam("name"))
    .values(used=greatest(usages.c.used - sa.bindparam("n"), 0))
)


def _overridden(project_id: Any) -> Any:
    """The limit of the counter's resource that a project, or the reserved one, was given."""
    mine = (limits.c.service == usages.c.service, limits.c.project_id == project_id, limits.c.resource == usages.c.resource)
    return sa.select(limits.c.limit).where(*mine).scalar_subquery()


@lru_cache(16)
def _charging(count: int) -> Query[str]:
    """Charges so many resources in one statement, and answers those that had room: a statement more costs more than a row more."""
    which = [usages.c.resource == sa.bindparam(f"name{i}") for i in range(count)]
    amount = sa.case(*((w, sa.bindparam(f"n{i}", type_=INT)) for i, w in enumerate(which)))
    usual = sa.case(*((w, sa.bindparam(f"most{i}", type_=INT)) for i, w in enumerate(which)))
    most = sa.func.coalesce(_overridden(usages.c.project_id), _overridden(sa.literal_column("''")), usual)
    fits = sa.or_(most < 0, usages.c.used + amount <= most)
    named = usages.c.resource.in_([sa.bindparam(f"name{i}") for i in range(count)])
    charged = sa.update(usages).where(usages.c.service == _of[0], usages.c.project_id == _of[1], named, fits)
    return Query(charged.values(used=usages.c.used + amount).returning(usages.c.resource), str)


def _over(amounts: Iterable[str], over: set[str]) -> OverQuota:
    named = [name for name in amounts if name in over]
    return OverQuota(f"Quota exceeded for resources: {named}.", resources=tuple(named))


class Quota:
    """One service's quota. defaults: a limit by resource, -1 for none (shared/api quotas; the project's own override them).

    The reserved project `""` holds the overridden defaults (Nova's quota classes).
    """

    def __init__(self, service: str, defaults: dict[str, int]):
        self.service = service
        self.defaults = defaults

    async def charge(self, tx: Transaction, project_id: str, **amounts: int) -> None:
        """Take `amounts` more. Raises: OverQuota, naming every resource that would overflow; then nothing is taken."""
        wanted = sorted((name, n) for name, n in amounts.items() if n > 0)
        if TREES.watched and TREES.of is not None and wanted:
            if full := await TREES.of.full(tx, self.service, project_id, dict(wanted)):
                raise _over(amounts, full)
        over = set(await self._charge(tx, project_id, wanted))
        if over:
            await self.refund(tx, project_id, **{name: n for name, n in wanted if name not in over})
            raise _over(amounts, over)
        await self.refund(tx, project_id, **{name: -n for name, n in amounts.items() if n < 0})

    async def _charge(self, tx: Transaction, project_id: str, wanted: list[tuple[str, int]]) -> set[str]:
        """Take what fits; the names of what does not. A counter that is not there yet is made."""
        if not wanted:
            return set()
        of = {"service": self.service, "project_id": project_id}
        for first in (True, False):
            params: dict[str, Any] = {}
            for i, (name, n) in enumerate(wanted):
                params |= {f"name{i}": name, f"n{i}": n, f"most{i}": self.defaults[name]}
            charged = set(await tx.all(_charging(len(wanted)), **of, **params))
            wanted = [(name, n) for name, n in wanted if name not in charged]
            if not wanted:
                break
            made = [await tx.insert(usages, of | {"resource": name, "used": 0}, if_absent=True) for name, _ in wanted if first]
            if not any(made):
                break
        return {name for name, _ in wanted}

    async def refund(self, tx: Transaction, project_id: str, **amounts: int) -> None:
        """Give `amounts` back."""
        for name, n in amounts.items():
            if n:
                await tx.run(REFUND, service=self.service, project_id=project_id, name=name, n=n)

    async def limits(self, db: Reader, project_id: str) -> dict[str, int]:
        """Every resource's limit for a project."""
        own = await db.all(LIMITS, service=self.service, project_id=project_id)
        return self.defaults | {c.resource: c.count for c in own}

    async def used(self, db: Reader, project_id: str) -> dict[str, int]:
        """Every resource's use by a project."""
        found = dict.fromkeys(self.defaults, 0)
        return found | {c.resource: c.count for c in await db.all(USAGES, service=self.service, project_id=project_id)}

    async def set_limits(self, tx: Transaction, project_id: str, values: dict[str, int]) -> None:
        """Override a project's limits (project "": the defaults)."""
        for name, value in values.items():
            key: dict[str, Any] = {"service": self.service, "project_id": project_id, "resource": name}
            if not await tx.insert(limits, key | {"limit": value}, if_absent=True):
                await tx.update(limits, {"limit": value}, **key)

    async def reset(self, tx: Transaction, project_id: str) -> None:
        """Back to the defaults."""
        await tx.delete(limits, service=self.service, project_id=project_id)
