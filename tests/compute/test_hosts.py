"""Hosts as administrators see them, zones, quotas, limits and version documents, over HTTP."""

from __future__ import annotations

from tests.compute.test_flavors import call

from moln.compute.ops import hosts
from moln.compute.work.server_invariants import claims_match


async def test_the_version_documents(api):
    root = await api.anonymous.get("/compute/")
    assert [(v["id"], v["min_version"], v["version"]) for v in root.json()["versions"]] == [("v2.0", "", ""), ("v2.1", "2.1", "2.104")]
    shown = (await api.anonymous.get("/compute/v2.1/")).json()["version"]
    assert shown["links"][0]["href"].endswith("/compute/v2.1/")
    assert (await call(api.member, "GET", "/flavors", at="2.105")).status_code == 406
    assert (await call(api.member, "GET", "/flavors", at="2.x")).status_code == 400
    latest = await call(api.member, "GET", "/flavors", at="latest")
    assert latest.headers["openstack-api-version"] == "compute 2.104"
    old = await api.member.get("/compute/v2.1/flavors", headers={"X-OpenStack-Nova-API-Version": "2.5"})
    assert old.headers["x-openstack-nova-api-version"] == "2.5"


async def test_each_host_is_a_service_and_a_hypervisor(api):
    (service,) = (await call(api.admin, "GET", "/os-services")).json()["services"]
    assert (service["host"], service["binary"], service["state"], service["status"]) == ("sim-1", "nova-compute", "up", "enabled")
    (brief,) = (await call(api.admin, "GET", "/os-hypervisors")).json()["hypervisors"]
    assert (brief["hypervisor_hostname"], brief["state"]) == ("sim-1", "up")
    full = (await call(api.admin, "GET", f"/os-hypervisors/{brief['id']}")).json()["hypervisor"]
    assert full["service"]["id"] == service["id"] and "vcpus" not in full and "uptime" in full
    old = (await call(api.admin, "GET", "/os-hypervisors/1", at="2.1")).json()["hypervisor"]
    assert old["vcpus"] > 0 and old["vcpus_used"] == 0 and isinstance(old["cpu_info"], str) and old["free_ram_mb"] < old["memory_mb"]
    stats = (await call(api.admin, "GET", "/os-hypervisors/statistics", at="2.87")).json()["hypervisor_statistics"]
    assert (stats["count"], stats["vcpus"]) == (1, old["vcpus"])
    assert (await call(api.admin, "GET", "/os-hypervisors/statistics")).status_code == 404
    assert len((await call(api.admin, "GET", "/os-hypervisors/detail?hypervisor_hostname_pattern=SIM")).json()["hypervisors"]) == 1
    assert (await call(api.admin, "GET", "/os-hypervisors?hypervisor_hostname_pattern=nope")).status_code == 404
    with_servers = (await call(api.admin, "GET", "/os-hypervisors?with_servers=true")).json()["hypervisors"][0]
    assert with_servers["servers"] == []
    assert (await call(api.admin, "GET", "/os-hypervisors/sim-1/search", at="2.52")).json()["hypervisors"][0]["id"] == 1
    assert (await call(api.admin, "GET", "/os-hypervisors/nope")).status_code == 400
    assert (await call(api.member, "GET", "/os-hypervisors")).status_code == 403
    assert (await call(api.member, "GET", "/os-services")).status_code == 403
    providers = (await api.admin.get("/placement/resource_providers")).json()["resource_providers"]
    assert [(p["uuid"], p["name"]) for p in providers] == [(brief["id"], "sim-1")]


async def test_a_disabled_host_takes_no_servers(api):
    (service,) = (await call(api.admin, "GET", "/os-services")).json()["services"]
    url = f"/os-services/{service['id']}"
    off = await call(api.admin, "PUT", url, {"status": "disabled", "disabled_reason": "mending"})
    assert (off.json()["service"]["status"], off.json()["service"]["disabled_reason"]) == ("disabled", "mending")
    await hosts.catch_up(api.cloud)
    assert hosts.table(api.cloud).ready == []
    (zone,) = (await call(api.member, "GET", "/os-availability-zone")).json()["availabilityZoneInfo"]
    assert zone == {"zoneName": "nova", "zoneState": {"available": False}, "hosts": None}
    for bad in ({}, {"status": "off"}, {"status": "enabled", "disabled_reason": "x"}, {"wrong": 1}):
        assert (await call(api.admin, "PUT", url, bad)).status_code == 400, bad
    old = await call(api.admin, "PUT", "/os-services/enable", {"host": "sim-1", "binary": "nova-compute"}, at="2.1")
    assert old.json() == {"service": {"host": "sim-1", "binary": "nova-compute", "status": "enabled"}}
    await hosts.catch_up(api.cloud)
    assert len(hosts.table(api.cloud).ready) == 1
    assert (await call(api.admin, "PUT", url, {"forced_down": True})).json()["service"]["state"] == "down"
    await hosts.catch_up(api.cloud)
    assert hosts.table(api.cloud).ready == []
    assert (await call(api.admin, "PUT", url, {"forced_down": False})).status_code == 200
    await hosts.catch_up(api.cloud)
    detail = (await call(api.admin, "GET", "/os-availability-zone/detail")).json()["availabilityZoneInfo"]
    assert list(detail[0]["hosts"]) == ["sim-1"]
    assert (await call(api.member, "GET", "/os-availability-zone/detail")).status_code == 403


