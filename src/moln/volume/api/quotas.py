"""/v3/os-quota-sets and /v3/limits (block-storage v3 api-ref, "Quota sets extension", "Limits")."""

from __future__ import annotations

from typing import Any

from moln.kernel.context import RequestContext
from moln.kernel.errors import Invalid, NotFound
from moln.kernel.http import Params, Routes
from moln.volume.api.bodies import truth
from moln.volume.api.faults import SERVICE
from moln.volume.ops import quotas as ops

routes = Routes(SERVICE)
MAX_LIMIT = (1 << 31) - 1
NOT_QUOTAS = {"tenant_id", "project_id", "skip_validation", "id", "force"}


@routes.get("/v3/os-quota-sets/{target_id}")
async def show_quota_set(ctx: RequestContext, target_id: str, query: Params) -> dict[str, Any]:
    found = await ops.show(ctx, target_id)
    if truth(query.get("usage", [None])[-1], "usage"):
        shown: dict[str, Any] = {n: {"limit": limit, "in_use": used, "reserved": 0} for n, (limit, used) in found.items()}
    else:
        shown = {name: limit for name, (limit, _) in found.items()}
    return {"quota_set": shown | {"id": target_id}}


@routes.get("/v3/os-quota-sets/{target_id}/defaults")
async def show_quota_defaults(ctx: RequestContext, target_id: str) -> dict[str, Any]:
    return {"quota_set": await ops.defaults(ctx, target_id) | {"id": target_id}}


@routes.put("/v3/os-quota-sets/{target_id}")
async def update_quota_set(ctx: RequestContext, target_id: str, body: dict) -> dict[str, Any]:  # type: ignore[type-arg]
    given = body.get("quota_set")
    if not isinstance(given, dict):
        raise Invalid("'quota_set' is a required property", field="quota_set")
    if not 0 < len(target_id) <= 255:
        raise Invalid("quota_set_name is a string of 1 to 255 characters.")
    await ops.update(ctx, target_id, to_limits(given))
    found = await ops.show(ctx, target_id)
    return {"quota_set": {name: limit for name, (limit, _) in found.items()}}


def to_limits(given: dict[str, Any]) -> dict[str, int]:
    """Limits by name. Raises: Invalid."""
    values: dict[str, int] = {}
    for name, value in given.items():
        if name in NOT_QUOTAS:
            continue
        if name not in ops.QUOTA.defaults:
            raise Invalid(f"Bad key(s) in quota set: {name[:64]}", field=name[:64])
        values[name] = to_limit(name, value)
    return values


def to_limit(name: str, value: Any) -> int:
    """Raises: Invalid."""
    try:
        found = int(value) if isinstance(value, (int, str)) and not isinstance(value, bool) else -2
    except ValueError:
        found = -2
    if not -1 <= found <= MAX_LIMIT:
        raise Invalid(f"Invalid input for field/attribute {name}. Value: {str(value)[:40]}. It is -1 or more.", field=name)
    return found


@routes.delete("/v3/os-quota-sets/{target_id}", status=200)
async def delete_quota_set(ctx: RequestContext, target_id: str) -> None:
    await ops.delete(ctx, target_id)


@routes.get("/v3/os-quota-class-sets/{class_name}")
async def show_quota_class(ctx: RequestContext, class_name: str) -> dict[str, Any]:
    found = await ops.show_class(ctx)
    only_default(class_name)
    return {"quota_class_set": found | {"id": class_name}}


@routes.put("/v3/os-quota-class-sets/{class_name}")
async def update_quota_class(ctx: RequestContext, class_name: str, body: dict) -> dict[str, Any]:  # type: ignore[type-arg]
    given = body.get("quota_class_set")
    if not isinstance(given, dict):
        raise Invalid("'quota_class_set' is a required property", field="quota_class_set")
    values = to_limits({k: v for k, v in given.items() if k != "class_name"})
    only_default(class_name)
    await ops.update_class(ctx, values)
    return {"quota_class_set": await ops.show_class(ctx)}


def only_default(class_name: str) -> None:
    """There is one class. Raises: NotFound."""
    if class_name != "default":
        raise NotFound(f"Quota class {class_name[:64]} could not be found.")


@routes.get("/v3/limits")
async def show_limits(ctx: RequestContext, query: Params) -> dict[str, Any]:
    project_id = ctx.project_id or ""
    if ctx.is_admin and ctx.at_least(3, 39):
        project_id = query.get("project_id", query.get("tenant_id", [project_id]))[-1]
    return {"limits": {"rate": [], "absolute": await ops.absolute(ctx, project_id)}}
