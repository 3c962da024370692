"""Floating addresses: what a caller may do to them (network v2.0 api-ref, "Floating IPs")."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from moln.kernel.context import RequestContext
from moln.kernel.db import Reader, Transaction
from moln.kernel.errors import Conflict, NotFound
from moln.network.model import addresses
from moln.network.model.ports import Owner, Port, PortStatus
from moln.network.model.routers import FloatingIp
from moln.network.ops import addressing, authority, gateways, ports, qos
from moln.network.ops.common import QUOTA, bad, changed, check_revision, conflict, get, look_at, missing
from moln.network.store import rows
from moln.network.store.port_forwardings import port_forwardings as table


async def of_ports(db: Reader, port_ids: Iterable[str]) -> list[FloatingIp]:
    """Floating addresses of these ports."""
    return await rows.floating_ips.by_any(db, "port_id", port_ids)


async def create_in(
    tx: Transaction, ctx: RequestContext, *, project_id: str, floating_network_id: str, set_: frozenset[str] = frozenset(),
    floating_ip_address: str | None = None, subnet_id: str | None = None, port_id: str | None = None, fixed_ip_address: str | None = None,
    router_id: str | None = None, **fields: Any,
) -> FloatingIp:  # fmt: skip
    """Take an address of an external network, and give it to a port if one is named.

    Raises: NotFound, Invalid, Forbidden, Conflict, OverQuota.
    """
    authority.require(ctx, "create_floatingip", authority.of_project(project_id), set_)
    network = await rows.networks.find(tx, floating_network_id)
    if network is None or not authority.sees(ctx, "network", authority.of_network(ctx, network)):
        raise missing("network", floating_network_id)
    if not network.external:
        raise bad("floatingip", f"Network {floating_network_id} is not a valid external network")
    subnets = [s for s in await rows.subnets.by(tx, "network_id", floating_network_id) if s.ip_version == 4]
    if not subnets:
        raise bad("floatingip", f"Network {floating_network_id} does not contain any IPv4 subnet")
    await qos.check_usable(tx, ctx, fields.get("qos_policy_id"))
    await QUOTA.charge(tx, project_id, floatingip=1)
    now, id = ctx.now_us, ctx.new_id()
    outer = Port(
        id=ctx.new_id(), network_id=network.id, project_id="", mac_address=addressing.random_mac(ctx), device_id=id,
        device_owner=Owner.FLOATING_IP, status=PortStatus.NOT_APPLICABLE, port_security_enabled=False, created_at=now, updated_at=now,
    )  # fmt: skip
    asked = {k: v for k, v in (("subnet_id", subnet_id), ("ip_address", floating_ip_address)) if v is not None}
    outer = await _outer(tx, ctx, network, outer, asked, [s.id for s in subnets])
    fip = FloatingIp(
        id=id, project_id=project_id, floating_network_id=network.id, floating_ip_address=outer.fixed_ips[0].ip_address,
        floating_port_id=outer.id, created_at=now, updated_at=now, **fields,
    )  # fmt: skip
    await rows.floating_ips.add(tx, fip)
    if port_id is not None:
        fip = await _associate(tx, ctx, fip, port_id, fixed_ip_address, router_id)
    elif router_id is not None:
        raise bad("floatingip", "router_id cannot be specified without a port_id")
    elif fixed_ip_address is not None:
        raise bad("floatingip", "fixed_ip_address cannot be specified without a port_id")
    return fip


async def _outer(tx: Transaction, ctx: RequestContext, network: Any, port: Port, asked: dict[str, Any], subnet_ids: list[str]) -> Port:
    """The port that holds the address on the external network."""
    tries = [asked] if asked else [{"subnet_id": id} for id in subnet_ids]
    for number, request in enumerate(tries):
        try:
            return await ports.add_in(tx, ctx, network, port, fixed_ips=[request], groups=())
        except Conflict as full:
            if full.type != "IpAddressGenerationFailure" or number == len(tries) - 1:
                raise
            await ports.drop_in(tx, ctx, port)
    raise conflict("IpAddressGenerationFailure", f"No more IP addresses available on network {network.id}.")


async def update_in(
    tx: Transaction, ctx: RequestContext, id: str, *, set_: frozenset[str], revision: int | None = None, **changes: Any
) -> FloatingIp:
    """Give the address to another port (port_id), to none (port_id None), or describe it. Raises: NotFound, Forbidden, Invalid, Conflict."""
    fip = await get(tx, rows.floating_ips, "floatingip", id)
    authority.require(ctx, "update_floatingip", authority.of_project(fip.project_id), set_)
    check_revision(fip.revision_number, revision)
    if not changes:  # once an address had nothing but its port, and an empty change meant none (Neutron keeps to it)
        changes = {"port_id": None}
    port_id, fixed = changes.pop("port_id", fip.port_id), changes.pop("fixed_ip_address", None)
    router_id = changes.pop("router_id", None)
    if router_id is not None and port_id is None:
        raise bad("floatingip", "router_id cannot be specified without a port_id")
    if fixed is not None and port_id is None:
        raise bad("floatingip", "fixed_ip_address cannot be specified without a port_id")
    if changes.get("qos_policy_id") != fip.qos_policy_id:
        await qos.check_usable(tx, ctx, changes.get("qos_policy_id"))
    if "qos_policy_id" in changes:
        await _told(tx, fip)
    if changes:
        fip = await rows.floating_ips.save(tx, fip, ctx.now_us, **changes)
    if port_id is None:
        return await _loosen(tx, ctx, fip) if fip.port_id is not None else fip
    if port_id == fip.port_id and fixed in (None, fip.fixed_ip_address) and router_id in (None, fip.router_id):
        return fip
    return await _associate(tx, ctx, fip, port_id, fixed, router_id)


def _forwarded(id: str) -> Conflict:
    return conflict("FipInUseByPortForwarding", f"Floating IP {id} in use by Port Forwarding resources.")


async def _associate(
    tx: Transaction, ctx: RequestContext, fip: FloatingIp, port_id: str, fixed: str | None, router_id: str | None
) -> FloatingIp:
    if await table.by(tx, "floatingip_id", fip.id):
        raise _forwarded(fip.id)
    port = await rows.ports.find(tx, port_id)
    if port is None:
        raise missing("port", port_id)
    if port.project_id != fip.project_id and not ctx.is_admin:
        network = await get(tx, rows.networks, "network", port.network_id)
        if not authority.sees(ctx, "port", ports.target(ctx, port, network)):
            raise missing("port", port_id)
        raise bad(
            "floatingip", f"Cannot process floating IP association with Port {port_id}, since that port is owned by a different project"
        )
    if port.device_owner in (Owner.ROUTER_GATEWAY, Owner.ROUTER_INTERFACE, Owner.FLOATING_IP, Owner.DISTRIBUTED, Owner.DHCP):
        raise bad("floatingip", f"Port {port_id} is unable to be assigned a floating IP")
    inner = [ip for ip in port.fixed_ips if ":" not in ip.ip_address]
    if fixed is not None:
        if addresses.parse_address(fixed, field="fixed_ip_address").version != 4:
            raise bad("floatingip", f"Cannot process floating IP association with {fixed}, since that is not an IPv4 address")
        inner = [ip for ip in inner if ip.ip_address == fixed]
        if not inner:
            raise bad("floatingip", f"Port {port_id} does not have fixed ip {fixed}")
    if not inner:
        raise bad("floatingip", f"Cannot add floating IP to port {port_id} that has no fixed IPv4 addresses")
    if len(inner) > 1:
        raise bad(
            "floatingip",
            f"Port {port_id} has multiple fixed IPv4 addresses.  Must provide a specific IPv4 address when assigning a floating IP",
        )
    if router_id is None:
        router_id = await router_for(tx, inner[0].subnet_id, fip.floating_network_id, port_id)
    else:
        await _check_router(tx, ctx, fip, router_id)
    for other in await rows.floating_ips.by(tx, "port_id", port_id):
        same = other.fixed_ip_address == inner[0].ip_address and other.floating_network_id == fip.floating_network_id
        if same and other.id != fip.id:
            raise conflict(
                "FloatingIPPortAlreadyAssociated",
                f"Cannot associate floating IP {fip.floating_ip_address} ({fip.id}) with port {port_id} using fixed IP "
                f"{inner[0].ip_address}, as that fixed IP already has a floating IP on external network {fip.floating_network_id}.",
            )
    await _told(tx, fip)
    fip = await rows.floating_ips.save(
        tx, fip, ctx.now_us, port_id=port_id, fixed_ip_address=inner[0].ip_address, router_id=router_id, status="ACTIVE"
    )
    await _told(tx, fip)
    return fip


async def _check_router(tx: Transaction, ctx: RequestContext, fip: FloatingIp, router_id: str) -> None:
    """A router that the caller chose leads to the address's network; how it reaches the port is the caller's own affair (its routes)."""
    router = await rows.routers.find(tx, router_id)
    if router is None or not authority.sees(ctx, "router", authority.of_project(router.project_id)):
        raise missing("router", router_id)
    if not await gateways.leads_to(tx, router, fip.floating_network_id):
        raise conflict(
            "FloatingIPRouterNotOnNetwork", f"Router {router_id} has no gateway on external network {fip.floating_network_id}."
        )


async def router_for(tx: Transaction, subnet_id: str, network_id: str, port_id: str) -> str:
    """The router that joins the port's subnet and the external network; the one at the subnet's gateway address comes first."""
    subnet = await get(tx, rows.subnets, "subnet", subnet_id)
    found: list[str] = []
    for meeting in await rows.meetings_in(tx, [subnet_id]):
        router = await rows.routers.find(tx, meeting.router_id)
        if router is not None and await gateways.leads_to(tx, router, network_id):
            port = await rows.ports.find(tx, meeting.port_id)
            at_gateway = port is not None and any(ip.ip_address == subnet.gateway_ip for ip in port.fixed_ips)
            found.insert(0 if at_gateway else len(found), router.id)
    if not found:
        raise NotFound(
            f"External network {network_id} is not reachable from subnet {subnet_id}.  Therefore, cannot associate Port {port_id} "
            "with a Floating IP.",
            type="ExternalGatewayForFloatingIPNotFound",
        )
    return found[0]


async def _told(tx: Transaction, fip: FloatingIp) -> None:
    if fip.router_id is not None:
        look_at(tx, "router", fip.router_id)
    if fip.port_id is not None:
        port = await rows.ports.find(tx, fip.port_id)
        if port is not None:
            changed(tx, port)


async def _loosen(tx: Transaction, ctx: RequestContext, fip: FloatingIp) -> FloatingIp:
    await _told(tx, fip)
    return await rows.floating_ips.save(tx, fip, ctx.now_us, port_id=None, fixed_ip_address=None, router_id=None, status="DOWN")


async def loosen_in(tx: Transaction, ctx: RequestContext, port_id: str) -> None:
    """Take every floating address off a port that goes."""
    for fip in await rows.floating_ips.by(tx, "port_id", port_id):
        await _loosen(tx, ctx, fip)


async def delete_in(tx: Transaction, ctx: RequestContext, id: str, *, revision: int | None = None) -> None:
    """Give the address back. Raises: NotFound, Forbidden, PreconditionFailed."""
    fip = await get(tx, rows.floating_ips, "floatingip", id)
    authority.require(ctx, "delete_floatingip", authority.of_project(fip.project_id))
    check_revision(fip.revision_number, revision)
    if await table.by(tx, "floatingip_id", id):
        raise _forwarded(id)
    await drop_in(tx, ctx, fip)


async def idle_on(db: Reader, network_id: str) -> list[FloatingIp]:
    """Addresses of an external network that stand for nothing: they go with it."""
    return [f for f in await rows.floating_ips.by(db, "floating_network_id", network_id) if f.port_id is None and f.router_id is None]


async def drop_in(tx: Transaction, ctx: RequestContext, fip: FloatingIp) -> None:
    """Give an address back as its caller was allowed to."""
    await _told(tx, fip)
    await rows.set_tags(tx, fip.id, ())
    await rows.floating_ips.remove(tx, fip.id)
    await QUOTA.refund(tx, fip.project_id, floatingip=1)
    if (outer := await rows.ports.find(tx, fip.floating_port_id)) is not None:
        await ports.drop_in(tx, ctx, outer)
