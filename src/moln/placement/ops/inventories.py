"""What providers have: set by outside clients, reported by nodes."""

from __future__ import annotations

from moln.kernel.context import RequestContext
from moln.kernel.db import Duplicate, Reader, Transaction
from moln.kernel.errors import Conflict, Invalid, NotFound
from moln.placement.model.names import STANDARD_CLASSES
from moln.placement.model.providers import Amounts, Inventory, Provider
from moln.placement.store import inventories as store
from moln.placement.store import names, providers

AREA = "placement"
IN_USE = "placement.inventory.inuse"
Inventories = tuple[Provider, list[Inventory]]
One = tuple[Provider, Inventory]


async def is_class(db: Reader, name: str) -> bool:
    return name in STANDARD_CLASSES or await db.one(names.CLASS, name=name) is not None


async def of_provider(ctx: RequestContext, id: str, rule: str = "inventories:list") -> Inventories:
    """Raises: NotFound."""
    ctx.require(AREA, f"placement:resource_providers:{rule}")
    return await providers.get(ctx.db, id), await store.of_provider(ctx.db, id)


async def show(ctx: RequestContext, id: str, resource_class: str) -> tuple[Provider, Inventory]:
    """Raises: NotFound."""
    ctx.require(AREA, "placement:resource_providers:inventories:show")
    provider = await providers.get(ctx.db, id)
    return provider, await _get(ctx.db, id, resource_class)


async def _get(db: Reader, id: str, resource_class: str) -> Inventory:
    found = await db.one(store.ONE, provider_id=id, resource_class=resource_class)
    if found is None:
        raise NotFound(f"No inventory of class {resource_class} for {id}")
    return found


def check(provider_id: str, resource_class: str, amounts: Amounts, *, reserved_may_be_total: bool, verb: str = "update") -> None:
    """Raises: Invalid, when nothing is left of it (microversion 1.26 allows exactly nothing)."""
    if (amounts.total - amounts.reserved) * amounts.allocation_ratio < 0 or (not reserved_may_be_total and amounts.capacity <= 0):
        compared = "greater than" if reserved_may_be_total else "greater than or equal to"
        raise Invalid(
            f"Unable to {verb} inventory for resource provider {provider_id}: Invalid inventory for '{resource_class}' on "
            f"resource provider '{provider_id}'. The reserved value is {compared} total.", field="reserved")


async def add(ctx: RequestContext, id: str, resource_class: str, amounts: Amounts) -> tuple[Provider, Inventory]:
    """Raises: NotFound; Invalid, for an unknown class; Conflict, when there is one."""
    ctx.require(AREA, "placement:resource_providers:inventories:create")
    return await ctx.db.write(_add_in, id, resource_class, amounts, ctx.now_us)


async def _add_in(tx: Transaction, id: str, resource_class: str, amounts: Amounts, now: int) -> tuple[Provider, Inventory]:
    await providers.get(tx, id)
    if not await is_class(tx, resource_class):
        raise Invalid(f"Unable to create inventory for resource provider {id}: No such resource class {resource_class}.")
    try:
        await store.add(tx, id, resource_class, amounts, now)
    except Duplicate:
        raise Conflict(f"Update conflict: there is an inventory of {resource_class} already.", type=providers.CONCURRENT) from None
    await providers.raise_generation(tx, id, now)
    return await providers.get(tx, id), await _get(tx, id, resource_class)


async def change(ctx: RequestContext, id: str, resource_class: str, amounts: Amounts, generation: int) -> tuple[Provider, Inventory]:
    """Raises: NotFound; Conflict, when the generation is another; Invalid, when there is no such inventory."""
    ctx.require(AREA, "placement:resource_providers:inventories:update")
    return await ctx.db.write(_change_in, id, resource_class, amounts, generation, ctx.now_us)


async def _change_in(tx: Transaction, id: str, resource_class: str, amounts: Amounts, generation: int, now: int) -> One:
    await providers.get(tx, id)
    await providers.raise_generation(tx, id, now, generation)
    if not await store.change(tx, id, resource_class, amounts, now):
        raise Invalid(f"No inventory record with resource class for resource provider {id}: No inventory of class {resource_class} found.")
    return await providers.get(tx, id), await _get(tx, id, resource_class)


async def replace(ctx: RequestContext, id: str, wanted: dict[str, Amounts], generation: int) -> Inventories:
    """Let it have exactly these. Raises: NotFound; Invalid (unknown class); Conflict (generation, or one to go is in use)."""
    ctx.require(AREA, "placement:resource_providers:inventories:update")
    return await ctx.db.write(_replace_in, id, wanted, generation, ctx.now_us)


async def _replace_in(tx: Transaction, id: str, wanted: dict[str, Amounts], generation: int, now: int) -> Inventories:
    await providers.get(tx, id)
    await providers.raise_generation(tx, id, now, generation)
    for name in wanted:
        if not await is_class(tx, name):
            raise Invalid(f"Unknown resource class in inventory for resource provider {id}: No such resource class {name}.")
    for held in await store.of_provider(tx, id):
        if held.resource_class not in wanted:
            await _drop(tx, id, held.resource_class, "update conflict: ", IN_USE)
    for name, amounts in wanted.items():
        if not await store.change(tx, id, name, amounts, now):
            await store.add(tx, id, name, amounts, now)
    return await providers.get(tx, id), await store.of_provider(tx, id)


async def _drop(tx: Transaction, id: str, resource_class: str, what: str, code: str) -> None:
    if not await tx.run(store.DROP, provider_id=id, resource_class=resource_class):
        raise Conflict(f"{what}Inventory for '{resource_class}' on resource provider '{id}' in use.", type=code)


async def remove(ctx: RequestContext, id: str, resource_class: str) -> None:
    """Raises: NotFound; Conflict, while it is in use."""
    ctx.require(AREA, "placement:resource_providers:inventories:delete")
    await ctx.db.write(_remove_in, id, resource_class, ctx.now_us)


async def _remove_in(tx: Transaction, id: str, resource_class: str, now: int) -> None:
    await providers.get(tx, id)
    if await tx.one(store.ONE, provider_id=id, resource_class=resource_class) is None:
        raise NotFound(f"No inventory of class {resource_class} found for delete: No inventory of class {resource_class} found.")
    await _drop(tx, id, resource_class, f"Unable to delete inventory of class {resource_class}: ", providers.CONCURRENT)
    await providers.raise_generation(tx, id, now)


async def remove_all(ctx: RequestContext, id: str) -> None:
    """Raises: NotFound; Conflict, while one is in use."""
    ctx.require(AREA, "placement:resource_providers:inventories:delete")
    await ctx.db.write(_remove_all_in, id, ctx.now_us)


async def _remove_all_in(tx: Transaction, id: str, now: int) -> None:
    await providers.get(tx, id)
    for held in await store.of_provider(tx, id):
        await _drop(tx, id, held.resource_class, "", IN_USE)
    await providers.raise_generation(tx, id, now)


async def report_in(tx: Transaction, id: str, amounts: dict[str, Amounts], now: int) -> bool:
    """Bring these classes to what a node says; whether that changed anything."""
    held = {i.resource_class: i for i in await store.of_provider(tx, id)}
    changed = False
    for name, wanted in amounts.items():
        if name not in held:
            await store.add(tx, id, name, wanted, now)
            changed = True
        elif held[name].amounts != wanted:
            await store.change(tx, id, name, wanted, now)
            changed = True
    return changed
