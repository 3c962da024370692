"""/servers: made, listed, shown, changed, deleted."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET

from moln.compute.api import server_bodies, server_lists, server_views
from moln.compute.api.routes import routes
from moln.compute.api.server_bodies import CreateBody, ServerUpdate, truth
from moln.compute.model.server_lines import Line
from moln.compute.ops import create, servers
from moln.kernel.context import RequestContext
from moln.kernel.errors import Invalid
from moln.kernel.http import Params, Reply, next_link


@routes.post("/v2.1/servers", status=202)
async def create_servers(ctx: RequestContext, body: CreateBody) -> Reply:
    request = server_bodies.request(ctx, body)
    made = await create.create(ctx, request)
    given = body.server.return_reservation_id
    if given is not UNSET and truth(given, "return_reservation_id"):
        return Reply({"reservation_id": made.reservation_id})
    server = made.servers[0]
    links = server_views.links(f"{ctx.settings.public_url}/compute", server.id)
    groups = [{"name": g} for g in request.security_groups] if request.security_groups else [{"name": "default"}]
    view = {
        "id": server.id, "links": links, "OS-DCF:diskConfig": server.disk_config, "security_groups": groups,
        "adminPass": request.admin_password,
    }  # fmt: skip
    return Reply({"server": view}, headers={"Location": links[0].href})


@routes.get("/v2.1/servers")
async def list_servers(ctx: RequestContext, query: Params) -> dict[str, Any]:
    found, more = await _page(ctx, query, detail=False)
    base = f"{ctx.settings.public_url}/compute"
    return {"servers": [server_views.basic(base, s) for s in found], **more}


@routes.get("/v2.1/servers/detail")
async def list_servers_in_full(ctx: RequestContext, query: Params) -> dict[str, Any]:
    found, more = await _page(ctx, query, detail=True)
    return {"servers": await server_views.show_all(ctx, found), **more}


async def _page(ctx: RequestContext, query: Params, *, detail: bool) -> tuple[list[Line], dict[str, Any]]:
    """One page, and the link to the next where there may be one."""
    try:
        wanted = server_lists.wanted(ctx, query)
    except server_lists.Nothing:
        return [], {}
    found = await servers.index(ctx, wanted, detail=detail)
    asked = query.get("limit", [""])[-1]
    if not found or len(found) < wanted.limit or not asked and len(found) < 1000:
        return found, {}
    path = "/servers/detail" if detail else "/servers"
    href = next_link(f"{ctx.settings.public_url}/compute/v2.1{path}", query, found[-1].id)
    return found, {"servers_links": [{"rel": "next", "href": href}]}


@routes.get("/v2.1/servers/{server_id}")
async def show_server(ctx: RequestContext, server_id: str, query: Params) -> dict[str, Any]:
    if query and ctx.at_least(2, 102):
        raise Invalid(f"Additional properties are not allowed ({next(iter(query))[:64]!r} was unexpected)")
    return {"server": await server_views.show_one(ctx, await servers.show(ctx, server_id))}


#: What PUT did not show before 2.75: all that was once an extension.
LATER_IN_PUT = (
    "zone", "power_state", "task_state", "vm_state", "launched_at", "terminated_at", "config_drive", "key_name", "volumes", "hostname",
    "host", "instance_name", "hypervisor_hostname", "kernel_id", "launch_index", "ramdisk_id", "reservation_id", "root_device_name",
    "user_data", "security_groups", "host_status",
)  # fmt: skip


@routes.put("/v2.1/servers/{server_id}")
async def update_server(ctx: RequestContext, server_id: str, body: ServerUpdate) -> dict[str, Any]:
    server = await servers.update(ctx, server_id, server_bodies.changes(ctx, body))
    view = await server_views.show_one(ctx, server)
    if not ctx.at_least(2, 75):
        for attribute in LATER_IN_PUT:
            setattr(view, attribute, UNSET)
        view.addresses = server_views.bare_addresses(view.addresses)
    return {"server": view}


@routes.delete("/v2.1/servers/{server_id}")
async def delete_server(ctx: RequestContext, server_id: str) -> None:
    await servers.delete(ctx, server_id)
