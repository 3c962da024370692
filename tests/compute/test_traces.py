"""One boot is one trace, from the request to the driver on the node; and who is not traced pays nothing."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.compute.world import World, world
from tests.kernel.otlp import Collector, Span, collector

__all__ = ["world"]
THEIRS = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture
def collected(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Collector]:
    """The home's moln.toml names it; ask for it before `world`. Its parameter is more of the table."""
    with collector() as made:
        (tmp_path / "moln.toml").write_text(f'[tracing]\nendpoint = "{made.url}"\n{getattr(request, "param", "")}\n')
        yield made


async def flushed(world: World) -> bool:
    assert world.cloud.tracer is not None
    return await asyncio.to_thread(world.cloud.tracer.flush)


def way_up(collected: Collector, span: Span) -> list[Span]:
    """A span and what is above it, the root last."""
    by_id = {s.id: s for s in collected.spans}
    found = [span]
    while found[-1].parent:
        found.append(by_id[found[-1].parent])
    return found


async def test_one_boot_is_one_trace(collected: Collector, world: World) -> None:
    server = await world.boot()
    assert server["status"] == "ACTIVE"
    assert await flushed(world)
    (request,) = collected.named("POST /compute/v2.1/servers")
    assert (request.parent, request.kind, request.error) == ("", 2, False)
    assert request.attributes["http.response.status_code"] == 202 and request.attributes["moln.request_id"].startswith("req-")
    chain = way_up(collected, next(s for s in collected.named("compute.ensure_server") if server["id"] in s.attributes["moln.resource"]))
    assert [s.name for s in chain] == [
        "compute.ensure_server", "call compute.ensure_server", "settle servers", "write compute.ops.create.create_in", request.name,
    ]
    assert chain[-1].id == request.id and len({s.trace for s in chain}) == 1
    verb, call, settling, write, _ = chain
    assert verb.attributes["moln.outcome"] == "ok" and call.attributes["moln.node"] == "sim-1"
    assert settling.attributes["moln.resource"] == server["id"] and write.attributes["code.function.name"] == "compute.ops.create.create_in"
    ours = [s for s in collected.named("settle servers") if s.attributes["moln.resource"] == server["id"]]
    assert ours and {s.trace for s in ours} == {request.trace} and {s.parent for s in ours} == {write.id}


async def test_the_next_request_begins_a_trace_of_its_own(collected: Collector, world: World) -> None:
    server = await world.boot()
    await world.call("DELETE", f"/servers/{server['id']}", 204)
    await world.settle()
    assert await flushed(world)
    (request,) = collected.named("DELETE /compute/v2.1/servers/{server_id}")
    removed = [way_up(collected, s)[-1] for s in collected.named("compute.remove_server")]
    assert removed and {s.id for s in removed} == {request.id}


async def test_a_span_holds_no_secret_and_no_value_of_a_query(collected: Collector, world: World) -> None:
    await world.call("GET", "/servers/detail?name=canary-query-1&image=canary-query-2")
    await world.boot(name="canary-name-1", adminPass="canary-pass-1", metadata={"k": "canary-meta-1"})
    await world.call("GET", "/servers/canary-id-1", 404)
    assert await flushed(world)
    assert collected.named("GET /compute/v2.1/servers/detail") and collected.named("GET /compute/v2.1/servers/{server_id}")
    assert b"canary" not in collected.raw and b"a-Secret-1" not in collected.raw and b"gAAAA" not in collected.raw


@pytest.mark.parametrize(("collected", "parent", "linked"), [
    ("", False, False), ('incoming = "link"', False, True), ('incoming = "parent"', True, False),
], indirect=["collected"])  # fmt: skip
async def test_a_callers_trace_is_honoured_as_set(collected: Collector, world: World, parent: bool, linked: bool) -> None:
    for header in (f"00-{THEIRS}-00f067aa0ba902b7-01", "no such thing", "00-" + "0" * 32 + "-00f067aa0ba902b7-01"):
        answer = await world.api.member.get("/compute/v2.1/flavors", headers={"traceparent": header})
        assert answer.status_code == 200
    assert await flushed(world)
    good, *bad = collected.named("GET /compute/v2.1/flavors")
    assert ((good.trace, good.parent) == (THEIRS, "00f067aa0ba902b7")) is parent
    assert (good.links == [THEIRS]) is linked
    assert all(s.parent == "" and s.links == [] for s in bad)


@pytest.mark.parametrize("collected", ["sample_ratio = 0.0"], indirect=True)
async def test_what_is_not_sampled_is_not_sent(collected: Collector, world: World) -> None:
    await world.boot()
    assert await flushed(world)
    assert collected.spans == []


async def test_a_collector_that_hangs_or_fails_keeps_nobody_waiting(collected: Collector, world: World) -> None:
    collected.gate.clear()
    assert await world.call("GET", "/flavors")
    await asyncio.to_thread(collected.asked.wait, 30)  # an export is under way, and not answered
    assert (await world.boot())["status"] == "ACTIVE"
    assert not collected.named("POST /compute/v2.1/servers")
    collected.status = 503
    collected.gate.set()
    assert (await world.boot())["status"] == "ACTIVE"
    collected.status = 200


async def test_by_default_nothing_is_traced_and_nothing_imported(world: World) -> None:
    assert world.cloud.tracer is None and world.cloud.links.tracer is None
    program = "import sys, moln.controller, moln.app; print([m for m in sys.modules if 'opentelemetry' in m or m == 'requests'])"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=subprocess.PIPE)
    assert await process.communicate() == (b"[]\n", None)
