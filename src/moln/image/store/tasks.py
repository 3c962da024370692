"""How tasks are kept. One ends once: whoever finds it ended leaves it so."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from moln.image.model.tasks import KEPT_S, Task, TaskStatus
from moln.image.store.tables import image_tasks
from moln.kernel.db import Listing, Query, Reader, Statement, Transaction

PAGE = 200  # unfinished tasks that are looked at together
COLUMNS = [image_tasks.c[f] for f in Task.__struct_fields__]
BY_ID = Query(sa.select(*COLUMNS).where(image_tasks.c.id == sa.bindparam("id")), Task)
OF_IMAGE = Query(sa.select(*COLUMNS).where(image_tasks.c.image_id == sa.bindparam("image_id")).order_by(image_tasks.c.rowid.desc()).limit(PAGE), Task)
_OPEN = sa.or_(image_tasks.c.status == "pending", image_tasks.c.status == "processing")
UNFINISHED = Query(sa.select(*COLUMNS).where(_OPEN).order_by(image_tasks.c.rowid).limit(PAGE), Task)
_this: Any = image_tasks.c.id == sa.bindparam("task_id")
START = Statement(sa.update(image_tasks).where(_this, _OPEN).values(status="processing", message=sa.bindparam("said"), updated_at=sa.bindparam("now")))
FINISH = Statement(
    sa.update(image_tasks)
    .where(_this, _OPEN)
    .values(
        status=sa.bindparam("outcome"), message=sa.bindparam("said"), result=sa.bindparam("gave"), updated_at=sa.bindparam("now"),
        expires_at=sa.bindparam("until"),
    )
)  # fmt: skip
FORGET = Statement(sa.delete(image_tasks).where(image_tasks.c.expires_at < sa.bindparam("now")))
LISTING = Listing(sa.select(*COLUMNS), Task, image_tasks)


async def find(db: Reader, task_id: str) -> Task | None:
    return await db.one(BY_ID, id=task_id)


async def of_image(db: Reader, image_id: str) -> list[Task]:
    """Newest first."""
    return await db.all(OF_IMAGE, image_id=image_id)


async def unfinished(db: Reader) -> list[Task]:
    """Oldest first."""
    return await db.all(UNFINISHED)


async def add(tx: Transaction, task: Task) -> None:
    await tx.insert(image_tasks, task)
    tx.wake("image-tasks", task.id)


async def start(tx: Transaction, task_id: str, message: str, now_us: int) -> bool:
    """It is being worked on, and says how far it came; False when it has ended."""
    return bool(await tx.run(START, task_id=task_id, said=message, now=now_us))


async def finish(tx: Transaction, task_id: str, status: TaskStatus, message: str, result: dict[str, Any] | None, now_us: int) -> None:
    """It ended so, unless it had ended before."""
    until = now_us + KEPT_S * 1_000_000
    await tx.run(FINISH, task_id=task_id, outcome=status, said=message, gave=result, now=now_us, until=until)


async def forget(tx: Transaction, now_us: int) -> None:
    """Those whose time is over go."""
    await tx.run(FORGET, now=now_us)
