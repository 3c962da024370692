"""Flavors over HTTP: who sees which, what each microversion says, what is refused."""

from __future__ import annotations

SMALL = {"name": "m1.small", "ram": 2048, "vcpus": 1, "disk": 20, "id": "2"}


async def call(client, method, path, json=None, at="2.104"):
    return await client.request(method, f"/compute/v2.1{path}", json=json, headers={"OpenStack-API-Version": f"compute {at}"})


async def make(api, **changed):
    answer = await call(api.admin, "POST", "/flavors", {"flavor": SMALL | changed})
    assert answer.status_code == 200, answer.text
    return answer.json()["flavor"]


async def test_a_flavor_is_made_shown_listed_and_removed(api):
    made = await make(api)
    assert (made["id"], made["swap"], made["description"], made["extra_specs"]) == ("2", 0, None, {})
    shown = (await call(api.member, "GET", "/flavors/2")).json()["flavor"]
    assert shown == made
    assert shown["links"][0]["href"].endswith("/compute/v2.1/flavors/2")
    assert [f["id"] for f in (await call(api.member, "GET", "/flavors/detail")).json()["flavors"]] == ["2"]
    assert (await call(api.admin, "DELETE", "/flavors/2")).status_code == 202
    assert (await call(api.admin, "GET", "/flavors/2")).json()["itemNotFound"]["message"] == "Flavor 2 could not be found."


async def test_old_versions_show_what_they_showed(api):
    await make(api)
    old = (await call(api.member, "GET", "/flavors/2", at="2.1")).json()["flavor"]
    assert (old["swap"], old["rxtx_factor"], old["OS-FLV-DISABLED:disabled"]) == ("", 1.0, False)
    assert "description" not in old and "extra_specs" not in old
    assert "description" in (await call(api.member, "GET", "/flavors", at="2.55")).json()["flavors"][0]
    assert (await call(api.admin, "PUT", "/flavors/2", {"flavor": {"description": "x"}}, at="2.54")).status_code == 404
    assert (await call(api.admin, "PUT", "/flavors/2", {"flavor": {"description": "x"}})).json()["flavor"]["description"] == "x"


BAD = [
    {"ram": 0}, {"vcpus": 0}, {"disk": -1}, {"name": ""}, {"name": " x"}, {"id": "a/b"}, {"rxtx_factor": 1.0}, {"nope": 1}, {"ram": "x"},
    {"ram": 2**31}, {"os-flavor-access:is_public": "maybe"},
]  # fmt: skip


async def test_bad_flavors_are_refused(api):
    for bad in BAD:
        answer = await call(api.admin, "POST", "/flavors", {"flavor": SMALL | bad})
        assert answer.status_code == 400, bad
        assert answer.json()["badRequest"]["code"] == 400


async def test_names_and_ids_are_unique(api):
    await make(api)
    same_id = await call(api.admin, "POST", "/flavors", {"flavor": SMALL | {"name": "other"}})
    assert same_id.json()["conflictingRequest"]["message"] == "Flavor with ID 2 already exists."
    same_name = await call(api.admin, "POST", "/flavors", {"flavor": SMALL | {"id": "3"}})
    assert same_name.json()["conflictingRequest"]["message"] == "Flavor with name m1.small already exists."
    assert (await call(api.member, "POST", "/flavors", {"flavor": SMALL | {"id": "9"}})).status_code == 403


async def test_private_flavors_are_for_those_that_were_given_them(api):
    """SEC-21: another project's private flavor cannot even be seen."""
    await make(api, id="p", name="private", **{"os-flavor-access:is_public": False})
    projects = (await api.admin.get("/identity/v3/projects")).json()["projects"]
    demo = next(p["id"] for p in projects if p["name"] == "demo")
    assert (await call(api.member, "GET", "/flavors/p")).status_code == 404
    assert (await call(api.member, "GET", "/flavors/p/os-extra_specs")).status_code == 404
    assert (await call(api.member, "GET", "/flavors?is_public=None")).json()["flavors"] == []
    assert len((await call(api.admin, "GET", "/flavors?is_public=None")).json()["flavors"]) == 1
    given = await call(api.admin, "POST", "/flavors/p/action", {"addTenantAccess": {"tenant": demo}})
    assert given.json() == {"flavor_access": [{"flavor_id": "p", "tenant_id": demo}]}
    assert (await call(api.admin, "POST", "/flavors/p/action", {"addTenantAccess": {"tenant": demo}})).status_code == 409
    assert (await call(api.admin, "POST", "/flavors/p/action", {"addTenantAccess": {"tenant": "nobody"}})).status_code == 400
    assert (await call(api.member, "GET", "/flavors/p")).status_code == 200
    assert [f["id"] for f in (await call(api.member, "GET", "/flavors")).json()["flavors"]] == ["p"]
    taken = await call(api.admin, "POST", "/flavors/p/action", {"removeTenantAccess": {"tenant": demo}})
    assert taken.json() == {"flavor_access": []}
    assert (await call(api.member, "GET", "/flavors/p")).status_code == 404


