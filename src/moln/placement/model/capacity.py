"""How often something fits into what is there. Pure.

One way to take it is found, taken as often as it fits, and the next one found, until there is none. Where each tree gives in one way only
(hosts as they are reported) that is the most there can be; where a tree or a shared provider gives in several, it is a number that
certainly fits.
"""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from moln.placement.model.candidates import WAYS, Land, Request, candidates
from moln.placement.model.explain import Trial, part
from moln.placement.model.names import SHARING


class Capacity(Struct, frozen=True):
    """fits: how often in all; by_root: by the tree; exact: whether no more can be."""

    fits: int
    by_root: dict[str, int]
    exact: bool


class Loss(Struct, frozen=True):
    """What is gone with an aggregate. roots: its trees; used: what is in use there, by class; free: what is left elsewhere."""

    roots: list[str]
    used: dict[str, int]
    free: dict[str, int]


def capacity(land: Land, request: Request) -> Capacity:
    """Sharing providers are used up by one tree after the other."""
    trees: dict[str, list[str]] = {}
    for p in land.providers.values():
        trees.setdefault(p.root_id, []).append(p.id)
    sharers = [id for id, traits in land.traits.items() if SHARING in traits]
    left = part(land, sharers)
    by_root: dict[str, int] = {}
    exact = True
    for root, members in trees.items():
        around = {a for m in members for a in land.aggregates[m]}
        shared = [s for s in sharers if s not in members and land.aggregates[s] & around]
        tree = part(land, members)
        trial = Trial(
            {**tree.providers, **{s: left.providers[s] for s in shared}},
            {**tree.inventories, **{s: left.inventories[s] for s in shared}},
            {**tree.traits, **{s: left.traits[s] for s in shared}},
            {**tree.aggregates, **{s: left.aggregates[s] for s in shared}},
        )
        count, one_way = _fill(trial, request, root)
        exact = exact and one_way and not (count and shared)
        if count:
            by_root[root] = count
    return Capacity(sum(by_root.values()), by_root, exact)


def _fill(trial: Trial, request: Request, root: str) -> tuple[int, bool]:
    """How often it fits below a root, and whether there was never a choice."""
    count, one_way = 0, True
    for _ in range(WAYS):
        found = [c for c in candidates(trial, replace(request, limit=None)) if any(trial.providers[p].root_id == root for p in c.resources)]
        if not found:
            return count, one_way
        one_way = one_way and len(found) == 1
        taken = found[0].resources
        times = min(trial.inventories[p][c].free // n for p, r in taken.items() for c, n in r.items())
        for p, r in taken.items():
            for c, n in r.items():
                held = trial.inventories[p][c]
                trial.inventories[p][c] = replace(held, used=held.used + n * times)
        count += times
    return count, False


def lose(land: Land, aggregate: str) -> tuple[Trial, Loss]:
    """What is left without the trees whose root, or a part, is a member of the aggregate."""
    roots = {land.providers[id].root_id for id, own in land.aggregates.items() if aggregate in own}
    gone = [id for id, p in land.providers.items() if p.root_id in roots]
    rest = [id for id, p in land.providers.items() if p.root_id not in roots]
    used: dict[str, int] = {}
    free: dict[str, int] = {}
    for id in gone:
        for name, held in land.inventories[id].items():
            used[name] = used.get(name, 0) + held.used
    for id in rest:
        for name, held in land.inventories[id].items():
            free[name] = free.get(name, 0) + max(held.free, 0)
    return part(land, rest), Loss(sorted(roots), used, free)
