"""/os-hypervisors."""

from __future__ import annotations

from typing import Any

import msgspec

from moln.compute.api.routes import routes
from moln.compute.api.services import check_id
from moln.compute.api.shapes import check_query, flag, more
from moln.compute.drivers.base import HostFacts
from moln.compute.model.hosts import ComputeHost
from moln.compute.ops import hosts
from moln.compute.ops import services as ops
from moln.kernel.clock import iso
from moln.kernel.context import RequestContext
from moln.kernel.errors import Invalid, NotFound
from moln.kernel.http import Params, bounded_limit
from moln.placement.model.names import DISK_GB, MEMORY_MB, VCPU

COUNTS = ("vcpus", "memory_mb", "local_gb", "vcpus_used", "memory_mb_used", "local_gb_used", "free_ram_mb", "free_disk_gb",
          "current_workload", "running_vms", "disk_available_least")  # fmt: skip


def _id(ctx: RequestContext, host: ComputeHost) -> str | int:
    return host.id if ctx.version >= (2, 53) else host.rowid


def _brief(ctx: RequestContext, host: ComputeHost) -> dict[str, Any]:
    return {
        "id": _id(ctx, host), "hypervisor_hostname": host.name, "state": "up" if ops.is_up(ctx, host) else "down",
        "status": "disabled" if host.disabled else "enabled",
    }  # fmt: skip


async def _counts(ctx: RequestContext, host: ComputeHost) -> dict[str, int]:
    """What was shown before 2.88."""
    facts = _facts(ctx, host)
    held = await ops.room(ctx, host)
    used = {name: held[name].used + held[name].reserved if name in held else 0 for name in (VCPU, MEMORY_MB, DISK_GB)}
    on = await ops.servers_on(ctx, host)
    return {
        "vcpus": facts.vcpus, "vcpus_used": used[VCPU], "memory_mb": facts.ram_mib, "memory_mb_used": used[MEMORY_MB],
        "free_ram_mb": facts.ram_mib - used[MEMORY_MB], "local_gb": facts.disk_gib, "local_gb_used": used[DISK_GB],
        "free_disk_gb": facts.disk_gib - used[DISK_GB], "disk_available_least": facts.disk_free_gib,
        "running_vms": len(on), "current_workload": sum(busy for _, _, busy in on),
    }  # fmt: skip


def _facts(ctx: RequestContext, host: ComputeHost) -> HostFacts:
    """The newest that the node told; those of the row, which lack what changes, while it is away."""
    return hosts.table(ctx.cloud).facts.get(host.name, host.facts)


def _uptime(ctx: RequestContext, host: ComputeHost) -> str | None:
    """As the command of that name says it. None, while the host is down."""
    facts = _facts(ctx, host)
    if not ops.is_up(ctx, host) or not facts.uptime_s:
        return None
    days, rest = divmod(facts.uptime_s, 86400)
    load = ", ".join(f"{x:.2f}" for x in facts.load)
    since = f"{days} day{'s' if days != 1 else ''}, " if days else ""
    return f" {iso(ctx.now_us)[11:19]} up {since}{rest // 3600:2d}:{rest % 3600 // 60:02d},  0 users,  load average: {load}"


async def _view(ctx: RequestContext, host: ComputeHost, *, detail: bool, with_servers: bool) -> dict[str, Any]:
    shown = _brief(ctx, host)
    if detail:
        facts = _facts(ctx, host)
        shown |= {
            "hypervisor_type": facts.hypervisor_type, "hypervisor_version": facts.version, "host_ip": "127.0.0.1",
            "service": {
                "id": host.service_id if ctx.version >= (2, 53) else host.rowid, "host": host.name, "disabled_reason": host.disabled_reason,
            },
        }  # fmt: skip
        if ctx.version >= (2, 88):
            shown["uptime"] = _uptime(ctx, host)
        else:
            shown |= await _counts(ctx, host)
            shown["cpu_info"] = facts.cpu_info if ctx.version >= (2, 28) else msgspec.json.encode(facts.cpu_info).decode()
    if with_servers:
        found = [{"uuid": id, "name": name} for id, name, _ in await ops.servers_on(ctx, host)]
        if found or ctx.version >= (2, 75):
            shown["servers"] = found
    return shown


def _matching(found: list[ComputeHost], pattern: str) -> list[ComputeHost]:
    """Raises: NotFound."""
    found = [h for h in found if pattern.lower() in h.name.lower()]
    if not found:
        raise NotFound(f"No hypervisor matching '{pattern[:255]}' could be found.")
    return found


