"""Port forwardings of floating addresses: what a caller may do to them (network v2.0 api-ref, "Floating IPs port forwarding")."""

from __future__ import annotations

from typing import Any

from msgspec import structs

from moln.kernel.context import RequestContext
from moln.kernel.db import Transaction
from moln.kernel.errors import Invalid, NotFound
from moln.network.model.ports import OWN_OWNERS, FixedIp, Port
from moln.network.model.routers import FloatingIp, PortForwarding
from moln.network.ops import authority, floating_ips, ports
from moln.network.ops.common import bad, changed, conflict, get, look_at, missing
from moln.network.store import rows
from moln.network.store.port_forwardings import port_forwardings as table

Span = tuple[int, int]


def of_parent(fip: FloatingIp) -> authority.Target:
    """A forwarding as policy sees it."""
    return authority.of_project(fip.project_id, **{"ext_parent:project_id": fip.project_id, "ext_parent:tenant_id": fip.project_id})


def _bad(message: str) -> Invalid:
    return bad("port_forwarding", message)


async def create_in(
    tx: Transaction, ctx: RequestContext, *, project_id: str, floatingip_id: str, protocol: str, external: Span, internal: Span,
    internal_port_id: str, internal_ip_address: str | None = None, set_: frozenset[str] = frozenset(), **fields: Any,
) -> PortForwarding:  # fmt: skip
    """Forward ports of a floating address that stands for no port as a whole. Raises: NotFound, Forbidden, Invalid, Conflict."""
    fip = await get(tx, rows.floating_ips, "floatingip", floatingip_id)
    authority.require(ctx, "create_floatingip_port_forwarding", of_parent(fip), set_)
    fip = await rows.floating_ips.bump(tx, fip, ctx.now_us)  # others that forward ports of the address wait here
    if fip.port_id is not None:
        raise conflict(
            "FloatingIPPortAlreadyAssociated",
            f"Cannot associate floating IP {fip.floating_ip_address} ({fip.id}) with port {internal_port_id} using fixed IP "
            f"{internal_ip_address}, as that floating IP already stands for a port on external network {fip.floating_network_id}.",
        )
    port, inner = await _target(tx, ctx, fip, internal_port_id, internal_ip_address)
    now = ctx.now_us
    forwarding = PortForwarding(
        id=ctx.new_id(), project_id=fip.project_id, floatingip_id=fip.id, protocol=protocol, external_first=external[0],
        external_last=external[1], internal_port_id=port.id, internal_ip_address=inner.ip_address, internal_first=internal[0],
        internal_last=internal[1], created_at=now, updated_at=now, **fields,
    )  # fmt: skip
    await _check(tx, forwarding)
    fip = await _route(tx, ctx, fip, port, inner)
    await table.add(tx, forwarding)
    _tell(tx, fip, port)
    return forwarding


async def update_in(
    tx: Transaction, ctx: RequestContext, id: str, *, set_: frozenset[str], revision: int | None = None, **changes: Any
) -> PortForwarding:
    """Change what the caller gave. Raises: NotFound, Forbidden, Invalid, Conflict."""
    old = await get(tx, table, "floatingip_port_forwarding", id)
    fip = await get(tx, rows.floating_ips, "floatingip", old.floatingip_id)
    authority.require(ctx, "update_floatingip_port_forwarding", of_parent(fip), set_)
    fip = await rows.floating_ips.bump(tx, fip, ctx.now_us)
    for name in ("external", "internal"):
        if name in changes:
            changes[f"{name}_first"], changes[f"{name}_last"] = changes.pop(name)
    port_id = changes.get("internal_port_id", old.internal_port_id)
    kept = old.internal_ip_address if port_id == old.internal_port_id else None
    port, inner = await _target(tx, ctx, fip, port_id, changes.get("internal_ip_address", kept), mine=old)
    changes["internal_ip_address"] = inner.ip_address
    await _check(tx, structs.replace(old, **changes))
    await _route(tx, ctx, fip, port, inner)
    new = await table.save(tx, old, ctx.now_us, **changes)
    if port.id != old.internal_port_id and (before := await rows.ports.find(tx, old.internal_port_id)) is not None:
        changed(tx, before)
    _tell(tx, fip, port)
    return new


