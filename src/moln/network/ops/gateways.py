"""Gateways of routers: the first (`external_gateway_info`) and others beside it (network v2.0 api-ref, "Routers", external-gateway-multihoming).

Each is a port of an external network whose device is the router; the router's row names the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from moln.kernel.context import RequestContext
from moln.kernel.db import Reader, Transaction
from moln.kernel.errors import Invalid
from moln.network.model import addresses
from moln.network.model.networks import Network
from moln.network.model.ports import Owner, Port, PortStatus
from moln.network.model.routers import Router
from moln.network.model.subnets import Subnet
from moln.network.ops import addressing, authority, ports, qos
from moln.network.ops.common import bad, check_revision, conflict, get, look_at, missing
from moln.network.store import rows

Gateway = dict[str, Any]  # external_gateway_info: network_id, enable_snat, external_fixed_ips, qos_policy_id


def ordered(router: Router, found: Sequence[Port]) -> list[Port]:
    """A router's gateway ports out of its ports, the first gateway first."""
    gates = [p for p in found if p.device_owner == Owner.ROUTER_GATEWAY]
    return sorted(gates, key=lambda p: p.id != router.gateway_port_id)


async def ports_of(db: Reader, router: Router) -> list[Port]:
    """A router's gateway ports, the first gateway first."""
    return ordered(router, await rows.ports.by(db, "device_id", router.id))


async def leads_to(db: Reader, router: Router, network_id: str) -> bool:
    """Whether one of its gateways is on the network."""
    return any(p.network_id == network_id for p in await ports_of(db, router))


async def _outside(tx: Transaction, ctx: RequestContext, network_id: str, wanted: Sequence[dict[str, Any]]) -> tuple[Network, list[Subnet]]:
    """The external network that a gateway is to be on. Raises: NotFound, Invalid."""
    network = await rows.networks.find(tx, network_id)
    if network is None or not authority.sees(ctx, "network", authority.of_network(ctx, network)):
        raise missing("network", network_id)
    if not network.external:
        raise bad("router", f"Network {network_id} is not an external network")
    subnets = await rows.subnets.by(tx, "network_id", network_id)
    for ip in wanted:
        if ip.get("ip_address") is not None and any(s.gateway_ip == ip["ip_address"] for s in subnets):
            raise bad("router", f"External IP {ip['ip_address']} is the same as the gateway IP")
    return network, subnets


async def check_no_overlap(tx: Transaction, router: Router, subnet_id: str, cidr: str, beside: str = "") -> None:
    """Refuse a subnet whose addresses the router knows elsewhere. beside: a network whose gateways may share it."""
    mine = [p for p in await rows.ports.by(tx, "device_id", router.id) if p.device_owner.startswith("network:router_")]
    mine = [p for p in mine if not (beside and p.network_id == beside and p.device_owner == Owner.ROUTER_GATEWAY)]
    for other in await rows.subnets.some(tx, [ip.subnet_id for p in mine for ip in p.fixed_ips]):
        if other.id == subnet_id:
            raise bad("router", f"Router already has a port on subnet {subnet_id}")
        if addresses.overlap(cidr, other.cidr):
            raise bad("router", f"Cidr {cidr} of subnet {subnet_id} overlaps with cidr {other.cidr} of subnet {other.id}")


async def _open(tx: Transaction, ctx: RequestContext, router: Router, network: Network, subnets: list[Subnet], wanted: Any) -> Port:
    """A gateway port more."""
    for subnet in subnets:
        await check_no_overlap(tx, router, subnet.id, subnet.cidr, beside=network.id)
    now = ctx.now_us
    port = Port(
        id=ctx.new_id(), network_id=network.id, project_id="", mac_address=addressing.random_mac(ctx), device_id=router.id,
        device_owner=Owner.ROUTER_GATEWAY, port_security_enabled=False, status=PortStatus.ACTIVE, created_at=now, updated_at=now,
    )  # fmt: skip
    port = await ports.add_in(tx, ctx, network, port, fixed_ips=wanted or None, groups=())
    if not port.fixed_ips and subnets:
        raise conflict("IpAddressGenerationFailure", f"No more IP addresses available on network {network.id}.")
    return port