async def test_a_lost_host_is_down_and_may_be_forgotten(api):
    (service,) = (await call(api.admin, "GET", "/os-services")).json()["services"]
    await api.cloud.links.leave("sim-1")
    assert (await call(api.admin, "GET", "/os-services")).json()["services"][0]["state"] == "down"
    assert (await call(api.admin, "DELETE", f"/os-services/{service['id']}")).status_code == 204
    await hosts.catch_up(api.cloud)
    assert hosts.table(api.cloud).hosts == {}
    assert (await api.admin.get("/placement/resource_providers")).json()["resource_providers"] == []


async def test_quotas_are_set_shown_and_reset(api):
    projects = (await api.admin.get("/identity/v3/projects")).json()["projects"]
    demo = next(p["id"] for p in projects if p["name"] == "demo")
    url = f"/os-quota-sets/{demo}"
    assert (await call(api.member, "GET", url)).json()["quota_set"] == {
        "id": demo, "instances": 10, "cores": 20, "ram": 51200, "metadata_items": 128, "key_pairs": 100, "server_groups": 10,
        "server_group_members": 10}  # fmt: skip
    assert (await call(api.admin, "PUT", url, {"quota_set": {"cores": "30", "ram": -1}})).json()["quota_set"]["cores"] == 30
    limits = (await call(api.member, "GET", "/limits")).json()["limits"]["absolute"]
    assert (limits["maxTotalCores"], limits["maxTotalRAMSize"], limits["totalCoresUsed"]) == (30, -1, 0)
    assert "maxImageMeta" not in limits and "maxImageMeta" in (
        await call(api.member, "GET", "/limits", at="2.38")).json()["limits"]["absolute"]  # fmt: skip
    detail = (await call(api.member, "GET", f"{url}/detail")).json()["quota_set"]["cores"]
    assert detail == {"limit": 30, "in_use": 0, "reserved": 0}
    for bad in ({"cores": -2}, {"cores": "x"}, {"nope": 1}, {"fixed_ips": 1}, {"injected_files": 1}):
        assert (await call(api.admin, "PUT", url, {"quota_set": bad})).status_code == 400, bad
    assert (await call(api.admin, "DELETE", url)).status_code == 202
    assert (await call(api.member, "GET", url)).json()["quota_set"]["cores"] == 20
    assert (await call(api.admin, "PUT", "/os-quota-class-sets/default", {"quota_class_set": {"cores": 7}})).status_code == 200
    assert (await call(api.member, "GET", url)).json()["quota_set"]["cores"] == 7
    assert (await call(api.member, "GET", f"{url}/defaults")).json()["quota_set"]["cores"] == 7
    assert (await call(api.member, "PUT", url, {"quota_set": {"cores": 99}})).status_code == 403
    other = next(p["id"] for p in projects if p["name"] == "admin")
    assert (await call(api.member, "GET", f"/os-quota-sets/{other}")).status_code == 403
    assert (await call(api.member, "GET", f"/limits?tenant_id={other}")).status_code == 403
    assert (await call(api.admin, "GET", "/os-quota-sets/nobody")).status_code == 400
    assert "fixed_ips" in (await call(api.member, "GET", url, at="2.35")).json()["quota_set"]


async def test_extensions_are_those_that_work(api):
    found = (await call(api.member, "GET", "/extensions")).json()["extensions"]
    assert "os-keypairs" in {e["alias"] for e in found} and "os-shelve" not in {e["alias"] for e in found}
    assert (await call(api.member, "GET", "/extensions/os-nope")).status_code == 404


