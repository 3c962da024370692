"""Ports: what a caller may do to them, and what compute does inside its own transactions (network v2.0 api-ref, "Ports")."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec import structs

from moln.kernel.context import RequestContext
from moln.kernel.db import Reader, Transaction
from moln.network.model import addresses
from moln.network.model.networks import Network
from moln.network.model.ports import (
    OWN_OWNERS,
    FixedIp,
    IpAllocation,
    Owner,
    Port,
    PortStatus,
)
from moln.network.ops import addressing, authority, logs, qos, security_groups, segments
from moln.network.ops.common import QUOTA, bad, changed, check_revision, conflict, get, look_at, missing
from moln.network.ops.port_checks import check_owner, check_security, full_pairs, groups_for
from moln.network.store import bindings, rows

Fixed = Sequence[Mapping[str, Any]]


async def find(db: Reader, port_id: str) -> Port | None:
    """The port, whoever asks."""
    return await rows.ports.find(db, port_id)


async def get_visible(db: Reader, ctx: RequestContext, port_id: str) -> Port:
    """The port, if the caller may know of it. Raises: NotFound."""
    port = await rows.ports.find(db, port_id)
    if port is not None:
        network = await get(db, rows.networks, "network", port.network_id)
        if authority.sees(ctx, "port", target(ctx, port, network)):
            return port
    raise missing("port", port_id)


async def of_device(db: Reader, device_id: str, *, project_id: str | None = None) -> list[Port]:
    """Ports of a server or router, in order of creation. project_id: only that project's (as Nova asks: anyone may name any device)."""
    found = await rows.ports.by(db, "device_id", device_id)
    return found if project_id is None else [port for port in found if port.project_id == project_id]


async def of_devices(db: Reader, device_ids: Iterable[str]) -> list[Port]:
    """Ports of several servers, in order of creation."""
    return await rows.ports.by_any(db, "device_id", device_ids)


async def at_address(db: Reader, network_id: str, ip_address: str) -> Port | None:
    """The port that has the address on the network: who asks for metadata (SEC-26)."""
    port_id = await rows.holder_of(db, network_id, ip_address)
    return None if port_id is None else await rows.ports.find(db, port_id)


def target(ctx: RequestContext, port: Port, network: Network) -> authority.Target:
    """A port as policy sees it."""
    return authority.on_network(ctx, port.project_id, network, id=port.id, device_owner=port.device_owner, device_id=port.device_id)


def counted(port: Port) -> bool:
    """Whether the port counts against its project's quota: not what the cloud made for itself."""
    return bool(port.project_id) and port.device_owner != Owner.DISTRIBUTED


async def create_in(
    tx: Transaction,
    ctx: RequestContext,
    *,
    network_id: str,
    project_id: str | None = None,
    set_: frozenset[str] = frozenset(),
    fixed_ips: Fixed | None = None,
    mac_address: str | None = None,
    security_groups: Iterable[str] | None = None,
    port_security_enabled: bool | None = None,
    **fields: Any,
) -> Port:
    """Record a port with its addresses. fixed_ips: None for one of each version, else `{"subnet_id", "ip_address"}`, either or both.

    security_groups: ids; None for the project's default. fields: of Port. `set_`: attributes (wire names) that policy guards.
    Raises: NotFound, Invalid, Forbidden, Conflict (address or MAC taken, none left), OverQuota.
    """
    project = (ctx.project_id or "") if project_id is None else project_id
    network = await rows.networks.find(tx, network_id)
    if network is None or not authority.sees(ctx, "network", authority.of_network(ctx, network)):
        raise missing("network", network_id)
    owner = fields.get("device_owner", "")
    authority.require(ctx, "create_port", authority.on_network(ctx, project, network, device_owner=owner), set_)
    check_owner(ctx, owner)
    await qos.check_usable(tx, ctx, fields.get("qos_policy_id"))
    secured = network.port_security_enabled if port_security_enabled is None else port_security_enabled
    now = ctx.now_us
    port = Port(
        id=ctx.new_id(), network_id=network_id, project_id=project, mac_address=mac_address or addressing.random_mac(ctx),
        port_security_enabled=secured, created_at=now, updated_at=now, **fields,
    )  # fmt: skip
    if port.host_id:
        port = structs.replace(port, vif_type="ovs")
    return await add_in(tx, ctx, network, port, fixed_ips=fixed_ips, groups=security_groups, mac_given=mac_address is not None)


