"""Services, endpoints, regions, and the catalogue that they make."""

from __future__ import annotations

from typing import Any

import pytest
from tests.identity.conftest import Keystone, Someone

import moln.identity.module as identity
from moln.identity.ops.bootstrap import bootstrap
from moln.kernel import config


async def test_a_new_service_is_in_the_next_answer(keystone: Keystone, alice: Someone) -> None:
    service = await keystone.make("service", type="dns", name="designate", description="names")
    endpoint = await keystone.make("endpoint", service_id=service["id"], interface="public", region_id="RegionOne",
                                   url="http://dns/%(project_id)s/$(tenant_id)s/%(user_id)s")  # fmt: skip
    own = keystone.client(alice.token)
    entry = next(e for e in (await own.get("/v3/auth/catalog")).json()["catalog"] if e["type"] == "dns")
    assert entry["endpoints"][0]["url"] == f"http://dns/{alice.project_id}/{alice.project_id}/{alice.id}"
    shown = await own.get("/v3/auth/tokens", headers={"X-Subject-Token": alice.token})
    assert entry in shown.json()["token"]["catalog"]
    off = await keystone.admin.patch(f"/v3/endpoints/{endpoint['id']}", json={"endpoint": {"enabled": False}})
    assert off.json()["endpoint"]["enabled"] is False
    shown = await own.get("/v3/auth/tokens", headers={"X-Subject-Token": alice.token})
    assert next(e for e in shown.json()["token"]["catalog"] if e["type"] == "dns")["endpoints"] == []
    assert (await keystone.admin.delete(f"/v3/services/{service['id']}")).status_code == 204
    assert (await keystone.admin.get(f"/v3/endpoints/{endpoint['id']}")).status_code == 404
    assert "dns" not in [e["type"] for e in (await own.get("/v3/auth/catalog")).json()["catalog"]]


async def test_services_endpoints_and_regions_are_listed_by_filter(keystone: Keystone) -> None:
    services = (await keystone.admin.get("/v3/services?type=compute")).json()["services"]
    assert [s["name"] for s in services] == ["nova"]
    where = f"service_id={services[0]['id']}&interface=public&region_id=RegionOne"
    endpoints = (await keystone.admin.get(f"/v3/endpoints?{where}")).json()["endpoints"]
    assert [e["url"] for e in endpoints] == ["http://cloud.example:5000/compute/v2.1"]
    assert [r["id"] for r in (await keystone.admin.get("/v3/regions")).json()["regions"]] == ["RegionOne"]


@pytest.mark.parametrize(
    "endpoint",
    [{}, {"interface": "x"}, {"url": "nothing"}, {"url": "http://x/%(password)s"}, {"url": "http://x/%(project_id)d"},
     {"service_id": "nowhere"}, {"region_id": "nowhere"}, {"url": 3}],
)  # fmt: skip
async def test_a_malformed_endpoint_is_400(keystone: Keystone, endpoint: dict[str, Any]) -> None:
    service = (await keystone.admin.get("/v3/services")).json()["services"][0]["id"]
    good = {"service_id": service, "interface": "public", "url": "http://x"}
    body = good | endpoint if endpoint else {}
    assert (await keystone.admin.post("/v3/endpoints", json={"endpoint": body})).status_code == 400


async def test_the_old_word_region_makes_the_region(keystone: Keystone) -> None:
    service = (await keystone.admin.get("/v3/services")).json()["services"][0]["id"]
    made = await keystone.make("endpoint", service_id=service, interface="admin", url="http://x", region="North")
    assert made["region_id"] == made["region"] == "North"
    assert (await keystone.admin.get("/v3/regions/North")).status_code == 200
    assert (await keystone.admin.delete("/v3/regions/North")).status_code == 403


async def test_regions_lie_in_regions_but_not_in_circles(keystone: Keystone) -> None:
    await keystone.make("region", id="a", description="A")
    await keystone.make("region", id="b", parent_region_id="a")
    assert (await keystone.admin.put("/v3/regions/c", json={"region": {"parent_region_id": "b"}})).status_code == 201
    circle = await keystone.admin.patch("/v3/regions/a", json={"region": {"parent_region_id": "c"}})
    assert circle.status_code == 400
    assert (await keystone.admin.post("/v3/regions", json={"region": {"id": "a"}})).status_code == 409
    assert (await keystone.admin.post("/v3/regions", json={"region": {"parent_region_id": "x"}})).status_code == 404
    assert [r["id"] for r in (await keystone.admin.get("/v3/regions?parent_region_id=a")).json()["regions"]] == ["b"]
    assert (await keystone.admin.delete("/v3/regions/a")).status_code == 204
    assert (await keystone.admin.get("/v3/regions/c")).status_code == 404


async def test_members_read_regions_only(keystone: Keystone, alice: Someone) -> None:
    own = keystone.client(alice.token)
    assert (await own.get("/v3/regions")).status_code == 200
    for kind in ("services", "endpoints"):
        assert (await own.get(f"/v3/{kind}")).status_code == 403
        assert (await own.get(f"/v3/{kind}/x")).status_code == 403
    assert (await own.delete("/v3/regions/RegionOne")).status_code == 403


async def test_a_second_start_changes_nothing_but_the_address(keystone: Keystone) -> None:
    before = (await keystone.admin.get("/v3/endpoints")).json()["endpoints"]
    await bootstrap(keystone.cloud)
    assert (await keystone.admin.get("/v3/endpoints")).json()["endpoints"] == before
    moved = type(keystone.cloud.settings)(public_url="http://elsewhere")
    keystone.cloud.settings = moved
    await bootstrap(keystone.cloud)
    after = (await keystone.admin.get("/v3/endpoints")).json()["endpoints"]
    assert [e["id"] for e in after] == [e["id"] for e in before]
    assert all(e["url"].startswith("http://elsewhere/") for e in after)


def test_the_key_rotation_is_a_periodic_job() -> None:
    assert "identity.keys" in [p.name for p in identity.module(config.Settings()).periodics]


async def test_the_home_document_names_resources_as_keystone_does(api):
    root = "https://docs.openstack.org/api/openstack-identity/3"
    answer = await api.anonymous.get("/identity/v3", headers={"Accept": "application/json-home"})
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("application/json-home")
    found = answer.json()["resources"]
    assert found[f"{root}/rel/users"] == {"href": "/users"}
    one = found[f"{root}/rel/project_user_role"]
    assert one["href-template"].startswith("/projects/{") and set(one["href-vars"].values()) == {
        f"{root}/param/{v}" for v in one["href-vars"]
    }
    assert f"{root}/ext/OS-INHERIT/1.0/rel/domain_user_role_inherited_to_projects" in found
    assert f"{root}/rel/user_change_password" in found and f"{root}/rel/implied_role" in found
    assert "version" in (await api.anonymous.get("/identity/v3")).json()
