"""SEC-42 (OSSA-2012-009, CVE-2012-3371, CVE-2014-3708): hints, filters, bodies and unknown addresses cost no more than they should."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from tests.compute.world import World, world  # noqa: F401 (a fixture)

from moln.bench.load import Wire, request
from moln.bench.process import measured
from moln.kernel.http.versions import Versions


async def test_hints_are_bounded(world: World):  # noqa: F811
    body = {"server": {"name": "x", "flavorRef": world.small, "imageRef": world.image, "networks": "none"}}
    many = {"os:scheduler_hints": {"different_host": ["11111111-1111-4111-8111-111111111111"] * 101}}
    refused = await world.call("POST", "/servers", 400, body | many)
    assert "different_host" in refused["badRequest"]["message"]


async def test_long_queries_and_bodies_are_refused(world: World):  # noqa: F811
    await world.call("GET", "/flavors?" + "&".join(f"sort_key=k{i}" for i in range(300)), 400)
    await world.call("GET", "/flavors?name=" + "x" * 20_000, 400)
    answer = await world.api.member.post("/compute/v2.1/servers", content=b"{" + b" " * (2 << 20))
    assert answer.status_code == 413


async def test_unknown_addresses_leave_nothing_in_memory(world: World):  # noqa: F811
    async def ask(first: int, count: int) -> None:
        for n in range(first, first + count):
            await world.api.member.get(f"/compute/v2.1/no-such-{n}/{n}")
            await asyncio.sleep(0)  # the client's own clean-up runs in the loop

    await ask(0, 300)
    gc.collect()
    tracemalloc.start()
    await ask(1000, 50)
    gc.collect()
    before = tracemalloc.get_traced_memory()[0]
    await ask(2000, 1000)
    gc.collect()
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 200_000  # a kept address would cost 300 bytes and more each


async def test_lists_within_bodies_are_bounded(world: World):  # noqa: F811
    """A body of 1 MiB holds tens of thousands of small things; what is kept of them would be shown in every list."""
    port = (await world.neutron("POST", "/ports", {"port": {"network_id": world.network}}))["port"]["id"]
    addresses = [f"10.{n >> 14 & 63}.{n >> 7 & 127}.{n & 127}" for n in range(20_000)]
    ids = [f"11111111-1111-4111-8111-{n:012d}" for n in range(2000)]
    subnet = {"network_id": world.network, "ip_version": 4, "cidr": "10.0.0.0/8"}
    server = {"name": "s", "flavorRef": world.small, "imageRef": world.image, "networks": "none"}
    many = {f"k{n}": "v" for n in range(2000)}
    asked: list[tuple[str, str, Any]] = [
        ("PUT", f"/network/v2.0/ports/{port}", {"port": {"extra_dhcp_opts": [{"opt_name": f"x{n}", "opt_value": "y"} for n in range(65)]}}),
        ("PUT", f"/network/v2.0/ports/{port}", {"port": {"allowed_address_pairs": [{"ip_address": a} for a in addresses]}}),
        ("PUT", f"/network/v2.0/ports/{port}", {"port": {"fixed_ips": [{"ip_address": a} for a in addresses]}}),
        ("PUT", f"/network/v2.0/ports/{port}", {"port": {"security_groups": ids}}),
        ("PUT", f"/network/v2.0/ports/{port}/tags", {"tags": list(many)}),
        ("POST", "/network/v2.0/subnets", {"subnet": subnet | {"allocation_pools": [{"start": a, "end": a} for a in addresses]}}),
        ("POST", "/network/v2.0/subnets", {"subnet": subnet | {"dns_nameservers": addresses}}),
        ("POST", "/network/v2.0/subnets", {"subnet": subnet | {"host_routes": [{"destination": f"{a}/32", "nexthop": a} for a in addresses[:9000]]}}),
        ("POST", "/network/v2.0/subnetpools", {"subnetpool": {"name": "p", "prefixes": [f"{a}/32" for a in addresses]}}),
        ("POST", "/network/v2.0/address-groups", {"address_group": {"name": "a", "addresses": [f"{a}/32" for a in addresses]}}),
        ("POST", "/network/v2.0/ports", {"ports": [{"network_id": world.network}] * 5000}),
        ("POST", "/compute/v2.1/servers", {"server": server | {"metadata": many}}),
        ("POST", "/compute/v2.1/servers", {"server": server | {"tags": list(many)}}),
        ("POST", "/compute/v2.1/servers", {"server": server, "os:scheduler_hints": many | {"x": "y" * 9000}}),
        ("POST", "/volume/v3/volumes", {"volume": {"size": 1, "metadata": many}}),
        ("POST", "/image/v2/images", {"name": "x"} | many),
        ("POST", "/image/v2/images", {"name": "x", "tags": list(many)}),
        ("POST", "/identity/v3/projects", {"project": {"name": "x", "tags": list(many)}}),
    ]  # fmt: skip
    for method, path, body in asked:
        answer = await world.api.member.request(method, path, json=body, headers={"OpenStack-API-Version": "compute 2.90"})
        assert answer.status_code in (400, 403, 413), (method, path, answer.status_code, answer.text[:300])


async def test_patterns_take_time_linear_in_what_they_search(world: World):  # noqa: F811
    """CVE-like: a pattern that a backtracking matcher would think about until the end of days."""
    await world.boot(name="a" * 255)
    for pattern in ("(a+)+$b", "(a|a)*b", "a?" * 100 + "a" * 100 + "b", "(.*)*x", "((a*)*)*b"):
        answer = await world.api.member.get("/compute/v2.1/servers", params={"name": pattern})
        assert answer.status_code in (200, 400), answer.text


async def test_versions_and_callers_that_nobody_has_are_not_kept(world: World):  # noqa: F811
    for n in range(700):
        await world.api.member.get("/compute/v2.1/flavors", headers={"OpenStack-API-Version": f"compute 2.1, x {n}"})
    endpoints = [r for r in gc.get_objects() if isinstance(r, Versions)]
    assert endpoints and all(len(e._asked) <= Versions.KEPT for e in endpoints)
    assert world.cloud.fairness._held == {}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_hundred_thousand_unknown_addresses_leave_the_process_as_it_was(tmp_path: Path) -> None:
    """A whole controller over a real socket; each address, query, user agent and token is another."""
    (tmp_path / "home").mkdir()
    with measured("cloud", "--home", str(tmp_path / "home"), log=tmp_path / "log") as cloud:
        wire, paths = Wire(cloud.port), ("/compute/v2.1/no-such-{0}", "/{0}", "/network/v2.0/x{0}/{0}", "/image/v2/images{0}/file", "/identity/{0}")

        def ask(first: int, last: int) -> None:
            for at in range(first, last, 1000):
                for n, path in enumerate(paths):
                    numbers = range(at + 200 * n, at + 200 * (n + 1))
                    wire.send([request("GET", f"{path.format(i)}?q{i}={i}", X_Agent=str(i), OpenStack_API_Version=f"x 9.{i}") for i in numbers], 404)

        ask(0, 10_000)
        before = cloud.pss_mib()
        ask(10_000, 110_000)
        assert cloud.pss_mib() - before < 8, "80 bytes for each would be as much"
        wire.close()
