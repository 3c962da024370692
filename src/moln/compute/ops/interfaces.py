"""Cards of a server, attached and detached: recorded here, done by work/server_devices.py."""

from __future__ import annotations

from msgspec import structs

from moln.compute.model import server_states
from moln.compute.model.server_requests import NetworkRequest, ServerRequest
from moln.compute.model.servers import Nic
from moln.compute.ops import server_networks
from moln.compute.ops.servers import get_for, may_override
from moln.compute.store import instance_actions
from moln.compute.store import servers as store
from moln.kernel.context import RequestContext
from moln.kernel.db import Transaction
from moln.kernel.errors import Conflict, Invalid, NotFound

P = "os_compute_api:os-attach-interfaces"
PATIENCE_S = 600


async def index(ctx: RequestContext, server_id: str) -> tuple[Nic, ...]:
    """Raises: NotFound, Forbidden."""
    server = await get_for(ctx.db, ctx, server_id, f"{P}:list")
    return await server_networks.fresh_nics(ctx.db, server.id, server.attached_nics)


async def show(ctx: RequestContext, server_id: str, port_id: str) -> Nic:
    """Raises: NotFound, Forbidden."""
    server = await get_for(ctx.db, ctx, server_id, f"{P}:show")
    found = [n for n in await server_networks.fresh_nics(ctx.db, server.id, server.nics) if n.port_id == port_id]
    if not found:
        raise NotFound(f"Instance {server.id} does not have a port with id {port_id[:64]}")
    return found[0]


async def attach(ctx: RequestContext, server_id: str, asked: NetworkRequest) -> Nic:
    """Record that the server is to have one more card. asked: empty for the only network there is.

    Raises: NotFound, Forbidden, Conflict, Invalid, OverQuota.
    """
    server = await get_for(ctx.db, ctx, server_id, f"{P}:create")
    server_states.check(server, "attach_interface", override_lock=may_override(ctx, server))
    if asked.port_id is None and asked.network_id is None:
        request = ServerRequest(name="", flavor_ref="", networks="auto")
        try:
            cards = (await server_networks.plan(ctx, request)).cards
        except Conflict as several:
            raise Invalid(several.message) from None
        card = structs.replace(cards[0], tag=asked.tag)
    else:
        try:
            card = await server_networks.card_for(ctx.db, ctx, asked)
        except Invalid as missing:
            raise NotFound(missing.message) if "could not be found" in missing.message else missing from None
    return await ctx.db.write(attach_in, ctx, server_id, card)


async def attach_in(tx: Transaction, ctx: RequestContext, server_id: str, card: server_networks.Card) -> Nic:
    server = await get_for(tx, ctx, server_id, f"{P}:create")
    server_states.check(server, "attach_interface", override_lock=may_override(ctx, server))
    try:
        nics = await server_networks.allocate_in(
            tx, ctx, [card], None, server_id=server.id, host=server.host or "", zone=server.az, hostname=server.hostname,
            project_id=server.project_id, state="attaching",
        )  # fmt: skip
    except Invalid as taken:
        raise Conflict(taken.message) if "already in use" in taken.message else taken from None
    await instance_actions.begin(tx, ctx, server.id, "attach_interface", "compute_attach_interface", server.host)
    await store.save(tx, server, None, nics=(*server.nics, *nics), deadline=ctx.now_us + PATIENCE_S * 1_000_000)
    tx.wake("servers", server.id)
    return nics[0]


async def detach(ctx: RequestContext, server_id: str, port_id: str) -> None:
    """Record that a card is to leave the server. Raises: NotFound, Forbidden, Conflict."""
    await ctx.db.write(detach_in, ctx, server_id, port_id)


async def detach_in(tx: Transaction, ctx: RequestContext, server_id: str, port_id: str) -> None:
    server = await get_for(tx, ctx, server_id, f"{P}:delete")
    server_states.check(server, "detach_interface", override_lock=may_override(ctx, server))
    nic = server.nic(port_id)
    if nic is None:
        raise NotFound(f"Port id {port_id[:64]} could not be found.")
    if nic.state == "detaching":
        return
    if nic.state == "attaching":
        await instance_actions.finish(tx, server, "attach_interface", ctx.now_us, error="It was to be taken out again before it was in.")
    await instance_actions.begin(tx, ctx, server.id, "detach_interface", "compute_detach_interface", server.host)
    leaving = structs.replace(nic, state="detaching")
    nics = tuple(leaving if n.port_id == port_id else n for n in server.nics)
    await store.save(tx, server, None, nics=nics, deadline=ctx.now_us + PATIENCE_S * 1_000_000)
    tx.wake("servers", server.id)


async def set_group(ctx: RequestContext, server_id: str, name: str, *, present: bool) -> None:
    """Put every port of the server into a security group, or take it out. Raises: NotFound, Forbidden, Conflict."""
    await ctx.db.write(set_group_in, ctx, server_id, name, present=present)


async def set_group_in(tx: Transaction, ctx: RequestContext, server_id: str, name: str, *, present: bool) -> None:
    verb = "add" if present else "remove"
    server = await get_for(tx, ctx, server_id, f"os_compute_api:os-security-groups:{verb}")
    if await server_networks.regroup_in(tx, ctx, server, name, present=present):
        nics = await server_networks.fresh_nics(tx, server.id, server.nics)
        if nics != server.nics:
            await store.save(tx, server, None, nics=nics)


async def groups(ctx: RequestContext, server_id: str) -> list[dict[str, object]]:
    """The security groups of the server's ports, by id and name. Raises: NotFound, Forbidden."""
    server = await get_for(ctx.db, ctx, server_id, "os_compute_api:os-security-groups:list")
    return await server_networks.groups_of(ctx.db, server)
