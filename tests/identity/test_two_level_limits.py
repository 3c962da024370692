"""strict_two_level: what a domain's projects use together stays within the domain's limit."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.identity.conftest import Keystone, keystone_at
from tests.identity.test_limits import limit, register

from moln.kernel.db import Transaction
from moln.kernel.errors import OverQuota
from moln.kernel.quota import Quota

SERVERS = Quota("compute", {"instances": 10, "cores": -1})


async def take(keystone: Keystone, project: str, **amounts: int) -> None:
    async def charge(tx: Transaction) -> None:
        await SERVERS.charge(tx, project, **amounts)

    await keystone.cloud.db.write(charge)


async def used(keystone: Keystone, project: str) -> int:
    return (await SERVERS.used(keystone.cloud.db, project))["instances"]


async def domain_of_two(keystone: Keystone, most: int | None) -> list[str]:
    """Two projects and one below the first, in a domain whose limit of servers is `most`."""
    domain = await keystone.make("domain", name="corp")
    one, two = [(await keystone.make("project", name=name, domain_id=domain["id"]))["id"] for name in ("one", "two")]
    below = (await keystone.make("project", name="below", domain_id=domain["id"], parent_id=one))["id"]
    assert (await register(keystone, default_limit=3)).status_code == 201
    if most is not None:
        assert (await limit(keystone, domain_id=domain["id"], resource_limit=most)).status_code == 201
    return [one, two, below]


async def test_projects_of_a_domain_share_its_limit(tmp_path: Path, database: str) -> None:
    async with keystone_at(tmp_path, limit_model="strict_two_level") as keystone:
        one, two, below = await domain_of_two(keystone, 5)
        other = (await keystone.make("project", name="other"))["id"]
        await take(keystone, one, instances=3)
        await take(keystone, two, instances=1)
        with pytest.raises(OverQuota, match="instances"):
            await take(keystone, two, instances=2)
        await take(keystone, below, instances=1, cores=100)
        with pytest.raises(OverQuota, match="instances"):
            await take(keystone, below, cores=1, instances=1)
        assert [await used(keystone, project) for project in (one, two, below)] == [3, 1, 1]
        await take(keystone, one, instances=-2)
        await take(keystone, two, instances=2)
        await take(keystone, other, instances=3)


async def test_without_one_of_its_own_a_domain_has_everybodys(tmp_path: Path) -> None:
    async with keystone_at(tmp_path, limit_model="strict_two_level") as keystone:
        one, two, _ = await domain_of_two(keystone, None)
        await take(keystone, one, instances=2)
        with pytest.raises(OverQuota):
            await take(keystone, two, instances=2)
        await take(keystone, two, instances=1)


async def test_charges_at_once_do_not_pass_the_limit_together(tmp_path: Path, database: str) -> None:
    async with keystone_at(tmp_path, limit_model="strict_two_level") as keystone:
        one, two, _ = await domain_of_two(keystone, 4)
        taken = await asyncio.gather(*(take(keystone, project, instances=1) for project in (one, two) * 3), return_exceptions=True)
        assert sum(not isinstance(result, Exception) for result in taken) == 4
        assert {type(result) for result in taken if isinstance(result, Exception)} == {OverQuota}
        assert await used(keystone, one) + await used(keystone, two) == 4


async def test_flat_limits_bind_each_project_alone_also_after_the_other_model(tmp_path: Path) -> None:
    async with keystone_at(tmp_path, limit_model="strict_two_level") as keystone:
        one, two, _ = await domain_of_two(keystone, 4)
    async with keystone_at(tmp_path) as keystone:
        await take(keystone, one, instances=3)
        await take(keystone, two, instances=3)
