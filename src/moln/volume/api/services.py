"""/v3/os-services, /os-hosts, /os-availability-zone, /capabilities, /scheduler-stats/get_pools: nodes as Cinder shows its hosts."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, ValidationError, convert

from moln.kernel.clock import iso_micro
from moln.kernel.context import RequestContext
from moln.kernel.errors import Invalid
from moln.kernel.http import Params, Routes
from moln.kernel.http.bodies import explain
from moln.volume.api.bodies import text
from moln.volume.api.faults import SERVICE
from moln.volume.model.volumes import BACKEND, PROTOCOL, VENDOR
from moln.volume.ops import hosts as ops
from moln.volume.ops.pools import pools_of

routes = Routes(SERVICE)
DRIVER_VERSION = "1.0"
OLD_US = 120_000_000  # a pool that was not seen for so long is down


def services(ctx: RequestContext) -> list[dict[str, Any]]:
    zone, known, now = ctx.settings.volume.availability_zone, pools_of(ctx.cloud), ctx.now_us
    common = {"zone": zone, "status": "enabled", "disabled_reason": None, "state": "up"}
    rows: list[dict[str, Any]] = [common | {"binary": "cinder-scheduler", "host": "controller", "updated_at": iso_micro(now)}]
    for node in ops.known(ctx):
        seen = known.at.get(node, 0)
        here = node in ctx.cloud.links.nodes and now - seen < OLD_US
        row = common | {"binary": "cinder-volume", "host": f"{node}@{BACKEND}", "state": "up" if here else "down",
                        "updated_at": iso_micro(seen) if seen else None, "frozen": node in known.frozen}  # fmt: skip
        if node in known.disabled:
            row |= {"status": "disabled", "disabled_reason": known.disabled[node]}
        rows.append(row)
    for node in ops.known(ctx):
        seen = known.at.get(node, 0)
        here = node in ctx.cloud.links.nodes and now - seen < OLD_US
        rows.append(common | {"binary": "cinder-backup", "host": node, "state": "up" if here else "down",
                              "updated_at": iso_micro(seen) if seen else None})  # fmt: skip
    return rows


@routes.get("/v3/os-services")
async def list_services(ctx: RequestContext, query: Params) -> dict[str, Any]:
    ctx.require("volume", "volume_extension:services:index", {"project_id": ctx.project_id})
    rows = services(ctx)
    for row in rows:
        if ctx.at_least(3, 7):
            row["cluster"] = None
        if ctx.at_least(3, 49) and row["binary"] == "cinder-volume":
            row["backend_state"] = row["state"]
    binary, host = query.get("binary", [None])[-1], query.get("host", [None])[-1]
    rows = [r for r in rows if binary in (None, r["binary"]) and host in (None, r["host"], r["host"].partition("@")[0])]
    return {"services": rows}


class Service(Struct):
    host: str
    binary: str | None = None
    service: str | None = None
    disabled_reason: str | None = None


async def switch(ctx: RequestContext, body: dict[str, Any], *, disabled: bool, with_reason: bool = False) -> dict[str, Any]:
    try:
        asked = convert(body, Service)
    except ValidationError as error:
        raise explain(error) from None
    reason = text(asked.disabled_reason, "disabled_reason")
    if with_reason and not reason:
        raise Invalid("'disabled_reason' is a required property", field="disabled_reason")
    binary = asked.binary or asked.service or ""
    await ops.set_disabled(ctx, asked.host, binary, disabled, reason if with_reason else None)
    answer = {
        "host": asked.host, "service": asked.service or "", "binary": binary, "disabled": disabled,
        "status": "disabled" if disabled else "enabled",
    }  # fmt: skip
    return answer | ({"disabled_reason": reason} if with_reason or not disabled else {})


@routes.put("/v3/os-services/enable")
async def enable_service(ctx: RequestContext, body: dict) -> dict[str, Any]:  # type: ignore[type-arg]
    return await switch(ctx, body, disabled=False)


@routes.put("/v3/os-services/disable")
async def disable_service(ctx: RequestContext, body: dict) -> dict[str, Any]:  # type: ignore[type-arg]
    return await switch(ctx, body, disabled=True)


@routes.put("/v3/os-services/disable-log-reason")
async def disable_service_with_reason(ctx: RequestContext, body: dict) -> dict[str, Any]:  # type: ignore[type-arg]
    return await switch(ctx, body, disabled=True, with_reason=True)


@routes.put("/v3/os-services/freeze", status=202)
async def freeze_host(ctx: RequestContext, body: dict) -> None:  # type: ignore[type-arg]
    await ops.set_frozen(ctx, one_host(body), True)


@routes.put("/v3/os-services/thaw", status=202)
async def thaw_host(ctx: RequestContext, body: dict) -> None:  # type: ignore[type-arg]
    await ops.set_frozen(ctx, one_host(body), False)


def one_host(body: dict[str, Any]) -> str:
    """Raises: Invalid."""
    host = body.get("host")
    if list(body) != ["host"] or not isinstance(host, str) or not 0 < len(host) <= 255:
        raise Invalid("'host' is a required property: a string of 1 to 255 characters.", field="host")
    return host


@routes.get("/v3/os-hosts")
async def list_hosts(ctx: RequestContext, query: Params) -> dict[str, Any]:
    ctx.require("volume", "volume_extension:hosts", {"project_id": ctx.project_id})
    zone = query.get("zone", [None])[-1]
    shown = [
        {"host_name": row["host"], "service": row["binary"], "zone": row["zone"], "service-state": row["status"],
         "service-status": "available" if row["state"] == "up" else "unavailable", "last-update": row["updated_at"]}
        for row in services(ctx) if zone in (None, row["zone"])
    ]  # fmt: skip
    return {"hosts": shown}


@routes.get("/v3/os-hosts/{host_name}")
async def show_host(ctx: RequestContext, host_name: str) -> dict[str, Any]:
    found = await ops.usage(ctx, host_name)
    total = tuple(sum(row[n] for row in found.values()) for n in range(4))
    rows = [("(total)", total), *sorted(found.items())]
    return {"host": [{"resource": {
        "host": host_name, "project": project, "volume_count": str(row[0]), "total_volume_gb": str(row[1]),
        "snapshot_count": str(row[2]), "total_snapshot_gb": str(row[3]),
    }} for project, row in rows]}  # fmt: skip


@routes.get("/v3/capabilities/{host_name}")
async def show_capabilities(ctx: RequestContext, host_name: str) -> dict[str, Any]:
    ctx.require("volume", "volume_extension:capabilities", {"project_id": ctx.project_id})
    ops.node_of(ctx, host_name)
    return {
        "namespace": f"OS::Storage::Capabilities::{host_name}", "vendor_name": VENDOR, "volume_backend_name": BACKEND,
        "pool_name": host_name.partition("#")[2] or None, "driver_version": DRIVER_VERSION, "storage_protocol": PROTOCOL,
        "display_name": None, "description": None, "visibility": None, "replication_targets": [],
        "properties": {"thin_provisioning": {"title": "Thin Provisioning", "description": "Sets thin provisioning.", "type": "boolean"}},
    }  # fmt: skip


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
                "storage_protocol": PROTOCOL,
                "vendor_name": VENDOR,
                "driver_version": DRIVER_VERSION,
                "thin_provisioning_support": True,
                "multiattach": False,
                "QoS_support": False,
            }
        pools.append(entry)
    return {"pools": pools}
