"""How inventories and their counters are kept. `used` is changed by TAKE and GIVE alone."""

from __future__ import annotations

from functools import lru_cache

import sqlalchemy as sa

from moln.kernel.db import INT, Query, Reader, Statement, Transaction, in_list
from moln.placement.model.providers import MICRO, Amounts, Inventory
from moln.placement.store.tables import inventories

_p, _c, _n, _amount = (sa.bindparam(n) for n in ("provider_id", "resource_class", "n", "amount"))
_this = (inventories.c.provider_id == _p, inventories.c.resource_class == _c)
_allowed = (
    inventories.c.min_unit <= _amount, inventories.c.max_unit >= _amount, _amount % inventories.c.step_size == 0
)  # fmt: skip
OF = Query(sa.select(inventories).where(inventories.c.provider_id == _p).order_by(inventories.c.rowid), Inventory)
OF_SEVERAL = Query(sa.select(inventories).where(in_list(inventories.c.provider_id, "provider_ids")), Inventory)
ONE = Query(sa.select(inventories).where(*_this), Inventory)
TAKE = Statement(
    sa.update(inventories).where(*_this, inventories.c.used + _n <= inventories.c.capacity, *_allowed).values(used=inventories.c.used + _n)
)


@lru_cache(16)
def taking(count: int) -> Query[str]:
    """TAKE of so many classes of one provider in one statement; answers those that had room."""
    which = [inventories.c.resource_class == sa.bindparam(f"class{i}") for i in range(count)]
    n = sa.case(*((w, sa.bindparam(f"n{i}", type_=INT)) for i, w in enumerate(which)))
    room = (inventories.c.used + n <= inventories.c.capacity, inventories.c.min_unit <= n, inventories.c.max_unit >= n,
            n % inventories.c.step_size == 0)  # fmt: skip
    named = inventories.c.resource_class.in_([sa.bindparam(f"class{i}") for i in range(count)])
    taken = sa.update(inventories).where(inventories.c.provider_id == _p, named, *room)
    return Query(taken.values(used=inventories.c.used + n).returning(inventories.c.resource_class), str)


GIVE = Statement(sa.update(inventories).where(*_this).values(used=inventories.c.used - _n))
DROP = Statement(sa.delete(inventories).where(*_this, inventories.c.used == 0))
WITH_ROOM = Query(
    sa.select(inventories.c.provider_id).where(
        inventories.c.resource_class == _c, inventories.c.used + _n <= inventories.c.capacity, inventories.c.max_unit >= _n
    ),
    str,
)
CLASS_USED = Query(sa.select(inventories.c.provider_id).where(inventories.c.resource_class == _c).limit(1), str)


def _row(amounts: Amounts, now: int) -> dict[str, int]:
    return {
        "total": amounts.total, "reserved": amounts.reserved, "min_unit": amounts.min_unit, "max_unit": amounts.max_unit,
        "step_size": amounts.step_size, "ratio_micro": round(amounts.allocation_ratio * MICRO),
        "capacity": amounts.capacity, "updated_at": now,
    }  # fmt: skip


async def add(tx: Transaction, provider_id: str, resource_class: str, amounts: Amounts, now: int) -> None:
    """Raises: Duplicate."""
    await tx.insert(inventories, {"provider_id": provider_id, "resource_class": resource_class, "used": 0, **_row(amounts, now)})


async def change(tx: Transaction, provider_id: str, resource_class: str, amounts: Amounts, now: int) -> bool:
    """Set what there is, leaving what is used. False: there is no such inventory."""
    return bool(await tx.update(inventories, _row(amounts, now), provider_id=provider_id, resource_class=resource_class))


async def of_provider(db: Reader, provider_id: str) -> list[Inventory]:
    return await db.all(OF, provider_id=provider_id)