async def set_in(tx: Transaction, ctx: RequestContext, router: Router, gateway: Gateway) -> Router:
    """Make the first gateway what is asked for. Raises: NotFound, Invalid, Conflict."""
    network_id = gateway.get("network_id") or router.gateway_network_id or ""
    wanted = gateway.get("external_fixed_ips")
    network, subnets = await _outside(tx, ctx, network_id, wanted or ())
    if "qos_policy_id" in gateway and gateway["qos_policy_id"] != router.qos_policy_id:
        await qos.check_usable(tx, ctx, gateway["qos_policy_id"])
    policy_id = gateway.get("qos_policy_id", router.qos_policy_id)
    snat = gateway.get("enable_snat")
    snat = (router.enable_snat if router.gateway_port_id else True) if snat is None else snat
    if router.gateway_network_id not in (None, network_id):
        router = await _drop_first(tx, ctx, router)
    if router.gateway_port_id is None:
        port = await _open(tx, ctx, router, network, subnets, wanted)
        return await rows.routers.save(
            tx, router, ctx.now_us, gateway_network_id=network_id, gateway_port_id=port.id, enable_snat=snat, qos_policy_id=policy_id
        )
    if wanted:
        port = await get(tx, rows.ports, "port", router.gateway_port_id)
        await ports.change_in(tx, ctx, network, port, fixed_ips=wanted)
    return await rows.routers.save(tx, router, ctx.now_us, enable_snat=snat, qos_policy_id=policy_id)


async def _check_not_needed(tx: Transaction, router: Router, gate: Port) -> None:
    """Refuse to take away the last gateway to a network that floating addresses are of."""
    on_it = [p for p in await ports_of(tx, router) if p.network_id == gate.network_id]
    fips = await rows.floating_ips.by(tx, "router_id", router.id)
    if len(on_it) == 1 and any(f.floating_network_id == gate.network_id for f in fips):
        raise conflict(
            "RouterExternalGatewayInUseByFloatingIp",
            f"Gateway cannot be updated for router {router.id}, since a gateway to external network {gate.network_id} "
            "is required by one or more floating IPs.",
        )


async def _drop_first(tx: Transaction, ctx: RequestContext, router: Router) -> Router:
    port = await get(tx, rows.ports, "port", router.gateway_port_id or "")
    await _check_not_needed(tx, router, port)
    router = await rows.routers.save(tx, router, ctx.now_us, gateway_network_id=None, gateway_port_id=None)
    await ports.drop_in(tx, ctx, port)
    return router


async def clear_in(tx: Transaction, ctx: RequestContext, router: Router) -> Router:
    """Take the first gateway away; another takes its place, if there is one. Raises: Conflict while floating addresses need it."""
    if router.gateway_port_id is None:
        return router
    router = await _drop_first(tx, ctx, router)
    others = await ports_of(tx, router)
    if others:
        return await rows.routers.save(tx, router, ctx.now_us, gateway_network_id=others[0].network_id, gateway_port_id=others[0].id)
    return await rows.routers.save(tx, router, ctx.now_us, enable_snat=True, qos_policy_id=None)


async def clear_all_in(tx: Transaction, ctx: RequestContext, router: Router) -> Router:
    """Take all gateways away. Raises: Conflict."""
    while router.gateway_port_id is not None:
        router = await clear_in(tx, ctx, router)
    return router