async def _list(ctx: RequestContext, query: Params, *, detail: bool) -> dict[str, Any]:
    check_query(ctx, query, ("limit", "marker", "hypervisor_hostname_pattern", "with_servers"), strict_since=(2, 53))
    found = await ops.hypervisors(ctx, "list-detail" if detail else "list")
    pattern = query.get("hypervisor_hostname_pattern", [None])[-1] if ctx.version >= (2, 53) else None
    with_servers = flag(query, "with_servers") if ctx.version >= (2, 53) else False
    body: dict[str, Any] = {}
    if pattern is not None:
        if "limit" in query or "marker" in query:
            raise Invalid("Paging over hypervisors with the hypervisor_hostname_pattern query parameter is not supported.")
        found = _matching(found, pattern)
    elif ctx.version >= (2, 33):
        found, limit = _page(ctx, query, found)
        following = more(ctx, "os-hypervisors/detail" if detail else "os-hypervisors", query, [str(_id(ctx, h)) for h in found], limit)
        if following:
            body["hypervisors_links"] = following
    body["hypervisors"] = [await _view(ctx, h, detail=detail, with_servers=with_servers) for h in found]
    return body


def _page(ctx: RequestContext, query: Params, found: list[ComputeHost]) -> tuple[list[ComputeHost], int]:
    limit, marker = bounded_limit(query.get("limit", [None])[-1]), query.get("marker", [None])[-1]
    if marker:
        at = next((i for i, h in enumerate(found) if str(_id(ctx, h)) == marker), None)
        if at is None:
            raise Invalid(f"marker [{marker[:64]}] not found", field="marker")
        found = found[at + 1:]
    return found[:limit], limit


@routes.get("/v2.1/os-hypervisors")
async def list_hypervisors(ctx: RequestContext, query: Params) -> dict[str, Any]:
    return await _list(ctx, query, detail=False)


@routes.get("/v2.1/os-hypervisors/detail")
async def list_hypervisors_detail(ctx: RequestContext, query: Params) -> dict[str, Any]:
    return await _list(ctx, query, detail=True)


@routes.get("/v2.1/os-hypervisors/statistics", until="2.87")
async def show_statistics(ctx: RequestContext) -> dict[str, Any]:
    """Over all hosts, whether up or not."""
    found = await ops.hypervisors(ctx, "statistics")
    total = dict.fromkeys(COUNTS, 0)
    for host in found:
        for name, value in (await _counts(ctx, host)).items():
            total[name] += value
    return {"hypervisor_statistics": {"count": len(found), **total}}


@routes.get("/v2.1/os-hypervisors/{hypervisor_id}")
async def show_hypervisor(ctx: RequestContext, hypervisor_id: str, query: Params) -> dict[str, Any]:
    check_query(ctx, query, ("with_servers",), strict_since=(2, 53))
    ctx.require("compute", f"{ops.HYPERVISORS}:show", {})
    _check(ctx, hypervisor_id)
    host = await ops.hypervisor(ctx, hypervisor_id)
    with_servers = ctx.version >= (2, 53) and flag(query, "with_servers")
    return {"hypervisor": await _view(ctx, host, detail=True, with_servers=with_servers)}


def _check(ctx: RequestContext, id: str) -> None:
    """Raises: NotFound before 2.53, Invalid since."""
    try:
        check_id(ctx, id)
    except Invalid:
        if ctx.version < (2, 53):
            raise NotFound(f"Hypervisor with ID '{id[:64]}' could not be found.") from None
        raise


@routes.get("/v2.1/os-hypervisors/{hypervisor_id}/uptime", until="2.87")
async def show_uptime(ctx: RequestContext, hypervisor_id: str) -> dict[str, Any]:
    ctx.require("compute", f"{ops.HYPERVISORS}:uptime", {})
    _check(ctx, hypervisor_id)
    host = await ops.hypervisor(ctx, hypervisor_id, "uptime")
    uptime = _uptime(ctx, host)
    if uptime is None:
        raise Invalid(f"Compute service of {host.name} is unavailable at this time.")
    return {"hypervisor": _brief(ctx, host) | {"uptime": uptime}}


@routes.get("/v2.1/os-hypervisors/{pattern}/search", until="2.52")
async def search_hypervisors(ctx: RequestContext, pattern: str) -> dict[str, Any]:
    return {"hypervisors": [_brief(ctx, h) for h in _matching(await ops.hypervisors(ctx, "search"), pattern)]}


@routes.get("/v2.1/os-hypervisors/{pattern}/servers", until="2.52")
async def list_hypervisor_servers(ctx: RequestContext, pattern: str) -> dict[str, Any]:
    found = _matching(await ops.hypervisors(ctx, "servers"), pattern)
    return {"hypervisors": [await _view(ctx, h, detail=False, with_servers=True) for h in found]}