async def add_in(
    tx: Transaction, ctx: RequestContext, network: Network, port: Port, *, fixed_ips: Fixed | None, groups: Iterable[str] | None,
    mac_given: bool = False,
) -> Port:  # fmt: skip
    """Record a port that its caller was allowed to make."""
    if counted(port):
        await QUOTA.charge(tx, port.project_id, port=1)
    while not await rows.ports.add(tx, port, if_absent=True):
        if mac_given:
            raise conflict(
                "MacAddressInUse", f"Unable to complete operation for network {network.id}. The mac address {port.mac_address} is in use."
            )
        port = structs.replace(port, mac_address=addressing.random_mac(ctx))
    ips, allocation = await _first_addresses(tx, ctx, network, port, fixed_ips)
    worn = await groups_for(tx, ctx, port, bool(ips) or allocation == "deferred", groups)
    pairs = full_pairs(port, port.allowed_address_pairs)
    port = structs.replace(port, fixed_ips=ips, ip_allocation=allocation, security_groups=worn, allowed_address_pairs=pairs)
    check_security(port)
    await tx_update(tx, port, fixed_ips=ips, ip_allocation=allocation, security_groups=worn, allowed_address_pairs=pairs)
    await rows.wear(tx, port.id, worn, fresh=True)
    _told(tx, port)
    return port


async def _first_addresses(
    tx: Transaction, ctx: RequestContext, network: Network, port: Port, wanted: Fixed | None
) -> tuple[tuple[FixedIp, ...], IpAllocation]:
    """A new port's addresses, and whether they come now, later, or never."""
    subnets = await rows.subnets.by(tx, "network_id", network.id)
    if wanted is not None:
        ips = await addressing.give(tx, ctx, network, subnets, port, [dict(f) for f in wanted])
        if port.host_id:
            await segments.check_host(tx, port, ips, port.host_id)
        return ips, "immediate" if wanted else "none"
    near = await segments.subnets_at(tx, network, subnets, port.host_id)
    if near is None:
        return (), "deferred"
    return await addressing.give(tx, ctx, network, near, port, None), "immediate"


async def _at_host(tx: Transaction, ctx: RequestContext, network: Network, port: Port) -> dict[str, Any]:
    """What else changes when a port comes to a node: it has its addresses now, where they waited for that. Raises: Conflict."""
    if port.ip_allocation == "deferred" and not port.fixed_ips:
        subnets = await rows.subnets.by(tx, "network_id", network.id)
        near = await segments.subnets_at(tx, network, subnets, port.host_id)
        return {"fixed_ips": await addressing.give(tx, ctx, network, near or [], port, None)}
    await segments.check_host(tx, port, port.fixed_ips, port.host_id)
    return {}


async def tx_update(tx: Transaction, port: Port, **changes: Any) -> None:
    """Write columns of a port without a new revision: part of what made it."""
    await tx.update(rows.ports.table, changes, id=port.id)


def _told(tx: Transaction, port: Port) -> None:
    look_at(tx, "port", port.id)
    if port.dns_name:
        look_at(tx, "names", port.network_id)
    changed(tx, port)


async def update_in(
    tx: Transaction, ctx: RequestContext, id: str, *, set_: frozenset[str], revision: int | None = None, **changes: Any
) -> Port:
    """Change what the caller gave; fixed_ips and security_groups as `create_in` takes them. mac_address: None for a new one.

    Raises: NotFound, Forbidden, Invalid, Conflict, PreconditionFailed.
    """
    port = await get(tx, rows.ports, "port", id)
    network = await get(tx, rows.networks, "network", port.network_id)
    wanted = target(ctx, port, network) | {k: changes[k] for k in ("device_owner", "device_id") if k in changes}
    authority.require(ctx, "update_port", wanted, set_)
    check_revision(port.revision_number, revision)
    if changes.get("qos_policy_id") != port.qos_policy_id:
        await qos.check_usable(tx, ctx, changes.get("qos_policy_id"))
    if changes.get("device_owner", port.device_owner) != port.device_owner:
        check_owner(ctx, changes["device_owner"])
    if port.device_owner in OWN_OWNERS and {"device_id", "device_owner"} & changes.keys():
        raise conflict(
            "UnsupportedPortDeviceOwner", f"Operation update is not supported for device_owner {port.device_owner} on port {id}."
        )
    return await change_in(tx, ctx, network, port, **changes)


