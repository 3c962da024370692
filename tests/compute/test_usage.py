"""Usage reports: hours within a period, of servers present and past, page by page."""

from __future__ import annotations

from typing import Any

from tests.compute.world import World, world  # noqa: F401 (a fixture)

from moln.compute.model.servers import Flavor
from moln.compute.model.usage import HOUR_US, Period, Used, by_project

PATH = "/os-simple-tenant-usage"
YEARS = "start=2020-01-01T00:00:00&end=2100-01-01T00:00:00.000000"


def used(launched: int, terminated: int | None = None, project: str = "p") -> Used:
    return Used("s", project, "s", "active", Flavor(2, 512, 10, 5, 0, "small"), launched * HOUR_US, None if terminated is None else terminated * HOUR_US)


def test_only_what_lies_within_the_period_counts() -> None:
    period = Period(10 * HOUR_US, 20 * HOUR_US)
    cases = [(used(0), 10), (used(12), 8), (used(0, 15), 5), (used(12, 15), 3), (used(0, 30), 10), (used(0, 5), 0), (used(25), 0)]
    assert [s.hours(period) for s, _ in cases] == [hours for _, hours in cases]
    one, other = by_project([used(12, 15), used(12, 13), used(0, 11, "q")], period, keep=False)
    assert (one.hours, one.vcpu_hours, one.mib_hours, one.gib_hours, one.servers) == (4, 8, 2048, 60, [])
    assert (other.project_id, other.hours) == ("q", 1)


async def usage(world: World, query: str, version: str = "2.40", **more: Any) -> Any:  # noqa: F811
    return await world.call("GET", f"{PATH}{query}", 200, None, version, admin=True, **more)


async def test_servers_that_are_gone_count_too(world: World) -> None:  # noqa: F811
    first, second = [await world.boot(networks="none", name=name) for name in ("one", "two")]
    project = first["tenant_id"]
    never = await world.flavor("huge", disk=10**6)
    await world.boot(networks="none", flavorRef=never)  # never ran: costs nothing
    await world.call("DELETE", f"/servers/{second['id']}", 204)
    await world.settle()
    shown = (await usage(world, f"/{project}?{YEARS}"))["tenant_usage"]
    assert (shown["tenant_id"], shown["start"], shown["stop"]) == (project, "2020-01-01T00:00:00.000000", "2100-01-01T00:00:00.000000")
    servers = {s["name"]: s for s in shown["server_usages"]}
    assert set(servers) == {"one", "two"}
    assert (servers["one"]["state"], servers["one"]["ended_at"], servers["one"]["instance_id"]) == ("active", None, first["id"])
    assert (servers["two"]["state"], servers["two"]["flavor"], servers["two"]["memory_mb"], servers["two"]["local_gb"]) == ("terminated", "small", 128, 1)
    assert servers["two"]["started_at"] < servers["two"]["ended_at"]
    assert shown["total_hours"] == sum(s["hours"] for s in servers.values())
    assert shown["total_memory_mb_usage"] == 128 * shown["total_hours"]
    (brief,) = (await usage(world, f"?{YEARS}"))["tenant_usages"]
    assert brief == {k: v for k, v in shown.items() if k != "server_usages"}
    assert (await usage(world, f"?detailed=1&{YEARS}", "2.1"))["tenant_usages"] == [shown]
    assert (await usage(world, f"/{project}?start=2020-01-01T00:00:00&end=2020-02-01T00:00:00"))["tenant_usage"] == {}


async def test_pages_follow_each_other(world: World) -> None:  # noqa: F811
    made = {(await world.boot(networks="none"))["id"] for _ in range(3)}
    project = (await world.call("GET", "/servers/detail", 200))["servers"][0]["tenant_id"]
    seen, query = [], f"/{project}?limit=2&{YEARS}"
    while query:
        page = await usage(world, query)
        seen += [s["instance_id"] for s in page["tenant_usage"].get("server_usages", [])]
        query = next((link["href"].partition(PATH)[2] for link in page.get("tenant_usage_links", [])), "")
    assert len(seen) == 3 and set(seen) == made
    first = await usage(world, f"?limit=1&{YEARS}")
    assert f"marker={seen[0]}" in first["tenant_usages_links"][0]["href"]
    assert "tenant_usage_links" not in await usage(world, f"/{project}?limit=2&{YEARS}", "2.39")
    await world.call("GET", f"{PATH}/{project}?marker=nope&{YEARS}", 400, admin=True)


async def test_who_may_ask_for_what(world: World) -> None:  # noqa: F811
    project = (await world.boot(networks="none"))["tenant_id"]
    await world.call("GET", PATH, 403)
    assert (await world.call("GET", f"{PATH}/{project}?{YEARS}", 200))["tenant_usage"]["tenant_id"] == project
    await world.call("GET", f"{PATH}/someone-else", 403)
    for wrong in ("start=yesterday", "start=2021-01-01T00:00:00&end=2020-01-01T00:00:00", "limit=-1"):
        await world.call("GET", f"{PATH}/{project}?{wrong}", 400)
    await world.call("GET", f"{PATH}/{project}?colour=red", 400, None, "2.75")
    await world.call("GET", f"{PATH}/{project}?colour=red", 200, None, "2.74")


async def test_no_host_writes_audit_logs(world: World) -> None:  # noqa: F811
    await world.call("GET", "/os-instance_usage_audit_log", 403)
    log = (await world.call("GET", "/os-instance_usage_audit_log", 200, admin=True))["instance_usage_audit_logs"]
    assert (log["num_hosts"], log["hosts_not_run"], log["overall_status"]) == (1, ["sim-1"], "0 of 1 hosts done. 0 errors.")
    at = "/os-instance_usage_audit_log/"
    log = (await world.call("GET", at + "2026-03-15%2010:00:00", 200, admin=True))["instance_usage_audit_log"]
    assert (log["period_beginning"], log["period_ending"]) == ("2026-02-01 00:00:00", "2026-03-01 00:00:00")
    log = (await world.call("GET", at + "2026-01-01%2000:00:00.000000", 200, admin=True))["instance_usage_audit_log"]
    assert (log["period_beginning"], log["period_ending"]) == ("2025-11-01 00:00:00", "2025-12-01 00:00:00")
    for wrong in ("yesterday", "0001-01-01%2000:00:00"):
        await world.call("GET", at + wrong, 400, admin=True)
