"""/os-networks and /os-tenant-networks (until 2.35): the names of networks, and nothing else that Nova ever knew of Neutron's."""

from __future__ import annotations

from typing import Any

from moln.compute.api.routes import routes
from moln.kernel.clock import iso
from moln.kernel.context import RequestContext
from moln.kernel.errors import NotFound
from moln.network.model.networks import Network
from moln.network.ops import for_compute, networks

UNTIL = "2.35"
FIELDS = ("cidr", "netmask", "gateway", "broadcast", "dns1", "dns2", "cidr_v6", "gateway_v6", "netmask_v6")
FOR_ADMINS = ("deleted_at", "deleted", "injected", "bridge", "vlan", "vpn_public_address", "vpn_public_port", "vpn_private_address",
              "dhcp_start", "host", "bridge_interface", "multi_host", "priority", "rxtx_base")  # fmt: skip


def _view(ctx: RequestContext, n: Network) -> dict[str, Any]:
    shown: dict[str, Any] = {"id": n.id, "label": n.name, **dict.fromkeys(FIELDS)}
    if ctx.is_admin:
        shown |= dict.fromkeys(FOR_ADMINS)
        shown |= {"project_id": n.project_id, "created_at": iso(n.created_at), "updated_at": iso(n.updated_at)}
    return shown


def _tenant_view(n: Network) -> dict[str, Any]:
    return {"id": n.id, "label": n.name, "cidr": "None"}


async def _find(ctx: RequestContext, id: str) -> Network:
    try:
        return await networks.get_visible(ctx.db, ctx, id)
    except NotFound:
        raise NotFound("Network not found") from None


@routes.get("/v2.1/os-networks", until=UNTIL)
async def list_networks(ctx: RequestContext) -> dict[str, Any]:
    ctx.require("compute", "os_compute_api:os-networks:list", {"project_id": ctx.project_id})
    return {"networks": [_view(ctx, n) for n in await for_compute.visible_networks(ctx.db, ctx)]}


@routes.get("/v2.1/os-networks/{network_id}", until=UNTIL)
async def show_network(ctx: RequestContext, network_id: str) -> dict[str, Any]:
    ctx.require("compute", "os_compute_api:os-networks:show", {"project_id": ctx.project_id})
    return {"network": _view(ctx, await _find(ctx, network_id))}


@routes.get("/v2.1/os-tenant-networks", until=UNTIL)
async def list_tenant_networks(ctx: RequestContext) -> dict[str, Any]:
    ctx.require("compute", "os_compute_api:os-tenant-networks:list", {"project_id": ctx.project_id})
    return {"networks": [_tenant_view(n) for n in await for_compute.visible_networks(ctx.db, ctx)]}


@routes.get("/v2.1/os-tenant-networks/{network_id}", until=UNTIL)
async def show_tenant_network(ctx: RequestContext, network_id: str) -> dict[str, Any]:
    ctx.require("compute", "os_compute_api:os-tenant-networks:show", {"project_id": ctx.project_id})
    return {"network": _tenant_view(await _find(ctx, network_id))}
