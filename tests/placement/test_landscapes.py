"""Candidates from what is kept in memory are those that the database would give, whatever was done meanwhile, and whoever did it."""

from __future__ import annotations

import asyncio
import random
import uuid
from typing import Any

import pytest

from moln.kernel.errors import Failure
from moln.placement.model.candidates import Group, Request, candidates
from moln.placement.model.index import Index
from moln.placement.ops import claims
from moln.placement.ops.landscapes import AREA, kept
from moln.placement.store.providers import landscape

from .conftest import Placement

TRAITS = ["HW_CPU_X86_AVX2", "HW_CPU_X86_VMX", "COMPUTE_NODE", "STORAGE_DISK_SSD"]
AGGREGATES = [str(uuid.UUID(int=n)) for n in range(1, 4)]


def requests(dice: random.Random, ids: list[str]) -> list[Request]:
    """Some of every kind."""
    one = Group("", {"VCPU": dice.randrange(1, 5), "MEMORY_MB": 10})
    trait, aggregate = frozenset([dice.choice(TRAITS)]), frozenset(dice.sample(AGGREGATES, 2))
    return [
        Request((one,)),
        Request((Group("", {"VCPU": 1}, (trait,), frozenset(), (aggregate,)),)),
        Request((Group("", {"VCPU": 1}, (), trait, (), aggregate),)),
        Request((Group("", {"VCPU": 1}, (frozenset(TRAITS) - trait,), trait, (frozenset(AGGREGATES),), aggregate),)),
        Request((Group("1", {"VCPU": 1}, (trait,)), Group("2", {"MEMORY_MB": 1})), isolate=True),
        Request((one,), root_required=trait, root_forbidden=frozenset(["CUSTOM_NONE"])),
        Request((Group("", {"VCPU": 1}, in_tree=dice.choice(ids)),)),
        Request((Group("", {"VCPU": 1, "DISK_GB": 1}),), nested=False),
    ]  # fmt: skip


def ways(found: Any) -> set[str]:
    return {str((sorted((p, sorted(r.items())) for p, r in c.resources.items()), sorted(c.mappings.items()))) for c in found}


async def agree(placement: Placement, dice: random.Random, ids: list[str]) -> int:
    """How many candidates both found."""
    asked = requests(dice, ids)
    land = await placement.cloud.db.read(landscape)

    def search(index: Index) -> list[set[str]]:
        return [ways(candidates(index.land, r, index.narrow(r), list(index.sharers))) for r in asked]

    mine, theirs = await kept(placement.cloud).search(search), [ways(candidates(land, r)) for r in asked]
    assert mine == theirs
    listed = (await placement("GET", f"/resource_providers?resources=VCPU:1&required={dice.choice(TRAITS)}")).json()["resource_providers"]
    assert {p["uuid"]: p["generation"] for p in listed}.items() <= {p.id: p.generation for p in land.providers.values()}.items()
    return sum(map(len, mine))


