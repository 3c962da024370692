"""Why no provider can give what a request asks, in numbers, and the smallest change after which one could. Pure.

A tree's obstacles are gathered group by group, at the provider of the tree where the group lacks least. A change is reported only after
it was tried on a copy and candidates came of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from msgspec import Struct
from msgspec.structs import replace

from moln.placement.model.candidates import Group, Land, Request, candidates
from moln.placement.model.names import SHARING
from moln.placement.model.providers import Inventory, Provider

TRIED = 8  # of the nearest trees, to find one whose change is enough


class Obstacle(Struct, frozen=True, omit_defaults=True):
    """One thing in the way at one provider. asked, free: units; names: traits or aggregates.

    reason: no_inventory, not_enough, units (min_unit, max_unit or step_size), missing_traits (one of `names` is needed), forbidden_traits,
    not_in_aggregate (one of `names` is needed), forbidden_aggregates, other_tree, together (each group fits, all do not).
    """

    provider: str
    group: str
    reason: str
    resource_class: str | None = None
    asked: int | None = None
    free: int | None = None
    capacity: int | None = None
    names: list[str] = []


class Lacking(Struct, frozen=True):
    """Why the tree below `root` gives no candidate."""

    root: str
    obstacles: list[Obstacle]

    @property
    def weight(self) -> tuple[int, float]:
        """How far it is from fitting: the obstacles, then how much is missing."""
        missing = sum(1.0 - max(o.free or 0, 0) / o.asked for o in self.obstacles if o.reason == "not_enough" and o.asked)
        return len(self.obstacles), missing


@dataclass(frozen=True)
class Trial:
    """A copy of one tree, changed."""

    providers: dict[str, Provider]
    inventories: dict[str, dict[str, Inventory]]
    traits: dict[str, set[str]]
    aggregates: dict[str, set[str]]


def explain(land: Land, request: Request) -> list[Lacking]:
    """The trees that give no candidate, the nearest to fitting first."""
    trees: dict[str, list[str]] = {}
    for p in land.providers.values():
        trees.setdefault(p.root_id, []).append(p.id)
    sharers = [id for id, traits in land.traits.items() if SHARING in traits]
    found = []
    for root, members in trees.items():
        around = {a for m in members for a in land.aggregates[m]}
        usable = [m for m in members if request.nested or land.providers[m].parent_id is None]
        usable += [s for s in sharers if s not in members and land.aggregates[s] & around]
        obstacles = [*_root(land, request, root), *(o for group in request.groups for o in _group(land, group, usable))]
        if not obstacles:
            if candidates(part(land, usable), replace(request, limit=1)):
                continue
            obstacles = [Obstacle(root, "", "together")]
        found.append(Lacking(root, obstacles))
    return sorted(found, key=lambda lacking: lacking.weight)


def part(land: Land, ids: list[str]) -> Trial:
    """A copy of some providers alone."""
    return Trial(
        {id: land.providers[id] for id in ids},
        {id: dict(land.inventories[id]) for id in ids},
        {id: set(land.traits[id]) for id in ids},
        {id: set(land.aggregates[id]) for id in ids},
    )


def _root(land: Land, request: Request, root: str) -> Iterator[Obstacle]:
    for trait in sorted(request.root_required - land.traits[root]):
        yield Obstacle(root, "", "missing_traits", names=[trait])
    if forbidden := request.root_forbidden & land.traits[root]:
        yield Obstacle(root, "", "forbidden_traits", names=sorted(forbidden))


def _group(land: Land, group: Group, usable: list[str]) -> list[Obstacle]:
    """What the group lacks where it lacks least; a group without a suffix takes each class, and each trait, where it is."""
    found: list[Obstacle] = []
    if group.suffix:
        return min((_at(land, group, u, dict(group.resources), group.required) for u in usable), key=_weigh, default=found)
    for name, amount in group.resources.items():
        least = min((_at(land, group, u, {name: amount}, ()) for u in usable), key=_weigh, default=found[:0])
        found += least
    have = set().union(*(land.traits[u] for u in usable)) if usable else set()
    found += [Obstacle(usable[0], group.suffix, "missing_traits", names=sorted(want)) for want in group.required if usable and not want & have]
    return list({(o.provider, o.reason, o.resource_class, *o.names): o for o in found}.values())


def _weigh(found: list[Obstacle]) -> tuple[int, float, int]:
    absent = sum(o.reason == "no_inventory" for o in found)
    return absent, Lacking("", found).weight[1], len(found)


def _at(land: Land, group: Group, id: str, resources: dict[str, int], required: tuple[frozenset[str], ...]) -> list[Obstacle]:
    """What is in the way at one provider."""
    found = [o for name, amount in resources.items() if (o := _room(land, group, id, name, amount))]
    found += [Obstacle(id, group.suffix, "missing_traits", names=sorted(want)) for want in required if not want & land.traits[id]]
    if forbidden := group.forbidden & land.traits[id]:
        found.append(Obstacle(id, group.suffix, "forbidden_traits", names=sorted(forbidden)))
    own = land.aggregates[id] if group.suffix else land.aggregates[id] | land.aggregates.get(land.providers[id].root_id, set())
    found += [Obstacle(id, group.suffix, "not_in_aggregate", names=sorted(want)) for want in group.member_of if not want & own]
    if away := group.forbidden_aggregates & own:
        found.append(Obstacle(id, group.suffix, "forbidden_aggregates", names=sorted(away)))
    if group.in_tree is not None:
        tree = land.providers.get(group.in_tree)
        if tree is None or land.providers[id].root_id != tree.root_id:
            found.append(Obstacle(id, group.suffix, "other_tree", names=[group.in_tree]))
    return found


def _room(land: Land, group: Group, id: str, name: str, amount: int) -> Obstacle | None:
    held = land.inventories[id].get(name)
    if held is None:
        return Obstacle(id, group.suffix, "no_inventory", name, amount, 0, 0)
    if held.fits(amount):
        return None
    reason = "units" if not held.allows(amount) else "not_enough"
    return Obstacle(id, group.suffix, reason, name, amount, held.free, held.capacity)


def smallest_change(land: Land, request: Request, lacking: list[Lacking]) -> Lacking | None:
    """The nearest tree of which candidates come when its obstacles, and nothing else, are out of the way."""
    for near in lacking[:TRIED]:
        if any(o.reason in ("other_tree", "together") for o in near.obstacles):
            continue
        ids = [id for id, p in land.providers.items() if p.root_id == near.root]
        around = {a for id in ids for a in land.aggregates[id]}
        ids += [id for id, traits in land.traits.items() if SHARING in traits and id not in ids and land.aggregates[id] & around]
        trial = part(land, ids)
        for obstacle in near.obstacles:
            _lift(trial, obstacle)
        if candidates(trial, replace(request, limit=1)):
            return near
    return None


def _lift(trial: Trial, o: Obstacle) -> None:
    """Take one obstacle out of a copy's way."""
    match o.reason:
        case "missing_traits":
            trial.traits[o.provider].add(o.names[0])
        case "forbidden_traits":
            trial.traits[o.provider].difference_update(o.names)
        case "not_in_aggregate":
            trial.aggregates[o.provider].add(o.names[0])
        case "forbidden_aggregates":
            trial.aggregates[o.provider].difference_update(o.names)
        case _:
            name, asked = o.resource_class or "", o.asked or 0
            held = trial.inventories[o.provider].get(name)
            room = (held.used if held else 0) + asked
            lifted = Inventory(o.provider, name, room, 0, 1, room, 1, 1_000_000, room, held.used if held else 0, 0)
            trial.inventories[o.provider][name] = lifted


def least_ask(land: Land, request: Request) -> dict[str, int] | None:
    """The most of each class that one provider could give at once now, for a request of one group: what could be asked instead.

    None, when the request has more groups: they bind each other.
    """
    if len(request.groups) != 1:
        return None
    most = dict.fromkeys(request.groups[0].resources, 0)
    for held in land.inventories.values():
        for name in most:
            if (i := held.get(name)) is not None:
                most[name] = max(most[name], min(i.free, i.max_unit) // i.step_size * i.step_size)
    return most


__all__ = ["Lacking", "Obstacle", "explain", "least_ask", "smallest_change"]
