"""/v3/os-services, /os-availability-zone, /scheduler-stats/get_pools: the nodes as Cinder shows its hosts."""

from __future__ import annotations

from typing import Any

from moln.kernel.clock import iso_micro
from moln.kernel.context import RequestContext
from moln.kernel.http import Params, Routes
from moln.volume.api.faults import SERVICE
from moln.volume.model.volumes import BACKEND
from moln.volume.ops.pools import pools_of

routes = Routes(SERVICE)
OLD_US = 120_000_000  # a pool that was not seen for so long is down


def hosts(ctx: RequestContext) -> list[str]:
    """Every node that is there or told of its pool before."""
    return sorted(ctx.cloud.links.nodes | pools_of(ctx.cloud).seen.keys())


@routes.get("/v3/os-services")
async def list_services(ctx: RequestContext, query: Params) -> dict[str, Any]:
    ctx.require("volume", "volume_extension:services:index", {"project_id": ctx.project_id})
    zone, known, now = ctx.settings.volume.availability_zone, pools_of(ctx.cloud), ctx.now_us
    common = {"zone": zone, "status": "enabled", "disabled_reason": None, "state": "up"}
    rows: list[dict[str, Any]] = [common | {"binary": "cinder-scheduler", "host": "controller", "updated_at": iso_micro(now)}]
    for node in hosts(ctx):
        seen = known.at.get(node, 0)
        here = node in ctx.cloud.links.nodes and now - seen < OLD_US
        row = common | {"binary": "cinder-volume", "host": f"{node}@{BACKEND}", "state": "up" if here else "down",
                        "updated_at": iso_micro(seen) if seen else None, "frozen": False}  # fmt: skip
        rows.append(row)
    for row in rows:
        if ctx.at_least(3, 7):
            row["cluster"] = None
        if ctx.at_least(3, 49) and row["binary"] == "cinder-volume":
            row["backend_state"] = row["state"]
    binary, host = query.get("binary", [None])[-1], query.get("host", [None])[-1]
    rows = [r for r in rows if binary in (None, r["binary"]) and host in (None, r["host"])]
    return {"services": rows}


@routes.get("/v3/os-availability-zone")
async def list_availability_zones(ctx: RequestContext) -> dict[str, Any]:
    up = bool(ctx.cloud.links.nodes)
    return {"availabilityZoneInfo": [{"zoneName": ctx.settings.volume.availability_zone, "zoneState": {"available": up}}]}


@routes.get("/v3/scheduler-stats/get_pools")
async def list_pools(ctx: RequestContext, query: Params) -> dict[str, Any]:
    ctx.require("volume", "scheduler_extension:scheduler_stats:get_pools", {"project_id": ctx.project_id})
    detail = query.get("detail", ["false"])[-1].lower() in ("1", "true")
    pools = []
    for node, pool in sorted(pools_of(ctx.cloud).seen.items()):
        entry: dict[str, Any] = {"name": f"{node}@{BACKEND}#{BACKEND}"}
        if detail:
            entry["capabilities"] = {
                "total_capacity_gb": pool.total_gib,
                "free_capacity_gb": pool.free_gib,
                "volume_backend_name": BACKEND,
                "storage_protocol": "file",
                "thin_provisioning_support": True,
                "multiattach": False,
                "QoS_support": False,
            }
        pools.append(entry)
    return {"pools": pools}