async def change_in(tx: Transaction, ctx: RequestContext, network: Network, port: Port, **changes: Any) -> Port:
    """Change a port as its caller was allowed to."""
    fixed_ips, groups = changes.pop("fixed_ips", None), changes.pop("security_groups", None)
    if "mac_address" in changes:
        if port.host_id and changes["mac_address"] != port.mac_address:
            raise conflict(
                "PortBound",
                f"Unable to complete operation on port {port.id}, port is already bound, port type: {port.vif_type}, "
                f"old_mac {port.mac_address}, new_mac {changes['mac_address']}.",
            )
        changes["mac_address"] = changes["mac_address"] or addressing.random_mac(ctx)
        others = await rows.ports.by(tx, "mac_address", changes["mac_address"])
        if any(other.network_id == port.network_id and other.id != port.id for other in others):
            raise conflict(
                "MacAddressInUse",
                f"Unable to complete operation for network {network.id}. The mac address {changes['mac_address']} is in use.",
            )
    if "host_id" in changes:
        changes["vif_type"] = "ovs" if changes["host_id"] else "unbound"
        if changes["host_id"] != port.host_id:  # who has the port waits for it no longer; nobody waits for one that is nowhere
            await bindings.forget(tx, port.id, changes["host_id"] or None)
    new = structs.replace(port, **changes)
    if new.host_id not in ("", port.host_id) and fixed_ips is None:
        changes |= await _at_host(tx, ctx, network, new)
        new = structs.replace(new, **changes)
    if fixed_ips is not None:
        changes["fixed_ips"] = await _readdress(tx, ctx, network, new, fixed_ips)
        new = structs.replace(new, fixed_ips=changes["fixed_ips"])
        from moln.network.ops import port_forwardings

        await port_forwardings.forget_port_in(tx, ctx, port.id, new.fixed_ips)
    if groups is not None:
        changes["security_groups"] = await security_groups.existing(tx, ctx, port.project_id, groups)
        new = structs.replace(new, security_groups=changes["security_groups"])
        await logs.port_changed_in(tx, port, *port.security_groups, *new.security_groups)
        await rows.wear(tx, port.id, new.security_groups)
    if "allowed_address_pairs" in changes:
        changes["allowed_address_pairs"] = full_pairs(new, new.allowed_address_pairs)
        new = structs.replace(new, allowed_address_pairs=changes["allowed_address_pairs"])
    check_security(new)
    if (not new.host_id and port.host_id or not new.admin_state_up and port.admin_state_up) and not new.trusted:
        changes["status"] = PortStatus.DOWN
    if port.dns_name and {"dns_name", "dns_domain"} & changes.keys():
        look_at(tx, "names", port.network_id)
    if changes.get("host_id", port.host_id) != port.host_id:
        for fip in await rows.floating_ips.by(tx, "port_id", port.id):  # its NAT is on the port's own node
            if fip.router_id:
                look_at(tx, "router", fip.router_id)
    changed(tx, port)
    port = await rows.ports.save(tx, port, ctx.now_us, **changes)
    _told(tx, port)
    return port


async def _readdress(tx: Transaction, ctx: RequestContext, network: Network, port: Port, wanted: Fixed) -> tuple[FixedIp, ...]:
    """Give back what is no longer asked for, take what is new; an address asked for by its subnet alone keeps the one it has."""
    keep: list[FixedIp] = []
    fresh: list[dict[str, Any]] = []
    for request in wanted:
        address = request.get("ip_address")
        text = str(addresses.parse_address(address)) if address is not None else None
        match = [
            ip
            for ip in port.fixed_ips
            if ip not in keep and request.get("subnet_id") in (None, ip.subnet_id) and text in (None, ip.ip_address)
        ]
        if match and (text is not None or request.get("subnet_id") is not None):
            keep.append(match[0])
        else:
            fresh.append(dict(request))
    subnets = await rows.subnets.by(tx, "network_id", network.id)
    auto = {s.id for s in subnets if s.is_auto_address}
    keep += [ip for ip in port.fixed_ips if ip.subnet_id in auto and ip not in keep and list(wanted)]
    lost = [ip for ip in port.fixed_ips if ip not in keep]
    for fip in await rows.floating_ips.by(tx, "port_id", port.id):
        if any(ip.ip_address == fip.fixed_ip_address for ip in lost):
            raise bad(
                "port",
                f"Cannot update the fixed_ips of the port {port.id}, because its original fixed_ip has been associated to a floating ip",
            )
    for ip in lost:
        await rows.let_go(tx, port.id, ip)
    got: tuple[FixedIp, ...] = ()
    if fresh:
        manual = [s for s in subnets if s.id not in auto or s.id not in {ip.subnet_id for ip in keep}]
        got = await addressing.give(tx, ctx, network, manual, port, fresh)
    return (*keep, *got)


