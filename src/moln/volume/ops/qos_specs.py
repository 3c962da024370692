"""QoS specs: made by administrators, given to volume types, told to whoever opens a volume (`qos_specs` of a connection)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from moln.kernel.context import RequestContext
from moln.kernel.db import Duplicate, Reader, Transaction
from moln.kernel.errors import Conflict, Invalid, NotFound
from moln.volume.model.qos_specs import QosSpecs
from moln.volume.model.types import VolumeType
from moln.volume.ops import types
from moln.volume.ops.access import require
from moln.volume.store import qos_specs as store
from moln.volume.store import types as types_store

RULE = "volume_extension:qos_specs_manage"


async def get(db: Reader, specs_id: str) -> QosSpecs:
    """Raises: NotFound."""
    found = await store.find(db, specs_id)
    if found is None:
        raise NotFound(f"No such QoS spec {specs_id[:64]}.")
    return found


async def show(ctx: RequestContext, specs_id: str) -> QosSpecs:
    """Raises: Forbidden, NotFound."""
    require(ctx, f"{RULE}:get", {"project_id": ctx.project_id})
    return await get(ctx.db, specs_id)


async def index(ctx: RequestContext, *, sort: Sequence[tuple[str, str]], marker: str | None, limit: int) -> list[QosSpecs]:
    require(ctx, f"{RULE}:get_all", {"project_id": ctx.project_id})
    return await store.LISTING.page(ctx.db, (), sort=sort, marker=marker, limit=limit)


async def create(ctx: RequestContext, name: str, consumer: str, specs: dict[str, str]) -> QosSpecs:
    """Raises: Forbidden, Conflict."""
    require(ctx, f"{RULE}:create", {"project_id": ctx.project_id})
    made = QosSpecs(ctx.new_id(), name, consumer, ctx.now_us, ctx.now_us, specs)
    try:
        await ctx.db.write(store.add, made)
    except Duplicate:
        raise Conflict(f"QoS Specs {name} already exists.") from None
    return made


async def update(ctx: RequestContext, specs_id: str, consumer: str | None, specs: dict[str, str]) -> None:
    """Add or replace keys. Raises: Forbidden, NotFound."""
    require(ctx, f"{RULE}:update", {"project_id": ctx.project_id})
    await ctx.db.write(update_in, ctx, specs_id, consumer, specs)


async def update_in(tx: Transaction, ctx: RequestContext, specs_id: str, consumer: str | None, specs: dict[str, str]) -> None:
    found = await get(tx, specs_id)
    await store.change(tx, specs_id, consumer=consumer or found.consumer, specs=found.specs | specs, updated_at=ctx.now_us)


async def delete_keys(ctx: RequestContext, specs_id: str, keys: list[str]) -> None:
    """Raises: Forbidden, NotFound; Invalid, for a key that there is not."""
    require(ctx, f"{RULE}:delete", {"project_id": ctx.project_id})
    await ctx.db.write(delete_keys_in, ctx, specs_id, keys)


async def delete_keys_in(tx: Transaction, ctx: RequestContext, specs_id: str, keys: list[str]) -> None:
    found = await get(tx, specs_id)
    for key in keys:
        if key not in found.specs:
            raise Invalid(f"QoS spec {specs_id} has no spec with key {key[:255]}.", field="keys")
    rest = {k: v for k, v in found.specs.items() if k not in keys}
    await store.change(tx, specs_id, specs=rest, updated_at=ctx.now_us)


async def delete(ctx: RequestContext, specs_id: str, *, force: bool) -> None:
    """force: also while types have them. Raises: Forbidden, NotFound, Invalid."""
    require(ctx, f"{RULE}:delete", {"project_id": ctx.project_id})
    await ctx.db.write(delete_in, ctx, specs_id, force)


async def delete_in(tx: Transaction, ctx: RequestContext, specs_id: str, force: bool) -> None:
    await get(tx, specs_id)
    having = await store.types_of(tx, specs_id)
    if having and not force:
        raise Invalid(f"QoS Specs {specs_id} is still associated with entities.")
    for volume_type in having:
        await types_store.change(tx, volume_type.id, qos_specs_id=None, updated_at=ctx.now_us)
    await store.remove(tx, specs_id)


async def associations(ctx: RequestContext, specs_id: str) -> list[VolumeType]:
    """The types that have them. Raises: Forbidden, NotFound."""
    require(ctx, f"{RULE}:get_all", {"project_id": ctx.project_id})
    await get(ctx.db, specs_id)
    return await store.types_of(ctx.db, specs_id)


async def associate(ctx: RequestContext, specs_id: str, type_id: str, *, wanted: bool) -> None:
    """Give them to a type, or take them away. Raises: Forbidden, NotFound; Invalid, for a type that has others."""
    require(ctx, f"{RULE}:update", {"project_id": ctx.project_id})
    await ctx.db.write(associate_in, ctx, specs_id, type_id, wanted)


async def associate_in(tx: Transaction, ctx: RequestContext, specs_id: str, type_id: str, wanted: bool) -> None:
    await get(tx, specs_id)
    volume_type = await types.get(tx, ctx, type_id)
    has = volume_type.qos_specs_id
    if wanted and has not in (None, specs_id):
        raise Invalid(f"Type {type_id} is already associated with another qos specs: {has}.")
    if wanted or has == specs_id:
        await types_store.change(tx, type_id, qos_specs_id=specs_id if wanted else None, updated_at=ctx.now_us)


async def disassociate_all(ctx: RequestContext, specs_id: str) -> None:
    """Raises: Forbidden, NotFound."""
    require(ctx, f"{RULE}:update", {"project_id": ctx.project_id})
    await ctx.db.write(disassociate_all_in, ctx, specs_id)


async def disassociate_all_in(tx: Transaction, ctx: RequestContext, specs_id: str) -> None:
    await get(tx, specs_id)
    for volume_type in await store.types_of(tx, specs_id):
        await types_store.change(tx, volume_type.id, qos_specs_id=None, updated_at=ctx.now_us)


async def of_type(db: Reader, type_id: str) -> QosSpecs | None:
    """What a volume's type asks for."""
    volume_type = await types_store.find(db, type_id)
    return await store.find(db, volume_type.qos_specs_id) if volume_type and volume_type.qos_specs_id else None


async def limits(db: Reader, type_id: str) -> dict[str, Any] | None:
    """For whoever opens the volume (Cinder's `qos_specs` of connection_info); None, where its storage alone is to see to it."""
    found = await of_type(db, type_id)
    return dict(found.specs) if found and found.consumer in ("front-end", "both") and found.specs else None
