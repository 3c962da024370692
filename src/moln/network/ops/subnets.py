"""Subnets: what a caller may do to them (network v2.0 api-ref, "Subnets")."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Any

from msgspec import structs

from moln.kernel.context import RequestContext
from moln.kernel.db import Reader, Transaction
from moln.kernel.errors import Invalid
from moln.network.model import addresses
from moln.network.model.addresses import Cidr, Pool
from moln.network.model.ports import AUTO_DELETED, METADATA_DEVICE, ROUTER_OWNERS, FixedIp, Owner, Port
from moln.network.model.subnets import MOST_HOST_ROUTES, MOST_NAMESERVERS, Route, Subnet, check_ipv6_modes
from moln.network.ops import addressing, authority, networks, segments, subnet_pools
from moln.network.ops.common import QUOTA, bad, changed, check_revision, conflict, get, invalid, look_at, serve_metadata
from moln.network.store import rows


async def of_networks(db: Reader, network_ids: Iterable[str]) -> list[Subnet]:
    """All subnets of these networks."""
    return await rows.subnets.by_any(db, "network_id", network_ids)


async def create_in(tx: Transaction, ctx: RequestContext, *, project_id: str, set_: frozenset[str] = frozenset(), **fields: Any) -> Subnet:
    """Record a subnet. gateway_ip: "" for the first address, None for none; allocation_pools: None for all but the gateway.

    Raises: NotFound, Invalid, Forbidden, Conflict, OverQuota.
    """
    network = await get(tx, rows.networks, "network", fields["network_id"])
    authority.require(ctx, "create_subnet", authority.on_network(ctx, project_id, network), set_)
    await QUOTA.charge(tx, project_id, subnet=1)
    there = await rows.subnets.by(tx, "network_id", network.id)
    await segments.check_subnet(tx, network, fields.get("segment_id"), there)
    cidr, pool = await _cidr(tx, ctx, project_id, fields, there)
    for other in there:
        if addresses.overlap(other.cidr, str(cidr)):
            raise invalid(f"Requested subnet with cidr: {cidr} for network: {network.id} overlaps with another subnet")
    networks.check_mtu(network, cidr.version)
    gateway, pools = fields.pop("gateway_ip", ""), fields.pop("allocation_pools", None)
    if gateway == "":
        gateway = _first_address(cidr, pools)
    if gateway is not None:
        gateway = _checked_gateway(cidr, gateway)
    if pools is None:
        pools = addresses.default_pools(cidr, gateway)
    else:
        addresses.check_pools(cidr, pools, gateway)
    check_ipv6_modes(fields["ip_version"], cidr, fields["enable_dhcp"], fields["ipv6_ra_mode"], fields["ipv6_address_mode"])
    _check_lists(fields.get("dns_nameservers", ()), fields.get("host_routes", ()), "new subnet")
    now = ctx.now_us
    subnet = Subnet(
        id=ctx.new_id(), project_id=project_id, cidr=str(cidr), gateway_ip=gateway, allocation_pools=tuple(pools),
        subnetpool_id=pool, created_at=now, updated_at=now, **fields,
    )  # fmt: skip
    await rows.subnets.add(tx, subnet)
    await rows.networks.bump(tx, network, now)
    look_at(tx, "subnet", subnet.id)
    if subnet.is_auto_address:
        await _give_auto_addresses(tx, ctx, subnet)
    await settle_metadata(tx, ctx, subnet)
    return subnet


async def _cidr(
    tx: Transaction, ctx: RequestContext, project_id: str, fields: dict[str, Any], there: Iterable[Subnet]
) -> tuple[Cidr, str | None]:
    """The subnet's CIDR, as given or cut from a pool, and that pool's id; takes what it reads out of `fields`."""
    text, length = fields.pop("cidr", None), fields.pop("prefixlen", None)
    pool_id, use_default = fields.pop("subnetpool_id", None), fields.pop("use_default_subnetpool", False)
    version = fields["ip_version"]
    if text is not None and length is not None:
        raise bad("subnets", "cidr and prefixlen must not be supplied together")
    pool = await subnet_pools.named_in(tx, ctx, pool_id, use_default, version)
    if pool is None and text is None:
        raise bad("subnets", "a subnetpool must be specified in the absence of a cidr")
    cidr = None
    if text is not None:
        cidr = addresses.parse_cidr(text, host_bits=True)
        _check_cidr(cidr, version)
    await subnet_pools.check_same_pool(tx, [s for s in there if s.ip_version == version], pool)
    if pool is None:
        assert cidr is not None
        return cidr, None
    if pool.ip_version != version:
        raise bad("subnets", f"Cannot allocate IPv{version} subnet from IPv{pool.ip_version} subnet pool")
    if cidr is None and fields.get("allocation_pools"):
        raise bad("subnets", "allocation_pools allowed only for specific subnet requests.")
    return await subnet_pools.take_in(tx, pool, project_id, cidr, length), pool.id


def _check_cidr(cidr: Cidr, version: int) -> None:
    if cidr.version != version:
        raise invalid(f"CIDR '{cidr}' does not match the ip_version '{version}'")
    if cidr.prefixlen == 0:
        raise invalid("0 is not allowed as CIDR prefix length")
    if cidr.is_multicast:
        raise invalid("Multicast IP subnet is not supported")
    if cidr.is_loopback or cidr.is_unspecified:
        raise invalid("Loopback IP subnet is not supported")


def _first_address(cidr: Cidr, pools: Any) -> str | None:
    if cidr.prefixlen >= cidr.max_prefixlen:
        return None
    first = cidr.network_address + (0 if cidr.version == 4 and cidr.prefixlen == 31 else 1)
    text = str(first)
    if pools and any(int(ipaddress.ip_address(p.start)) <= int(first) <= int(ipaddress.ip_address(p.end)) for p in pools):
        raise conflict(
            "GatewayConflictWithAllocationPools", f"Gateway ip {text} conflicts with allocation pool {pools[0].start}-{pools[0].end}."
        )
    return text


def _checked_gateway(cidr: Cidr, gateway: str) -> str:
    place = addresses.parse_address(gateway, field="gateway_ip")
    if place.version != cidr.version:
        raise invalid(f"gateway_ip '{gateway}' does not match the ip_version '{cidr.version}'")
    edges = (cidr.network_address, cidr.broadcast_address) if cidr.version == 4 and cidr.prefixlen < 31 else ()
    if place in edges or place not in cidr and not (cidr.version == 6 and place.is_link_local):
        raise invalid("Gateway is not valid on subnet")
    return str(place)


def _check_lists(servers: Iterable[str], routes: Iterable[Route], name: str) -> None:
    if len(list(servers)) > MOST_NAMESERVERS:
        raise Invalid(
            f"Unable to complete operation for {name}. The number of DNS nameservers exceeds the limit {MOST_NAMESERVERS}.",
            type="DNSNameServersExhausted",
        )
    if len(list(routes)) > MOST_HOST_ROUTES:
        raise Invalid(
            f"Unable to complete operation for {name}. The number of host routes exceeds the limit {MOST_HOST_ROUTES}.",
            type="HostRoutesExhausted",
        )


async def _give_auto_addresses(tx: Transaction, ctx: RequestContext, subnet: Subnet) -> None:
    """Hosts that are there already will take an address of a new SLAAC subnet: record it."""
    for port in await rows.ports.by(tx, "network_id", subnet.network_id):
        if port.device_owner in (*ROUTER_OWNERS, Owner.FLOATING_IP, *AUTO_DELETED):
            continue
        ip = await addressing.this_one(tx, subnet, addresses.eui64(subnet.cidr, port.mac_address), port.id)
        await rows.ports.save(tx, port, ctx.now_us, fixed_ips=(*port.fixed_ips, ip))
        look_at(tx, "port", port.id)
        if port.dns_name:
            look_at(tx, "names", port.network_id)
        changed(tx, port)


async def settle_metadata(tx: Transaction, ctx: RequestContext, subnet: Subnet) -> None:
    """Give the network's metadata port an address in each IPv4 subnet with DHCP, and none elsewhere; make it when it is missing.

    It is the project's, as in Neutron with OVN, but counts against no quota: nobody asked for it.
    """
    if not ctx.settings.network.metadata or subnet.ip_version != 4:
        return
    port = next((p for p in await rows.ports.by(tx, "network_id", subnet.network_id) if p.device_owner == Owner.DISTRIBUTED), None)
    has = port is not None and any(ip.subnet_id == subnet.id for ip in port.fixed_ips)
    if subnet.enable_dhcp == has:
        return
    if port is None:
        network = await get(tx, rows.networks, "network", subnet.network_id)
        port = await _metadata_port(tx, ctx, network.id, network.project_id)
    ips = tuple(ip for ip in port.fixed_ips if ip.subnet_id != subnet.id)
    if subnet.enable_dhcp:
        ip = await addressing.any_of(tx, ctx, subnet, port.id, lowest=True)
        ips += (ip,) if ip is not None else ()
    else:
        for gone in set(port.fixed_ips) - set(ips):
            await rows.let_go(tx, port.id, gone)
    await rows.ports.save(tx, port, ctx.now_us, fixed_ips=ips)
    look_at(tx, "port", port.id)
    serve_metadata(tx)


async def _metadata_port(tx: Transaction, ctx: RequestContext, network_id: str, project_id: str) -> Port:
    now = ctx.now_us
    port = Port(
        id=ctx.new_id(), network_id=network_id, project_id=project_id, mac_address=addressing.random_mac(ctx),
        device_owner=Owner.DISTRIBUTED, device_id=METADATA_DEVICE + network_id, port_security_enabled=False, created_at=now, updated_at=now,
    )  # fmt: skip
    while not await rows.ports.add(tx, port, if_absent=True):
        port = structs.replace(port, mac_address=addressing.random_mac(ctx))
    return port


async def update_in(
    tx: Transaction, ctx: RequestContext, id: str, *, set_: frozenset[str], revision: int | None = None, **changes: Any
) -> Subnet:
    """Change what the caller gave. Raises: NotFound, Forbidden, Invalid, Conflict, PreconditionFailed."""
    subnet = await get(tx, rows.subnets, "subnet", id)
    network = await get(tx, rows.networks, "network", subnet.network_id)
    authority.require(ctx, "update_subnet", authority.on_network(ctx, subnet.project_id, network), set_)
    check_revision(subnet.revision_number, revision)
    cidr = addresses.parse_cidr(subnet.cidr)
    if changes.get("gateway_ip") is not None:
        changes["gateway_ip"] = _checked_gateway(cidr, changes["gateway_ip"])
    gateway = changes.get("gateway_ip", subnet.gateway_ip)
    if gateway != subnet.gateway_ip and subnet.gateway_ip is not None:
        await _check_gateway_unused(tx, subnet)
    pools: tuple[Pool, ...] = tuple(changes.get("allocation_pools") or subnet.allocation_pools)
    if "allocation_pools" in changes and changes["allocation_pools"] is None:
        del changes["allocation_pools"]
    if {"gateway_ip", "allocation_pools"} & changes.keys():
        addresses.check_pools(cidr, pools, gateway)
        if "allocation_pools" in changes:
            changes["allocation_pools"] = pools
    _check_lists(changes.get("dns_nameservers", ()), changes.get("host_routes", ()), id)
    if changes.get("enable_dhcp") is False and (subnet.ipv6_ra_mode or subnet.ipv6_address_mode):
        raise invalid("Cannot disable enable_dhcp with ipv6 attributes set")
    subnet = await rows.subnets.save(tx, subnet, ctx.now_us, **changes)
    await rows.networks.bump(tx, network, ctx.now_us)
    look_at(tx, "subnet", id)
    if "enable_dhcp" in changes:
        await settle_metadata(tx, ctx, subnet)
    return subnet


async def _check_gateway_unused(tx: Transaction, subnet: Subnet) -> None:
    for meeting in await rows.meetings_in(tx, [subnet.id]):
        port = await rows.ports.find(tx, meeting.port_id)
        if port is not None and any(ip.ip_address == subnet.gateway_ip for ip in port.fixed_ips):
            raise conflict("GatewayIpInUse", f"Current gateway ip {subnet.gateway_ip} already in use by port {port.id}. Unable to update.")


async def delete_in(tx: Transaction, ctx: RequestContext, id: str, *, revision: int | None = None) -> None:
    """Remove a subnet. Raises: NotFound, Forbidden, Conflict while ports have addresses of it."""
    subnet = await get(tx, rows.subnets, "subnet", id)
    network = await get(tx, rows.networks, "network", subnet.network_id)
    authority.require(ctx, "delete_subnet", authority.on_network(ctx, subnet.project_id, network))
    check_revision(subnet.revision_number, revision)
    holders = await rows.ports.some(tx, {held.port_id for held in await rows.held_in(tx, id)})
    free = [p for p in holders if p.device_owner in AUTO_DELETED or subnet.is_auto_address and p.device_owner not in ROUTER_OWNERS]
    if len(free) < len(holders):
        raise conflict(
            "SubnetInUse", f"Unable to complete operation on subnet {id}: One or more ports have an IP allocation from this subnet."
        )
    for port in free:
        for ip in port.fixed_ips:
            if ip.subnet_id == id:
                await rows.let_go(tx, port.id, ip)
        kept: tuple[FixedIp, ...] = tuple(ip for ip in port.fixed_ips if ip.subnet_id != id)
        await rows.ports.save(tx, port, ctx.now_us, fixed_ips=kept)
        look_at(tx, "port", port.id)
        if port.dns_name:
            look_at(tx, "names", port.network_id)
        changed(tx, port)
    await drop_in(tx, subnet)
    await rows.networks.bump(tx, network, ctx.now_us)


async def drop_in(tx: Transaction, subnet: Subnet) -> None:
    """Remove a subnet that nothing uses."""
    await rows.set_tags(tx, subnet.id, ())
    await rows.subnets.remove(tx, subnet.id)
    await QUOTA.refund(tx, subnet.project_id, subnet=1)
    look_at(tx, "subnet", subnet.id)