async def bind_in(
    tx: Transaction, ctx: RequestContext, port_id: str, *, device_id: str, device_owner: str, host_id: str, dns_name: str = ""
) -> Port:
    """A server takes a port, or moves with it to another node. Raises: NotFound, Conflict when another device has it."""
    port = await get_visible(tx, ctx, port_id)
    if port.device_id and port.device_id != device_id:
        raise conflict(
            "PortInUse",
            f"Unable to complete operation on port {port_id} for network {port.network_id}. "
            f"Port already has an attached device {port.device_id}.",
        )
    network = await get(tx, rows.networks, "network", port.network_id)
    return await change_in(
        tx, ctx, network, port, device_id=device_id, device_owner=device_owner, host_id=host_id, dns_name=dns_name or port.dns_name
    )


async def unbind_in(tx: Transaction, ctx: RequestContext, port_id: str) -> None:
    """A server leaves a port that stays; silent when the port is gone."""
    port = await rows.ports.find(tx, port_id)
    if port is not None:
        network = await get(tx, rows.networks, "network", port.network_id)
        await change_in(tx, ctx, network, port, device_id="", device_owner="", host_id="", dns_name="", profile={})


async def delete_in(tx: Transaction, ctx: RequestContext, port_id: str) -> None:
    """Remove a port that compute made; silent when it is gone."""
    port = await rows.ports.find(tx, port_id)
    if port is not None:
        await drop_in(tx, ctx, port)


async def remove_in(tx: Transaction, ctx: RequestContext, id: str, *, revision: int | None = None) -> None:
    """Remove a port for an API caller. Raises: NotFound, Forbidden, Conflict when it belongs to a router or floating address."""
    port = await get(tx, rows.ports, "port", id)
    network = await get(tx, rows.networks, "network", port.network_id)
    authority.require(ctx, "delete_port", target(ctx, port, network))
    check_revision(port.revision_number, revision)
    if port.device_owner in (Owner.ROUTER_INTERFACE, Owner.ROUTER_GATEWAY, Owner.FLOATING_IP):
        raise conflict("ServicePortInUse", f"Port {id} cannot be deleted directly via the port API: has device owner {port.device_owner}.")
    from moln.network.ops import trunks

    await trunks.check_free_in(tx, id)
    await drop_in(tx, ctx, port)


async def drop_in(tx: Transaction, ctx: RequestContext, port: Port) -> None:
    """Remove a port: its floating addresses come loose, its addresses are free."""
    from moln.network.ops import floating_ips, port_forwardings, trunks

    await logs.forget_in(tx, "target_id", port.id)
    await floating_ips.loosen_in(tx, ctx, port.id)
    await trunks.forget_port_in(tx, ctx, port.id)
    await port_forwardings.forget_port_in(tx, ctx, port.id)
    await rows.let_go(tx, port.id)
    await bindings.forget(tx, port.id)
    await rows.wear(tx, port.id, ())
    await rows.part(tx, port.id)
    await rows.set_tags(tx, port.id, ())
    if await rows.ports.remove(tx, port.id) and counted(port):
        await QUOTA.refund(tx, port.project_id, port=1)
    _told(tx, port)


async def heard_in(tx: Transaction, now_us: int, ups: Mapping[str, bool]) -> None:
    """What the engine says of ports: carried (ACTIVE) or not (DOWN). A port that is gone or said so already is left alone."""
    for port in await rows.ports.some(tx, ups):
        status = PortStatus.ACTIVE if ups[port.id] and port.admin_state_up else PortStatus.DOWN
        if port.status in (PortStatus.NOT_APPLICABLE, status):
            continue
        await rows.ports.save(tx, port, now_us, status=status)
        changed(tx, port)
