"""Which endpoints a project's catalogue has, and which policy is which endpoint's."""

from __future__ import annotations

import pytest
import pytest_asyncio
from tests.identity.conftest import Keystone, Someone, on_project, somebody

pytestmark = pytest.mark.asyncio(loop_scope="module")
GROUPS = "/v3/OS-EP-FILTER/endpoint_groups"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def user(shared: Keystone) -> Someone:
    return await somebody(shared, "fil", "filtered")


async def catalog(keystone: Keystone, user: Someone) -> dict[str, list[str]]:
    """Types of services, and the interfaces of their endpoints."""
    token = await keystone.token(user.name, user.password, on_project("filtered"))
    found = (await keystone.client(token).get("/v3/auth/catalog")).json()["catalog"]
    return {entry["type"]: sorted(e["interface"] for e in entry["endpoints"]) for entry in found}


async def test_a_project_sees_the_endpoints_that_it_was_given(shared: Keystone, user: Someone) -> None:
    admin, whole = shared.admin, await catalog(shared, user)
    volume = next(s["id"] for s in (await admin.get("/v3/services?type=block-storage")).json()["services"])
    image = next(s["id"] for s in (await admin.get("/v3/services?type=image")).json()["services"])
    made = (await admin.post(GROUPS, json={"endpoint_group": {"name": "volumes", "filters": {"service_id": volume, "interface": "public"}}})).json()
    group = made["endpoint_group"]
    assert [e["interface"] for e in (await admin.get(f"{GROUPS}/{group['id']}/endpoints")).json()["endpoints"]] == ["public"]
    there = f"{GROUPS}/{group['id']}/projects/{user.project_id}"
    assert (await admin.get(there)).status_code == 404
    assert (await admin.put(there)).status_code == 204 and (await admin.put(there)).status_code == 204
    assert await catalog(shared, user) == {"block-storage": ["public"]}
    endpoint = (await admin.get(f"/v3/endpoints?service_id={image}&interface=admin")).json()["endpoints"][0]["id"]
    here = f"/v3/OS-EP-FILTER/projects/{user.project_id}/endpoints/{endpoint}"
    assert (await admin.get(here)).status_code == 404 and (await admin.put(here)).status_code == 204 and (await admin.head(here)).status_code == 204
    assert await catalog(shared, user) == {"block-storage": ["public"], "image": ["admin"]}
    assert await catalog(shared, user) != whole and len((await admin.get("/v3/auth/catalog")).json()["catalog"]) == len(whole)
    listed = (await admin.get(f"/v3/OS-EP-FILTER/projects/{user.project_id}/endpoints")).json()["endpoints"]
    assert len(listed) == 2 and endpoint in [e["id"] for e in listed]
    assert [g["id"] for g in (await admin.get(f"/v3/OS-EP-FILTER/projects/{user.project_id}/endpoint_groups")).json()["endpoint_groups"]] == [group["id"]]
    for path in (f"{GROUPS}/{group['id']}/projects", f"/v3/OS-EP-FILTER/endpoints/{endpoint}/projects"):
        assert [p["id"] for p in (await admin.get(path)).json()["projects"]] == [user.project_id]
    changed = await admin.patch(f"{GROUPS}/{group['id']}", json={"endpoint_group": {"filters": {"service_id": image}}})
    assert changed.status_code == 200 and await catalog(shared, user) == {"image": ["admin", "internal", "public"]}
    assert (await admin.delete(f"{GROUPS}/{group['id']}")).status_code == 204 and (await admin.get(f"{GROUPS}/{group['id']}")).status_code == 404
    assert (await admin.delete(here)).status_code == 204 and (await admin.delete(here)).status_code == 404
    assert await catalog(shared, user) == whole


@pytest.mark.parametrize("body", [{}, {"name": "x"}, {"name": "x", "filters": {"nonesuch": "x"}}, {"name": "x", "filters": {"interface": "outer"}},
                                  {"name": "x", "filters": {"service_id": 1}}, {"name": "", "filters": {}}])  # fmt: skip
async def test_a_malformed_group_is_400(shared: Keystone, body: dict[str, object]) -> None:
    assert (await shared.admin.post(GROUPS, json={"endpoint_group": body})).status_code == 400


async def test_the_nearest_policy_is_an_endpoints(shared: Keystone) -> None:
    admin = shared.admin
    far, near, own = [
        (await admin.post("/v3/policies", json={"policy": {"type": "application/json", "blob": name}})).json()["policy"] for name in ("far", "near", "own")
    ]
    await admin.put("/v3/regions/outer", json={"region": {}})
    await admin.put("/v3/regions/inner", json={"region": {"parent_region_id": "outer"}})
    service = (await shared.make("service", type="policed", name="policed"))["id"]
    endpoint = (await shared.make("endpoint", service_id=service, interface="public", url="http://x", region_id="inner"))["id"]

    def place(policy: dict[str, str], rest: str) -> str:
        return f"/v3/policies/{policy['id']}/OS-ENDPOINT-POLICY/{rest}"

    async def in_force() -> str | None:
        answer = await admin.get(f"/v3/endpoints/{endpoint}/OS-ENDPOINT-POLICY/policy")
        return answer.json()["policy"]["blob"] if answer.status_code == 200 else None

    assert await in_force() is None
    for policy, rest in ((far, f"services/{service}"), (near, f"services/{service}/regions/outer"), (own, f"endpoints/{endpoint}")):
        assert (await admin.get(place(policy, rest))).status_code == 404
        assert (await admin.put(place(policy, rest))).status_code == 204 and (await admin.head(place(policy, rest))).status_code == 204
        assert await in_force() == policy["blob"]
        assert [e["id"] for e in (await admin.get(place(policy, "endpoints"))).json()["endpoints"]] == [endpoint]
    assert (await admin.get(place(far, "endpoints"))).json()["endpoints"] == []
    assert (await admin.put(place(far, f"endpoints/{endpoint}"))).status_code == 204 and await in_force() == "far"
    assert (await admin.get(place(own, f"endpoints/{endpoint}"))).status_code == 404, "a place has one policy"
    assert (await admin.delete(place(far, f"endpoints/{endpoint}"))).status_code == 204 and await in_force() == "near"
    assert (await admin.delete(f"/v3/policies/{near['id']}")).status_code == 204 and await in_force() == "far"
    for rest in ("endpoints/x", "services/x", f"services/{service}/regions/x"):
        assert (await admin.put(place(far, rest))).status_code == 404
    assert (await admin.delete(f"/v3/services/{service}")).status_code == 204
