"""SEC-21 (OSSA-2013-019, CVE-2013-2256, CVE-2013-4278): a private flavor is nobody else's, and no quota is skipped."""

from __future__ import annotations

from tests.compute.world import World, world  # noqa: F401 (a fixture)

from moln.compute.ops.quotas import QUOTA


async def test_another_projects_private_flavor_cannot_be_seen_or_booted(world: World):  # noqa: F811
    private = await world.flavor("private", **{"os-flavor-access:is_public": False})
    for path in (f"/flavors/{private}", f"/flavors/{private}/os-extra_specs", f"/flavors/{private}/os-extra_specs/x"):
        await world.call("GET", path, 404)
    refused = await world.create(400, flavorRef=private)
    assert refused["badRequest"]["message"] == f"Flavor {private} could not be found."
    assert (await world.call("GET", "/flavors?is_public=None", 200))["flavors"][0]["id"] == world.small


async def test_every_counted_resource_is_charged_and_given_back(world: World):  # noqa: F811
    server = await world.boot(networks="none", max_count=2)
    used = await QUOTA.used(world.cloud.db, server["tenant_id"])
    assert (used["instances"], used["cores"], used["ram"]) == (2, 2, 256)
    for found in (await world.call("GET", "/servers", 200))["servers"]:
        await world.call("DELETE", f"/servers/{found['id']}", 204)
    await world.settle()
    used = await QUOTA.used(world.cloud.db, server["tenant_id"])
    assert (used["instances"], used["cores"], used["ram"]) == (0, 0, 0)


async def test_one_more_than_the_quota_is_refused_and_leaves_nothing(world: World):  # noqa: F811
    projects = (await world.api.admin.get("/identity/v3/projects")).json()["projects"]
    demo = next(p["id"] for p in projects if p["name"] == "demo")
    for name, most in (("cores", 1), ("ram", 128), ("instances", 1)):
        await world.call("PUT", f"/os-quota-sets/{demo}", 200, {"quota_set": {name: most}}, admin=True)
        await world.create(403, networks="none", min_count=2)
        await world.call("DELETE", f"/os-quota-sets/{demo}", 202, admin=True)
    assert (await world.call("GET", "/servers", 200))["servers"] == []
    assert set((await QUOTA.used(world.cloud.db, demo)).values()) == {0}
