"""Making, listing, changing and removing providers; what nodes report about themselves."""

from __future__ import annotations

from moln.kernel.context import RequestContext
from moln.kernel.db import Duplicate, Reader, Transaction
from moln.kernel.errors import Conflict, Invalid, NotFound
from moln.placement.model.names import STANDARD_TRAITS
from moln.placement.model.providers import Amounts, Inventory, Provider
from moln.placement.ops import inventories as inventory_ops
from moln.placement.ops import landscapes
from moln.placement.ops.filters import ProviderFilter, check, matching
from moln.placement.store import allocations as ledger
from moln.placement.store import inventories, names
from moln.placement.store import providers as store
from moln.placement.store.tables import custom_traits, provider_aggregates, provider_traits
from moln.placement.store.tables import inventories as inventory_rows
from moln.placement.store.tables import providers as rows

AREA = "placement"
DUPLICATE = "placement.duplicate_name"


async def show(ctx: RequestContext, id: str) -> Provider:
    """Raises: NotFound."""
    ctx.require(AREA, "placement:resource_providers:show")
    return await store.get(ctx.db, id)


async def require(ctx: RequestContext, id: str, rule: str) -> None:
    """Raises: Forbidden, NotFound."""
    ctx.require(AREA, f"placement:resource_providers:{rule}")
    await store.get(ctx.db, id)


async def search(ctx: RequestContext, wanted: ProviderFilter) -> list[Provider]:
    """The providers that pass every filter. Raises: Invalid, for unknown traits or classes."""
    ctx.require(AREA, "placement:resource_providers:list")
    await check(ctx.db, wanted)
    return await landscapes.kept(ctx.cloud).search(lambda index: matching(index.land, wanted))


async def create(ctx: RequestContext, *, id: str, name: str, parent_id: str | None) -> Provider:
    """Raises: Conflict, Invalid (no such parent)."""
    ctx.require(AREA, "placement:resource_providers:create")
    return await ctx.db.write(create_in, id=id, name=name, parent_id=parent_id, now_us=ctx.now_us)


async def create_in(tx: Transaction, *, id: str, name: str, parent_id: str | None, now_us: int) -> Provider:
    root_id = id
    if parent_id is not None:
        what = f'Unable to create resource provider "{name}", {id}: Object action create failed because: '
        if parent_id == id:
            raise Invalid(what + "parent provider UUID cannot be same as UUID. Please set parent provider UUID to None if "
                          "there is no parent.", field="parent_provider_uuid")  # fmt: skip
        root_id = (await _parent(tx, parent_id, what)).root_id
    made = Provider(id, name, 0, root_id, parent_id, now_us, now_us)
    try:
        await tx.insert(rows, made)
    except Duplicate as taken:
        which = f"uuid: {id}" if any(c.endswith(".id") for c in taken.columns) else f"name: {name}"
        raise Conflict(f"Conflicting resource provider {which} already exists.", type=DUPLICATE) from None
    tx.changed("placement.providers", id)
    return made


async def _parent(tx: Transaction, parent_id: str, what: str) -> Provider:
    found = await tx.one(store.GET, id=parent_id)
    if found is None:
        raise Invalid(what + "parent provider UUID does not exist.", field="parent_provider_uuid")
    return found


async def update(ctx: RequestContext, id: str, *, name: str, parent_id: str | None, set_parent: bool, may_move: bool) -> Provider:
    """Rename, or move in the tree. set_parent: whether `parent_id` was said at all. may_move: a parent may change into another or none.

    Raises: NotFound, Conflict, Invalid.
    """
    ctx.require(AREA, "placement:resource_providers:update")
    return await ctx.db.write(_update_in, id, name, parent_id, set_parent, may_move, ctx.now_us)


async def _update_in(tx: Transaction, id: str, name: str, parent_id: str | None, set_parent: bool, may_move: bool, now: int) -> Provider:
    found = await store.get(tx, id)
    values: dict[str, object] = {"name": name, "updated_at": now}
    if set_parent and parent_id != found.parent_id:
        what = f"Unable to save resource provider {id}: Object action update failed because: "
        if found.parent_id is not None and not may_move:
            verb = "un-parenting" if parent_id is None else "re-parenting"
            raise Invalid(f"{what}{verb} a provider is not currently allowed.", field="parent_provider_uuid")
        root_id = id if parent_id is None else (await _parent(tx, parent_id, what)).root_id
        tree = {p.id: p for p in await tx.all(store.OF_TREE, root_id=found.root_id)}
        below = _subtree(tree, id)
        if parent_id in below:
            raise Invalid(what + "creating loop in the provider tree is not allowed.", field="parent_provider_uuid")
        values["parent_id"] = parent_id
        for member in below:
            await tx.update(rows, {"root_id": root_id}, id=member)
            tx.changed("placement.providers", member)
    try:
        await tx.update(rows, values, id=id)
    except Duplicate:
        raise Conflict(f"Conflicting resource provider {name} already exists.", type=DUPLICATE) from None
    tx.changed("placement.providers", id)
    return await store.get(tx, id)


