"""/os-floating-ips, /os-floating-ip-pools (until 2.35), and the actions that move addresses (until 2.43): network's, in Nova's old words."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, UnsetType

from moln.compute.api.routes import routes
from moln.compute.api.server_actions import PATH as ACTIONS
from moln.compute.api.server_bodies import address as parse_address
from moln.compute.ops import addresses
from moln.kernel.context import RequestContext
from moln.kernel.db import Transaction
from moln.kernel.errors import Conflict, Invalid, NotFound, OverQuota
from moln.kernel.http import Body
from moln.network.model.networks import Network
from moln.network.model.routers import FloatingIp
from moln.network.ops import floating_ips, for_compute

PATH, UNTIL, ACTIONS_UNTIL = "/v2.1/os-floating-ips", "2.35", "2.43"
P = addresses.FLOATING


async def _views(ctx: RequestContext, found: list[FloatingIp]) -> list[dict[str, Any]]:
    pools = {n.id: n.name or n.id for n in await for_compute.external_networks(ctx.db, ctx)}
    ports = await for_compute.ports_by_id(ctx.db, [f.port_id for f in found if f.port_id])
    views = []
    for f in found:
        port = ports.get(f.port_id or "")
        server_id = port.device_id if port is not None and port.device_owner.startswith("compute:") else None
        views.append({
            "id": f.id, "ip": f.floating_ip_address, "fixed_ip": f.fixed_ip_address, "instance_id": server_id,
            "pool": pools.get(f.floating_network_id, f.floating_network_id),
        })  # fmt: skip
    return views


@routes.get("/v2.1/os-floating-ip-pools", until=UNTIL)
async def list_pools(ctx: RequestContext) -> dict[str, Any]:
    ctx.require("compute", "os_compute_api:os-floating-ip-pools", {})
    return {"floating_ip_pools": [{"name": n.name or n.id} for n in await for_compute.external_networks(ctx.db, ctx)]}


@routes.get(PATH, until=UNTIL)
async def list_floating_ips(ctx: RequestContext) -> dict[str, Any]:
    ctx.require("compute", f"{P}:list", {"project_id": ctx.project_id})
    return {"floating_ips": await _views(ctx, await for_compute.floating_ips(ctx.db, ctx.project_id or ""))}


async def _find(ctx: RequestContext, id: str) -> FloatingIp:
    try:
        return await for_compute.floating_ip(ctx.db, ctx, id)
    except NotFound:
        raise NotFound(f"Floating IP not found for ID {id[:64]}") from None


@routes.get(PATH + "/{floating_ip_id}", until=UNTIL)
async def show_floating_ip(ctx: RequestContext, floating_ip_id: str) -> dict[str, Any]:
    ctx.require("compute", f"{P}:show", {"project_id": ctx.project_id})
    return {"floating_ip": (await _views(ctx, [await _find(ctx, floating_ip_id)]))[0]}


async def _pool(ctx: RequestContext, name: str | None) -> Network:
    """By name or id; the only one, or the cloud's default, where none is named. Raises: NotFound."""
    there = await for_compute.external_networks(ctx.db, ctx)
    if name is None:
        found = [n for n in there if n.is_default] or there
    else:
        found = [n for n in there if n.id == name] or [n for n in there if n.name == name]
    if len(found) != 1:
        raise NotFound("Floating IP pool not found.")
    return found[0]


@routes.post(PATH, until=UNTIL)
async def create_floating_ip(ctx: RequestContext, body: bytes) -> dict[str, Any]:
    ctx.require("compute", f"{P}:create", {"project_id": ctx.project_id})
    pool = await _pool(ctx, Pool.parse(body, ctx.version).pool if body.strip() not in (b"", b"null") else None)
    made = await ctx.db.write(_create_in, ctx, pool)
    return {"floating_ip": (await _views(ctx, [made]))[0]}


class Pool(Body):
    pool: str | None = None


async def _create_in(tx: Transaction, ctx: RequestContext, pool: Network) -> FloatingIp:
    """Raises: NotFound, OverQuota, Invalid."""
    try:
        return await floating_ips.create_in(tx, ctx, project_id=ctx.project_id or "", floating_network_id=pool.id)
    except OverQuota as over:
        raise OverQuota(f"IP allocation over quota in pool {pool.name}.", resources=over.resources) from None
    except Conflict:
        raise NotFound(f"No more floating IPs in pool {pool.name}.") from None


@routes.delete(PATH + "/{floating_ip_id}", status=202, until=UNTIL)
async def delete_floating_ip(ctx: RequestContext, floating_ip_id: str) -> None:
    ctx.require("compute", f"{P}:delete", {"project_id": ctx.project_id})
    found = await _find(ctx, floating_ip_id)
    await ctx.db.write(floating_ips.delete_in, ctx, found.id)


class AddFloating(Body, root="addFloatingIp"):
    address: str
    fixed_address: str | UnsetType = UNSET


class RemoveFloating(Body, root="removeFloatingIp"):
    address: str


class AddFixed(Body, root="addFixedIp"):
    networkId: str | int


class RemoveFixed(Body, root="removeFixedIp"):
    address: str


def _v4(text: str, field: str) -> str:
    """Raises: Invalid."""
    found = parse_address(text, field, 4)
    if found is None:
        raise Invalid(f"Invalid input for field/attribute {field}. Value: . It is not an IP address.", field=field)
    return found


@routes.post(ACTIONS, status=202, action="addFloatingIp", until=ACTIONS_UNTIL)
async def add_floating_ip(ctx: RequestContext, server_id: str, body: AddFloating) -> None:
    fixed = None if body.fixed_address is UNSET else _v4(body.fixed_address, "fixed_address")
    await addresses.add_floating(ctx, server_id, _v4(body.address, "address"), fixed)


@routes.post(ACTIONS, status=202, action="removeFloatingIp", until=ACTIONS_UNTIL)
async def remove_floating_ip(ctx: RequestContext, server_id: str, body: RemoveFloating) -> None:
    await addresses.remove_floating(ctx, server_id, _v4(body.address, "address"))


@routes.post(ACTIONS, status=202, action="addFixedIp", until=ACTIONS_UNTIL)
async def add_fixed_ip(ctx: RequestContext, server_id: str, body: AddFixed) -> None:
    await addresses.add_fixed(ctx, server_id, str(body.networkId))


@routes.post(ACTIONS, status=202, action="removeFixedIp", until=ACTIONS_UNTIL)
async def remove_fixed_ip(ctx: RequestContext, server_id: str, body: RemoveFixed) -> None:
    await addresses.remove_fixed(ctx, server_id, body.address)