def _match(router: Router, gates: Sequence[Port], wanted: Gateway) -> Port | None:
    """The gateway that is meant: by its network, and by its addresses where they are told or several are there. Raises: Invalid."""
    there = [p for p in gates if p.network_id == wanted["network_id"]]
    asked = {ip.get("ip_address") for ip in wanted.get("external_fixed_ips") or ()} - {None}
    if asked:
        return next((p for p in there if asked & {ip.ip_address for ip in p.fixed_ips}), None)
    if len(there) > 1:
        raise _unmatched(router, f"multiple gateway ports are attached to the same network {wanted['network_id']} but external_fixed_ips is not given")
    return there[0] if there else None


def _unmatched(router: Router, reason: str) -> Invalid:
    return Invalid(f"Unable to match a requested gateway port to existing gateway ports for router {router.id}: {reason}", type="UnableToMatchGateways")


async def change_in(
    tx: Transaction, ctx: RequestContext, id: str, action: str, wanted: Sequence[Gateway], *, set_: frozenset[str], revision: int | None
) -> Router:
    """`add_external_gateways`, `update_external_gateways` (make them exactly these) or `remove_external_gateways`.

    Raises: NotFound, Forbidden, Invalid, Conflict, PreconditionFailed.
    """
    router = await get(tx, rows.routers, "router", id)
    authority.require(ctx, action, authority.of_project(router.project_id), set_)
    check_revision(router.revision_number, revision)
    change = {"add_external_gateways": _add, "update_external_gateways": _replace, "remove_external_gateways": _remove}[action]
    router = await change(tx, ctx, router, wanted)
    look_at(tx, "router", id)
    return router


async def _add(tx: Transaction, ctx: RequestContext, router: Router, wanted: Sequence[Gateway]) -> Router:
    for gateway in wanted:
        if router.gateway_port_id is None:
            router = await set_in(tx, ctx, router, gateway)
            continue
        fixed_ips = gateway.get("external_fixed_ips") or ()
        network, subnets = await _outside(tx, ctx, gateway["network_id"], fixed_ips)
        await _open(tx, ctx, router, network, subnets, fixed_ips)
        router = await rows.routers.bump(tx, router, ctx.now_us)
    return router


async def _remove(tx: Transaction, ctx: RequestContext, router: Router, wanted: Sequence[Gateway]) -> Router:
    if wanted and router.gateway_port_id is None:
        raise Invalid(
            f"Unable to remove extra gateways from a router {router.id}: the router does not have any external gateways", type="UnableToRemoveGateways"
        )
    for gateway in wanted:
        found = _match(router, await ports_of(tx, router), gateway)
        if found is None:
            raise _unmatched(router, f"there is none on network {gateway['network_id']} with these addresses")
        router = await _close(tx, ctx, router, found)
    return router


async def _close(tx: Transaction, ctx: RequestContext, router: Router, gate: Port) -> Router:
    if gate.id == router.gateway_port_id:
        return await clear_in(tx, ctx, router)
    await _check_not_needed(tx, router, gate)
    await ports.drop_in(tx, ctx, gate)
    return await rows.routers.bump(tx, router, ctx.now_us)


async def _replace(tx: Transaction, ctx: RequestContext, router: Router, wanted: Sequence[Gateway]) -> Router:
    if not wanted:
        return await clear_all_in(tx, ctx, router)
    left = await ports_of(tx, router)
    for place, gateway in enumerate(wanted):
        gate = _match(router, left, gateway)
        fixed_ips = gateway.get("external_fixed_ips") or ()
        network, subnets = await _outside(tx, ctx, gateway["network_id"], fixed_ips)
        if gate is None:
            gate = await _open(tx, ctx, router, network, subnets, fixed_ips)
        else:
            left = [p for p in left if p.id != gate.id]
            if fixed_ips:
                await ports.change_in(tx, ctx, network, gate, fixed_ips=fixed_ips)
        if place == 0:
            router = await rows.routers.save(tx, router, ctx.now_us, gateway_network_id=network.id, gateway_port_id=gate.id)
            router = await set_in(tx, ctx, router, {k: v for k, v in gateway.items() if k != "external_fixed_ips"})
    for gate in left:
        router = await _close(tx, ctx, router, gate)
    return router
