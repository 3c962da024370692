"""Which providers pass: by name, tree, aggregates, traits and room."""

from __future__ import annotations

from msgspec import Struct

from moln.kernel.db import Reader
from moln.kernel.errors import Invalid
from moln.placement.model.candidates import Land
from moln.placement.model.names import STANDARD_CLASSES, STANDARD_TRAITS
from moln.placement.model.providers import Provider
from moln.placement.store import names


class ProviderFilter(Struct, frozen=True):
    """required: sets of traits, one of each set is needed. member_of: sets of aggregates, likewise. forbidden_*: none of them."""

    id: str | None = None
    name: str | None = None
    in_tree: str | None = None
    resources: dict[str, int] = {}
    required: tuple[frozenset[str], ...] = ()
    forbidden: frozenset[str] = frozenset()
    member_of: tuple[frozenset[str], ...] = ()
    forbidden_aggregates: frozenset[str] = frozenset()


async def check_names(db: Reader, *, classes: set[str], traits: set[str]) -> None:
    """Raises: Invalid, for a resource class or trait that does not exist."""
    for name in sorted(classes - set(STANDARD_CLASSES)):
        if await db.one(names.CLASS, name=name) is None:
            raise Invalid(f"Invalid resource class in resources parameter: No such resource class {name}.", field="resources")
    unknown = [t for t in sorted(traits - STANDARD_TRAITS) if await db.one(names.TRAIT, name=t) is None]
    if unknown:
        raise Invalid(f"No such trait(s): {', '.join(unknown)}.", field="required")


async def check(db: Reader, wanted: ProviderFilter) -> None:
    """Raises: Invalid, for a resource class or trait that does not exist."""
    traits = {t for group in wanted.required for t in group} | wanted.forbidden
    try:
        await check_names(db, classes=set(wanted.resources), traits=set(traits))
    except Invalid as unknown:
        if unknown.field == "required":
            raise Invalid(f'Invalid trait(s) in "required" parameter: {unknown.message}', field="required") from None
        raise


def matching(land: Land, wanted: ProviderFilter) -> list[Provider]:
    """In the order of the providers."""
    tree = land.providers.get(wanted.in_tree or "")
    if wanted.in_tree is not None and tree is None:
        return []
    return [p for p in land.providers.values() if _passes(land, p, wanted, tree.root_id if tree else None)]


def _passes(land: Land, p: Provider, wanted: ProviderFilter, root_id: str | None) -> bool:
    if wanted.id is not None and p.id != wanted.id or wanted.name is not None and p.name != wanted.name:
        return False
    if root_id is not None and p.root_id != root_id:
        return False
    traits, aggregates, held = land.traits[p.id], land.aggregates[p.id], land.inventories[p.id]
    return (
        all(group & traits for group in wanted.required) and not wanted.forbidden & traits
        and all(group & aggregates for group in wanted.member_of) and not wanted.forbidden_aggregates & aggregates
        and all(name in held and held[name].fits(n) for name, n in wanted.resources.items())
    )  # fmt: skip
