"""Which addresses a port gets (Neutron's IPAM), taken inside the caller's transaction: the constraint says who was first."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Any

from moln.kernel.context import RequestContext
from moln.kernel.db import Transaction
from moln.network.model import addresses
from moln.network.model.networks import Network
from moln.network.model.ports import ROUTER_OWNERS, FixedIp, Port
from moln.network.model.subnets import Subnet
from moln.network.ops.common import bad, conflict
from moln.network.store import rows

TRIES = 12  # random addresses tried before the free ones are looked up


def random_int(ctx: RequestContext) -> int:
    """A large random number of the cloud's own randomness."""
    return int(ctx.new_id().replace("-", ""), 16)


def random_mac(ctx: RequestContext) -> str:
    """A MAC of Neutron's vendor prefix."""
    return addresses.mac_from(bytes.fromhex(ctx.new_id().replace("-", "")[:6]))


def serving(subnets: Sequence[Subnet], device_owner: str) -> list[Subnet]:
    """Subnets whose service types let this owner have addresses."""
    return [s for s in subnets if not s.service_types or device_owner in s.service_types]


async def any_of(tx: Transaction, ctx: RequestContext, subnet: Subnet, port_id: str, *, lowest: bool = False) -> FixedIp | None:
    """Take some free address of the subnet's pools (the lowest, if told so); None when there is none."""
    total = addresses.size(subnet.allocation_pools)
    for _ in range(0 if lowest else min(TRIES, total)):
        ip = FixedIp(subnet.id, addresses.nth(subnet.allocation_pools, random_int(ctx) % total))
        if await rows.hold(tx, port_id, ip):
            return ip
    taken = {held.ip_address for held in await rows.held_in(tx, subnet.id)}
    for free in addresses.free_addresses(subnet.allocation_pools, taken):
        ip = FixedIp(subnet.id, free)
        if await rows.hold(tx, port_id, ip):
            return ip
    return None


async def this_one(tx: Transaction, subnet: Subnet, address: str, port_id: str) -> FixedIp:
    """Take exactly this address. Raises: Conflict."""
    ip = FixedIp(subnet.id, address)
    if not await rows.hold(tx, port_id, ip):
        raise conflict("IpAddressAlreadyAllocated", f"IP address {address} already allocated in subnet {subnet.id}")
    return ip


async def give(
    tx: Transaction, ctx: RequestContext, network: Network, subnets: Sequence[Subnet], port: Port, wanted: Sequence[dict[str, Any]] | None
) -> tuple[FixedIp, ...]:
    """Take a new port's addresses. wanted: None for one of each version, else `{"subnet_id", "ip_address"}`, either or both.

    Raises: Invalid, Conflict.
    """
    fit = serving(subnets, port.device_owner)
    got: list[FixedIp] = []
    if wanted is None:
        for version in (4, 6):
            mine = [s for s in fit if s.ip_version == version and not s.is_auto_address]
            for subnet in mine:
                if (ip := await any_of(tx, ctx, subnet, port.id)) is not None:
                    got.append(ip)
                    break
            else:
                if mine:
                    raise conflict("IpAddressGenerationFailure", f"No more IP addresses available on network {network.id}.")
    else:
        for request in wanted:
            got.append(await _requested(tx, ctx, network, subnets, port, request))
    if port.device_owner not in ROUTER_OWNERS:
        for subnet in fit:
            if subnet.is_auto_address and all(ip.subnet_id != subnet.id for ip in got) and wanted != []:
                got.append(await this_one(tx, subnet, addresses.eui64(subnet.cidr, port.mac_address), port.id))
    return tuple(got)


async def _requested(
    tx: Transaction, ctx: RequestContext, network: Network, subnets: Sequence[Subnet], port: Port, request: dict[str, Any]
) -> FixedIp:
    subnet_id, address = request.get("subnet_id"), request.get("ip_address")
    subnet = next((s for s in subnets if s.id == subnet_id), None)
    if subnet_id is not None and subnet is None:
        raise bad("fixed_ips", f"subnet {subnet_id} is not on network {network.id}")
    if address is not None:
        address = str(addresses.parse_address(address))
    if subnet is None:
        if address is None:
            raise bad("fixed_ips", "IP allocation requires subnet_id or ip_address")
        subnet = next((s for s in subnets if addresses.in_cidr(address, s.cidr)), None)
        if subnet is None:
            raise _not_here("InvalidIpForNetwork", address, "any of the subnets on the specified network")
    auto = subnet.is_auto_address and port.device_owner not in ROUTER_OWNERS
    if address is None:
        if auto:
            return await this_one(tx, subnet, addresses.eui64(subnet.cidr, port.mac_address), port.id)
        got = await any_of(tx, ctx, subnet, port.id)
        if got is None:
            raise conflict("IpAddressGenerationFailure", f"No more IP addresses available on network {network.id}.")
        return got
    cidr = ipaddress.ip_network(subnet.cidr)
    place = ipaddress.ip_address(address)
    edges = (cidr.network_address, cidr.broadcast_address) if cidr.version == 4 and cidr.prefixlen < 31 else ()
    if place not in cidr or place in edges:
        raise _not_here("InvalidIpForSubnet", address, "the specified subnet")
    if auto and address != addresses.eui64(subnet.cidr, port.mac_address):
        raise bad(
            "fixed_ips",
            f"IPv6 address {address} can not be directly assigned to a port on subnet {subnet.id} since the subnet is configured for automatic addresses",
        )
    return await this_one(tx, subnet, address, port.id)


def _not_here(kind: str, address: str, where: str) -> Exception:
    from moln.kernel.errors import Invalid

    return Invalid(f"IP address {address} is not a valid IP for {where}.", type=kind)
