"""Deleted rows stay thirty days, then go."""

from __future__ import annotations

import sqlalchemy as sa

from moln.kernel.cloud import Cloud
from moln.kernel.db import INT, Query, Transaction, column, history_of, table
from moln.kernel.work import Work, housekeeping
from moln.kernel.work.housekeeping import DAY_US, forget, histories

CUPS = table("test_cups", column("id"), column("size", INT), history=True)
LEFT = Query(sa.select(history_of(CUPS).c.id).order_by(history_of(CUPS).c.id), str)


async def test_history_is_forgotten_after_thirty_days_however_much_there_is(cloud: Cloud, monkeypatch) -> None:
    monkeypatch.setattr(housekeeping, "PAGE", 10)
    now = cloud.clock.now_us()

    async def fill(tx: Transaction) -> None:
        for i in range(35):
            await tx.insert(history_of(CUPS), {"id": f"old{i}", "size": i, "retired_at": now - 31 * DAY_US})
        await tx.insert(history_of(CUPS), {"id": "young", "size": 1, "retired_at": now - 29 * DAY_US})

    await cloud.db.write(fill)
    await forget(Work(cloud))
    assert await cloud.db.all(LEFT) == ["young"]
    assert history_of(CUPS) in histories()
