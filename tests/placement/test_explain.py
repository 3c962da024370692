"""Why nothing fits, what would help, and how much fits: Moln's own questions."""

from __future__ import annotations

import uuid
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from moln.placement.model.candidates import Group, Request, candidates
from moln.placement.model.capacity import capacity, lose
from moln.placement.model.explain import explain, least_ask, smallest_change

from .conftest import Placement
from .test_candidates import Land


def reasons(land: Land, *groups: Group, **request: Any) -> dict[str, list[str]]:
    return {lack.root: [o.reason for o in lack.obstacles] for lack in explain(land, Request(groups, **request))}


def test_each_tree_says_what_it_lacks_the_nearest_first() -> None:
    land = Land().add("a", VCPU=1, MEMORY_MB=64).add("b", VCPU=1, MEMORY_MB=8).add("c", MEMORY_MB=64).add("d", VCPU=4, MEMORY_MB=64)
    found = explain(land, Request((Group("", {"VCPU": 2, "MEMORY_MB": 10}),)))
    assert [(lack.root, [(o.reason, o.resource_class, o.asked, o.free) for o in lack.obstacles]) for lack in found] == [
        ("a", [("units", "VCPU", 2, 1)]), ("c", [("no_inventory", "VCPU", 2, 0)]),
        ("b", [("units", "VCPU", 2, 1), ("units", "MEMORY_MB", 10, 8)]),
    ]  # fmt: skip


def test_traits_and_aggregates_are_named() -> None:
    land = Land().add("a", traits=["T"], aggregates=["x"], VCPU=4)
    group = Group("", {"VCPU": 1}, (frozenset({"U"}),), frozenset({"T"}), (frozenset({"y"}),), frozenset({"x"}))
    assert sorted(reasons(land, group)["a"]) == ["forbidden_aggregates", "forbidden_traits", "missing_traits", "not_in_aggregate"]
    assert reasons(land, Group("", {"VCPU": 1}), root_required=frozenset({"R"}), root_forbidden=frozenset({"T"})) == {
        "a": ["missing_traits", "forbidden_traits"]
    }


def test_groups_that_fit_alone_and_not_together_say_so() -> None:
    land = Land().add("a", VCPU=3)
    assert reasons(land, Group("1", {"VCPU": 2}), Group("2", {"VCPU": 2})) == {"a": ["together"]}


def test_what_could_be_asked_instead() -> None:
    land = Land().add("a", VCPU=3).add("b", VCPU=5)
    assert least_ask(land, Request((Group("", {"VCPU": 9}),))) == {"VCPU": 5}


AMOUNTS = st.integers(0, 6)
HOSTS = st.lists(st.tuples(AMOUNTS, AMOUNTS, AMOUNTS, st.sets(st.sampled_from("TUV")), st.sets(st.sampled_from("xy"))), min_size=1, max_size=5)
GROUPS = st.lists(
    st.tuples(st.integers(0, 5), st.integers(1, 5), st.sets(st.sampled_from("TU"), max_size=2), st.sets(st.sampled_from("V")), st.booleans()),
    min_size=1, max_size=2,
)  # fmt: skip


def some_land(hosts: list[Any]) -> Land:
    land = Land()
    for n, (cpus, used, memory, traits, aggregates) in enumerate(hosts):
        land.add(f"h{n}", traits=traits, aggregates=aggregates, **({"VCPU": cpus} if cpus else {}), **({"MEMORY_MB": memory} if memory else {}))
        if cpus:
            held = land.inventories[f"h{n}"]["VCPU"]
            land.inventories[f"h{n}"]["VCPU"] = replace(held, used=min(used, cpus))
    return land


def some_request(groups: list[Any]) -> Request:
    made = []
    for n, (cpus, memory, required, forbidden, member) in enumerate(groups):
        wanted = {"MEMORY_MB": memory} | ({"VCPU": cpus} if cpus else {})
        needed = tuple(frozenset({t}) for t in sorted(required))
        made.append(Group(str(n or ""), wanted, needed, frozenset(forbidden), (frozenset({"x"}),) if member else ()))
    return Request(tuple(made))


@settings(max_examples=150, deadline=None)
@given(HOSTS, GROUPS)
def test_a_tree_lacks_something_exactly_when_it_gives_no_candidate(hosts: list[Any], groups: list[Any]) -> None:
    land, request = some_land(hosts), some_request(groups)
    gives = {land.providers[p].root_id for c in candidates(land, request) for p in c.resources}
    lacking = explain(land, request)
    assert {lack.root for lack in lacking} == set(land.providers) - gives
    assert all(lack.obstacles for lack in lacking)
    change = smallest_change(land, request, lacking)
    if change is not None:
        assert change in lacking


