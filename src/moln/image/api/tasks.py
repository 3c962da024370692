"""/v2/tasks (image api-ref v2, "Tasks")."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from moln.image.api.bodies import to_limit, to_spec
from moln.image.api.faults import SERVICE
from moln.image.api.views import task_stub, task_view
from moln.image.model.tasks import TaskStatus, TaskType
from moln.image.ops import imports
from moln.image.ops import tasks as ops
from moln.kernel.context import RequestContext
from moln.kernel.errors import Invalid, MethodNotAllowed
from moln.kernel.http import Params, Reply, Routes

routes = Routes(SERVICE)
SORT_KEYS = {"id", "type", "status", "created_at", "updated_at", "expires_at"}


@routes.post("/v2/tasks", status=201)
async def create_task(ctx: RequestContext, body: dict) -> Reply:  # type: ignore[type-arg]
    ops.require(ctx)
    kind, asked = body.get("type"), body.get("input")
    if not isinstance(asked, dict):
        raise Invalid("Task 'input' is required, and an object", field="input")
    if kind != TaskType.IMPORT:
        raise Invalid("Task 'type' is required, and 'import': other tasks are made by the operations that need them.", field="type")
    properties = asked.get("image_properties")
    spec = to_spec(properties if isinstance(properties, dict) else {})
    task = await imports.create_from(ctx, asked, spec)
    return Reply(task_view(task), headers={"Location": f"{ctx.settings.public_url}{SERVICE.prefix}/v2/tasks/{task.id}"})


@routes.get("/v2/tasks")
async def list_tasks(ctx: RequestContext, query: Params) -> dict[str, Any]:
    limit = to_limit(query, ctx.settings.image.page)
    last = {name: values[-1] for name, values in query.items()}
    where, sort = to_filters(last), to_sort(last)
    found = await ops.index(ctx, where, sort=sort, marker=last.get("marker"), limit=limit) if limit else []
    rest = [(name, value) for name, value in last.items() if name != "marker"]
    answer: dict[str, Any] = {
        "tasks": [task_stub(task) for task in found],
        "first": "/v2/tasks" + (f"?{urlencode(rest)}" if rest else ""),
        "schema": "/v2/schemas/tasks",
    }
    if found and len(found) == limit:
        answer["next"] = f"/v2/tasks?{urlencode([*rest, ('marker', found[-1].id)])}"
    return answer


def to_sort(last: dict[str, str]) -> list[tuple[str, str]]:
    """Raises: Invalid."""
    key, direction = last.get("sort_key", "created_at"), last.get("sort_dir", "desc")
    if key not in SORT_KEYS:
        raise Invalid(f"Invalid sort key: {key[:64]}", field="sort_key")
    if direction not in ("asc", "desc"):
        raise Invalid(f"Invalid sort direction: {direction[:64]}", field="sort_dir")
    return [(key, direction)]


def to_filters(last: dict[str, str]) -> list[tuple[str, str, Any]]:
    """Raises: Invalid."""
    where: list[tuple[str, str, Any]] = []
    if "status" in last:
        if last["status"] not in set(TaskStatus):
            raise Invalid(f"Invalid status value: {last['status'][:64]}", field="status")
        where.append(("status", "eq", last["status"]))
    if "type" in last:
        if last["type"] not in set(TaskType):
            raise Invalid(f"Invalid type value: {last['type'][:64]}", field="type")
        where.append(("type", "eq", last["type"]))
    return where


@routes.get("/v2/tasks/{task_id}")
async def show_task(ctx: RequestContext, task_id: str) -> dict[str, Any]:
    return task_view(await ops.show(ctx, task_id))


@routes.delete("/v2/tasks/{task_id}")
async def delete_task(ctx: RequestContext, task_id: str) -> None:
    """A task cannot be deleted: it goes by itself. Raises: Forbidden, MethodNotAllowed."""
    ops.require(ctx)
    raise MethodNotAllowed("Tasks are not deleted by their users: they go when their expires_at has passed.", ("GET",))