def _subtree(tree: dict[str, Provider], top: str) -> set[str]:
    below, grown = {top}, True
    while grown:
        more = {p.id for p in tree.values() if p.parent_id in below} - below
        grown = bool(more)
        below |= more
    return below


async def remove(ctx: RequestContext, id: str) -> None:
    """Raises: NotFound; Conflict, while it has allocations or children."""
    ctx.require(AREA, "placement:resource_providers:delete")
    await ctx.db.write(remove_in, id)


async def remove_in(tx: Transaction, id: str) -> None:
    if await tx.one(store.GET, id=id) is None:
        raise NotFound(f"No resource provider with uuid {id} found for delete", type="placement.resource_provider.not_found")
    if await tx.one(store.CHILD, id=id) is not None:
        raise Conflict(f"Unable to delete parent resource provider {id}: It has child resource providers.",
                       type="placement.resource_provider.cannot_delete_parent")  # fmt: skip
    for held in await inventories.of_provider(tx, id):
        if not await tx.run(inventories.DROP, provider_id=id, resource_class=held.resource_class):
            raise Conflict(f"Unable to delete resource provider {id}: Resource provider has allocations.",
                           type="placement.resource_provider.inuse")  # fmt: skip
    if await tx.one(ledger.USES, provider_id=id) is not None:
        raise Conflict(f"Unable to delete resource provider {id}: Resource provider has allocations.",
                       type="placement.resource_provider.inuse")  # fmt: skip
    await tx.delete(inventory_rows, provider_id=id)
    await tx.delete(provider_traits, provider_id=id)
    await tx.delete(provider_aggregates, provider_id=id)
    await tx.delete(rows, id=id)
    tx.changed("placement.providers", id)


async def report_in(tx: Transaction, *, id: str, name: str, amounts: dict[str, Amounts], traits: set[str], now_us: int) -> None:
    """What a node says that it has: its provider is made or brought up to that; classes that it holds beside these are left alone.

    A node may say less than is allocated: then nothing more fits. Traits that an operator added (CUSTOM_…) are kept.
    """
    found = await tx.one(store.GET, id=id)
    if found is None:
        await create_in(tx, id=id, name=name, parent_id=None, now_us=now_us)
    elif found.name != name:
        await tx.update(rows, {"name": name}, id=id)
        tx.changed("placement.providers", id)
    changed = await inventory_ops.report_in(tx, id, amounts, now_us)
    for trait in sorted(traits - STANDARD_TRAITS):
        await tx.insert(custom_traits, {"name": trait, "created_at": now_us}, if_absent=True)
    kept = {t for t in await tx.all(store.TRAITS, id=id) if t.startswith("CUSTOM_")}
    changed |= await store.set_traits(tx, id, traits | kept)
    if changed:
        await store.raise_generation(tx, id, now_us)


async def mark_in(tx: Transaction, id: str, trait: str, present: bool, now_us: int) -> None:
    """Give a provider a trait, or take it away."""
    held = set(await tx.all(store.TRAITS, id=id))
    if await store.set_traits(tx, id, held | {trait} if present else held - {trait}):
        await store.raise_generation(tx, id, now_us)


async def group_in(tx: Transaction, id: str, aggregate_id: str, member: bool, now_us: int) -> None:
    """Make a provider a member of an aggregate, or no longer."""
    held = await tx.all(store.AGGREGATES, id=id)
    wanted = [a for a in held if a != aggregate_id] + ([aggregate_id] if member else [])
    await store.set_aggregates(tx, id, wanted)
    await store.raise_generation(tx, id, now_us)


async def room_in(db: Reader, id: str) -> tuple[dict[str, Inventory], frozenset[str]]:
    """(inventories by class, traits) of a provider; nothing, when there is none."""
    held = await inventories.of_provider(db, id)
    return {i.resource_class: i for i in held}, frozenset(await db.all(store.TRAITS, id=id))


