"""What every move of a server to another host needs: a host with room, claimed beside the one that it leaves, and what is left behind."""

from __future__ import annotations

from typing import Any

from msgspec import structs

from moln.compute.model.moves import Leftover
from moln.compute.model.scheduling import Choice, Host, Refusal, Wanted, explain
from moln.compute.model.servers import Server
from moln.compute.ops import hosts, scheduling, server_networks, shelving
from moln.compute.store import leftovers
from moln.compute.store import servers as store
from moln.kernel.cloud import Cloud
from moln.kernel.context import RequestContext
from moln.kernel.db import Reader, Transaction
from moln.kernel.errors import Invalid
from moln.placement.model.allocations import INSTANCE, MIGRATION
from moln.placement.ops import claims
from moln.volume.ops import attachments, for_compute


async def why_bound(db: Reader, ctx: RequestContext, server: Server) -> str | None:
    """Why the server cannot leave its host: a volume that no other host reaches. None: it can."""
    for attached in server.volumes:
        volume = await for_compute.find_volume(db, attached.volume_id)
        bound = for_compute.bound_to(ctx.cloud, volume.host) if volume is not None else None
        if bound is not None:
            return (
                f"Volume {attached.volume_id} lies in the pool of host {bound} and cannot be reached from another host; "
                f"instance {server.id} cannot move while it is attached."
            )
    return None


def check_host(ctx: RequestContext, name: str) -> None:
    """Raises: Invalid, in Nova's words, when there is no such host."""
    if name not in hosts.table(ctx.cloud).hosts:
        raise Invalid(f"Compute host {name[:64]} could not be found.", field="host")


async def claim_elsewhere_in(tx: Transaction, ctx: RequestContext, server: Server, then: Server, migration_id: str, *,
                             host: str | None = None, forced: bool = False, own: Refusal | None = None) -> Host:  # fmt: skip
    """Room for the server as it is `then` on another host, which is returned; what it holds becomes the migration's, until the move is over.

    host: only this one. forced: whatever speaks against it but room. own: why not on its own host, where that was tried.
    Raises: Invalid, which says why not.
    """
    if (bound := await why_bound(tx, ctx, server)) is not None:
        raise Invalid(f"No valid host was found. {bound}")
    wanted = await shelving.wish(tx, ctx, then, None if forced else server.pinned_az, host)
    wanted = structs.replace(wanted, exclude=wanted.exclude | {server.host or ""})
    await claims.hand_over_in(tx, server.id, migration_id, consumer_type=MIGRATION)
    choice, wanted = await _choose_in(tx, ctx, server, wanted, forced)
    found = await scheduling.place_in(
        tx, choice, server_id=server.id, project_id=server.project_id, user_id=server.user_id, wanted=wanted, now_us=ctx.now_us
    )
    if found is None:
        if own is not None:
            choice = structs.replace(choice, refusals={**choice.refusals, server.host or "": own})
        raise Invalid(choice.no_valid_host())
    return found


async def _choose_in(tx: Transaction, ctx: RequestContext, server: Server, wanted: Wanted, forced: bool) -> tuple[Choice, Wanted]:
    if not forced:
        return await scheduling.with_group_in(tx, ctx.cloud, server.id, scheduling.pick(ctx.cloud, wanted), wanted)
    known = hosts.table(ctx.cloud)
    target = known.hosts[wanted.host or ""]
    if not target.up or target.name in wanted.exclude:
        why = explain(target, wanted) or Refusal("is down", "")
        return Choice((), {target.name: why}, len(known.hosts)), wanted
    return Choice((target,), {}, len(known.hosts)), wanted


async def give_back_in(tx: Transaction, ctx: RequestContext, server: Server, migration_id: str) -> None:
    """The move is taken back: the server holds again what it held before, and nothing where it was to go."""
    await claims.release_in(tx, server.id, now_us=ctx.now_us)
    await claims.hand_over_in(tx, migration_id, server.id, consumer_type=INSTANCE)


async def switch_in(tx: Transaction, ctx: RequestContext, server: Server, host: str, **changes: Any) -> Server:
    """From here on the server is on `host`: its row, its ports and its volumes say so."""
    zone = hosts.zone_of(ctx.cloud, host)
    nics = await server_networks.move_in(tx, ctx, server, host=host, zone=zone)
    for attached in server.volumes:
        if attached.state == "attached":
            await attachments.attached_in(tx, attached.attachment_id, now_us=ctx.now_us, host=host, device=attached.device)
    return await store.save(tx, server, ctx.now_us, host=host, az=zone, nics=nics, **changes)


def not_kept(cloud: Cloud, here: str, there: str, disks: tuple[str, ...], kept: tuple[str, ...]) -> tuple[str, ...]:
    """Which of a server's disks go when it leaves `there` for `here`, where it has `kept`."""
    return tuple(d for d in disks if d not in kept) if hosts.share_disks(cloud, here, there) else disks


async def leave_in(tx: Transaction, ctx: RequestContext, server: Server, host: str, disks: tuple[str, ...], claim: str = "") -> None:
    """Have everything of the server removed from `host` as soon as that answers, but disks that it has where both hosts reach them.

    server: as it was saved last. claim: given back then.
    """
    disks = not_kept(ctx.cloud, server.host or "", host, disks, server.disk_ids)
    await leftovers.add(tx, Leftover(ctx.new_id(), server.id, host, server.generation, claim, disks, ctx.now_us))
