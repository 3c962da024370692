"""Routers: what a caller may do to them and to their gateways (network v2.0 api-ref, "Routers")."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Any

from moln.kernel.context import RequestContext
from moln.kernel.db import Transaction
from moln.kernel.errors import Conflict, Invalid
from moln.network.model import addresses
from moln.network.model.flavors import L3
from moln.network.model.ports import Owner, Port, PortStatus
from moln.network.model.routers import MOST_ROUTES, Router
from moln.network.model.subnets import Route
from moln.network.ops import addressing, authority, flavors, gateways, ports
from moln.network.ops.common import QUOTA, bad, check_revision, check_zones, conflict, get, look_at, missing
from moln.network.store import rows
from moln.network.store.port_forwardings import port_forwardings


async def create_in(
    tx: Transaction,
    ctx: RequestContext,
    *,
    project_id: str,
    set_: frozenset[str] = frozenset(),
    gateway: gateways.Gateway | None = None,
    **fields: Any,
) -> Router:
    """Record a router, with its gateway if there is to be one. Raises: NotFound, Invalid, Forbidden, Conflict, OverQuota."""
    authority.require(ctx, "create_router", authority.of_project(project_id), set_)
    fields.pop("ha", None)
    check_zones(ctx, fields.get("availability_zone_hints", ()))
    await flavors.check_usable(tx, fields.get("flavor_id"), L3)
    await QUOTA.charge(tx, project_id, router=1)
    now = ctx.now_us
    router = Router(id=ctx.new_id(), project_id=project_id, created_at=now, updated_at=now, **fields)
    await rows.routers.add(tx, router)
    if gateway:
        router = await gateways.set_in(tx, ctx, router, gateway)
    look_at(tx, "router", router.id)
    return router


async def update_in(
    tx: Transaction, ctx: RequestContext, id: str, *, set_: frozenset[str], revision: int | None = None, **changes: Any
) -> Router:
    """Change what the caller gave; `gateway`: None or {} takes it away. Raises: NotFound, Forbidden, Invalid, Conflict."""
    router = await get(tx, rows.routers, "router", id)
    authority.require(ctx, "update_router", authority.of_project(router.project_id), set_)
    changes.pop("ha", None)
    check_zones(ctx, changes.get("availability_zone_hints", ()))
    check_revision(router.revision_number, revision)
    if "gateway" in changes:
        gateway = changes.pop("gateway")
        router = await gateways.set_in(tx, ctx, router, gateway) if gateway else await gateways.clear_in(tx, ctx, router)
    if "routes" in changes:
        await _check_routes(tx, router, changes["routes"])
    router = await rows.routers.save(tx, router, ctx.now_us, **changes)
    look_at(tx, "router", id)
    return router


async def change_routes_in(
    tx: Transaction, ctx: RequestContext, id: str, add: Sequence[Route] = (), remove: Sequence[Route] = (), *, revision: int | None = None
) -> Router:
    """Add and remove single routes, whoever else changes others meanwhile (extraroute-atomic)."""
    router = await get(tx, rows.routers, "router", id)
    authority.require(ctx, "update_router", authority.of_project(router.project_id))
    check_revision(router.revision_number, revision)
    wanted = tuple(dict.fromkeys([*(r for r in router.routes if r not in remove), *add]))
    if wanted != router.routes:
        await _check_routes(tx, router, wanted)
        router = await rows.routers.save(tx, router, ctx.now_us, routes=wanted)
        look_at(tx, "router", id)
    return router


async def _check_routes(tx: Transaction, router: Router, routes: Sequence[Route]) -> None:
    """A next hop must be a neighbour, and not the router itself."""
    if len(routes) > MOST_ROUTES:
        raise Invalid(
            f"Unable to complete operation for {router.id}. The number of routes exceeds the maximum {MOST_ROUTES}.", type="RoutesExhausted"
        )
    mine = [p for p in await rows.ports.by(tx, "device_id", router.id) if p.device_owner.startswith("network:router_")]
    subnets = await rows.subnets.some(tx, [ip.subnet_id for p in mine for ip in p.fixed_ips])
    own = {ip.ip_address for p in mine for ip in p.fixed_ips}
    for route in routes:
        if route.nexthop in own:
            raise _bad_routes(routes, "the nexthop is used by router")
        if not any(addresses.in_cidr(route.nexthop, s.cidr) for s in subnets):
            raise _bad_routes(routes, "the nexthop is not connected with router")
        if ipaddress.ip_network(route.destination).version != ipaddress.ip_address(route.nexthop).version:
            raise _bad_routes(routes, "destination and nexthop are of different IP versions")


def _bad_routes(routes: Sequence[Route], reason: str) -> Invalid:
    said = [{"destination": r.destination, "nexthop": r.nexthop} for r in routes]
    return Invalid(f"Invalid format for routes: {said}, {reason}", type="InvalidRoutes")


async def delete_in(tx: Transaction, ctx: RequestContext, id: str, *, revision: int | None = None) -> None:
    """Remove a router without interfaces, and its gateway. Raises: NotFound, Forbidden, Conflict."""
    router = await get(tx, rows.routers, "router", id)
    authority.require(ctx, "delete_router", authority.of_project(router.project_id))
    check_revision(router.revision_number, revision)
    if meetings := await rows.meetings_of(tx, id):
        attached = ", ".join(dict.fromkeys(m.port_id for m in meetings))
        raise conflict("RouterInUse", f"Router {id} has ports still attached: {attached}")
    await gateways.clear_all_in(tx, ctx, router)
    await rows.set_tags(tx, id, ())
    await rows.routers.remove(tx, id)
    await QUOTA.refund(tx, router.project_id, router=1)
    look_at(tx, "router", id)


async def add_interface_in(
    tx: Transaction, ctx: RequestContext, id: str, *, subnet_id: str | None, port_id: str | None, revision: int | None = None
) -> tuple[Router, Port, list[str]]:
    """Join a subnet by the subnet's gateway address, or by a port of the caller's. The router, the port and the subnets joined.

    Raises: NotFound, Forbidden, Invalid, Conflict.
    """
    router = await get(tx, rows.routers, "router", id)
    authority.require(ctx, "add_router_interface", authority.of_project(router.project_id))
    check_revision(router.revision_number, revision)
    if (subnet_id is None) == (port_id is None):
        raise bad("router", "Cannot specify both subnet-id and port-id" if subnet_id else "Either subnet_id or port_id must be specified")
    port, subnet_ids = (
        await _join_by_subnet(tx, ctx, router, subnet_id) if subnet_id is not None else await _join_by_port(tx, ctx, router, port_id or "")
    )
    for joined in subnet_ids:
        if not await rows.meet(tx, id, joined, port.id):
            raise bad("router", f"Router already has a port on subnet {joined}")
    router = await rows.routers.bump(tx, router, ctx.now_us)
    look_at(tx, "router", id)
    return router, port, subnet_ids


async def _join_by_subnet(tx: Transaction, ctx: RequestContext, router: Router, subnet_id: str) -> tuple[Port, list[str]]:
    subnet = await get(tx, rows.subnets, "subnet", subnet_id)
    network = await get(tx, rows.networks, "network", subnet.network_id)
    if not authority.sees(ctx, "subnet", authority.on_network(ctx, subnet.project_id, network)):
        raise missing("subnet", subnet_id)
    if subnet.project_id != ctx.project_id and not ctx.is_admin:  # SEC-33 (CVE-2014-0056), bug 1757482
        raise bad("router", f"Cannot add interface to router because subnet {subnet_id} is not owned by project making the request")
    if subnet.gateway_ip is None:
        raise bad("router", "Subnet for router interface must have a gateway IP")
    await gateways.check_no_overlap(tx, router, subnet_id, subnet.cidr)
    fixed = {"subnet_id": subnet_id, "ip_address": subnet.gateway_ip}
    if subnet.ip_version == 6:  # one IPv6 port a network; further prefixes join it
        for port in await rows.ports.by(tx, "device_id", router.id):
            if (
                port.network_id == network.id
                and port.device_owner == Owner.ROUTER_INTERFACE
                and any(":" in ip.ip_address for ip in port.fixed_ips)
            ):
                have = [{"subnet_id": ip.subnet_id, "ip_address": ip.ip_address} for ip in port.fixed_ips]
                return await ports.change_in(tx, ctx, network, port, fixed_ips=[*have, fixed]), [subnet_id]
    now = ctx.now_us
    port = Port(
        id=ctx.new_id(), network_id=network.id, project_id=router.project_id, mac_address=addressing.random_mac(ctx), device_id=router.id,
        device_owner=Owner.ROUTER_INTERFACE, port_security_enabled=False, status=PortStatus.ACTIVE, created_at=now, updated_at=now,
    )  # fmt: skip
    try:
        return await ports.add_in(tx, ctx, network, port, fixed_ips=[fixed], groups=()), [subnet_id]
    except Conflict as taken:
        raise conflict(taken.type or "IpAddressInUse", taken.message) from None


async def _join_by_port(tx: Transaction, ctx: RequestContext, router: Router, port_id: str) -> tuple[Port, list[str]]:
    port = await get(tx, rows.ports, "port", port_id)
    network = await get(tx, rows.networks, "network", port.network_id)
    if not authority.sees(ctx, "port", ports.target(ctx, port, network)):
        raise missing("port", port_id)
    if port.project_id != ctx.project_id and not ctx.is_admin:
        raise bad("router", f"Cannot add interface to router because port {port_id} is not owned by project making the request")
    if port.device_id:
        raise conflict(
            "PortInUse",
            f"Unable to complete operation on port {port_id} for network {network.id}. Port already has an attached device {port.device_id}.",
        )
    if not port.fixed_ips:
        raise bad("router", "Router port must have at least one fixed IP")
    subnets = await rows.subnets.some(tx, [ip.subnet_id for ip in port.fixed_ips])
    if sum(1 for ip in port.fixed_ips if ":" not in ip.ip_address) > 1:
        raise bad("router", "Cannot have multiple IPv4 subnets on router port")
    for subnet in subnets:
        await gateways.check_no_overlap(tx, router, subnet.id, subnet.cidr)
    port = await ports.change_in(
        tx, ctx, network, port, device_id=router.id, device_owner=Owner.ROUTER_INTERFACE, security_groups=(), port_security_enabled=False,
        allowed_address_pairs=(), status=PortStatus.ACTIVE,
    )  # fmt: skip
    return port, [s.id for s in subnets]


async def remove_interface_in(
    tx: Transaction, ctx: RequestContext, id: str, *, subnet_id: str | None, port_id: str | None, revision: int | None = None
) -> tuple[Router, Port, list[str]]:
    """Leave a subnet, or all subnets of a port. Raises: NotFound, Forbidden, Invalid, Conflict while floating addresses need it."""
    router = await get(tx, rows.routers, "router", id)
    authority.require(ctx, "remove_router_interface", authority.of_project(router.project_id))
    check_revision(router.revision_number, revision)
    if subnet_id is None and port_id is None:
        raise bad("router", "Either subnet_id or port_id must be specified")
    meetings = await rows.meetings_of(tx, id)
    left = [m for m in meetings if m.port_id == port_id or port_id is None and m.subnet_id == subnet_id]
    if not left:
        if port_id is not None:
            raise _no_interface("RouterInterfaceNotFound", f"Router {id} does not have an interface with id {port_id}")
        raise _no_interface("RouterInterfaceNotFoundForSubnet", f"Router {id} has no interface on subnet {subnet_id}")
    if port_id is not None and subnet_id is not None and all(m.subnet_id != subnet_id for m in left):
        raise conflict("SubnetMismatchForPort", f"Subnet on port {port_id} does not match the requested subnet {subnet_id}.")
    for meeting in left:
        await _check_not_needed(tx, router, meeting.subnet_id)
    port = await get(tx, rows.ports, "port", left[0].port_id)
    gone = {m.subnet_id for m in left}
    rest = [ip for ip in port.fixed_ips if ip.subnet_id not in gone]
    if rest:
        network = await get(tx, rows.networks, "network", port.network_id)
        await rows.part(tx, port.id, left[0].subnet_id)
        await ports.change_in(tx, ctx, network, port, fixed_ips=[{"subnet_id": ip.subnet_id, "ip_address": ip.ip_address} for ip in rest])
    else:
        await ports.drop_in(tx, ctx, port)
    router = await rows.routers.bump(tx, router, ctx.now_us)
    look_at(tx, "router", id)
    return router, port, sorted(gone)


def _no_interface(kind: str, message: str) -> Exception:
    from moln.kernel.errors import NotFound

    return NotFound(message, type=kind)


async def _check_not_needed(tx: Transaction, router: Router, subnet_id: str) -> None:
    subnet = await get(tx, rows.subnets, "subnet", subnet_id)
    for fip in await rows.floating_ips.by(tx, "router_id", router.id):
        inner = [pf.internal_ip_address for pf in await port_forwardings.by(tx, "floatingip_id", fip.id)]
        inner += [fip.fixed_ip_address] if fip.fixed_ip_address is not None else []
        if any(addresses.in_cidr(address, subnet.cidr) for address in inner):
            raise conflict(
                "RouterInterfaceInUseByFloatingIP",
                f"Router interface for subnet {subnet_id} on router {router.id} cannot be deleted, as it is required by one or more floating IPs.",
            )
    for route in router.routes:
        if addresses.in_cidr(route.nexthop, subnet.cidr):
            raise conflict(
                "RouterInterfaceInUseByRoute",
                f"Router interface for subnet {subnet_id} on router {router.id} cannot be deleted, as it is required by one or more routes.",
            )
