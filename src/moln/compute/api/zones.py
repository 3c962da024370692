"""/os-availability-zone."""

from __future__ import annotations

from typing import Any

from moln.compute.api.routes import routes
from moln.compute.api.shapes import STRICT, check_query
from moln.compute.ops import hosts
from moln.kernel.clock import iso
from moln.kernel.context import RequestContext
from moln.kernel.http import Params


def _zone(name: str, available: bool, told: Any = None) -> dict[str, Any]:
    return {"zoneName": name, "zoneState": {"available": available}, "hosts": told}


@routes.get("/v2.1/os-availability-zone")
async def list_zones(ctx: RequestContext, query: Params) -> dict[str, Any]:
    check_query(ctx, query, (), strict_since=STRICT)
    ctx.require("compute", "os_compute_api:os-availability-zone:list", {})
    return {"availabilityZoneInfo": [_zone(name, available) for name, available in hosts.zones(ctx.cloud).items()]}


@routes.get("/v2.1/os-availability-zone/detail")
async def list_zones_detail(ctx: RequestContext, query: Params) -> dict[str, Any]:
    check_query(ctx, query, (), strict_since=STRICT)
    ctx.require("compute", "os_compute_api:os-availability-zone:detail", {})
    known = hosts.table(ctx.cloud)
    shown = []
    for name, available in hosts.zones(ctx.cloud).items():
        members: dict[str, Any] = {}
        for host in known.hosts.values():
            if host.zone == name and not host.disabled:
                seen = iso(known.seen_us.get(host.name, 0), suffix="")
                members[host.name] = {"nova-compute": {"available": host.up, "active": True, "updated_at": seen}}
        shown.append(_zone(name, available, members if available else None))
    return {"availabilityZoneInfo": shown}
