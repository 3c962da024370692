"""The encryption of volume types. No node holds keys: a type with encryption makes no volumes (ops/types.py refuses them)."""

from __future__ import annotations

from typing import Any

from moln.kernel.context import RequestContext
from moln.kernel.db import Transaction
from moln.kernel.errors import Invalid, NotFound
from moln.volume.model.encryptions import Encryption
from moln.volume.ops import types
from moln.volume.ops.access import require
from moln.volume.store import encryptions as store
from moln.volume.store import volumes

RULE = "volume_extension:volume_type_encryption"
IN_USE = "Cannot {} encryption specs. Volume type in use."


async def show(ctx: RequestContext, type_id: str) -> Encryption | None:
    """None: the type has none. Raises: Forbidden, NotFound."""
    require(ctx, f"{RULE}:get", {"project_id": ctx.project_id})
    await types.get(ctx.db, ctx, type_id)
    return await store.of_type(ctx.db, type_id)


async def create(ctx: RequestContext, type_id: str, **given: Any) -> Encryption:
    """given: provider, control_location, cipher, key_size. Raises: Forbidden, NotFound, Invalid."""
    require(ctx, f"{RULE}:create", {"project_id": ctx.project_id})
    return await ctx.db.write(create_in, ctx, type_id, given)


async def create_in(tx: Transaction, ctx: RequestContext, type_id: str, given: dict[str, Any]) -> Encryption:
    await types.get(tx, ctx, type_id)
    if await tx.one(volumes.OF_TYPE, id=type_id):
        raise Invalid(IN_USE.format("create"))
    if await store.of_type(tx, type_id):
        raise Invalid(f"Volume type encryption for type {type_id} already exists.")
    made = Encryption(ctx.new_id(), type_id, created_at=ctx.now_us, **given)
    await store.add(tx, made)
    return made


async def update(ctx: RequestContext, type_id: str, encryption_id: str, **changes: Any) -> None:
    """Raises: Forbidden, NotFound, Invalid."""
    require(ctx, f"{RULE}:update", {"project_id": ctx.project_id})
    await ctx.db.write(update_in, ctx, type_id, encryption_id, changes)


async def update_in(tx: Transaction, ctx: RequestContext, type_id: str, encryption_id: str, changes: dict[str, Any]) -> None:
    await types.get(tx, ctx, type_id)
    if await tx.one(volumes.OF_TYPE, id=type_id):
        raise Invalid(IN_USE.format("update"))
    found = await store.of_type(tx, type_id)
    if found is None or found.id != encryption_id:
        raise NotFound(f"Volume type encryption for type {type_id} does not exist.")
    await store.change(tx, encryption_id, **changes, updated_at=ctx.now_us)


async def delete(ctx: RequestContext, type_id: str) -> None:
    """Raises: Forbidden, NotFound, Invalid."""
    require(ctx, f"{RULE}:delete", {"project_id": ctx.project_id})
    await ctx.db.write(delete_in, ctx, type_id)


async def delete_in(tx: Transaction, ctx: RequestContext, type_id: str) -> None:
    await types.get(tx, ctx, type_id)
    if await tx.one(volumes.OF_TYPE, id=type_id):
        raise Invalid(IN_USE.format("delete"))
    if await store.of_type(tx, type_id) is None:
        raise NotFound(f"Volume type encryption for type {type_id} does not exist.")
    await store.remove(tx, type_id)
