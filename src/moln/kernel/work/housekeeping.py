"""What every cloud tidies up: deleted rows whose time in history is over."""

from __future__ import annotations

import sqlalchemy as sa

from moln.kernel.db import Statement, Transaction, metadata
from moln.kernel.work.reconciler import Work
from moln.kernel.work.workers import Periodic

KEPT_DAYS = 30
PAGE = 1000  # rows of one transaction, at most
DAY_US = 86_400_000_000


def histories() -> list[sa.Table]:
    """The twins that `table(…, history=True)` made."""
    return [t for name, t in metadata.tables.items() if name.endswith("_history") and "retired_at" in t.c]


def _forgetting(history: sa.Table) -> Statement:
    old = sa.select(history.c.rowid).where(history.c.retired_at < sa.bindparam("before")).limit(PAGE)
    return Statement(sa.delete(history).where(history.c.rowid.in_(old)))


async def forget_in(tx: Transaction, statement: Statement, before_us: int) -> int:
    """One page of rows that were deleted before `before_us`; how many there were."""
    return await tx.run(statement, before=before_us)


async def forget(work: Work) -> None:
    """Forget what was deleted more than KEPT_DAYS ago, a page at a time so that no other write waits."""
    before = work.now_us - KEPT_DAYS * DAY_US
    for history in histories():
        statement = _forgetting(history)
        while await work.write(forget_in, statement, before) == PAGE:
            pass


HOUSEKEEPING = Periodic("forget-deleted-rows", forget, every_s=3600)