async def test_extra_specs_are_set_one_by_one_and_together(api):
    await make(api)
    specs = {"extra_specs": {"hw:cpu_policy": "shared", "aggregate:x": "1"}}
    assert (await call(api.admin, "POST", "/flavors/2/os-extra_specs", specs)).json() == specs
    assert (await call(api.member, "GET", "/flavors/2/os-extra_specs")).json() == specs
    assert (await call(api.admin, "PUT", "/flavors/2/os-extra_specs/aggregate:x", {"aggregate:x": "2"})).status_code == 200
    assert (await call(api.member, "GET", "/flavors/2/os-extra_specs/aggregate:x")).json() == {"aggregate:x": "2"}
    assert (await call(api.admin, "PUT", "/flavors/2/os-extra_specs/a", {"b": "2"})).status_code == 400
    assert (await call(api.admin, "POST", "/flavors/2/os-extra_specs", {"extra_specs": {"a/b": "2"}})).status_code == 400
    assert (await call(api.admin, "DELETE", "/flavors/2/os-extra_specs/aggregate:x")).status_code == 200
    assert (await call(api.admin, "DELETE", "/flavors/2/os-extra_specs/aggregate:x")).status_code == 404
    assert (await call(api.member, "POST", "/flavors/2/os-extra_specs", specs)).status_code == 403
    assert (await call(api.member, "GET", "/flavors/2")).json()["flavor"]["extra_specs"] == {"hw:cpu_policy": "shared"}


async def test_lists_are_filtered_sorted_and_paged(api):
    for n in range(5):
        await make(api, id=f"f{n}", name=f"name-{4 - n}", ram=512 * (n + 1))

    async def ids(query):
        answer = await call(api.member, "GET", f"/flavors?{query}")
        assert answer.status_code == 200, answer.text
        return [f["id"] for f in answer.json()["flavors"]]

    assert await ids("") == ["f0", "f1", "f2", "f3", "f4"]
    assert await ids("sort_key=name&sort_dir=asc") == ["f4", "f3", "f2", "f1", "f0"]
    assert await ids("minRam=1500") == ["f2", "f3", "f4"]
    first = (await call(api.member, "GET", "/flavors?limit=2")).json()
    assert [f["id"] for f in first["flavors"]] == ["f0", "f1"]
    assert first["flavors_links"][0]["href"].endswith("/compute/v2.1/flavors?limit=2&marker=f1")
    assert await ids("limit=2&marker=f1") == ["f2", "f3"]
    assert await ids("name=name-4") == ["f0"]
    for bad in ("marker=zzz", "limit=-1", "sort_key=nope", "minRam=x", "wrong=1"):
        assert (await call(api.member, "GET", f"/flavors?{bad}")).status_code == 400, bad
    assert (await call(api.member, "GET", "/flavors?wrong=1", at="2.74")).status_code == 200


SPECS = [
    ("hw:cpu_policy", "dedicated", True), ("hw:cpu_policy", "none", False), ("hw:nope", "1", False),
    ("trait:HW_CPU_X86_VMX", "required", True), ("trait:HW_CPU_X86_VMX", "yes", False), ("resources:VCPU", "2", True),
    ("resources:VCPU", "-1", False), ("trait1:CUSTOM_A", "forbidden", True), ("quota:disk_read_iops_sec", "100", True),
    ("mine:colour", "red", True), ("colour", "red", True), ("hw:numa_mem.0", "x", False), ("hw:redirected_usb_ports", "16", False),
]  # fmt: skip


async def test_known_extra_specs_are_checked_since_2_86(api):
    await make(api)
    for spec, value, good in SPECS:
        body = {"extra_specs": {spec: value}}
        assert (await call(api.admin, "POST", "/flavors/2/os-extra_specs", body)).status_code == (200 if good else 400), spec
        assert (await call(api.admin, "POST", "/flavors/2/os-extra_specs", body, at="2.85")).status_code == 200