async def rooms_in(db: Reader, ids: list[str]) -> dict[str, tuple[dict[str, Inventory], frozenset[str]]]:
    """The same of several at once, by id."""
    held: dict[str, dict[str, Inventory]] = {i: {} for i in ids}
    traits: dict[str, list[str]] = {i: [] for i in ids}
    for inventory in await db.all(inventories.OF_SEVERAL, provider_ids=ids):
        held[inventory.provider_id][inventory.resource_class] = inventory
    for row in await db.all(store.TRAITS_OF_SEVERAL, provider_ids=ids):
        traits[row["provider_id"]].append(row["trait"])
    return {i: (held[i], frozenset(traits[i])) for i in ids}


async def with_room(db: Reader, resources: dict[str, int], most: int = 64) -> list[str]:
    """Some of the providers that have room for all of it at this moment, by id."""
    found: set[str] | None = None
    for name, n in resources.items():
        if n:
            able = set(await db.all(inventories.WITH_ROOM, resource_class=name, n=n))
            found = able if found is None else found & able
    return sorted(found or ())[:most]


async def known_traits(db: Reader, wanted: set[str]) -> set[str]:
    """Those of `wanted` that are traits at all."""
    return {t for t in wanted if t in STANDARD_TRAITS or await db.one(names.TRAIT, name=t) is not None}


async def traits(ctx: RequestContext, id: str) -> tuple[Provider, list[str]]:
    """Raises: NotFound."""
    ctx.require(AREA, "placement:resource_providers:traits:list")
    return await store.get(ctx.db, id), await ctx.db.all(store.TRAITS, id=id)


async def set_traits(ctx: RequestContext, id: str, wanted: set[str], generation: int) -> Provider:
    """Raises: NotFound; Conflict, when the generation is another; Invalid, for an unknown trait."""
    ctx.require(AREA, "placement:resource_providers:traits:update")
    return await ctx.db.write(_set_traits_in, id, wanted, generation, ctx.now_us)


async def _set_traits_in(tx: Transaction, id: str, wanted: set[str], generation: int, now: int) -> Provider:
    found = await store.get(tx, id)
    _same(found, generation)
    unknown = wanted - await known_traits(tx, wanted)
    if unknown:
        raise Invalid(f"No such trait {', '.join(sorted(unknown))}", field="traits")
    if await store.set_traits(tx, id, wanted):
        await store.raise_generation(tx, id, now, generation)
    return await store.get(tx, id)


async def clear_traits(ctx: RequestContext, id: str) -> None:
    """Raises: NotFound."""
    ctx.require(AREA, "placement:resource_providers:traits:delete")
    await ctx.db.write(_clear_traits_in, id, ctx.now_us)


async def _clear_traits_in(tx: Transaction, id: str, now: int) -> None:
    await store.get(tx, id)
    if await store.set_traits(tx, id, set()):
        await store.raise_generation(tx, id, now)


async def aggregates(ctx: RequestContext, id: str) -> tuple[Provider, list[str]]:
    """Raises: NotFound."""
    ctx.require(AREA, "placement:resource_providers:aggregates:list")
    return await store.get(ctx.db, id), await ctx.db.all(store.AGGREGATES, id=id)


async def set_aggregates(ctx: RequestContext, id: str, wanted: list[str], generation: int | None) -> tuple[Provider, list[str]]:
    """generation: None before microversion 1.19, which neither checks nor raises it. Raises: NotFound, Conflict."""
    ctx.require(AREA, "placement:resource_providers:aggregates:update")
    return await ctx.db.write(_set_aggregates_in, id, wanted, generation, ctx.now_us)


async def _set_aggregates_in(tx: Transaction, id: str, wanted: list[str], generation: int | None, now: int) -> tuple[Provider, list[str]]:
    found = await store.get(tx, id)
    if generation is not None:
        _same(found, generation)
        await store.raise_generation(tx, id, now, generation)
    await store.set_aggregates(tx, id, wanted)
    tx.changed("placement.providers", id)
    return await store.get(tx, id), await tx.all(store.AGGREGATES, id=id)


def _same(found: Provider, generation: int) -> None:
    if found.generation != generation:
        raise Conflict("Resource provider's generation already changed. Please update the generation and try again.",
                       type=store.CONCURRENT)  # fmt: skip
