"""Two levels of quota: what all projects below a root use together stays within the root's limit (unified limits, strict_two_level).

Who is below whom is another's table, which says so once (`declare`); whether it matters is a row, so that every process of a cloud agrees.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from msgspec import Struct

from moln.kernel.db import Query, Reader, Transaction, in_list
from moln.kernel.quota import EVERYBODY, MODE, TREES, limits, usages

_MODE = {"service": MODE, "project_id": EVERYBODY, "resource": "strict_two_level"}


class _Limit(Struct, frozen=True):
    project_id: str
    resource: str
    most: int


class _Used(Struct, frozen=True):
    resource: str
    used: int


class Trees:
    """member, root: columns of the table that has every project; a root's own root is NULL."""

    def __init__(self, member: sa.Column[str], root: sa.Column[str]):
        of = sa.select(sa.func.coalesce(root, member)).where(member == sa.bindparam("project_id")).scalar_subquery()
        switch = limits.alias()
        on = sa.select(switch.c.limit).where(*(switch.c[name] == sa.literal(value) for name, value in _MODE.items())).exists()
        held = sa.update(limits).where(
            limits.c.service == sa.bindparam("service"), sa.or_(limits.c.project_id == EVERYBODY, limits.c.project_id == of),
            in_list(limits.c.resource, "names"), on,
        )  # fmt: skip
        self._hold = Query(held.values(limit=limits.c.limit).returning(limits.c.project_id, limits.c.resource, limits.c.limit.label("most")), _Limit)
        inside = sa.select(member).where(sa.or_(root == of, member == of))
        used = sa.select(usages.c.resource, sa.func.sum(usages.c.used).cast(sa.BigInteger).label("used"))
        mine = (usages.c.service == sa.bindparam("service"), in_list(usages.c.resource, "names"), usages.c.project_id.in_(inside))
        self._used = Query(used.where(*mine).group_by(usages.c.resource), _Used)

    async def full(self, tx: Transaction, service: str, project_id: str, amounts: dict[str, int]) -> set[str]:
        """The resources of which the project's tree has not so much left. Holds the limits that say so: others of the tree wait."""
        params: dict[str, Any] = {"service": service, "project_id": project_id}
        found = await tx.all(self._hold, **params, names=sorted(amounts))
        most = {row.resource: row.most for row in sorted(found, key=lambda row: row.project_id)}  # a root's own after everybody's
        if not most:
            return set()
        used = {row.resource: row.used for row in await tx.all(self._used, **params, names=sorted(most))}
        return {name for name, limit in most.items() if limit >= 0 and used.get(name, 0) + amounts[name] > limit}


def declare(member: sa.Column[str], root: sa.Column[str]) -> None:
    """Say where it is kept who is below whom."""
    TREES.of = Trees(member, root)


_ON = Query(sa.select(limits.c.limit).where(*(limits.c[name] == sa.literal(value) for name, value in _MODE.items())), int)


async def is_on(db: Reader) -> bool:
    """Whether roots bind what is below them."""
    return await db.one(_ON) is not None


async def switch_in(tx: Transaction, on: bool) -> None:
    """Whether roots bind what is below them, from now on."""
    await tx.delete(limits, **_MODE)
    if on:
        await tx.insert(limits, _MODE | {"limit": 1})


def watch() -> None:
    """Ask about trees from now on in this process. What the answer is the rows say."""
    TREES.watched = True

