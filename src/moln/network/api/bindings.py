"""/v2.0/ports/{port_id}/bindings."""

from __future__ import annotations

from typing import Any

from msgspec import structs

from moln.kernel.context import RequestContext
from moln.kernel.errors import Invalid
from moln.kernel.http.routes import Params
from moln.network.api import attributes as a
from moln.network.api.ports import VNIC_TYPE, parse_profile
from moln.network.api.service import routes
from moln.network.model.ports import vif_details
from moln.network.ops import bindings as ops

SHAPE = {"host": a.text(), "vnic_type": VNIC_TYPE, "profile": parse_profile}


def _view(bound: ops.Bound) -> dict[str, Any]:
    port, binding, active = bound
    vif_type = port.vif_type if active else "ovs"
    return {
        "host": binding.host,
        "vif_type": vif_type,
        "vif_details": vif_details(structs.replace(port, host_id=binding.host, vif_type=vif_type)),
        "vnic_type": binding.vnic_type,
        "profile": binding.profile,
        "status": "ACTIVE" if active else "INACTIVE",
    }


def _given(body: dict[str, Any], *, new: bool) -> dict[str, Any]:
    given = body.get("binding")
    if not isinstance(given, dict) or len(body) > 1:
        raise Invalid("Resource body required")
    given = {name: value for name, value in given.items() if not new or name not in ("project_id", "tenant_id")}
    if unknown := [name for name in given if name not in SHAPE or name == "host" and not new]:
        raise Invalid(f"Unrecognized attribute(s) '{unknown[0][:80]}'", field=unknown[0][:80])
    if new and not given.get("host"):
        raise Invalid("Failed to parse request. Required attribute 'host' not specified", field="host")
    return {name: SHAPE[name](value, name) for name, value in given.items()}


def _fields(view: dict[str, Any], query: Params) -> dict[str, Any]:
    wanted = [field for field in query.get("fields", []) if field]
    return {name: value for name, value in view.items() if not wanted or name in wanted}


@routes.get("/v2.0/ports/{port_id}/bindings")
async def list_bindings(ctx: RequestContext, port_id: str, query: Params) -> dict[str, Any]:
    found = [_view(bound) for bound in await ops.all_of(ctx.db, ctx, port_id)]
    for name, values in query.items():
        if name in ("host", "vif_type", "vnic_type", "status"):
            found = [view for view in found if view[name] in values]
        elif name != "fields":
            raise Invalid(f"{[name]} is invalid attribute for filtering", field=name)
    return {"bindings": [_fields(view, query) for view in found]}


@routes.post("/v2.0/ports/{port_id}/bindings", status=201)
async def create_binding(ctx: RequestContext, port_id: str, body: dict) -> dict[str, Any]:  # type: ignore[type-arg]
    given = _given(body, new=True)
    return {"binding": _view(await ctx.db.write(ops.create_in, ctx, port_id, given.pop("host"), given))}


@routes.get("/v2.0/ports/{port_id}/bindings/{host}")
async def show_binding(ctx: RequestContext, port_id: str, host: str, query: Params) -> dict[str, Any]:
    return {"binding": _fields(_view(await ops.get_one(ctx.db, ctx, port_id, host)), query)}


@routes.put("/v2.0/ports/{port_id}/bindings/{host}")
async def update_binding(ctx: RequestContext, port_id: str, host: str, body: dict) -> dict[str, Any]:  # type: ignore[type-arg]
    return {"binding": _view(await ctx.db.write(ops.update_in, ctx, port_id, host, _given(body, new=False)))}


@routes.put("/v2.0/ports/{port_id}/bindings/{host}/activate")
async def activate_binding(ctx: RequestContext, port_id: str, host: str) -> dict[str, Any]:
    return {"binding": _view(await ctx.db.write(ops.activate_in, ctx, port_id, host))}


@routes.delete("/v2.0/ports/{port_id}/bindings/{host}")
async def delete_binding(ctx: RequestContext, port_id: str, host: str) -> None:
    await ctx.db.write(ops.delete_in, ctx, port_id, host)
