"""Every way to take what is asked from a tree and those that share with it."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from moln.placement.model.candidates import Group, Request, candidates
from moln.placement.model.providers import Inventory, Provider


@dataclass
class Land:
    providers: dict = field(default_factory=dict)
    inventories: dict = field(default_factory=dict)
    traits: dict = field(default_factory=dict)
    aggregates: dict = field(default_factory=dict)

    def add(self, id, parent=None, traits=(), aggregates=(), **totals):
        root = self.providers[parent].root_id if parent else id
        self.providers[id] = Provider(id, id, 0, root, parent, 0, 0)
        self.inventories[id] = {n: Inventory(id, n, t, 0, 1, t, 1, 1_000_000, t, 0, 0) for n, t in totals.items()}
        self.traits[id], self.aggregates[id] = set(traits), set(aggregates)
        return self


def ways(land, *groups, **request):
    return [c.resources for c in candidates(land, Request(groups, **request))]


def test_each_host_with_room_is_a_candidate():
    land = Land().add("a", VCPU=4, MEMORY_MB=64).add("b", VCPU=1, MEMORY_MB=64)
    assert ways(land, Group("", {"VCPU": 2, "MEMORY_MB": 10})) == [{"a": {"VCPU": 2, "MEMORY_MB": 10}}]


def test_shared_disk_counts_for_those_that_share_it():
    land = Land().add("a", aggregates=["x"], VCPU=4).add("b", VCPU=4)
    land.add("nfs", traits=["MISC_SHARES_VIA_AGGREGATE"], aggregates=["x"], DISK_GB=100)
    assert ways(land, Group("", {"VCPU": 1, "DISK_GB": 5})) == [{"a": {"VCPU": 1}, "nfs": {"DISK_GB": 5}}]


def test_old_versions_see_roots_only():
    land = Land().add("a").add("numa0", "a", VCPU=4)
    assert ways(land, Group("", {"VCPU": 1})) == [{"numa0": {"VCPU": 1}}]
    assert ways(land, Group("", {"VCPU": 1}), nested=False) == []


def test_isolated_groups_never_meet_on_one_provider():
    land = Land().add("a").add("n0", "a", VCPU=4).add("n1", "a", VCPU=4)
    groups = (Group("1", {"VCPU": 1}), Group("2", {"VCPU": 1}))
    assert len(ways(land, *groups)) == 4
    assert all(len(w) == 2 for w in ways(land, *groups, isolate=True))


def test_groups_on_one_provider_must_fit_together():
    land = Land().add("a", VCPU=3)
    assert ways(land, Group("1", {"VCPU": 2}), Group("2", {"VCPU": 2})) == []


def test_traits_bind_groups_and_roots():
    land = Land().add("a", traits=["T"]).add("n0", "a", traits=["U"], VCPU=4).add("b", VCPU=4)
    assert ways(land, Group("", {"VCPU": 1}, required=(frozenset({"U", "V"}),))) == [{"n0": {"VCPU": 1}}]
    assert ways(land, Group("", {"VCPU": 1}, forbidden=frozenset({"U"}))) == [{"b": {"VCPU": 1}}]
    assert ways(land, Group("", {"VCPU": 1}), root_required=frozenset({"T"})) == [{"n0": {"VCPU": 1}}]
    assert ways(land, Group("", {"VCPU": 1}), root_forbidden=frozenset({"T"})) == [{"b": {"VCPU": 1}}]


def test_a_subtree_holds_its_groups_together():
    land = Land().add("a").add("n0", "a", VCPU=1).add("n1", "a", VCPU=1)
    land.add("p0", "n0", SRIOV_NET_VF=1).add("p1", "n1", SRIOV_NET_VF=1)
    groups = (Group("_c", {"VCPU": 1}), Group("_n", {"SRIOV_NET_VF": 1}))
    found = ways(land, *groups, subtrees=(frozenset({"_c", "_n"}),))
    assert [set(w) for w in found] == [{"n0", "p0"}, {"n1", "p1"}]


def test_the_limit_is_kept():
    land = Land()
    for i in range(20):
        land.add(f"h{i}", VCPU=1)
    assert len(ways(land, Group("", {"VCPU": 1}), limit=3)) == 3


def test_a_provider_by_itself_gives_what_it_would_with_others_around():
    dice = random.Random(7)
    traits, aggregates = ["T", "U", "V"], ["x", "y", "z"]

    def some(names):
        return frozenset(dice.sample(names, dice.randrange(1, 3)))

    land = Land().add("idle", traits=["MISC_SHARES_VIA_AGGREGATE"])  # shares with nobody, yet there is a choice to be looked for
    for n in range(60):
        land.add(f"h{n}", traits=some(traits), aggregates=some(aggregates), **{name: dice.randrange(1, 5) for name in some(["VCPU", "DISK_GB"])})
    seen = 0
    for _ in range(300):
        group = Group(
            dice.choice(["", "1"]), {name: dice.randrange(1, 4) for name in some(["VCPU", "DISK_GB"])}, *(
                wants for names in (traits, aggregates)
                for wants in (tuple(some(names) for _ in range(dice.randrange(2))), some(names) if dice.random() < 0.3 else frozenset())
            ), dice.choice([None, None, None, "h1", "h2", "gone"]),
        )  # fmt: skip
        request = Request((group,), root_required=some(traits) if dice.random() < 0.2 else frozenset(), limit=dice.choice([None, 1, 5]))
        found = candidates(land, request, sharers=[])
        assert found == candidates(land, request)
        seen += len(found)
    assert seen > 300


async def test_over_the_wire(placement):
    for name in ("a", "b"):
        made = (await placement("POST", "/resource_providers", {"name": name})).json()
        await placement("PUT", f"/resource_providers/{made['uuid']}/inventories", {
            "resource_provider_generation": 0, "inventories": {"VCPU": {"total": 4}, "MEMORY_MB": {"total": 100}}})  # fmt: skip
    got = (await placement("GET", "/allocation_candidates?resources=VCPU:1")).json()
    assert len(got["allocation_requests"]) == 2 and len(got["provider_summaries"]) == 2
    assert got["allocation_requests"][0]["mappings"][""] == list(got["allocation_requests"][0]["allocations"])
    assert set(next(iter(got["provider_summaries"].values()))) == {"resources", "traits", "parent_provider_uuid", "root_provider_uuid"}
    old = (await placement("GET", "/allocation_candidates?resources=VCPU:1", at="1.10")).json()
    assert isinstance(old["allocation_requests"][0]["allocations"], list)
    for bad in ("", "resources=VCPU:0", "resources1=VCPU:1&resources2=VCPU:1", "required=HW_CPU_X86_VMX", "resources=VCPU:1&limit=0",
                "resources=VCPU:1&same_subtree=_x", "resources=VCPU:1&nope=1"):  # fmt: skip
        assert (await placement("GET", f"/allocation_candidates?{bad}")).status_code == 400, bad
    assert (await placement("GET", "/allocation_candidates?resources=VCPU:1", at="1.9")).status_code == 404
