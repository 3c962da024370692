"""Traits and resource classes: the standard ones, and those that clients add."""

from __future__ import annotations

from moln.kernel.context import RequestContext
from moln.kernel.db import Transaction
from moln.kernel.errors import Conflict, Invalid, NotFound
from moln.placement.model.names import STANDARD_CLASSES, STANDARD_TRAITS, is_custom
from moln.placement.store import inventories, providers
from moln.placement.store import names as store
from moln.placement.store.tables import custom_classes, custom_traits

AREA = "placement"


async def list_traits(ctx: RequestContext, *, among: set[str] | None, prefix: str, associated: bool | None) -> list[str]:
    """Every trait of these names, with this prefix, that some provider has (or none has)."""
    ctx.require(AREA, "placement:traits:list")
    found = [*sorted(STANDARD_TRAITS), *await ctx.db.all(store.TRAITS)]
    if among is not None:
        found = [t for t in found if t in among]
    if associated is not None:
        used = set(await ctx.db.all(store.TRAITS_IN_USE))
        found = [t for t in found if (t in used) == associated]
    return [t for t in found if t.startswith(prefix)]


async def show_trait(ctx: RequestContext, name: str) -> None:
    """Raises: NotFound."""
    ctx.require(AREA, "placement:traits:show")
    if name not in STANDARD_TRAITS and await ctx.db.one(store.TRAIT, name=name) is None:
        raise NotFound(f"No such trait(s): {name}.")


async def ensure_trait(ctx: RequestContext, name: str) -> bool:
    """True: it was made. Raises: Invalid, unless it has the form of a custom one."""
    ctx.require(AREA, "placement:traits:update")
    if not is_custom(name):
        raise Invalid('The trait is invalid. A valid trait must be no longer than 255 characters, start with the prefix "CUSTOM_" '
                      'and use following characters: "A"-"Z", "0"-"9" and "_"')  # fmt: skip
    return await ctx.db.write(_ensure_trait_in, name, ctx.now_us)


async def _ensure_trait_in(tx: Transaction, name: str, now: int) -> bool:
    return await tx.insert(custom_traits, {"name": name, "created_at": now}, if_absent=True)


async def remove_trait(ctx: RequestContext, name: str) -> None:
    """Raises: NotFound; Invalid, for a standard one; Conflict, while a provider has it."""
    ctx.require(AREA, "placement:traits:delete")
    if name in STANDARD_TRAITS:
        raise Invalid(f"Cannot delete standard trait {name}.")
    await ctx.db.write(_remove_trait_in, name)


async def _remove_trait_in(tx: Transaction, name: str) -> None:
    if await tx.one(providers.TRAIT_USED, trait=name) is not None:
        raise Conflict(f"The trait {name} is in use by a resource provider.")
    if not await tx.delete(custom_traits, name=name):
        raise NotFound(f"No such trait(s): {name}.")


async def list_classes(ctx: RequestContext) -> list[str]:
    ctx.require(AREA, "placement:resource_classes:list")
    return [*STANDARD_CLASSES, *await ctx.db.all(store.CLASSES)]


async def show_class(ctx: RequestContext, name: str) -> None:
    """Raises: NotFound."""
    ctx.require(AREA, "placement:resource_classes:show")
    if name not in STANDARD_CLASSES and await ctx.db.one(store.CLASS, name=name) is None:
        raise NotFound(f"No such resource class {name}.")


async def ensure_class(ctx: RequestContext, name: str, *, rule: str = "update") -> bool:
    """True: it was made. Raises: Invalid, unless it has the form of a custom one."""
    ctx.require(AREA, f"placement:resource_classes:{rule}")
    if not is_custom(name):
        raise Invalid(f"JSON does not validate: {name[:300]!r} is not a custom resource class (CUSTOM_ and A-Z, 0-9, _).", field="name")
    return await ctx.db.write(_ensure_class_in, name, ctx.now_us)


async def _ensure_class_in(tx: Transaction, name: str, now: int) -> bool:
    return await tx.insert(custom_classes, {"name": name, "created_at": now}, if_absent=True)


async def create_class(ctx: RequestContext, name: str) -> None:
    """Raises: Conflict, Invalid."""
    if not await ensure_class(ctx, name, rule="create"):
        raise Conflict(f"Conflicting resource class already exists: {name}")


async def rename_class(ctx: RequestContext, name: str, new: str) -> None:
    """Microversions 1.2 to 1.6. Raises: NotFound, Conflict, Invalid."""
    ctx.require(AREA, "placement:resource_classes:update")
    if name in STANDARD_CLASSES:
        raise Invalid(f"Cannot update standard resource class {name}")
    if not is_custom(new):
        raise Invalid(f"JSON does not validate: {new[:300]!r} is not a custom resource class.", field="name")
    await ctx.db.write(_rename_class_in, name, new)


async def _rename_class_in(tx: Transaction, name: str, new: str) -> None:
    if await tx.one(store.CLASS, name=new) is not None:
        raise Conflict(f"Resource class already exists: {new}")
    await _free(tx, name, "update")
    if not await tx.update(custom_classes, {"name": new}, name=name):
        raise NotFound(f"No such resource class {name}.")


async def _free(tx: Transaction, name: str, verb: str) -> None:
    if await tx.one(inventories.CLASS_USED, resource_class=name) is not None:
        raise Conflict(f"Error in {verb} resource class: Cannot {verb} resource class {name}. Class is in use in inventory.")


async def remove_class(ctx: RequestContext, name: str) -> None:
    """Raises: NotFound; Invalid, for a standard one; Conflict, while an inventory has it."""
    ctx.require(AREA, "placement:resource_classes:delete")
    if name in STANDARD_CLASSES:
        raise Invalid(f"Error in delete resource class: Cannot delete standard resource class {name}.")
    await ctx.db.write(_remove_class_in, name)


async def _remove_class_in(tx: Transaction, name: str) -> None:
    await _free(tx, name, "delete")
    if not await tx.delete(custom_classes, name=name):
        raise NotFound(f"No such resource class {name}.")
