"""Moving inventories between providers together with what is allocated of them, at once."""

from __future__ import annotations

from moln.kernel.context import RequestContext
from moln.kernel.db import Transaction
from moln.kernel.errors import Conflict, Invalid
from moln.placement.model.providers import Amounts
from moln.placement.ops.allocations import Assignment, assign_in
from moln.placement.ops.inventories import IN_USE, is_class
from moln.placement.store import inventories, providers

Shapes = dict[str, tuple[int, dict[str, Amounts]]]  # by provider: the generation its writer read, and what it shall have


async def reshape(ctx: RequestContext, shapes: Shapes, assignments: list[Assignment]) -> None:
    """Let providers have exactly these inventories, and consumers these allocations. Raises: Invalid, Conflict; then nothing changed."""
    ctx.require("placement", "placement:reshaper:reshape")
    await ctx.db.write(reshape_in, shapes, assignments, ctx.now_us)


async def reshape_in(tx: Transaction, shapes: Shapes, assignments: list[Assignment], now: int) -> None:
    """What comes is added first, what goes is dropped last: between the two, allocations move."""
    for id, (generation, wanted) in sorted(shapes.items()):
        found = await tx.one(providers.GET, id=id)
        if found is None:
            raise Invalid(f"Resource provider {id} in inventories not found.", type="placement.resource_provider.not_found")
        if found.generation != generation:
            raise Conflict(f"resource provider generation conflict for provider {id}: actual: {found.generation}, given: {generation}",
                           type=providers.CONCURRENT)  # fmt: skip
        await providers.raise_generation(tx, id, now, generation)
        for name, amounts in wanted.items():
            if not await is_class(tx, name):
                raise Invalid(f"malformed reshaper data: No such resource class {name}.")
            if not await inventories.change(tx, id, name, amounts, now):
                await inventories.add(tx, id, name, amounts, now)
    await assign_in(tx, assignments, now)
    for id, (_, wanted) in shapes.items():
        for held in await inventories.of_provider(tx, id):
            gone = held.resource_class not in wanted
            if gone and not await tx.run(inventories.DROP, provider_id=id, resource_class=held.resource_class):
                raise Conflict(f"update conflict: Inventory for '{held.resource_class}' on resource provider '{id}' in use.", type=IN_USE)
