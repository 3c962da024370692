"""Volumes and cards, attached to and detached from a server that is otherwise as it should be."""

from __future__ import annotations

from typing import Any

from msgspec import structs

from moln.compute.model.servers import Attached, Nic, Server
from moln.compute.ops import server_networks
from moln.compute.ops.server_networks import fresh_nics
from moln.compute.ops.volume_attachments import PATIENCE_S
from moln.compute.store import instance_actions
from moln.compute.store import servers as store
from moln.compute.work.server_specs import card, driver_of, holder_of, volume_disk
from moln.kernel.context import RequestContext
from moln.kernel.db import Transaction
from moln.kernel.errors import BackendRefused
from moln.kernel.work import Later, Work
from moln.volume.ops import attachments, for_compute


async def apply(work: Work, server: Server) -> None:
    """One thing after the other; each is recorded before the next. Raises: Later, BackendUnreachable."""
    waits: Later | None = None
    for attached in server.volumes:
        if attached.state == "attached":
            continue
        try:
            server = await _volume(work, server, attached)
        except Later as later:
            waits = later
        except BackendRefused as refused:
            server = await work.write(give_up_volume_in, work.ctx, server, attached, refused.message)
    for nic in server.nics:
        if nic.state == "attached":
            continue
        try:
            server = await _card(work, server, nic)
        except BackendRefused as refused:
            server = await work.write(give_up_card_in, work.ctx, server, nic, refused.message)
    if waits is not None:
        raise waits


async def _volume(work: Work, server: Server, attached: Attached) -> Server:
    if attached.state == "attaching":
        disk = await volume_disk(work, server, attached)
        await driver_of(work, server).attach_disk(server.id, disk)
        return await work.write(volume_attached_in, work.ctx, server, attached)
    if server.host is not None:  # else it is offloaded: nothing runs that could hold the volume
        await driver_of(work, server).detach_disk(server.id, attached.volume_id)
        await for_compute.disconnect(work.cloud, attached.volume_id, server.host, holder_of(server, attached))
    return await work.write(volume_detached_in, work.ctx, server, attached)


async def volume_attached_in(tx: Transaction, ctx: RequestContext, server: Server, attached: Attached) -> Server:
    await attachments.attached_in(tx, attached.attachment_id, now_us=ctx.now_us, host=server.host, device=attached.device)
    server = await _with_volume(tx, ctx, server, attached, structs.replace(attached, state="attached"))
    await instance_actions.finish(tx, server, "attach_volume", ctx.now_us)
    return server


async def volume_detached_in(tx: Transaction, ctx: RequestContext, server: Server, attached: Attached) -> Server:
    await attachments.detach_in(tx, attached.attachment_id, now_us=ctx.now_us)
    server = await _with_volume(tx, ctx, server, attached, None)
    await instance_actions.finish(tx, server, "detach_volume", ctx.now_us)
    return server


async def give_up_volume_in(tx: Transaction, ctx: RequestContext, server: Server, attached: Attached, reason: str) -> Server:
    """An attachment that cannot be is undone, on the host too: an answer may have been lost. One that cannot be undone stays."""
    if attached.state == "attaching":
        await attachments.doubt_in(tx, attached.attachment_id, now_us=ctx.now_us)
        server = await _with_volume(tx, ctx, server, attached, structs.replace(attached, state="detaching"), deadline=_until(ctx))
        tx.wake("servers", server.id)
        await instance_actions.finish(tx, server, "attach_volume", ctx.now_us, error=reason)
    else:
        await attachments.roll_detaching_in(tx, attached.attachment_id, now_us=ctx.now_us)
        server = await _with_volume(tx, ctx, server, attached, structs.replace(attached, state="attached"))
        await instance_actions.finish(tx, server, "detach_volume", ctx.now_us, error=reason)
    return server


def _until(ctx: RequestContext) -> int:
    return ctx.now_us + PATIENCE_S * 1_000_000


async def _with_volume(tx: Transaction, ctx: RequestContext, server: Server, old: Attached, new: Attached | None, **more: Any) -> Server:
    volumes = tuple(new if v.volume_id == old.volume_id else v for v in server.volumes if v.volume_id != old.volume_id or new is not None)
    return await store.save(tx, server, ctx.now_us, volumes=volumes, **more)


async def _card(work: Work, server: Server, nic: Nic) -> Server:
    if nic.state == "attaching":
        await driver_of(work, server).attach_card(server.id, card(nic))
        return await work.write(card_attached_in, work.ctx, server, nic)
    for host in _hosts(server):  # what a resize left at the source has the server's cards, too
        await driver_of(work, structs.replace(server, host=host)).detach_card(server.id, nic.port_id)
    return await work.write(card_detached_in, work.ctx, server, nic)


def _hosts(server: Server) -> list[str]:
    return [host for host in (server.host, server.other_host) if host is not None]


async def card_attached_in(tx: Transaction, ctx: RequestContext, server: Server, nic: Nic) -> Server:
    nics = tuple(structs.replace(n, state="attached") if n.port_id == nic.port_id else n for n in server.nics)
    server = await store.save(tx, server, ctx.now_us, nics=await fresh_nics(tx, server.id, nics))
    await instance_actions.finish(tx, server, "attach_interface", ctx.now_us)
    return server


async def card_detached_in(tx: Transaction, ctx: RequestContext, server: Server, nic: Nic) -> Server:
    await server_networks.release_in(tx, ctx, [nic], server.id)
    server = await store.save(tx, server, ctx.now_us, nics=tuple(n for n in server.nics if n.port_id != nic.port_id))
    await instance_actions.finish(tx, server, "detach_interface", ctx.now_us)
    still = sum(n.state == "attaching" for n in server.nics)  # a card leaves before it was in when its port is deleted
    await instance_actions.finish_beyond(
        tx, server, "attach_interface", ctx.now_us, still=still, error=f"Port {nic.port_id} was deleted before it was in."
    )
    return server


async def give_up_card_in(tx: Transaction, ctx: RequestContext, server: Server, nic: Nic, reason: str) -> Server:
    attaching = nic.state == "attaching"
    after = structs.replace(nic, state="detaching" if attaching else "attached")
    nics = tuple(after if n.port_id == nic.port_id else n for n in server.nics)
    server = await store.save(tx, server, ctx.now_us, nics=nics, deadline=_until(ctx) if attaching else server.deadline)
    if attaching:
        tx.wake("servers", server.id)
        await instance_actions.finish(tx, server, "attach_interface", ctx.now_us, error=reason)
    else:
        await instance_actions.finish(tx, server, "detach_interface", ctx.now_us, error=reason)
    return server


async def give_up_in(tx: Transaction, ctx: RequestContext, server: Server, reason: str) -> None:
    """The deadline of everything that is still attaching or detaching has passed. What leaves a host that is away does so when that is back:

    nobody knows whether it is in there, so that no row may say that it is.
    """
    away = not ctx.cloud.links.nodes.issuperset(_hosts(server))
    ending = ("attaching",) if away else ("attaching", "detaching")
    for attached in server.volumes:
        if attached.state in ending:
            server = await give_up_volume_in(tx, ctx, server, attached, reason)
    for nic in server.nics:
        if nic.state in ending:
            server = await give_up_card_in(tx, ctx, server, nic, reason)
    if away:
        await store.save(tx, server, None, deadline=_until(ctx))
