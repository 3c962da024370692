"""Allocations as outside clients see and set them; usages."""

from __future__ import annotations

from msgspec import Struct

from moln.kernel.context import RequestContext
from moln.kernel.db import Transaction
from moln.kernel.errors import Conflict, Invalid, NotFound
from moln.placement.model.allocations import UNKNOWN, Allocation, Consumer, Wanted
from moln.placement.model.providers import Inventory, Provider
from moln.placement.ops.claims import replace_in
from moln.placement.ops.inventories import is_class
from moln.placement.store import allocations as store
from moln.placement.store import inventories, providers
from moln.placement.store.tables import consumers

AREA = "placement"
INCOMPLETE = "00000000-0000-0000-0000-000000000000"  # who holds what was allocated before microversion 1.8


class Assignment(Struct, frozen=True):
    """What one consumer shall hold. generation: the one its writer read, None: it shall be new; unchecked before 1.28.

    consumer_type: None keeps what there is.
    """

    consumer_id: str
    wanted: Wanted
    project_id: str = INCOMPLETE
    user_id: str = INCOMPLETE
    generation: int | None = None
    checked: bool = False
    consumer_type: str | None = None


async def of_consumer(ctx: RequestContext, consumer_id: str) -> tuple[Consumer | None, list[Allocation], dict[str, Provider]]:
    """(the consumer, its allocations, their providers); None and nothing, when it holds nothing."""
    ctx.require(AREA, "placement:allocations:list")
    held = await ctx.db.all(store.OF_CONSUMER, consumer_id=consumer_id)
    found = await ctx.db.all(providers.SOME, ids=sorted({a.provider_id for a in held}))
    return await ctx.db.one(store.CONSUMER, consumer_id=consumer_id), held, {p.id: p for p in found}


async def of_provider(ctx: RequestContext, id: str) -> tuple[Provider, list[store.Held]]:
    """Raises: NotFound."""
    ctx.require(AREA, "placement:resource_providers:allocations:list")
    return await providers.get(ctx.db, id), await ctx.db.all(store.OF_PROVIDER, provider_id=id)


async def assign(ctx: RequestContext, assignments: list[Assignment], *, rule: str = "update") -> None:
    """All of them, or none. Raises: Invalid (unknown provider or class), Conflict (no room, or a generation changed)."""
    ctx.require(AREA, f"placement:allocations:{rule}")
    await ctx.db.write(assign_in, assignments, ctx.now_us)


async def assign_in(tx: Transaction, assignments: list[Assignment], now: int) -> None:
    """Those that give first, so that a swap between consumers finds its room."""
    for wish in sorted(assignments, key=lambda a: bool(a.wanted)):
        await _check_names(tx, wish)
        await _ensure_consumer(tx, wish)
        short = await replace_in(tx, wish.consumer_id, wish.wanted, now_us=now)
        if short is not None:
            raise await _refusal(tx, *short)
        if not wish.wanted:
            await tx.delete(consumers, id=wish.consumer_id)
        else:
            await tx.run(store.RAISE, consumer_id=wish.consumer_id)


async def _check_names(tx: Transaction, wish: Assignment) -> None:
    for provider_id, resources in wish.wanted.items():
        if await tx.one(providers.GET, id=provider_id) is None:
            raise Invalid(f"Allocation for resource provider '{provider_id}' that does not exist.")
        for name in resources:
            if not await is_class(tx, name):
                raise Invalid(f"Unable to allocate inventory for consumer {wish.consumer_id}: No such resource class {name}.")


async def _ensure_consumer(tx: Transaction, wish: Assignment) -> None:
    found = await tx.one(store.CONSUMER, consumer_id=wish.consumer_id)
    expected = found.generation if found else None
    if wish.checked and wish.generation != expected:
        was = "null" if expected is None else expected
        raise Conflict(f"consumer generation conflict - expected {was} but got {wish.generation}", type=providers.CONCURRENT)
    if found is None:
        await tx.insert(consumers, Consumer(wish.consumer_id, wish.project_id, wish.user_id, wish.consumer_type or UNKNOWN, 0))
        return
    values: dict[str, object] = {"project_id": wish.project_id, "user_id": wish.user_id}
    if wish.consumer_type:
        values["consumer_type"] = wish.consumer_type
    await tx.update(consumers, values, id=wish.consumer_id)


async def _refusal(tx: Transaction, provider_id: str, resource_class: str) -> Conflict:
    """Why TAKE touched nothing."""
    found: Inventory | None = await tx.one(inventories.ONE, provider_id=provider_id, resource_class=resource_class)
    if found is None:
        return Conflict(f"Unable to allocate inventory: Inventory for '{resource_class}' on resource provider '{provider_id}' invalid.")
    return Conflict(
        f"Unable to allocate inventory: Unable to create allocation for '{resource_class}' on resource provider '{provider_id}'. "
        f"The requested amount would exceed the capacity or violate inventory constraints ({found.capacity} in all, {found.used} used, "
        f"units of {found.step_size} from {found.min_unit} to {found.max_unit})."
    )


async def remove(ctx: RequestContext, consumer_id: str) -> None:
    """Raises: NotFound, when it holds nothing."""
    ctx.require(AREA, "placement:allocations:delete")
    await ctx.db.write(_remove_in, consumer_id, ctx.now_us)


async def _remove_in(tx: Transaction, consumer_id: str, now: int) -> None:
    if not await tx.all(store.OF_CONSUMER, consumer_id=consumer_id):
        raise NotFound(f"No allocations for consumer '{consumer_id}'")
    await replace_in(tx, consumer_id, {}, now_us=now)
    await tx.delete(consumers, id=consumer_id)


async def usages(ctx: RequestContext, project_id: str, user_id: str | None) -> tuple[list[store.Usage], list[store.Count]]:
    """What a project's (one user's) consumers hold, and how many there are, by consumer type."""
    ctx.require(AREA, "placement:usages", {"project_id": project_id})
    if user_id is None:
        of = {"project_id": project_id}
        return await ctx.db.all(store.OF_PROJECT, **of), await ctx.db.all(store.CONSUMERS_OF_PROJECT, **of)
    of = {"project_id": project_id, "user_id": user_id}
    return await ctx.db.all(store.OF_USER, **of), await ctx.db.all(store.CONSUMERS_OF_USER, **of)
