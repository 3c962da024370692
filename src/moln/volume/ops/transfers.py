"""Giving a volume to another project: one offers it, whoever has the key accepts."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from typing import Any

from moln.kernel.context import RequestContext
from moln.kernel.db import Transaction
from moln.kernel.errors import Invalid, NotFound
from moln.volume.model.snapshots import SnapshotStatus
from moln.volume.model.transfers import Transfer
from moln.volume.model.volumes import VolumeStatus
from moln.volume.ops import quotas, types
from moln.volume.ops.access import get_volume, invalid_volume, require
from moln.volume.store import snapshots, volumes
from moln.volume.store import transfers as store

KEY_BYTES = 16


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()  # the key is random: no salt, no stretching


def missing(transfer_id: str) -> NotFound:
    return NotFound(f"Transfer {transfer_id[:64]} could not be found.")


async def create(ctx: RequestContext, volume_id: str, name: str | None, *, snapshots_too: bool) -> tuple[Transfer, str]:
    """The offer and its key. Raises: NotFound, Forbidden; Invalid, unless the volume is available."""
    key = secrets.token_hex(KEY_BYTES)
    return await ctx.db.write(create_in, ctx, volume_id, name, not snapshots_too, _hash(key)), key


async def create_in(
    tx: Transaction, ctx: RequestContext, volume_id: str, name: str | None, no_snapshots: bool, key_hash: str
) -> Transfer:
    volume = await get_volume(tx, ctx, volume_id, "volume:create_transfer")
    if volume.status is not VolumeStatus.AVAILABLE:
        raise invalid_volume(f"status must be available, but it is {volume.status}")
    taken = await snapshots.of_volume(tx, volume_id)
    if taken and no_snapshots:
        raise invalid_volume(f"Volume {volume_id} has snapshots, and a volume and its snapshots stay in one project: offer both (3.55).")
    if any(s.status is not SnapshotStatus.AVAILABLE for s in taken):
        raise invalid_volume(f"Volume {volume_id} has snapshots that are not available.")
    made = Transfer(ctx.new_id(), name, volume_id, volume.project_id, no_snapshots, ctx.now_us, key_hash)
    await store.add(tx, made)
    await volumes.save(tx, volume, status=VolumeStatus.AWAITING_TRANSFER, updated_at=ctx.now_us)
    return made


async def show(ctx: RequestContext, transfer_id: str, rule: str = "volume:get_transfer") -> Transfer:
    """One's own. Raises: NotFound, Forbidden."""
    found = await store.find(ctx.db, transfer_id)
    if found is None or not (ctx.is_admin or found.project_id == ctx.project_id):
        raise missing(transfer_id)
    require(ctx, rule, found)
    return found


async def index(
    ctx: RequestContext, where: list[tuple[str, str, Any]], *, sort: Sequence[tuple[str, str]], marker: str | None, limit: int
) -> list[Transfer]:
    require(ctx, "volume:get_all_transfers", {"project_id": ctx.project_id})
    return await store.LISTING.page(ctx.db, where, sort=sort, marker=marker, limit=limit)


async def delete(ctx: RequestContext, transfer_id: str) -> None:
    """The offer is withdrawn. Raises: NotFound, Forbidden."""
    await show(ctx, transfer_id, "volume:delete_transfer")
    await ctx.db.write(delete_in, ctx, transfer_id)


async def delete_in(tx: Transaction, ctx: RequestContext, transfer_id: str) -> None:
    found = await store.find(tx, transfer_id)
    if found is None or not await store.remove(tx, transfer_id):
        raise missing(transfer_id)
    volume = await volumes.find(tx, found.volume_id)
    if volume is not None and volume.status is VolumeStatus.AWAITING_TRANSFER:
        await volumes.save(tx, volume, status=VolumeStatus.AVAILABLE, updated_at=ctx.now_us)


async def accept(ctx: RequestContext, transfer_id: str, key: str) -> Transfer:
    """The volume, and its snapshots unless the offer left them out, are the caller's. Raises: NotFound, Invalid, OverQuota."""
    require(ctx, "volume:accept_transfer", {"project_id": ctx.project_id})
    return await ctx.db.write(accept_in, ctx, transfer_id, key)


async def accept_in(tx: Transaction, ctx: RequestContext, transfer_id: str, key: str) -> Transfer:
    offer = await store.find(tx, transfer_id)
    if offer is None:
        raise missing(transfer_id)
    if not hmac.compare_digest(offer.key_hash, _hash(key)):
        raise Invalid(f"Attempt to transfer {transfer_id} with invalid auth key.")
    volume = await volumes.find(tx, offer.volume_id)
    if ctx.project_id is None or volume is None or volume.status is not VolumeStatus.AWAITING_TRANSFER:
        raise invalid_volume(f"Volume {offer.volume_id} is not awaiting a transfer.")
    await types.choose(tx, ctx, volume.volume_type_id)  # a private type must be theirs too
    taken = await snapshots.of_volume(tx, volume.id)
    amounts = {"volumes": 1, "snapshots": len(taken), "gigabytes": volume.size_gib + sum(s.size_gib for s in taken)}
    await quotas.charge(tx, ctx.project_id, **amounts)
    await quotas.refund(tx, volume.project_id, **amounts)
    for snapshot in taken:
        await snapshots.save(tx, snapshot, project_id=ctx.project_id, user_id=ctx.user_id or "", updated_at=ctx.now_us)
    await volumes.save(
        tx, volume, status=VolumeStatus.AVAILABLE, project_id=ctx.project_id, user_id=ctx.user_id or "", updated_at=ctx.now_us
    )
    await store.remove(tx, transfer_id)
    return offer
