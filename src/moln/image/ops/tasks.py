"""Tasks as administrators see them, and as imports record themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from moln.image.model.tasks import Task, TaskStatus, TaskType
from moln.image.ops import fetching
from moln.image.ops.access import SERVICE
from moln.image.store import tasks as store
from moln.kernel.context import RequestContext
from moln.kernel.db import Transaction
from moln.kernel.errors import Forbidden, Invalid, NotFound


def require(ctx: RequestContext, *rules: str) -> None:
    """Raises: Forbidden, in Glance's words."""
    for rule in ("tasks_api_access", *rules):
        if not ctx.allows(SERVICE, rule):
            raise Forbidden(f"You are not authorized to complete {rule} action.")


async def add_in(
    tx: Transaction, ctx: RequestContext, kind: TaskType, image_id: str | None, asked: dict[str, Any], source_id: str | None = None
) -> Task:
    """Record work that work/tasks.py does; whoever calls has authorised it."""
    now = ctx.now_us
    task = Task(
        ctx.new_id(), kind, TaskStatus.PENDING, ctx.project_id, ctx.user_id, ctx.request_id, image_id, asked, None, "", now, now,
        source_id=source_id,
    )  # fmt: skip
    await store.add(tx, task)
    return task


def check_import(ctx: RequestContext, asked: dict[str, Any]) -> None:
    """Whether an image may be made by the task `import`. Raises: Forbidden, Invalid."""
    require(ctx, "add_task")
    for name in ("import_from", "import_from_format", "image_properties"):
        if name not in asked:
            raise Invalid(f"Input to task 'import' lacks '{name}'.", field=name)
    fetching.check_address(ctx, asked["import_from"], "import_from")


async def show(ctx: RequestContext, task_id: str) -> Task:
    """Raises: Forbidden, NotFound."""
    require(ctx, "get_task")
    task = await store.find(ctx.db, task_id)
    if task is None:
        raise NotFound(f"Could not find task {task_id[:64]}")
    return task


async def index(
    ctx: RequestContext, where: Sequence[tuple[str, str, Any]], *, sort: Sequence[tuple[str, str]], marker: str | None, limit: int
) -> list[Task]:
    """One page. Raises: Forbidden, Invalid."""
    require(ctx, "get_tasks")
    return await store.LISTING.page(ctx.db, where, sort=sort, marker=marker, limit=limit)
