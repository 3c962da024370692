"""Volume types: what there is to choose from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from moln.kernel.context import RequestContext
from moln.kernel.db import Duplicate, Reader, Transaction
from moln.kernel.errors import Conflict, Invalid, NotFound
from moln.volume.model.types import DEFAULT_TYPE, VolumeType
from moln.volume.ops.access import require
from moln.volume.store import default_types, encryptions, volumes
from moln.volume.store import types as store


def missing(name: str) -> NotFound:
    return NotFound(f"Volume type {name[:64]} could not be found.")


async def choose(db: Reader, ctx: RequestContext, name_or_id: str | None) -> VolumeType:
    """The type that a new volume has. Raises: NotFound."""
    if not name_or_id:
        own = await default_types.of_project(db, ctx.project_id or "")
        found = await store.find(db, own) if own else await store.find_named(db, DEFAULT_TYPE)
        if found is None:
            raise NotFound("Default volume type can not be found.")
        return found
    found = await store.find(db, name_or_id) or await store.find_named(db, name_or_id)
    if found is None or not await may_use(db, ctx, found):
        raise NotFound(f"Volume type with name {name_or_id[:64]} could not be found.")
    return found


async def check_offered(db: Reader, volume_type: VolumeType) -> None:
    """Raises: Invalid, for a type of volumes that several servers may have, or that are encrypted."""
    if await encryptions.of_type(db, volume_type.id):
        raise Invalid("No node of this cloud keeps keys: volumes of a type with encryption cannot be made.", field="volume_type")
    if "true" in volume_type.extra_specs.get("multiattach", "").lower():
        raise Invalid("No backend of this cloud can attach a volume to several servers at once (multiattach).")


async def may_use(db: Reader, ctx: RequestContext, volume_type: VolumeType) -> bool:
    if volume_type.is_public or ctx.is_admin:
        return True
    return ctx.project_id is not None and await store.has_access(db, volume_type.id, ctx.project_id)


async def get(db: Reader, ctx: RequestContext, type_id: str) -> VolumeType:
    """Raises: NotFound."""
    found = await store.find(db, type_id)
    if found is None or not await may_use(db, ctx, found):
        raise missing(type_id)
    return found


async def show(ctx: RequestContext, type_id: str) -> VolumeType:
    """Raises: NotFound, Forbidden. `default` names the default type."""
    require(ctx, "volume_extension:type_get", {"project_id": ctx.project_id})
    return await choose(ctx.db, ctx, None) if type_id == "default" else await get(ctx.db, ctx, type_id)


async def index(
    ctx: RequestContext, *, public: bool | None, sort: Sequence[tuple[str, str]], marker: str | None, limit: int
) -> list[VolumeType]:
    """public: only those (True), only the others (False), or all (None); callers who are no administrators see what they may use."""
    require(ctx, "volume_extension:type_get_all", {"project_id": ctx.project_id})
    where: list[tuple[str, str, Any]] = []
    if not ctx.is_admin:
        where.append(("open_to", "eq", ctx.project_id or ""))
    elif public is not None:
        where.append(("is_public", "eq", int(public)))
    return await store.LISTING.page(ctx.db, where, sort=sort, marker=marker, limit=limit)


async def create(ctx: RequestContext, *, name: str, description: str | None, is_public: bool, extra_specs: dict[str, str]) -> VolumeType:
    """Raises: Forbidden, Conflict."""
    require(ctx, "volume_extension:type_create", {"project_id": ctx.project_id})
    now = ctx.now_us
    made = VolumeType(ctx.new_id(), name, description, is_public, now, now, extra_specs)
    try:
        await ctx.db.write(store.add, made)
    except Duplicate:
        raise Conflict(f"Volume Type {name} already exists.") from None
    return made


async def update(ctx: RequestContext, type_id: str, **changes: Any) -> VolumeType:
    """changes: name, description, is_public. Raises: Forbidden, NotFound, Conflict."""
    require(ctx, "volume_extension:type_update", {"project_id": ctx.project_id})
    try:
        return await ctx.db.write(update_in, ctx, type_id, changes)
    except Duplicate:
        raise Conflict(f"Volume Type {changes.get('name')} already exists.") from None


async def update_in(tx: Transaction, ctx: RequestContext, type_id: str, changes: dict[str, Any]) -> VolumeType:
    found = await get(tx, ctx, type_id)
    if found.name == DEFAULT_TYPE and changes.get("name", DEFAULT_TYPE) != DEFAULT_TYPE:
        raise Invalid(f"The volume type {DEFAULT_TYPE} is the default one and keeps its name.")
    await store.change(tx, type_id, **changes, updated_at=ctx.now_us)
    return await get(tx, ctx, type_id)


async def delete(ctx: RequestContext, type_id: str) -> None:
    """Raises: Forbidden, NotFound; Invalid, while volumes have it."""
    require(ctx, "volume_extension:type_delete", {"project_id": ctx.project_id})
    await ctx.db.write(delete_in, ctx, type_id)


async def delete_in(tx: Transaction, ctx: RequestContext, type_id: str) -> None:
    found = await get(tx, ctx, type_id)
    if found.name == DEFAULT_TYPE:
        raise Invalid(f"The volume type {found.id} is a default volume type and cannot be deleted.")
    if await tx.one(volumes.OF_TYPE, id=type_id):
        raise Invalid("Target volume type is still in use.")
    if await tx.one(default_types.USED, id=type_id):
        raise Invalid(f"The volume type {type_id} is a default volume type of a project and cannot be deleted.")
    await encryptions.remove(tx, type_id)
    await store.remove(tx, type_id)


async def set_specs(ctx: RequestContext, type_id: str, specs: dict[str, str], rule: str) -> None:
    """Add or replace extra specs. Raises: Forbidden, NotFound."""
    require(ctx, rule, {"project_id": ctx.project_id})
    await ctx.db.write(set_specs_in, ctx, type_id, specs)


async def set_specs_in(tx: Transaction, ctx: RequestContext, type_id: str, specs: dict[str, str]) -> None:
    found = await get(tx, ctx, type_id)
    await store.change(tx, type_id, extra_specs=found.extra_specs | specs, updated_at=ctx.now_us)


async def delete_spec(ctx: RequestContext, type_id: str, key: str) -> None:
    """Raises: Forbidden, NotFound."""
    require(ctx, "volume_extension:types_extra_specs:delete", {"project_id": ctx.project_id})
    await ctx.db.write(delete_spec_in, ctx, type_id, key)


async def delete_spec_in(tx: Transaction, ctx: RequestContext, type_id: str, key: str) -> None:
    found = await get(tx, ctx, type_id)
    if key not in found.extra_specs:
        raise NotFound(f"Volume Type {type_id} has no extra specs with key {key[:255]}.")
    rest = {k: v for k, v in found.extra_specs.items() if k != key}
    await store.change(tx, type_id, extra_specs=rest, updated_at=ctx.now_us)


async def access(ctx: RequestContext, type_id: str) -> list[str]:
    """The projects that may use a private type. Raises: Forbidden, NotFound."""
    require(ctx, "volume_extension:volume_type_access:get_all_for_type", {"project_id": ctx.project_id})
    found = await get(ctx.db, ctx, type_id)
    if found.is_public:
        raise NotFound("Access list not available for public volume types.")
    return await store.projects(ctx.db, type_id)


async def set_access(ctx: RequestContext, type_id: str, project_id: str, *, granted: bool) -> None:
    """Raises: Forbidden, NotFound, Conflict."""
    word = "addProjectAccess" if granted else "removeProjectAccess"
    require(ctx, f"volume_extension:volume_type_access:{word}", {"project_id": ctx.project_id})
    await ctx.db.write(set_access_in, ctx, type_id, project_id, granted)


async def set_access_in(tx: Transaction, ctx: RequestContext, type_id: str, project_id: str, granted: bool) -> None:
    found = await get(tx, ctx, type_id)
    if found.is_public:
        raise Conflict("Type access modification is not applicable to public volume type.")
    if granted and not await store.grant(tx, type_id, project_id):
        raise Conflict(f"Volume type access for {type_id} / {project_id} combination already exists.")
    if not granted and not await store.revoke(tx, type_id, project_id):
        raise NotFound(f"Volume type access not found for {type_id} / {project_id} combination.")


async def ensure_default(tx: Transaction, new_id: str, now_us: int) -> None:
    """There is a type that volumes have unless asked otherwise."""
    if not await store.find_named(tx, DEFAULT_TYPE):
        await store.add(tx, VolumeType(new_id, DEFAULT_TYPE, "Default Volume Type", True, now_us, now_us), if_absent=True)