class Doing:
    """Random operations, by the API and by compute's own claims."""

    def __init__(self, placement: Placement, dice: random.Random):
        self.placement, self.dice = placement, dice
        self.ids: list[str] = []
        self.consumers: list[str] = []

    def id(self) -> str:
        return str(uuid.UUID(int=self.dice.getrandbits(128)))

    async def create(self) -> None:
        id, parent = self.id(), self.dice.choice([None, None, *self.ids])
        body = {"name": id, "uuid": id} | ({"parent_provider_uuid": parent} if parent else {})
        assert (await self.placement("POST", "/resource_providers", body)).status_code == 200
        self.ids.append(id)
        await self.inventories(id)

    async def generation(self, id: str) -> int:
        return int((await self.placement("GET", f"/resource_providers/{id}")).json()["generation"])

    async def inventories(self, id: str | None = None) -> None:
        id = id or self.dice.choice(self.ids)
        have = self.dice.sample(["VCPU", "MEMORY_MB", "DISK_GB"], self.dice.randrange(1, 4))
        body = {
            "resource_provider_generation": await self.generation(id),
            "inventories": {name: {"total": self.dice.randrange(1, 40)} for name in have},
        }
        await self.placement("PUT", f"/resource_providers/{id}/inventories", body)

    async def traits(self) -> None:
        id = self.dice.choice(self.ids)
        wanted = self.dice.sample([*TRAITS, "MISC_SHARES_VIA_AGGREGATE"], self.dice.randrange(4))
        await self.placement(
            "PUT", f"/resource_providers/{id}/traits", {"resource_provider_generation": await self.generation(id), "traits": wanted}
        )

    async def aggregates(self) -> None:
        id, wanted = self.dice.choice(self.ids), self.dice.sample(AGGREGATES, self.dice.randrange(3))
        if self.dice.random() < 0.5:
            await self.placement("PUT", f"/resource_providers/{id}/aggregates", wanted, at="1.18")
            return
        body = {"resource_provider_generation": await self.generation(id), "aggregates": wanted}
        await self.placement("PUT", f"/resource_providers/{id}/aggregates", body)

    async def move(self) -> None:
        id, parent = self.dice.choice(self.ids), self.dice.choice([None, *self.ids])
        await self.placement("PUT", f"/resource_providers/{id}", {"name": id, "parent_provider_uuid": parent})

    async def remove(self) -> None:
        id = self.dice.choice(self.ids)
        if (await self.placement("DELETE", f"/resource_providers/{id}")).status_code == 204:
            self.ids.remove(id)

    async def claim(self) -> None:
        consumer = self.id()
        try:
            await self.placement.cloud.db.write(
                claims.claim_in, now_us=1, consumer_id=consumer, project_id="p", user_id="u", provider_id=self.dice.choice(self.ids),
                resources={"VCPU": self.dice.randrange(1, 4)},
            )  # fmt: skip
        except Failure:
            return
        self.consumers.append(consumer)

    async def release(self) -> None:
        if self.consumers:
            await self.placement.cloud.db.write(claims.release_in, self.consumers.pop(), now_us=1)


@pytest.mark.parametrize("seed", range(3))
async def test_what_is_kept_agrees_with_the_database(placement: Placement, seed: int) -> None:
    dice = random.Random(seed)
    doing, found = Doing(placement, dice), 0
    for _ in range(6):
        await doing.create()
    for _ in range(60):
        deed = dice.choice(
            [
                doing.create,
                doing.inventories,
                doing.traits,
                doing.traits,
                doing.aggregates,
                doing.move,
                doing.remove,
                doing.claim,
                doing.release,
            ]
        )
        await deed()
        if dice.random() < 0.5 and doing.ids:
            found += await agree(placement, dice, doing.ids)
        if not doing.ids:
            await doing.create()
    assert found > 50


async def test_what_was_missed_or_left_half_is_read_again(placement: Placement) -> None:
    doing = Doing(placement, random.Random(9))
    for _ in range(3):
        await doing.create()
    here = kept(placement.cloud)
    assert len(await here.search(lambda index: list(index.land.providers))) == 3
    first = here.index
    assert first is not None
    await doing.create()
    assert len(await here.search(lambda index: list(index.land.providers))) == 4 and here.index is first, "only what changed was read"
    placement.cloud.db.feed.gap()
    assert await here.search(lambda index: index) is not first
    with pytest.raises(ZeroDivisionError):
        await here.search(lambda index: 1 // 0)
    assert here.index is None and len(await here.search(lambda index: list(index.land.providers))) == 4
    left = asyncio.create_task(here.search(lambda index: 1))
    await asyncio.sleep(0)
    left.cancel()
    await asyncio.wait({left})
    assert await agree(placement, random.Random(1), doing.ids) >= 0 and placement.cloud.areas[AREA] is here


async def test_changes_that_cannot_be_followed_are_not_answered_from_memory(placement: Placement, monkeypatch: pytest.MonkeyPatch) -> None:
    doing = Doing(placement, random.Random(9))
    await doing.create()
    here = kept(placement.cloud)
    first = await here.search(lambda index: index)
    monkeypatch.setattr(type(placement.cloud.db.feed), "fresh", False)
    assert await here.search(lambda index: index) is not first