async def _target(
    tx: Transaction, ctx: RequestContext, fip: FloatingIp, port_id: str, address: str | None, mine: PortForwarding | None = None
) -> tuple[Port, FixedIp]:
    """The port, and the one of its addresses, that connections are to reach."""
    port = await rows.ports.find(tx, port_id)
    network = None if port is None else await rows.networks.find(tx, port.network_id)
    if port is None or network is None or not authority.sees(ctx, "port", ports.target(ctx, port, network)):
        raise missing("port", port_id)
    if port.project_id != fip.project_id and not ctx.is_admin or port.device_owner in OWN_OWNERS:
        raise _bad(f"Port {port_id} cannot be reached through floating IP {fip.id}")
    inner = [ip for ip in port.fixed_ips if ":" not in ip.ip_address and address in (None, ip.ip_address)]
    if not inner and address is None:
        raise _bad(f"Requested internal port {port_id} must allocate an IPv4 address at least.")
    if not inner:
        said = [{"subnet_id": ip.subnet_id, "ip_address": ip.ip_address} for ip in port.fixed_ips]
        raise _bad(
            f"Requested internal IP address {address} is not suitable for internal neutron port {port_id}, as its fixed_ips are {said}"
        )
    moved = mine is None or mine.internal_port_id != port_id
    if moved and (bound := await rows.floating_ips.by(tx, "port_id", port_id)):
        raise conflict(
            "PortHasBindingFloatingIP",
            f"Cannot create port forwarding to floating IP {bound[0].floating_ip_address} ({bound[0].id}) with port {port_id} using fixed IP "
            f"{inner[0].ip_address}, as that port already has a binding floating IP.",
        )
    return port, inner[0]


async def _route(tx: Transaction, ctx: RequestContext, fip: FloatingIp, port: Port, inner: FixedIp) -> FloatingIp:
    """The router that joins address and port: one for all forwardings of an address."""
    try:
        router_id = await floating_ips.router_for(tx, inner.subnet_id, fip.floating_network_id, port.id)
    except NotFound:
        raise _bad(
            f"External network {fip.floating_network_id} is not reachable from subnet {inner.subnet_id}. Cannot set Port forwarding for "
            f"port {port.id} with Floating IP {fip.id}"
        ) from None
    if fip.router_id is None:
        return await rows.floating_ips.save(tx, fip, ctx.now_us, router_id=router_id, status="ACTIVE")
    if fip.router_id != router_id:
        raise _bad(
            f"The Floating IP {fip.id} had been set on router {fip.router_id}, the internal Neutron port {port.id} can not reach it"
        )
    return fip


async def _check(tx: Transaction, one: PortForwarding) -> None:
    """As many ports inside as outside, or one; none forwarded twice, none reached twice."""
    outer, inner = one.external_last - one.external_first, one.internal_last - one.internal_first
    if inner not in (0, outer):
        raise _bad(
            "Invalid ranges of internal and/or external ports. The relation between internal and external ports must be N-N or 1-N"
        )
    for other in await table.by(tx, "floatingip_id", one.floatingip_id):
        if other.id != one.id and other.protocol == one.protocol and _overlap(one, other, "external"):
            raise _collision("external_port_range", other.external_first, other.external_last, one.external_first, one.external_last)
    for other in await table.by(tx, "internal_port_id", one.internal_port_id):
        same = other.protocol == one.protocol and other.internal_ip_address == one.internal_ip_address
        if other.id != one.id and same and _overlap(one, other, "internal"):
            raise _collision("internal_port_range", other.internal_first, other.internal_last, one.internal_first, one.internal_last)


def _overlap(one: PortForwarding, other: PortForwarding, side: str) -> bool:
    first, last = f"{side}_first", f"{side}_last"
    return bool(getattr(one, first) <= getattr(other, last) and getattr(other, first) <= getattr(one, last))


def _collision(key: str, a: int, b: int, c: int, d: int) -> Invalid:
    return _bad(f"There is a port collision with the {key}. The following ranges collide: {a}:{b} and {c}:{d}")


def _tell(tx: Transaction, fip: FloatingIp, port: Port | None) -> None:
    if fip.router_id is not None:
        look_at(tx, "router", fip.router_id)
    if port is not None:
        changed(tx, port)


async def delete_in(tx: Transaction, ctx: RequestContext, id: str, *, revision: int | None = None) -> None:
    """Forward no more. Raises: NotFound, Forbidden."""
    forwarding = await get(tx, table, "floatingip_port_forwarding", id)
    fip = await get(tx, rows.floating_ips, "floatingip", forwarding.floatingip_id)
    authority.require(ctx, "delete_floatingip_port_forwarding", of_parent(fip))
    await _drop(tx, ctx, forwarding)


async def _drop(tx: Transaction, ctx: RequestContext, forwarding: PortForwarding) -> None:
    fip = await get(tx, rows.floating_ips, "floatingip", forwarding.floatingip_id)
    _tell(tx, fip, await rows.ports.find(tx, forwarding.internal_port_id))
    await table.remove(tx, forwarding.id)
    if not await table.by(tx, "floatingip_id", fip.id) and fip.port_id is None:
        await rows.floating_ips.save(tx, fip, ctx.now_us, router_id=None, status="DOWN")


async def forget_port_in(tx: Transaction, ctx: RequestContext, port_id: str, kept: tuple[FixedIp, ...] = ()) -> None:
    """A port goes, or keeps only some of its addresses: what led to the others leads nowhere."""
    left = {ip.ip_address for ip in kept}
    for forwarding in await table.by(tx, "internal_port_id", port_id):
        if forwarding.internal_ip_address not in left:
            await _drop(tx, ctx, forwarding)
