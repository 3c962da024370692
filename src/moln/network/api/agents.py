"""/v2.0/agents and /v2.0/availability_zones."""

from __future__ import annotations

from typing import Any

from moln.kernel.context import RequestContext
from moln.kernel.errors import Forbidden, Invalid
from moln.kernel.http.routes import Params
from moln.network.api import attributes as a
from moln.network.api import views
from moln.network.api.service import routes
from moln.network.ops import agents as ops
from moln.network.ops import authority
from moln.network.ops import networks as network_ops

FILTERS = ("id", "agent_type", "binary", "host", "topic", "alive", "admin_state_up", "availability_zone", "description")


def _fields(view: dict[str, Any], query: Params) -> dict[str, Any]:
    wanted = [field for field in query.get("fields", []) if field]
    return {name: value for name, value in view.items() if name in wanted} if wanted else view


@routes.get("/v2.0/agents")
async def list_agents(ctx: RequestContext, query: Params) -> dict[str, Any]:
    if not ctx.allows("network", "get_agent", {}):
        return {"agents": []}
    paging = ("fields", "limit", "marker", "sort_key", "sort_dir", "page_reverse")
    filters = {name: [v.lower() for v in values] for name, values in query.items() if name not in paging}
    if unknown := [name for name in filters if name not in FILTERS]:
        raise Invalid(f"{unknown} is invalid attribute for filtering")
    found = [one for one in await ops.agents(ctx) if all(str(one[name]).lower() in values for name, values in filters.items())]
    return {"agents": [_fields(agent, query) for agent in found]}


@routes.get("/v2.0/agents/{id}")
async def show_agent(ctx: RequestContext, id: str, query: Params) -> dict[str, Any]:
    return {"agent": _fields(await ops.get(ctx, id), query)}


@routes.put("/v2.0/agents/{id}")
async def update_agent(ctx: RequestContext, id: str, body: dict) -> dict[str, Any]:  # type: ignore[type-arg]
    given = body.get("agent")
    if not isinstance(given, dict):
        raise Invalid("Resource body required")
    if unknown := [name for name in given if name not in ("description", "admin_state_up")]:
        raise Invalid(f"Cannot update read-only attribute {unknown[0][:80]}", field=unknown[0][:80])
    description = a.text()(given["description"], "description") if "description" in given else None
    up = a.boolean(given.get("admin_state_up", True), "admin_state_up")
    return {"agent": await ops.update(ctx, id, description=description, admin_state_up=up)}


@routes.delete("/v2.0/agents/{id}")
async def delete_agent(ctx: RequestContext, id: str) -> None:
    await ops.delete(ctx, id)


@routes.get("/v2.0/routers/{id}/l3-agents")
async def list_agents_of_router(ctx: RequestContext, id: str, query: Params) -> dict[str, Any]:
    return {"agents": [_fields(agent, query) for agent in await ops.of_router(ctx, id)]}


@routes.get("/v2.0/agents/{id}/l3-routers")
async def list_routers_of_agent(ctx: RequestContext, id: str, query: Params) -> dict[str, Any]:
    found = await views.routers(ctx.db, ctx, await ops.routers_of(ctx, id))
    return {"routers": [_fields(view, query) for view, _ in found]}


@routes.get("/v2.0/networks/{id}/dhcp-agents")
async def list_dhcp_agents_of_network(ctx: RequestContext, id: str) -> dict[str, Any]:
    """None: OVN answers DHCP on each guest's own node."""
    await network_ops.get_visible(ctx.db, ctx, id)
    authority.require(ctx, "get_dhcp-agents", {})
    return {"agents": []}


@routes.get("/v2.0/agents/{id}/dhcp-networks")
async def list_networks_of_dhcp_agent(ctx: RequestContext, id: str) -> dict[str, Any]:
    """None, for the same reason."""
    await ops.get(ctx, id)
    authority.require(ctx, "get_dhcp-networks", {})
    return {"networks": []}


@routes.get("/v2.0/availability_zones")
async def zones(ctx: RequestContext) -> dict[str, Any]:
    if not ctx.allows("network", "get_availability_zone", {}):
        raise Forbidden("rule:get_availability_zone is disallowed by policy")
    name = ctx.settings.network.availability_zone
    return {"availability_zones": [{"name": name, "resource": kind, "state": "available"} for kind in ("network", "router")]}