@settings(max_examples=100, deadline=None)
@given(HOSTS, st.integers(1, 3), st.integers(1, 3))
def test_capacity_is_how_often_it_can_be_taken(hosts: list[Any], cpus: int, memory: int) -> None:
    land, request = some_land(hosts), Request((Group("", {"VCPU": cpus, "MEMORY_MB": memory}),))
    counted = capacity(land, request)
    assert counted.exact and counted.fits == sum(counted.by_root.values())
    count = 0
    while found := candidates(land, request):  # one by one, as claims do
        for provider, taken in found[0].resources.items():
            for name, n in taken.items():
                held = land.inventories[provider][name]
                land.inventories[provider][name] = replace(held, used=held.used + n)
        count += 1
    assert counted.fits == count


def test_a_shared_disk_is_counted_once_and_a_choice_is_not_called_exact() -> None:
    land = Land().add("a", aggregates=["x"], VCPU=4).add("b", aggregates=["x"], VCPU=4)
    land.add("nfs", traits=["MISC_SHARES_VIA_AGGREGATE"], aggregates=["x"], DISK_GB=5)
    found = capacity(land, Request((Group("", {"VCPU": 1, "DISK_GB": 1}),)))
    assert (found.fits, found.exact) == (5, False)
    rest, loss = lose(land, "x")
    assert (list(rest.providers), loss.roots) == ([], ["a", "b", "nfs"])


async def host(placement: Placement, name: str, cpus: int, aggregates: list[str]) -> str:
    id = str(uuid.uuid4())
    assert (await placement("POST", "/resource_providers", {"uuid": id, "name": name})).status_code == 200
    body: dict[str, Any] = {"resource_provider_generation": 0, "inventories": {"VCPU": {"total": cpus, "max_unit": 4}}}
    assert (await placement("PUT", f"/resource_providers/{id}/inventories", body)).status_code == 200
    body = {"resource_provider_generation": 1, "aggregates": aggregates}
    assert (await placement("PUT", f"/resource_providers/{id}/aggregates", body)).status_code == 200
    return id


async def test_an_operator_asks_why_and_how_many(placement: Placement) -> None:
    rack = str(uuid.uuid4())
    small, big = await host(placement, "small", 2, []), await host(placement, "big", 8, [rack])
    allocations = {"allocations": {big: {"resources": {"VCPU": 3}}}, "project_id": "p", "user_id": "u", "consumer_generation": None, "consumer_type": "I"}
    assert (await placement("PUT", f"/allocations/{uuid.uuid4()}", allocations)).status_code == 204
    found = (await placement("GET", "/explain?resources=VCPU:2")).json()
    assert (found["candidates"], found["lacking"], found["smallest_change"]) == (2, [], None)
    found = (await placement("GET", "/explain?resources=VCPU:4&required=HW_CPU_X86_VMX")).json()
    assert found["candidates"] == 0 and found["most_at_once"] == {"VCPU": 4}
    near = found["smallest_change"]
    assert (near["name"], near["obstacles"]) == (
        "big", [{"provider": big, "provider_name": "big", "group": "", "reason": "missing_traits", "names": ["HW_CPU_X86_VMX"]}]
    )  # fmt: skip
    assert [lack["root_provider_uuid"] for lack in found["lacking"]] == [big, small]
    cpu = next(o for o in found["lacking"][1]["obstacles"] if "resource_class" in o)
    assert (cpu["resource_class"], cpu["asked"], cpu["free"], cpu["capacity"]) == ("VCPU", 4, 2, 2)
    counted = (await placement("GET", f"/capacity?resources=VCPU:2&without={rack}")).json()
    assert (counted["fits"], counted["exact"]) == (3, True)
    assert {p["name"]: p["fits"] for p in counted["providers"]} == {"small": 1, "big": 2}
    [lost] = counted["without"]
    assert (lost["aggregate"], lost["fits"], lost["lost_usages"], lost["free"]) == (rack, 1, {"VCPU": 3}, {"VCPU": 2})
    for path in ("/explain?resources=VCPU:1", "/capacity?resources=VCPU:1"):
        assert (await placement("GET", path, who="member")).status_code == 403
        assert (await placement("GET", path, at="1.9")).status_code == 404
    for wrong in ("/explain", "/explain?resources=ODD:1", "/capacity?resources=VCPU:1&without=x", "/explain?resources=VCPU:1&without=x", "/capacity?odd=1"):
        assert (await placement("GET", wrong)).status_code == 400, wrong
