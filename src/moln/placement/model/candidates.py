"""Allocation candidates: every way to take what a request asks from one tree and the providers that share with it. Pure.

A request has groups (placement api-ref, "Allocation candidates"): the one without a suffix may be spread over the tree, each with a
suffix is met by one provider. The product of choices is bounded by WAYS per tree and the limit asked for.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

from msgspec import Struct

from moln.placement.model.names import SHARING
from moln.placement.model.providers import Inventory, Provider

WAYS = 1000


class Land(Protocol):
    """What candidates are found in (store/providers.py's Landscape)."""

    @property
    def providers(self) -> Mapping[str, Provider]: ...
    @property
    def inventories(self) -> Mapping[str, Mapping[str, Inventory]]: ...
    @property
    def traits(self) -> Mapping[str, set[str]]: ...
    @property
    def aggregates(self) -> Mapping[str, set[str]]: ...


class Group(Struct, frozen=True):
    """One request group. required, member_of: one of each set is needed."""

    suffix: str
    resources: dict[str, int] = {}
    required: tuple[frozenset[str], ...] = ()
    forbidden: frozenset[str] = frozenset()
    member_of: tuple[frozenset[str], ...] = ()
    forbidden_aggregates: frozenset[str] = frozenset()
    in_tree: str | None = None


class Request(Struct, frozen=True):
    """nested: providers that have a parent may be chosen (since 1.29). subtrees: suffixes whose providers must be in one subtree."""

    groups: tuple[Group, ...]
    isolate: bool = False
    nested: bool = True
    root_required: frozenset[str] = frozenset()
    root_forbidden: frozenset[str] = frozenset()
    subtrees: tuple[frozenset[str], ...] = ()
    limit: int | None = None


class Candidate(Struct, frozen=True):
    """resources: amounts by class by provider. mappings: the providers that meet each group, by suffix."""

    resources: dict[str, dict[str, int]]
    mappings: dict[str, list[str]]


Choice = list[tuple[str, str]]  # (resource class, provider id); for a group without resources one with class ""


def candidates(
    land: Land, request: Request, trees: Iterable[tuple[str, list[str]]] | None = None, sharers: list[str] | None = None
) -> list[Candidate]:
    """Without two alike; in the order of the providers. trees, sharers: those of an index (model/index.py); None, when there is none."""
    trees = _trees(land) if trees is None else trees
    sharers = [id for id, traits in land.traits.items() if SHARING in traits] if sharers is None else sharers
    plain = request.groups[0] if len(request.groups) == 1 and request.groups[0].resources and not (request.subtrees or sharers) else None
    found: dict[object, Candidate] = {}
    for root, members in trees:
        if not (request.root_required <= land.traits[root] and not request.root_forbidden & land.traits[root]):
            continue
        if plain and len(members) == 1:
            if (only := _alone(land, plain, root)) is not None:
                found[root] = only
        else:
            for candidate in _of_tree(land, request, members, sharers):
                key = tuple(sorted((p, c, n) for p, r in candidate.resources.items() for c, n in r.items())), str(candidate.mappings)
                found.setdefault(key, candidate)
                if len(found) == request.limit:
                    break
        if len(found) == request.limit:
            break
    return list(found.values())


def _alone(land: Land, group: Group, id: str) -> Candidate | None:
    """What `_of_tree` finds where there is nothing to choose: one group, and a provider by itself with which nobody shares."""
    traits, aggregates = land.traits[id], land.aggregates[id]
    if group.in_tree not in (None, id) or not (group.forbidden.isdisjoint(traits) and group.forbidden_aggregates.isdisjoint(aggregates)):
        return None
    for name, amount in group.resources.items():
        if not _fits(land, id, name, amount):
            return None
    for want in group.required:
        if want.isdisjoint(traits):
            return None
    for want in group.member_of:
        if want.isdisjoint(aggregates):
            return None
    return Candidate({id: group.resources.copy()}, {group.suffix: [id]})


def _trees(land: Land) -> Iterable[tuple[str, list[str]]]:
    trees: dict[str, list[str]] = {}
    for p in land.providers.values():
        trees.setdefault(p.root_id, []).append(p.id)
    return trees.items()


def _of_tree(land: Land, request: Request, members: list[str], sharers: list[str]) -> Iterator[Candidate]:
    around = {a for m in members for a in land.aggregates[m]}
    shared = [s for s in sharers if s not in members and land.aggregates[s] & around]
    usable = [m for m in members if request.nested or land.providers[m].parent_id is None] + shared
    options = [list(itertools.islice(_choices(land, group, usable), WAYS)) for group in request.groups]
    if not all(options):
        return
    for choice in itertools.islice(_product(options, [], request), WAYS):
        candidate = _merge(land, request, choice)
        if candidate is not None and any(p in members for p in candidate.resources):
            yield candidate


def _product(options: list[list[Choice]], chosen: list[Choice], request: Request) -> Iterator[list[Choice]]:
    if len(chosen) == len(options):
        yield chosen
        return
    for choice in options[len(chosen)]:
        if request.isolate and request.groups[len(chosen)].suffix:
            used = {p for g, c in zip(request.groups, chosen, strict=False) if g.suffix for _, p in c}
            if used & {p for _, p in choice}:
                continue
        yield from _product(options, [*chosen, choice], request)


def _choices(land: Land, group: Group, usable: list[str]) -> Iterator[Choice]:
    """The ways to meet one group."""
    if group.in_tree is not None:
        tree = land.providers.get(group.in_tree)
        usable = [u for u in usable if tree is not None and land.providers[u].root_id == tree.root_id]
    usable = [u for u in usable if _in_aggregates(land, group, u) and not group.forbidden & land.traits[u]]
    if group.suffix:
        for u in usable:
            if all(want & land.traits[u] for want in group.required) and all(_fits(land, u, c, n) for c, n in group.resources.items()):
                yield [(c, u) for c in group.resources] or [("", u)]
        return
    for choice in _spread(land, list(group.resources.items()), usable, []):
        have = set().union(*(land.traits[u] for _, u in choice))
        if all(want & have for want in group.required):
            yield choice


def _spread(land: Land, resources: list[tuple[str, int]], usable: list[str], chosen: Choice) -> Iterator[Choice]:
    if not resources:
        yield chosen
        return
    (name, amount), rest = resources[0], resources[1:]
    for u in usable:
        if _fits(land, u, name, amount):
            yield from _spread(land, rest, usable, [*chosen, (name, u)])


def _in_aggregates(land: Land, group: Group, id: str) -> bool:
    own = land.aggregates[id]
    if not group.suffix:  # what its root is a member of counts for the whole tree
        own = own | land.aggregates[land.providers[id].root_id]
    return all(want & own for want in group.member_of) and not group.forbidden_aggregates & own


def _fits(land: Land, id: str, name: str, amount: int) -> bool:
    held = land.inventories[id].get(name)
    return held is not None and held.fits(amount)


def _merge(land: Land, request: Request, choices: list[Choice]) -> Candidate | None:
    """The groups' choices as one; None, when together they do not fit or a subtree is broken."""
    resources: dict[str, dict[str, int]] = {}
    mappings: dict[str, list[str]] = {}
    for group, choice in zip(request.groups, choices, strict=True):
        mappings[group.suffix] = list(dict.fromkeys(p for _, p in choice))
        for name, provider in choice:
            if name:
                taken = resources.setdefault(provider, {})
                taken[name] = taken.get(name, 0) + group.resources[name]
    for provider, taken in resources.items():
        for name, amount in taken.items():
            held = land.inventories[provider][name]
            if held.used + amount > held.capacity or amount > held.max_unit:
                return None
    for suffixes in request.subtrees:
        if not _one_subtree(land, {p for s in suffixes for p in mappings.get(s, ())}):
            return None
    return Candidate(resources, mappings)


def _one_subtree(land: Land, members: set[str]) -> bool:
    """Whether one of them is an ancestor of all."""
    lines = [_line(land, m) for m in members]
    return any(all(m in line for line in lines) for m in members)


def _line(land: Land, id: str) -> set[str]:
    line: set[str] = set()
    at: str | None = id
    while at is not None and at not in line:
        line.add(at)
        at = land.providers[at].parent_id
    return line
