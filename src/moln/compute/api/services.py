"""/os-services: the compute services, one a host."""

from __future__ import annotations

import uuid
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, UnsetType

from moln.compute.api.routes import routes
from moln.compute.api.shapes import Switch, check_query, switch
from moln.compute.model.hosts import ComputeHost
from moln.compute.ops import services as ops
from moln.kernel.clock import iso_micro
from moln.kernel.context import RequestContext
from moln.kernel.errors import Invalid, NotFound
from moln.kernel.http import Body, Params, since

BINARY = "nova-compute"
Reason = Annotated[str, Meta(min_length=1, max_length=255)]
Text = Annotated[str, Meta(min_length=1, max_length=255)]


class ServiceUpdate(Body):
    status: Literal["enabled", "disabled"] | UnsetType = UNSET
    disabled_reason: Reason | UnsetType = UNSET
    forced_down: Switch | UnsetType = UNSET


class HostUpdate(Body):
    """Before 2.53."""

    host: Text
    binary: Text
    disabled_reason: Reason | UnsetType = UNSET
    forced_down: Annotated[Switch | UnsetType, since("2.11")] = UNSET


def _view(ctx: RequestContext, host: ComputeHost) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "id": host.service_id if ctx.version >= (2, 53) else host.rowid, "binary": BINARY, "host": host.name, "zone": host.zone,
        "status": "disabled" if host.disabled else "enabled", "state": "up" if ops.is_up(ctx, host) else "down",
        "updated_at": iso_micro(ops.last_seen(ctx, host)), "disabled_reason": host.disabled_reason,
    }  # fmt: skip
    return shown | ({"forced_down": host.forced_down} if ctx.version >= (2, 11) else {})


@routes.get("/v2.1/os-services")
async def list_services(ctx: RequestContext, query: Params) -> dict[str, Any]:
    check_query(ctx, query, ("host", "binary"))
    found = await ops.services(ctx, host=query.get("host", [""])[-1] or None)
    if query.get("binary", [""])[-1] not in ("", BINARY):
        found = []
    return {"services": [_view(ctx, host) for host in found]}


def check_id(ctx: RequestContext, id: str) -> None:
    """Raises: Invalid."""
    if ctx.version < (2, 53):
        if not (id.isascii() and id.isdigit() and len(id) < 19):
            raise Invalid(f"id must be an integer, not {id[:64]!r}", field="id")
        return
    try:
        uuid.UUID(id)
    except ValueError:
        raise Invalid(f"Invalid uuid {id[:64]}", field="id") from None


@routes.put("/v2.1/os-services/{service_id}", since="2.53")
async def update_service(ctx: RequestContext, service_id: str, body: ServiceUpdate) -> dict[str, Any]:
    check_id(ctx, service_id)
    ctx.require("compute", f"{ops.P}:update", {})
    host = await ops.service(ctx, service_id)
    if body.status is UNSET and body.forced_down is UNSET:
        raise Invalid("No updates were requested. Fields 'status' or 'forced_down' should be specified.")
    if body.status == "enabled" and body.disabled_reason is not UNSET:
        raise Invalid("Specifying 'disabled_reason' with status 'enabled' is invalid.", field="disabled_reason")
    changed = await ops.update(
        ctx, host, disabled=None if body.status is UNSET else body.status == "disabled", reason=body.disabled_reason or None,
        forced_down=None if body.forced_down is UNSET else switch(body.forced_down),
    )  # fmt: skip
    return {"service": _view(ctx, changed)}


async def _by_host(ctx: RequestContext, body: HostUpdate) -> ComputeHost:
    ctx.require("compute", f"{ops.P}:update", {})
    if body.binary != BINARY:
        raise Invalid(f"Updating a {body.binary} service is not supported. Only nova-compute services can be updated.", field="binary")
    return await ops.named(ctx, body.host)


async def _switch(ctx: RequestContext, body: HostUpdate, disabled: bool, reason: str | None) -> dict[str, Any]:
    host = await _by_host(ctx, body)
    await ops.update(ctx, host, disabled=disabled, reason=reason, forced_down=None)
    shown = {"host": host.name, "binary": BINARY, "status": "disabled" if disabled else "enabled"}
    return {"service": shown | ({"disabled_reason": reason} if reason else {})}


@routes.put("/v2.1/os-services/enable", until="2.52")
async def enable_service(ctx: RequestContext, body: HostUpdate) -> dict[str, Any]:
    return await _switch(ctx, body, False, None)


@routes.put("/v2.1/os-services/disable", until="2.52")
async def disable_service(ctx: RequestContext, body: HostUpdate) -> dict[str, Any]:
    return await _switch(ctx, body, True, None)


@routes.put("/v2.1/os-services/disable-log-reason", until="2.52")
async def disable_service_with_reason(ctx: RequestContext, body: HostUpdate) -> dict[str, Any]:
    if body.disabled_reason is UNSET:
        raise Invalid("Missing disabled reason field", field="disabled_reason")
    return await _switch(ctx, body, True, body.disabled_reason)


@routes.put("/v2.1/os-services/force-down", since="2.11", until="2.52")
async def force_service_down(ctx: RequestContext, body: HostUpdate) -> dict[str, Any]:
    if body.forced_down is UNSET:
        raise Invalid("Missing forced_down field", field="forced_down")
    host = await _by_host(ctx, body)
    down = switch(body.forced_down)
    await ops.update(ctx, host, disabled=None, reason=None, forced_down=down)
    return {"service": {"host": host.name, "binary": BINARY, "forced_down": down}}


@routes.delete("/v2.1/os-services/{service_id}")
async def delete_service(ctx: RequestContext, service_id: str) -> None:
    ctx.require("compute", f"{ops.P}:delete", {})
    check_id(ctx, service_id)
    try:
        await ops.remove(ctx, service_id)
    except NotFound:
        raise NotFound(f"Service {service_id} not found.") from None
