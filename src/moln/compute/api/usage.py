"""/os-simple-tenant-usage, and /os-instance_usage_audit_log."""

from __future__ import annotations

import datetime
from typing import Any

from moln.compute.api.routes import routes
from moln.compute.api.shapes import check_query, more
from moln.compute.model.usage import Period, ProjectUsage, Used, by_project
from moln.compute.ops import services
from moln.compute.ops import usage as ops
from moln.kernel.clock import iso_micro
from moln.kernel.context import RequestContext
from moln.kernel.errors import Invalid
from moln.kernel.http import Params, bounded_limit

PATH = "/v2.1/os-simple-tenant-usage"
AUDIT = "os_compute_api:os-instance-usage-audit-log"
FORMATS = ("%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S.%f", "%Y-%m-%d %H:%M:%S.%f")
PAGED = (2, 40)
UTC = datetime.UTC
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=UTC)


def _moment(text: str) -> int:
    """µs UTC. Raises: Invalid."""
    for form in FORMATS:
        try:
            found = datetime.datetime.strptime(text, form).replace(tzinfo=UTC)
        except ValueError:
            continue
        return (found - EPOCH) // datetime.timedelta(microseconds=1)
    raise Invalid("Datetime is in invalid format", field="start")


def _period(ctx: RequestContext, query: Params) -> Period:
    """Raises: Invalid."""
    start, end = (query.get(name, [""])[0] for name in ("start", "end"))
    now = ctx.now_us
    period = Period(_moment(start) if start else now, _moment(end) if end else now + 1)
    if period.start >= period.stop:
        raise Invalid("Invalid start time. The start time cannot occur after the end time.", field="start")
    return period


def _server(ctx: RequestContext, used: Used, period: Period) -> dict[str, Any]:
    ended = used.terminated_at
    return {
        "instance_id": used.id, "name": used.name, "tenant_id": used.project_id, "flavor": used.flavor.original_name,
        "vcpus": used.flavor.vcpus, "memory_mb": used.flavor.ram, "local_gb": used.local_gib, "hours": used.hours(period),
        "started_at": iso_micro(used.launched_at), "ended_at": None if ended is None else iso_micro(ended),
        "state": used.vm_state if ended is None else "terminated",
        "uptime": ((ctx.now_us if ended is None else ended) - used.launched_at) // 1_000_000,
    }  # fmt: skip


def _view(ctx: RequestContext, usage: ProjectUsage, period: Period, *, detailed: bool) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "tenant_id": usage.project_id, "start": iso_micro(period.start), "stop": iso_micro(period.stop), "total_hours": usage.hours,
        "total_vcpus_usage": usage.vcpu_hours, "total_memory_mb_usage": usage.mib_hours, "total_local_gb_usage": usage.gib_hours,
    }  # fmt: skip
    return shown | ({"server_usages": [_server(ctx, s, period) for s in usage.servers]} if detailed else {})


async def _find(ctx: RequestContext, query: Params, project_id: str | None) -> tuple[Period, list[Used], list[dict[str, str]]]:
    """The period, the servers, and the link to those that follow."""
    paged = ctx.version >= PAGED
    check_query(ctx, query, ("start", "end", "detailed", "limit", "marker"))
    period = _period(ctx, query)
    limit = bounded_limit(query.get("limit", [None])[-1]) if paged else None
    found = await ops.find(ctx, period, project_id, query.get("marker", [None])[-1] if paged else None, limit)
    path = "os-simple-tenant-usage" + (f"/{project_id}" if project_id is not None else "")
    return period, found, more(ctx, path, query, [s.id for s in found], limit) if limit is not None else []


@routes.get(PATH)
async def list_usage(ctx: RequestContext, query: Params) -> dict[str, Any]:
    period, found, following = await _find(ctx, query, None)
    detailed = query.get("detailed", ["0"])[0] == "1"
    usages = by_project(found, period, keep=detailed)
    body: dict[str, Any] = {"tenant_usages": [_view(ctx, u, period, detailed=detailed) for u in usages]}
    return body | ({"tenant_usages_links": following} if following else {})


@routes.get(PATH + "/{project}")
async def show_usage(ctx: RequestContext, project: str, query: Params) -> dict[str, Any]:
    period, found, following = await _find(ctx, query, project)
    usages = by_project(found, period, keep=True)
    body: dict[str, Any] = {"tenant_usage": _view(ctx, usages[0], period, detailed=True) if usages else {}}
    return body | ({"tenant_usage_links": following} if following else {})


def _last_month(before: datetime.datetime) -> tuple[datetime.datetime, datetime.datetime]:
    """The last whole month that had ended."""
    end = before.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    if end >= before:
        end = (end - datetime.timedelta(days=1)).replace(day=1)
    return (end - datetime.timedelta(days=1)).replace(day=1), end


async def _audit(ctx: RequestContext, rule: str, before: datetime.datetime) -> dict[str, Any]:
    """As Nova answers where no host writes such logs, which is its default: none ran."""
    ctx.require("compute", f"{AUDIT}:{rule}", {})
    begin, end = _last_month(before)
    names = sorted(host.name for host in await services.everything(ctx))
    return {
        "period_beginning": str(begin), "period_ending": str(end), "num_hosts": len(names), "num_hosts_done": 0, "num_hosts_running": 0,
        "num_hosts_not_run": len(names), "hosts_not_run": names, "total_instances": 0, "total_errors": 0,
        "overall_status": f"{f'0 of {len(names)}' if names else 'ALL'} hosts done. 0 errors.", "log": {},
    }  # fmt: skip


@routes.get("/v2.1/os-instance_usage_audit_log")
async def show_audit_log(ctx: RequestContext) -> dict[str, Any]:
    now = datetime.datetime.fromtimestamp(ctx.now_us / 1e6, UTC).replace(tzinfo=None)
    return {"instance_usage_audit_logs": await _audit(ctx, "list", now)}


@routes.get("/v2.1/os-instance_usage_audit_log/{before}")
async def show_audit_log_before(ctx: RequestContext, before: str) -> dict[str, Any]:
    ctx.require("compute", f"{AUDIT}:show", {})
    try:
        moment = datetime.datetime.strptime(before, "%Y-%m-%d %H:%M:%S.%f" if "." in before else "%Y-%m-%d %H:%M:%S")
        found = await _audit(ctx, "show", moment)
    except (ValueError, OverflowError):
        raise Invalid(f"Invalid timestamp for date {before[:64]}", field="before_timestamp") from None
    return {"instance_usage_audit_log": found}
