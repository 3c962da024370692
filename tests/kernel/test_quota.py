"""Quotas are charged or refused as a whole, whoever comes at the same time."""

from __future__ import annotations

import asyncio

import pytest

from moln.kernel.cloud import Cloud
from moln.kernel.db import Transaction
from moln.kernel.errors import OverQuota
from moln.kernel.quota import Quota

QUOTA = Quota("test-pots", {"pots": 3, "litres": 10, "lids": -1})


async def test_what_is_charged_is_used_and_what_is_refunded_is_not(cloud: Cloud) -> None:
    await cloud.db.write(QUOTA.charge, "p", pots=2, litres=5, lids=1000)
    assert await QUOTA.used(cloud.db, "p") == {"pots": 2, "litres": 5, "lids": 1000}
    await cloud.db.write(QUOTA.refund, "p", pots=1, litres=100)
    assert await QUOTA.used(cloud.db, "p") == {"pots": 1, "litres": 0, "lids": 1000}
    assert await QUOTA.used(cloud.db, "other") == {"pots": 0, "litres": 0, "lids": 0}


async def test_a_refusal_names_every_resource_and_takes_nothing(cloud: Cloud) -> None:
    with pytest.raises(OverQuota) as caught:
        await cloud.db.write(QUOTA.charge, "p", pots=4, litres=11, lids=1)
    assert caught.value.resources == ("pots", "litres")
    assert await QUOTA.used(cloud.db, "p") == {"pots": 0, "litres": 0, "lids": 0}


async def test_many_at_once_never_pass_the_limit(cloud: Cloud) -> None:
    results = await asyncio.gather(*(cloud.db.write(QUOTA.charge, "p", pots=1) for _ in range(20)), return_exceptions=True)
    assert sum(isinstance(r, OverQuota) for r in results) == 17
    assert (await QUOTA.used(cloud.db, "p"))["pots"] == 3


async def test_a_projects_own_limit_wins_over_the_default_of_the_cloud(cloud: Cloud) -> None:
    async def set_(tx: Transaction, project: str, **values: int) -> None:
        await QUOTA.set_limits(tx, project, values)

    await cloud.db.write(set_, "", pots=5, litres=20)
    await cloud.db.write(set_, "p", pots=1)
    await cloud.db.write(set_, "p", pots=2)
    assert await QUOTA.limits(cloud.db, "p") == {"pots": 2, "litres": 20, "lids": -1}
    assert await QUOTA.limits(cloud.db, "q") == {"pots": 5, "litres": 20, "lids": -1}
    for project, most in (("p", 2), ("q", 5)):
        await cloud.db.write(QUOTA.charge, project, pots=most)
        with pytest.raises(OverQuota):
            await cloud.db.write(QUOTA.charge, project, pots=1)
    await cloud.db.write(QUOTA.reset, "p")
    assert (await QUOTA.limits(cloud.db, "p"))["pots"] == 5
    await cloud.db.write(QUOTA.charge, "p", pots=3)


async def test_a_lowered_limit_refuses_more_and_takes_back_less(cloud: Cloud) -> None:
    async def lower(tx: Transaction) -> None:
        await QUOTA.set_limits(tx, "p", {"pots": 1})

    await cloud.db.write(QUOTA.charge, "p", pots=3)
    await cloud.db.write(lower)
    with pytest.raises(OverQuota):
        await cloud.db.write(QUOTA.charge, "p", pots=1)
    await cloud.db.write(QUOTA.charge, "p", pots=-1)
    assert (await QUOTA.used(cloud.db, "p"))["pots"] == 2
