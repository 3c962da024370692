"""/v2.0/network-ip-availabilities and /v2.0/floatingip_pools: how many addresses there are, and where."""

from __future__ import annotations

import ipaddress
from typing import Any

from moln.kernel.context import RequestContext
from moln.kernel.http.routes import Params
from moln.network.api.service import routes
from moln.network.model import addresses
from moln.network.model.networks import Network
from moln.network.model.subnets import Subnet
from moln.network.ops import authority
from moln.network.ops import networks as network_ops
from moln.network.store import rows


async def _of_subnet(ctx: RequestContext, subnet: Subnet) -> dict[str, Any]:
    """total_ips and used_ips as Neutron counts them; the details tell the pools from the subnet."""
    cidr, total = ipaddress.ip_network(subnet.cidr), addresses.size(subnet.allocation_pools)
    held = [int(ipaddress.ip_address(h.ip_address)) for h in await rows.held_in(ctx.db, subnet.id)]
    spans = [(int(ipaddress.ip_address(p.start)), int(ipaddress.ip_address(p.end))) for p in subnet.allocation_pools]
    return {
        "subnet_id": subnet.id,
        "subnet_name": subnet.name,
        "ip_version": subnet.ip_version,
        "cidr": subnet.cidr,
        "total_ips": total,
        "used_ips": len(held),
        "ip_availability_details": {
            "total_ips_in_subnet": cidr.num_addresses - (2 if subnet.ip_version == 4 else 0),
            "total_ips_in_allocation_pool": total,
            "used_ips_in_subnet": len(held),
            "used_ips_in_allocation_pool": sum(any(first <= ip <= last for first, last in spans) for ip in held),
        },
    }


async def _availability(ctx: RequestContext, network: Network, version: int | None = None) -> dict[str, Any]:
    there = await rows.subnets.by(ctx.db, "network_id", network.id)
    subnets = [await _of_subnet(ctx, s) for s in there if version in (None, s.ip_version)]
    details = [s["ip_availability_details"] for s in subnets]
    names = ("total_ips_in_subnet", "total_ips_in_allocation_pool", "used_ips_in_subnet", "used_ips_in_allocation_pool")
    return {
        "network_id": network.id,
        "network_name": network.name,
        "project_id": network.project_id,
        "tenant_id": network.project_id,
        "total_ips": sum(s["total_ips"] for s in subnets),
        "used_ips": sum(s["used_ips"] for s in subnets),
        "subnet_ip_availability": subnets,
        "ip_availability_details": {name: sum(d[name] for d in details) for name in names},
    }


@routes.get("/v2.0/network-ip-availabilities")
async def list_availabilities(ctx: RequestContext, query: Params) -> dict[str, Any]:
    if not ctx.allows("network", "get_network_ip_availability", {}):
        return {"network_ip_availabilities": []}
    found = await rows.networks.all(ctx.db)
    for name, field in (("network_id", "id"), ("network_name", "name"), ("project_id", "project_id"), ("tenant_id", "project_id")):
        if name in query:
            found = [n for n in found if getattr(n, field) in query[name]]
    version = {"4": 4, "6": 6}.get(query.get("ip_version", [""])[-1])
    return {"network_ip_availabilities": [await _availability(ctx, n, version) for n in found]}


@routes.get("/v2.0/network-ip-availabilities/{network_id}")
async def show_availability(ctx: RequestContext, network_id: str) -> dict[str, Any]:
    authority.require(ctx, "get_network_ip_availability", {})
    return {"network_ip_availability": await _availability(ctx, await network_ops.get_visible(ctx.db, ctx, network_id))}


@routes.get("/v2.0/floatingip-pools")  # the service's own name of it
@routes.get("/v2.0/floatingip_pools")
async def floating_ip_pools(ctx: RequestContext, query: Params) -> dict[str, Any]:
    """Each IPv4 subnet of an external network that the caller may take floating addresses from."""
    networks = await rows.networks.by(ctx.db, "external", 1)
    seen = [n.id for n in networks if authority.sees(ctx, "network", authority.of_network(ctx, n))]
    found = [
        {"subnet_id": s.id, "subnet_name": s.name, "network_id": s.network_id, "cidr": s.cidr, "project_id": ctx.project_id, "tenant_id": ctx.project_id}
        for s in await rows.subnets.by_any(ctx.db, "network_id", seen)
        if s.ip_version == 4
    ]  # fmt: skip
    for name in ("subnet_id", "subnet_name", "network_id", "cidr"):
        found = [pool for pool in found if name not in query or pool[name] in query[name]]
    wanted = [field for field in query.get("fields", []) if field]
    return {"floatingip_pools": [{k: v for k, v in pool.items() if not wanted or k in wanted} for pool in found]}
