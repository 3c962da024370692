"""Compute's quotas: limits and use by project, limits of a class (`default`: the defaults)."""

from __future__ import annotations

from moln.kernel.context import RequestContext
from moln.kernel.db import Transaction
from moln.kernel.errors import Invalid
from moln.kernel.quota import Quota

DEFAULTS = {
    "instances": 10, "cores": 20, "ram": 51200, "metadata_items": 128, "injected_files": 5, "injected_file_content_bytes": 10240,
    "injected_file_path_bytes": 255, "key_pairs": 100, "server_groups": 10, "server_group_members": 10,
}  # fmt: skip
QUOTA = Quota("compute", DEFAULTS)
COUNTED = ("instances", "cores", "ram", "server_groups")
DEFAULT_CLASS = ""  # the kernel's name for the overridden defaults
P = "os_compute_api:os-quota-sets"


async def show(ctx: RequestContext, project_id: str, rule: str = "show") -> tuple[dict[str, int], dict[str, int]]:
    """(limits, use) of a project by resource. Raises: Forbidden."""
    ctx.require("compute", f"{P}:{rule}", {"project_id": project_id})
    return await QUOTA.limits(ctx.db, project_id), await QUOTA.used(ctx.db, project_id)


async def defaults(ctx: RequestContext, project_id: str) -> dict[str, int]:
    ctx.require("compute", f"{P}:defaults", {"project_id": project_id})
    return await QUOTA.limits(ctx.db, DEFAULT_CLASS)


async def update(ctx: RequestContext, project_id: str, values: dict[str, int], *, force: bool) -> dict[str, int]:
    """Set a project's limits. Raises: Forbidden; Invalid, for a limit below what is used, unless forced."""
    ctx.require("compute", f"{P}:update", {"project_id": project_id})
    return await ctx.db.write(_update_in, project_id, values, force)


async def _update_in(tx: Transaction, project_id: str, values: dict[str, int], force: bool) -> dict[str, int]:
    used = await QUOTA.used(tx, project_id)
    for name, limit in values.items():
        if not force and 0 <= limit < used.get(name, 0):
            raise Invalid(f"Quota limit {limit} for {name} must be greater than or equal to already used and reserved {used[name]}.")
    await QUOTA.set_limits(tx, project_id, values)
    return await QUOTA.limits(tx, project_id)


async def reset(ctx: RequestContext, project_id: str) -> None:
    """Back to the defaults."""
    ctx.require("compute", f"{P}:delete", {"project_id": project_id})
    await ctx.db.write(QUOTA.reset, project_id)


async def show_class(ctx: RequestContext) -> dict[str, int]:
    """The limits of projects that have none of their own."""
    ctx.require("compute", "os_compute_api:os-quota-class-sets:show", {})
    return await QUOTA.limits(ctx.db, DEFAULT_CLASS)


async def update_class(ctx: RequestContext, values: dict[str, int]) -> dict[str, int]:
    ctx.require("compute", "os_compute_api:os-quota-class-sets:update", {})
    await ctx.db.write(QUOTA.set_limits, DEFAULT_CLASS, values)
    return await QUOTA.limits(ctx.db, DEFAULT_CLASS)


async def limits(ctx: RequestContext, project_id: str | None) -> tuple[dict[str, int], dict[str, int]]:
    """(limits, use) of the caller's project; another project's for administrators. Raises: Forbidden."""
    ctx.require("compute", "os_compute_api:limits", {})
    if project_id is not None:
        ctx.require("compute", "os_compute_api:limits:other_project", {})
    project = project_id or ctx.project_id or ""
    return await QUOTA.limits(ctx.db, project), await QUOTA.used(ctx.db, project)
