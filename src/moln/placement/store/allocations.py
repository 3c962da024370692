"""How consumers and the ledger of allocations are kept."""

from __future__ import annotations

from functools import lru_cache

import sqlalchemy as sa
from msgspec import Struct

from moln.kernel.db import Query, Statement
from moln.placement.model.allocations import Allocation, Consumer
from moln.placement.store.tables import allocations, consumers, inventories

_consumer = sa.bindparam("consumer_id")
CONSUMER = Query(sa.select(consumers).where(consumers.c.id == _consumer), Consumer)
OF_CONSUMER = Query(sa.select(allocations).where(allocations.c.consumer_id == _consumer).order_by(allocations.c.rowid), Allocation)


@lru_cache(16)
def adding(count: int) -> Statement:
    """INSERT of so many allocations of one consumer to one provider."""
    return Statement(sa.insert(allocations).values([
        {"consumer_id": sa.bindparam("consumer_id"), "provider_id": sa.bindparam("provider_id"),
         "resource_class": sa.bindparam(f"class{i}"), "used": sa.bindparam(f"n{i}"), "created_at": sa.bindparam("now")}
        for i in range(count)
    ]))  # fmt: skip


_of = (allocations.c.consumer_id == _consumer, allocations.c.provider_id == sa.bindparam("provider_id"),
       allocations.c.resource_class == sa.bindparam("resource_class"))  # fmt: skip
CHANGE = Statement(sa.update(allocations).where(*_of).values(used=sa.bindparam("n")))
DROP = Statement(sa.delete(allocations).where(*_of))
RAISE = Statement(sa.update(consumers).where(consumers.c.id == _consumer).values(generation=consumers.c.generation + 1))


class Held(Struct, frozen=True):
    consumer_id: str
    resource_class: str
    used: int
    consumer_generation: int


OF_PROVIDER = Query(
    sa.select(allocations.c.consumer_id, allocations.c.resource_class, allocations.c.used,
              consumers.c.generation.label("consumer_generation"))
    .select_from(allocations.join(consumers, consumers.c.id == allocations.c.consumer_id))
    .where(allocations.c.provider_id == sa.bindparam("provider_id")).order_by(allocations.c.rowid),
    Held,
)  # fmt: skip
USES = Query(
    sa.select(allocations.c.consumer_id).where(allocations.c.provider_id == sa.bindparam("provider_id")).limit(1), str
)


class Usage(Struct, frozen=True):
    consumer_type: str
    resource_class: str
    used: int


_usage = (
    sa.select(consumers.c.consumer_type, allocations.c.resource_class, sa.func.sum(allocations.c.used).label("used"))
    .select_from(allocations.join(consumers, consumers.c.id == allocations.c.consumer_id))
    .where(consumers.c.project_id == sa.bindparam("project_id"))
    .group_by(consumers.c.consumer_type, allocations.c.resource_class)
)
OF_PROJECT = Query(_usage, Usage)
OF_USER = Query(_usage.where(consumers.c.user_id == sa.bindparam("user_id")), Usage)


class Count(Struct, frozen=True):
    consumer_type: str
    count: int


_count = (
    sa.select(consumers.c.consumer_type, sa.func.count().label("count"))
    .where(consumers.c.project_id == sa.bindparam("project_id")).group_by(consumers.c.consumer_type)
)  # fmt: skip
CONSUMERS_OF_PROJECT = Query(_count, Count)
CONSUMERS_OF_USER = Query(_count.where(consumers.c.user_id == sa.bindparam("user_id")), Count)


class Drift(Struct, frozen=True):
    provider_id: str
    resource_class: str
    used: int
    ledger: int


_sum = (
    sa.select(allocations.c.provider_id, allocations.c.resource_class, sa.func.sum(allocations.c.used).label("ledger"))
    .group_by(allocations.c.provider_id, allocations.c.resource_class).subquery()
)  # fmt: skip
DRIFTED = Query(
    sa.select(inventories.c.provider_id, inventories.c.resource_class, inventories.c.used,
              sa.func.coalesce(_sum.c.ledger, 0).label("ledger"))
    .select_from(inventories.outerjoin(_sum, sa.and_(
        _sum.c.provider_id == inventories.c.provider_id, _sum.c.resource_class == inventories.c.resource_class)))
    .where(inventories.c.used != sa.func.coalesce(_sum.c.ledger, 0)),
    Drift,
)  # fmt: skip
WITHOUT_INVENTORY = Query(
    sa.select(allocations)
    .select_from(allocations.outerjoin(inventories, sa.and_(
        allocations.c.provider_id == inventories.c.provider_id, allocations.c.resource_class == inventories.c.resource_class)))
    .where(inventories.c.provider_id.is_(None)),
    Allocation,
)  # fmt: skip
WITHOUT_CONSUMER = Query(
    sa.select(allocations).select_from(allocations.outerjoin(consumers, consumers.c.id == allocations.c.consumer_id))
    .where(consumers.c.id.is_(None)),
    Allocation,
)  # fmt: skip
IDLE_CONSUMERS = Query(
    sa.select(consumers).select_from(consumers.outerjoin(allocations, allocations.c.consumer_id == consumers.c.id))
    .where(allocations.c.consumer_id.is_(None)),
    Consumer,
)  # fmt: skip
