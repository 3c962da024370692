"""Addresses of a server's cards, given and taken by Nova's old actions: floating ones (until 2.43) and further fixed ones."""

from __future__ import annotations

import ipaddress

from moln.compute.model import server_states
from moln.compute.model.servers import Server
from moln.compute.ops import server_networks
from moln.compute.ops.servers import get_for, may_override
from moln.compute.store import servers as store
from moln.kernel.context import RequestContext
from moln.kernel.db import Transaction
from moln.kernel.errors import Conflict, Failure, Invalid, NotFound
from moln.network.ops import floating_ips, for_compute, ports, subnets

FLOATING = "os_compute_api:os-floating-ips"
FIXED = "os_compute_api:os-multinic"


async def add_floating(ctx: RequestContext, server_id: str, address: str, fixed: str | None) -> None:
    """Give a floating address to the server, whoever had it. fixed: which of its own it stands for; None: the first.

    Raises: NotFound, Forbidden, Invalid.
    """
    await ctx.db.write(add_floating_in, ctx, server_id, address, fixed)


async def add_floating_in(tx: Transaction, ctx: RequestContext, server_id: str, address: str, fixed: str | None) -> None:
    server = await get_for(tx, ctx, server_id, f"{FLOATING}:add")
    own = [(nic.port_id, a.ip) for nic in server.attached_nics for a in nic.addresses if a.version == 4]
    if not own:
        raise Invalid("No fixed IPs associated to instance")
    chosen = next((pair for pair in own if fixed in (None, pair[1])), None)
    if chosen is None:
        raise Invalid("Specified fixed address not assigned to instance", field="fixed_address")
    found = await for_compute.floating_ip_at(tx, ctx, address)
    if found is None:
        raise NotFound("floating IP not found")
    try:
        await floating_ips.update_in(
            tx, ctx, found.id, set_=frozenset({"port_id", "fixed_ip_address"}), port_id=chosen[0], fixed_ip_address=chosen[1]
        )
    except (NotFound, Conflict, Invalid) as error:
        said = f"Unable to associate floating IP {address} to fixed IP {chosen[1]} for instance {server.id}. Error: {error.message}"
        raise Invalid(said) from None
    await _refresh(tx, server)


async def remove_floating(ctx: RequestContext, server_id: str, address: str) -> None:
    """Raises: NotFound, Forbidden; Conflict, when it is another's."""
    await ctx.db.write(remove_floating_in, ctx, server_id, address)


async def remove_floating_in(tx: Transaction, ctx: RequestContext, server_id: str, address: str) -> None:
    server = await get_for(tx, ctx, server_id, f"{FLOATING}:remove")
    found = await for_compute.floating_ip_at(tx, ctx, address)
    if found is None:
        raise NotFound("floating IP not found")
    if server.nic(found.port_id or "") is None:
        raise Conflict(f"Floating IP {address} is not associated with instance {server.id}.")
    await floating_ips.update_in(tx, ctx, found.id, set_=frozenset({"port_id"}), port_id=None)
    await _refresh(tx, server)


async def add_fixed(ctx: RequestContext, server_id: str, network_id: str) -> None:
    """One more address for the server's first card on a network; its guest learns of it by DHCP or not at all.

    Raises: NotFound, Forbidden, Conflict; Invalid, when no address is left.
    """
    await ctx.db.write(add_fixed_in, ctx, server_id, network_id)


async def add_fixed_in(tx: Transaction, ctx: RequestContext, server_id: str, network_id: str) -> None:
    server = await get_for(tx, ctx, server_id, f"{FIXED}:add")
    server_states.check(server, "attach_interface", action="add_fixed_ip", override_lock=may_override(ctx, server))
    nic = next((n for n in server.attached_nics if n.network_id == network_id), None)
    choices = await subnets.of_networks(tx, [network_id]) if nic is not None else []
    if nic is None or not choices:
        raise NotFound(f"Network could not be found for instance {server.id}.")
    had = [{"subnet_id": a.subnet_id, "ip_address": a.ip} for a in nic.addresses]
    full: Failure | None = None
    for subnet in choices:
        try:
            await ports.update_in(
                tx, ctx, nic.port_id, set_=frozenset({"fixed_ips"}), fixed_ips=[*had, {"subnet_id": subnet.id}]
            )
        except (Conflict, Invalid) as error:
            full = error
            continue
        return await _refresh(tx, server)
    raise Invalid(full.message if full else f"No address is left on network {network_id}.")


async def remove_fixed(ctx: RequestContext, server_id: str, address: str) -> None:
    """Raises: NotFound, Forbidden, Conflict; Invalid, when the server has no such address."""
    await ctx.db.write(remove_fixed_in, ctx, server_id, address)


async def remove_fixed_in(tx: Transaction, ctx: RequestContext, server_id: str, address: str) -> None:
    server = await get_for(tx, ctx, server_id, f"{FIXED}:remove")
    server_states.check(server, "attach_interface", action="remove_fixed_ip", override_lock=may_override(ctx, server))
    try:
        wanted = str(ipaddress.ip_address(address))
    except ValueError:
        raise Invalid(f"Invalid input for field/attribute address. Value: {address[:64]}.", field="address") from None
    nic = next((n for n in server.attached_nics if any(a.ip == wanted for a in n.addresses)), None)
    if nic is None:
        raise Invalid(f"Fixed IP address {address} not found for instance {server.id}.", field="address")
    rest = [{"subnet_id": a.subnet_id, "ip_address": a.ip} for a in nic.addresses if a.ip != wanted]
    await ports.update_in(tx, ctx, nic.port_id, set_=frozenset({"fixed_ips"}), fixed_ips=rest)
    await _refresh(tx, server)


async def _refresh(tx: Transaction, server: Server) -> None:
    """The answer's very next reader sees the addresses; the feed would have them a moment later."""
    nics = await server_networks.fresh_nics(tx, server.id, server.nics)
    if nics != server.nics:
        await store.save(tx, server, None, nics=nics)
