"""Registered limits, limits of projects and domains, and the quotas that they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.conftest import Api
from tests.identity.conftest import Keystone, keystone_at, somebody

from moln.identity.model.limits import driven, two_level_fault


async def service(client: httpx.AsyncClient, type_: str = "compute", base: str = "") -> str:
    return (await client.get(f"{base}/v3/services?type={type_}")).json()["services"][0]["id"]


async def register(keystone: Keystone, **values: Any) -> httpx.Response:
    body = {"service_id": await service(keystone.admin), "resource_name": "servers", "default_limit": 10} | values
    return await keystone.admin.post("/v3/registered_limits", json={"registered_limits": [body]})


async def limit(keystone: Keystone, **values: Any) -> httpx.Response:
    body = {"service_id": await service(keystone.admin), "resource_name": "servers", "resource_limit": 5} | values
    return await keystone.admin.post("/v3/limits", json={"limits": [body]})


async def test_limits_are_of_what_is_registered(keystone: Keystone) -> None:
    anna, bob = await somebody(keystone, "anna", "one"), await somebody(keystone, "bob", "two")
    assert (await limit(keystone, project_id=anna.project_id)).status_code == 400, "nothing is registered"
    registered = (await register(keystone)).json()["registered_limits"][0]
    assert (await register(keystone)).status_code == 409 and (await register(keystone, region_id="nonesuch")).status_code == 400
    made = (await limit(keystone, project_id=anna.project_id)).json()["limits"][0]
    assert (await limit(keystone, project_id=anna.project_id)).status_code == 409
    for bad in ({}, {"project_id": "x", "domain_id": "x"}, {"project_id": anna.project_id, "resource_name": "other"},
                {"project_id": bob.project_id, "resource_limit": -2}, {"project_id": bob.project_id, "resource_limit": "many"}):  # fmt: skip
        assert (await limit(keystone, **bad)).status_code == 400, bad
    mine = keystone.client(anna.token)
    assert [x["id"] for x in (await mine.get("/v3/limits")).json()["limits"]] == [made["id"]]
    assert (await keystone.client(bob.token).get("/v3/limits")).json()["limits"] == []
    assert (await mine.get(f"/v3/limits/{made['id']}")).json()["limit"]["resource_limit"] == 5
    assert (await keystone.client(bob.token).get(f"/v3/limits/{made['id']}")).status_code == 403
    assert (await mine.patch(f"/v3/limits/{made['id']}", json={"limit": {"resource_limit": 50}})).status_code == 403
    changed = await keystone.admin.patch(f"/v3/limits/{made['id']}", json={"limit": {"resource_limit": 6, "description": "more"}})
    assert (changed.json()["limit"]["resource_limit"], changed.json()["limit"]["description"]) == (6, "more")
    assert (await keystone.admin.patch(f"/v3/limits/{made['id']}", json={"limit": {"project_id": bob.project_id}})).status_code == 400
    path = f"/v3/registered_limits/{registered['id']}"
    assert (await keystone.admin.delete(path)).status_code == 403
    assert (await keystone.admin.patch(path, json={"registered_limit": {"resource_name": "x"}})).status_code == 403
    assert (await keystone.admin.patch(path, json={"registered_limit": {"default_limit": 7}})).json()["registered_limit"]["default_limit"] == 7
    assert (await keystone.admin.delete(f"/v3/limits/{made['id']}")).status_code == 204
    assert (await keystone.admin.delete(path)).status_code == 204 and (await mine.get(path)).status_code == 404
    assert (await mine.get("/v3/limits/model")).json()["model"]["name"] == "flat"


async def test_a_domains_limit_bounds_its_projects(tmp_path: Path) -> None:
    async with keystone_at(tmp_path, limit_model="strict_two_level") as keystone:
        user = await somebody(keystone, "anna", "one")
        assert (await keystone.admin.get("/v3/limits/model")).json()["model"]["name"] == "strict_two_level"
        await register(keystone, default_limit=10)
        assert (await limit(keystone, project_id=user.project_id, resource_limit=11)).status_code == 403, "more than the domain's by default"
        domain = (await limit(keystone, domain_id="default", resource_limit=20)).json()["limits"][0]
        project = (await limit(keystone, project_id=user.project_id, resource_limit=15)).json()["limits"][0]
        for id_, amount, status in ((domain["id"], 14, 403), (project["id"], 21, 403), (project["id"], -1, 403), (project["id"], 20, 200), (domain["id"], -1, 200)):
            changed = await keystone.admin.patch(f"/v3/limits/{id_}", json={"limit": {"resource_limit": amount}})
            assert changed.status_code == status, (amount, changed.text)


@pytest.mark.parametrize(("amount", "above", "below", "fits"), [(5, 5, [], True), (6, 5, [], False), (-1, 5, [], False), (6, -1, [], True), (5, None, [5], True),
                                                                (5, None, [6], False), (5, None, [-1], False), (-1, None, [-1, 6], True)])  # fmt: skip
def test_how_two_levels_fit(amount: int, above: int | None, below: list[int], fits: bool) -> None:
    assert (two_level_fault(amount, above, below) is None) is fits


def test_whose_quota_a_limit_is() -> None:
    assert driven("compute", "class:VCPU") == ("compute", "cores") and driven("block-storage", "volumes") == ("volume", "volumes")
    assert driven("compute", "nonesuch") is None and driven("object-store", "containers") is None


async def test_a_limit_is_the_quota_that_servers_are_counted_against(api: Api) -> None:
    admin = api.admin
    compute, project = await service(admin, base="/identity"), (await api.member.get("/identity/v3/auth/projects")).json()["projects"][0]["id"]

    async def cores() -> int:
        return (await api.member.get(f"/compute/v2.1/os-quota-sets/{project}")).json()["quota_set"]["cores"]

    body = {"service_id": compute, "resource_name": "class:VCPU", "default_limit": 3}
    registered = (await admin.post("/identity/v3/registered_limits", json={"registered_limits": [body]})).json()["registered_limits"][0]
    assert await cores() == 3
    made = {"service_id": compute, "resource_name": "class:VCPU", "resource_limit": 7, "project_id": project}
    given = (await admin.post("/identity/v3/limits", json={"limits": [made]})).json()["limits"][0]
    assert await cores() == 7
    assert (await admin.delete(f"/identity/v3/limits/{given['id']}")).status_code == 204
    assert await cores() == 3
    assert (await admin.delete(f"/identity/v3/registered_limits/{registered['id']}")).status_code == 204
    assert await cores() == 20