async def test_an_aggregate_with_a_zone_moves_its_hosts_there(api):
    made = (await call(api.admin, "POST", "/os-aggregates", {"aggregate": {"name": "fast", "availability_zone": "east"}})).json()["aggregate"]
    assert made["availability_zone"] == "east" and "hosts" not in made
    url = f"/os-aggregates/{made['id']}"
    added = (await call(api.admin, "POST", f"{url}/action", {"add_host": {"host": "sim-1"}})).json()["aggregate"]
    assert (added["hosts"], added["metadata"]) == (["sim-1"], {"availability_zone": "east"})
    assert (await call(api.admin, "POST", f"{url}/action", {"add_host": {"host": "sim-1"}})).status_code == 409
    assert (await call(api.admin, "POST", f"{url}/action", {"add_host": {"host": "nope"}})).status_code == 404
    await hosts.catch_up(api.cloud)
    assert hosts.zones(api.cloud) == {"east": True}
    assert (await call(api.admin, "GET", "/os-services")).json()["services"][0]["zone"] == "east"
    (provider,) = (await api.admin.get("/placement/resource_providers")).json()["resource_providers"]
    grouped = await api.admin.get(f"/placement/resource_providers/{provider['uuid']}/aggregates", headers={"OpenStack-API-Version": "placement 1.19"})
    assert grouped.json()["aggregates"] == [made["uuid"]]
    other = (await call(api.admin, "POST", "/os-aggregates", {"aggregate": {"name": "west", "availability_zone": "west"}})).json()["aggregate"]
    two = await call(api.admin, "POST", f"/os-aggregates/{other['id']}/action", {"add_host": {"host": "sim-1"}})
    assert "already in availability zone(s)" in two.json()["conflictingRequest"]["message"]
    assert (await call(api.admin, "DELETE", url)).status_code == 400
    renamed = await call(api.admin, "PUT", url, {"aggregate": {"availability_zone": "north", "name": "n"}})
    assert renamed.json()["aggregate"]["availability_zone"] == "north"
    meta = await call(api.admin, "POST", f"{url}/action", {"set_metadata": {"metadata": {"ssd": "true", "availability_zone": None}}})
    assert meta.json()["aggregate"]["metadata"] == {"ssd": "true"}
    await hosts.catch_up(api.cloud)
    assert hosts.zones(api.cloud) == {"nova": True}
    await api.cloud.links.leave("sim-1")
    assert (await call(api.admin, "POST", f"{url}/action", {"remove_host": {"host": "sim-1"}})).json()["aggregate"]["hosts"] == []
    assert (await call(api.admin, "POST", f"{url}/action", {"remove_host": {"host": "sim-1"}})).status_code == 404
    assert (await call(api.admin, "DELETE", url)).status_code == 200
    for bad in ({"name": ""}, {"name": "x", "availability_zone": "a:b"}, {"name": "x", "wrong": 1}, {"name": " x"}):
        assert (await call(api.admin, "POST", "/os-aggregates", {"aggregate": bad})).status_code == 400, bad
    assert (await call(api.admin, "POST", "/os-aggregates", {"aggregate": {"name": "west"}})).status_code == 409
    assert (await call(api.member, "GET", "/os-aggregates")).status_code == 403
    assert "uuid" not in (await call(api.admin, "GET", "/os-aggregates", at="2.40")).json()["aggregates"][0]


async def test_the_root_from_before_microversions_is_the_first_of_them(api):
    listed = await api.member.get("/compute/v2/flavors/detail", headers={"OpenStack-API-Version": "compute 2.55"})
    assert listed.status_code == 200 and "openstack-api-version" not in listed.headers
    assert all("description" not in flavor for flavor in listed.json()["flavors"])
    told = (await api.anonymous.get("/compute/v2/")).json()["version"]
    assert told["id"] == "v2.0" and told["links"][0]["href"].endswith("/compute/v2/")
    assert (await api.member.get("/compute/v2/nothing")).status_code == 404


async def test_default_limits_of_networks_are_kept_and_shown_before_2_50(api):
    url = "/os-quota-class-sets/default"
    changed = await call(api.admin, "PUT", url, {"quota_class_set": {"fixed_ips": 99, "cores": 30}}, at="2.1")
    assert changed.json()["quota_class_set"]["fixed_ips"] == 99
    assert (await call(api.admin, "GET", url, at="2.49")).json()["quota_class_set"]["fixed_ips"] == 99
    assert "fixed_ips" not in (await call(api.admin, "GET", url, at="2.50")).json()["quota_class_set"]


async def test_doctor_tells_of_a_host_whose_resource_provider_was_deleted(api):
    (provider,) = (await api.admin.get("/placement/resource_providers")).json()["resource_providers"]
    assert (await api.admin.delete(f"/placement/resource_providers/{provider['uuid']}")).status_code == 204
    (found,) = await claims_match(api.cloud)
    assert "sim-1" in found.message and provider["uuid"] in found.message
