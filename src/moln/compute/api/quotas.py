"""/os-quota-sets, /os-quota-class-sets and /limits."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET, Meta, UnsetType

from moln.compute.api.flavors import check_project
from moln.compute.api.routes import routes
from moln.compute.api.shapes import STRICT, Switch, check_query, switch
from moln.compute.ops import quotas as ops
from moln.kernel.context import RequestContext
from moln.kernel.http import Body, Params, since, until

Limit = Annotated[int, Meta(ge=-1, le=2**31 - 1)] | UnsetType
NETWORK = ("fixed_ips", "floating_ips", "security_group_rules", "security_groups")  # shown before 2.36
FILES = ("injected_files", "injected_file_content_bytes", "injected_file_path_bytes")  # shown before 2.57
GROUPS = ("server_groups", "server_group_members")


class QuotaUpdate(Body, root="quota_set", lax=True):
    instances: Limit = UNSET
    cores: Limit = UNSET
    ram: Limit = UNSET
    metadata_items: Limit = UNSET
    key_pairs: Limit = UNSET
    server_groups: Limit = UNSET
    server_group_members: Limit = UNSET
    injected_files: Annotated[Limit, until("2.56")] = UNSET
    injected_file_content_bytes: Annotated[Limit, until("2.56")] = UNSET
    injected_file_path_bytes: Annotated[Limit, until("2.56")] = UNSET
    fixed_ips: Annotated[Limit, until("2.35")] = UNSET
    floating_ips: Annotated[Limit, until("2.35")] = UNSET
    security_group_rules: Annotated[Limit, until("2.35")] = UNSET
    security_groups: Annotated[Limit, until("2.35")] = UNSET
    force: Switch | UnsetType = UNSET


class QuotaClassUpdate(Body, root="quota_class_set", lax=True):
    instances: Limit = UNSET
    cores: Limit = UNSET
    ram: Limit = UNSET
    metadata_items: Limit = UNSET
    key_pairs: Limit = UNSET
    server_groups: Annotated[Limit, since("2.50")] = UNSET
    server_group_members: Annotated[Limit, since("2.50")] = UNSET
    injected_files: Annotated[Limit, until("2.56")] = UNSET
    injected_file_content_bytes: Annotated[Limit, until("2.56")] = UNSET
    injected_file_path_bytes: Annotated[Limit, until("2.56")] = UNSET
    fixed_ips: Annotated[Limit, until("2.49")] = UNSET
    floating_ips: Annotated[Limit, until("2.49")] = UNSET
    security_group_rules: Annotated[Limit, until("2.49")] = UNSET
    security_groups: Annotated[Limit, until("2.49")] = UNSET


def _values(body: Body) -> dict[str, int]:
    """The limits that were said, of those that compute keeps."""
    return {name: value for name in ops.DEFAULTS if (value := getattr(body, name, UNSET)) is not UNSET}


def _shown(ctx: RequestContext, values: dict[str, Any], network: Any = -1) -> dict[str, Any]:
    shown = {n: v for n, v in values.items() if n in ops.DEFAULTS and (ctx.version < (2, 57) or n not in FILES)}
    return shown | (dict.fromkeys(NETWORK, network) if ctx.version < (2, 36) else {})


@routes.get("/v2.1/os-quota-sets/{target}")
async def show_quota(ctx: RequestContext, target: str, query: Params) -> dict[str, Any]:
    check_query(ctx, query, ("user_id",))
    limits, _ = await ops.show(ctx, target)
    await check_project(ctx, target)
    return {"quota_set": {"id": target, **_shown(ctx, limits)}}


@routes.get("/v2.1/os-quota-sets/{target}/detail")
async def show_quota_detail(ctx: RequestContext, target: str, query: Params) -> dict[str, Any]:
    check_query(ctx, query, ("user_id",))
    limits, used = await ops.show(ctx, target, "detail")
    await check_project(ctx, target)
    values = {name: {"limit": limit, "in_use": used.get(name, 0), "reserved": 0} for name, limit in limits.items()}
    return {"quota_set": {"id": target, **_shown(ctx, values, {"limit": -1, "in_use": 0, "reserved": 0})}}


@routes.get("/v2.1/os-quota-sets/{target}/defaults")
async def show_quota_defaults(ctx: RequestContext, target: str) -> dict[str, Any]:
    values = await ops.defaults(ctx, target)
    await check_project(ctx, target)
    return {"quota_set": {"id": target, **_shown(ctx, values)}}


@routes.put("/v2.1/os-quota-sets/{target}")
async def update_quota(ctx: RequestContext, target: str, body: QuotaUpdate, query: Params) -> dict[str, Any]:
    check_query(ctx, query, ("user_id",))
    ctx.require("compute", f"{ops.P}:update", {"project_id": target})
    await check_project(ctx, target)
    limits = await ops.update(ctx, target, _values(body), force=body.force is not UNSET and switch(body.force))
    return {"quota_set": _shown(ctx, limits)}


@routes.delete("/v2.1/os-quota-sets/{target}", status=202)
async def delete_quota(ctx: RequestContext, target: str, query: Params) -> None:
    check_query(ctx, query, ("user_id",))
    await ops.reset(ctx, target)


def _class_set(ctx: RequestContext, limits: dict[str, int]) -> dict[str, Any]:
    shown = _shown(ctx, limits) | ({n: limits.get(n, -1) for n in NETWORK} if ctx.version < (2, 50) else {})
    return {n: v for n, v in shown.items() if ctx.version >= (2, 50) or n not in GROUPS}


@routes.get("/v2.1/os-quota-class-sets/{name}")
async def show_quota_class(ctx: RequestContext, name: str, query: Params) -> dict[str, Any]:
    check_query(ctx, query, (), strict_since=STRICT)
    limits = await ops.show_class(ctx)
    return {"quota_class_set": {"id": name, **_class_set(ctx, limits)}}


@routes.put("/v2.1/os-quota-class-sets/{name}")
async def update_quota_class(ctx: RequestContext, name: str, body: QuotaClassUpdate) -> dict[str, Any]:
    """Only the class `default` means anything, in Nova too; limits of others are kept nowhere.

    Those of networks are kept and bind nobody, as Nova's.
    """
    ctx.require("compute", "os_compute_api:os-quota-class-sets:update", {})
    network = {name: value for name in NETWORK if (value := getattr(body, name)) is not UNSET}
    limits = await ops.update_class(ctx, _values(body) | network) if name == "default" else await ops.show_class(ctx)
    return {"quota_class_set": _class_set(ctx, limits)}


LIMIT_NAMES = {
    "ram": ("maxTotalRAMSize",), "instances": ("maxTotalInstances",), "cores": ("maxTotalCores",), "key_pairs": ("maxTotalKeypairs",),
    "floating_ips": ("maxTotalFloatingIps",), "metadata_items": ("maxServerMeta", "maxImageMeta"),
    "injected_files": ("maxPersonality",), "injected_file_content_bytes": ("maxPersonalitySize",),
    "security_groups": ("maxSecurityGroups",), "security_group_rules": ("maxSecurityGroupRules",),
    "server_groups": ("maxServerGroups",), "server_group_members": ("maxServerGroupMembers",),
}  # fmt: skip
USED_NAMES = {
    "ram": "totalRAMUsed", "cores": "totalCoresUsed", "instances": "totalInstancesUsed", "floating_ips": "totalFloatingIpsUsed",
    "security_groups": "totalSecurityGroupsUsed", "server_groups": "totalServerGroupsUsed",
}  # fmt: skip


@routes.get("/v2.1/limits")
async def show_limits(ctx: RequestContext, query: Params) -> dict[str, Any]:
    known = ("tenant_id", "reserved") if ctx.version < (2, 75) else ("tenant_id",)
    check_query(ctx, query, known)
    limits, used = await ops.limits(ctx, query.get("tenant_id", [None])[-1])
    values = _shown(ctx, limits)
    absolute = {shown: values[name] for name, names in LIMIT_NAMES.items() if name in values for shown in names}
    if ctx.version >= (2, 39):
        absolute.pop("maxImageMeta")
    absolute |= {shown: used.get(name, 0) for name, shown in USED_NAMES.items() if name in values}
    return {"limits": {"rate": [], "absolute": absolute}}


