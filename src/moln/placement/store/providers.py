"""How providers, their traits and their aggregates are kept."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from msgspec import Struct

from moln.kernel.db import Query, Reader, Statement, Transaction, in_list
from moln.kernel.errors import Conflict, NotFound
from moln.placement.model.providers import Inventory, Provider
from moln.placement.store.tables import inventories, provider_aggregates, provider_traits, providers

CONCURRENT = "placement.concurrent_update"
_id = sa.bindparam("id")
GET = Query(sa.select(providers).where(providers.c.id == _id), Provider)
BY_NAME = Query(sa.select(providers).where(providers.c.name == sa.bindparam("name")), Provider)
SOME = Query(sa.select(providers).where(in_list(providers.c.id, "ids")), Provider)
ALL = Query(sa.select(providers).order_by(providers.c.rowid), Provider)
CHILD = Query(sa.select(providers.c.id).where(providers.c.parent_id == _id).limit(1), str)
OF_TREE = Query(sa.select(providers).where(providers.c.root_id == sa.bindparam("root_id")), Provider)
RAISE = Statement(
    sa.update(providers).where(providers.c.id == _id, providers.c.generation == sa.bindparam("expected"))
    .values(generation=providers.c.generation + 1, updated_at=sa.bindparam("now"))
)  # fmt: skip
RAISE_ANY = Statement(
    sa.update(providers).where(providers.c.id == _id).values(generation=providers.c.generation + 1, updated_at=sa.bindparam("now"))
)
TRAITS = Query(sa.select(provider_traits.c.trait).where(provider_traits.c.provider_id == _id).order_by(provider_traits.c.trait), str)
TRAITS_OF_SEVERAL = Query(
    sa.select(provider_traits.c.provider_id, provider_traits.c.trait).where(in_list(provider_traits.c.provider_id, "provider_ids")), dict
)
AGGREGATES = Query(
    sa.select(provider_aggregates.c.aggregate_id).where(provider_aggregates.c.provider_id == _id).order_by(provider_aggregates.c.rowid), str
)
TRAIT_USED = Query(sa.select(provider_traits.c.provider_id).where(provider_traits.c.trait == sa.bindparam("trait")).limit(1), str)


class Pair(Struct, frozen=True):
    provider_id: str
    value: str


ALL_TRAITS = Query(sa.select(provider_traits.c.provider_id, provider_traits.c.trait.label("value")), Pair)
ALL_AGGREGATES = Query(sa.select(provider_aggregates.c.provider_id, provider_aggregates.c.aggregate_id.label("value")), Pair)
PAIRS_OF_SEVERAL = Query(
    sa.select(provider_traits.c.provider_id, provider_traits.c.trait.label("value")).where(in_list(provider_traits.c.provider_id, "ids")), Pair
)
AGGREGATES_OF_SEVERAL = Query(
    sa.select(provider_aggregates.c.provider_id, provider_aggregates.c.aggregate_id.label("value"))
    .where(in_list(provider_aggregates.c.provider_id, "ids")), Pair,
)  # fmt: skip
INVENTORIES_OF_SEVERAL = Query(
    sa.select(inventories).where(in_list(inventories.c.provider_id, "ids")).order_by(inventories.c.rowid), Inventory
)
ALL_INVENTORIES = Query(sa.select(inventories).order_by(inventories.c.rowid), Inventory)


async def get(db: Reader, id: str) -> Provider:
    """Raises: NotFound."""
    found = await db.one(GET, id=id)
    if found is None:
        raise NotFound(f"No resource provider with uuid {id} found", type="placement.resource_provider.not_found")
    return found


async def raise_generation(tx: Transaction, id: str, now: int, expected: int | None = None) -> None:
    """Note that the provider changed. Raises: Conflict, when its generation is not the expected one."""
    touched = await tx.run(RAISE_ANY, id=id, now=now) if expected is None else await tx.run(RAISE, id=id, now=now, expected=expected)
    if not touched:
        raise Conflict("resource provider generation conflict", type=CONCURRENT)
    tx.changed("placement.providers", id)


async def set_traits(tx: Transaction, id: str, wanted: set[str]) -> bool:
    """Give it exactly these traits; whether that changed anything."""
    held = set(await tx.all(TRAITS, id=id))
    for trait in held - wanted:
        await tx.delete(provider_traits, provider_id=id, trait=trait)
    for trait in sorted(wanted - held):
        await tx.insert(provider_traits, {"provider_id": id, "trait": trait}, if_absent=True)
    return held != wanted


async def set_aggregates(tx: Transaction, id: str, wanted: list[str]) -> None:
    """Make it a member of exactly these."""
    held = await tx.all(AGGREGATES, id=id)
    for aggregate in held:
        if aggregate not in wanted:
            await tx.delete(provider_aggregates, provider_id=id, aggregate_id=aggregate)
    for aggregate in wanted:
        await tx.insert(provider_aggregates, {"provider_id": id, "aggregate_id": aggregate}, if_absent=True)


@dataclass(frozen=True)
class Landscape:
    """Everything there is, by provider id."""

    providers: dict[str, Provider]
    inventories: dict[str, dict[str, Inventory]]
    traits: dict[str, set[str]]
    aggregates: dict[str, set[str]]


async def part(db: Reader, ids: list[str]) -> Landscape:
    """Those of these providers that are there, with what they have."""
    found = {p.id: p for p in await db.all(SOME, ids=ids)}
    held: dict[str, dict[str, Inventory]] = {id: {} for id in found}
    traits: dict[str, set[str]] = {id: set() for id in found}
    aggregates: dict[str, set[str]] = {id: set() for id in found}
    for row in await db.all(INVENTORIES_OF_SEVERAL, ids=ids):
        held[row.provider_id][row.resource_class] = row
    for pair in await db.all(PAIRS_OF_SEVERAL, ids=ids):
        traits[pair.provider_id].add(pair.value)
    for pair in await db.all(AGGREGATES_OF_SEVERAL, ids=ids):
        aggregates[pair.provider_id].add(pair.value)
    return Landscape(found, held, traits, aggregates)


async def landscape(db: Reader) -> Landscape:
    """All providers with what they have: for filters and candidates."""
    found = {p.id: p for p in await db.all(ALL)}
    held: dict[str, dict[str, Inventory]] = {id: {} for id in found}
    traits: dict[str, set[str]] = {id: set() for id in found}
    aggregates: dict[str, set[str]] = {id: set() for id in found}
    for row in await db.all(ALL_INVENTORIES):
        held[row.provider_id][row.resource_class] = row
    for pair in await db.all(ALL_TRAITS):
        traits[pair.provider_id].add(pair.value)
    for pair in await db.all(ALL_AGGREGATES):
        aggregates[pair.provider_id].add(pair.value)
    return Landscape(found, held, traits, aggregates)
