"""What narrows allocation candidates down among many trees: which trees have a trait or belong to an aggregate at all. Pure.

It leaves out only trees that can give nothing; model/candidates.py decides on the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

from moln.placement.model.candidates import Group, Land, Request
from moln.placement.model.names import SHARING
from moln.placement.model.providers import Inventory, Provider

FEW = 8  # of one in so many trees the names are sorted; of more all trees are gone through


class Known(Land, Protocol):
    """A landscape that may be changed."""

    @property
    def providers(self) -> dict[str, Provider]: ...
    @property
    def inventories(self) -> dict[str, dict[str, Inventory]]: ...
    @property
    def traits(self) -> dict[str, set[str]]: ...
    @property
    def aggregates(self) -> dict[str, set[str]]: ...


class Index:
    """trees: their members by root, in the order of the providers. sharers: providers that share with other trees."""

    def __init__(self, land: Known):
        self.land = land
        self.trees: dict[str, list[str]] = {}
        self.sharers: dict[str, None] = {}
        self._grown: set[str] = set()  # trees of more than one
        self._position: dict[str, int] = {}
        self._next = 0
        self._by_trait: dict[str, set[str]] = {}
        self._by_aggregate: dict[str, set[str]] = {}
        self._of_tree: dict[str, tuple[set[str], set[str]]] = {}
        for id, provider in land.providers.items():
            self._join(id, provider.root_id)
        for root in self.trees:
            self._describe(root)
        self.sharers = dict.fromkeys(id for id, traits in land.traits.items() if SHARING in traits)

    def put(self, provider: Provider, held: dict[str, Inventory], traits: set[str], aggregates: set[str]) -> None:
        """A provider as it is now, known before or new."""
        land, id = self.land, provider.id
        before = land.providers.get(id)
        same = before is not None and before.root_id == provider.root_id and land.traits[id] == traits and land.aggregates[id] == aggregates
        land.providers[id], land.inventories[id], land.traits[id], land.aggregates[id] = provider, held, traits, aggregates
        if same:
            return
        if before is not None and before.root_id != provider.root_id:
            self._leave(id, before.root_id)
        if id not in self.trees.get(provider.root_id, ()):
            self._join(id, provider.root_id)
        self._describe(provider.root_id)
        if SHARING in traits:
            self.sharers[id] = None
        else:
            self.sharers.pop(id, None)

    def drop(self, id: str) -> None:
        """A provider that is no more."""
        gone = self.land.providers.pop(id, None)
        for known in (self.land.inventories, self.land.traits, self.land.aggregates, self.sharers):
            known.pop(id, None)
        if gone is not None:
            self._leave(id, gone.root_id)

    def _join(self, id: str, root: str) -> None:
        if root not in self.trees:
            self.trees[root] = []
            self._position[root] = self._next
            self._next += 1
        self.trees[root].append(id)
        if len(self.trees[root]) > 1:
            self._grown.add(root)

    def _leave(self, id: str, root: str) -> None:
        members = self.trees[root]
        members.remove(id)
        if len(members) < 2:
            self._grown.discard(root)
        if members:
            self._describe(root)
            return
        self._forget(root)
        del self.trees[root], self._position[root]

    def _forget(self, root: str) -> None:
        traits, aggregates = self._of_tree.pop(root, (set(), set()))
        for trait in traits:
            self._by_trait[trait].discard(root)
        for aggregate in aggregates:
            self._by_aggregate[aggregate].discard(root)

    def _describe(self, root: str) -> None:
        self._forget(root)
        members = [m for m in self.trees[root] if m in self.land.traits]
        traits = set().union(*(self.land.traits[m] for m in members))
        aggregates = set().union(*(self.land.aggregates[m] for m in members))
        for trait in traits:
            self._by_trait.setdefault(trait, set()).add(root)
        for aggregate in aggregates:
            self._by_aggregate.setdefault(aggregate, set()).add(root)
        self._of_tree[root] = traits, aggregates

    def narrow(self, request: Request) -> Iterator[tuple[str, list[str]]]:
        """Roots and members of the trees that may give candidates. While anybody shares, each tree may use what is not its own."""
        if self.sharers:
            yield from self.trees.items()
            return
        wanted = [self._by_trait.get(trait, set()) for trait in request.root_required]
        for group in request.groups:
            wanted += [_any(self._by_trait, names) for names in group.required] + [_any(self._by_aggregate, names) for names in group.member_of]
            if group.in_tree is not None:
                tree = self.land.providers.get(group.in_tree)
                wanted.append({tree.root_id} if tree else set())
        wanted.sort(key=len)
        among = wanted[0].intersection(*wanted[1:]).difference(*self._barred(request.groups)) if wanted else None
        if among is None:
            found = iter(self.trees)
        elif len(among) * FEW < len(self.trees):
            found = iter(sorted(among, key=self._position.__getitem__))
        else:
            found = (root for root in self.trees if root in among)
        for root in found:
            if self._may(root, request.groups):
                yield root, self.trees[root]

    def _barred(self, groups: tuple[Group, ...]) -> Iterator[set[str]]:
        """Lone providers that have what a group forbids: the whole tree is out then."""
        for group in groups:
            for known, names in ((self._by_trait, group.forbidden), (self._by_aggregate, group.forbidden_aggregates)):
                for name in names:
                    having = known.get(name, set())
                    yield having - self._grown if self._grown else having

    def _may(self, root: str, groups: tuple[Group, ...]) -> bool:
        """Whether somebody in the tree has room for each amount by itself; and of a lone provider, that it has nothing forbidden."""
        members, land = self.trees[root], self.land
        if len(members) > 1:
            return all(any(_has_room(land.inventories[m], *want) for m in members) for group in groups for want in group.resources.items())
        for group in groups:
            if not (group.forbidden.isdisjoint(land.traits[root]) and group.forbidden_aggregates.isdisjoint(land.aggregates[root])):
                return False
            for name, amount in group.resources.items():
                if not _has_room(land.inventories[root], name, amount):
                    return False
        return True


def _has_room(held: Mapping[str, Inventory], name: str, amount: int) -> bool:
    return (found := held.get(name)) is not None and found.fits(amount)


def _any(sets: Mapping[str, set[str]], names: frozenset[str]) -> set[str]:
    """The trees in at least one of them."""
    if len(names) == 1:
        return sets.get(next(iter(names)), set())
    return set().union(*(sets.get(name, set()) for name in names))
