"""`moln top`: what it makes of a controller's numbers, and that it draws them."""

from __future__ import annotations

import asyncio
import os
import pty
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from rich.console import Console

from moln.app import App, compose, load_settings
from moln.cli import main
from moln.cli.watching.figures import Figures, figures
from moln.cli.watching.samples import Buckets, Samples
from moln.cli.watching.screen import frame, span, took
from moln.host import control
from moln.host.places import Places
from moln.host.supervise.plan import Engine, Plan
from moln.kernel.http.serve import http_server
from moln.kernel.metrics import Family, Spread, render
from moln.local import admin_app
from moln.simulation import simulated_links, start_nodes

STATE = {"public_url": "http://cloud:5000", "engines": [{"name": "controller", "state": "ready"}]}
PROGRAM = "import sys; from moln.cli import main; sys.exit(main(sys.argv[1:]))"


def scraped(*families: Family, at: float = 0.0) -> Samples:
    return Samples(at, render([Family("process_start_time_seconds", "gauge", "", [({}, 1000.0)]), *families]).decode())


def spread(*values: float) -> Spread:
    made = Spread()
    for value in values:
        made.add(value)
    return made


def answers(*by: tuple[str, str, Spread]) -> Family:
    """(service, status, times)"""
    return Family("moln_http_request_duration_seconds", "histogram", "",
                  [({"service": service, "route": f"/{status}", "method": "GET", "status": status}, took) for service, status, took in by])


def drawn(found: Figures | None, state: dict[str, Any] = STATE, **more: Any) -> str:
    console = Console(width=120, no_color=True)
    with console.capture() as text:
        console.print(frame(found, state, console, **more))
    return text.get()


def test_what_the_kernel_writes_is_read_back() -> None:
    read = scraped(Family("x_total", "counter", "Two\nlines.", [({"a": 'q"\\\n,}{', "b": "c"}, 2.5), ({"a": "z"}, 1)]))
    assert list(read.each("x_total")) == [({"a": 'q"\\\n,}{', "b": "c"}, 2.5), ({"a": "z"}, 1.0)]
    assert read.total("x_total") == 3.5 and read.by("x_total", "b") == {"c": 2.5, "": 1.0}
    assert list(read.each("y")) == []


def test_quantiles_lie_between_the_bounds_that_hold_them() -> None:
    read = scraped(Family("t", "histogram", "", [({}, spread(*[0.0008] * 50, *[0.02] * 49, 70.0))]))
    found = Buckets.of(read, "t")
    assert found.count == 100
    assert found.quantile(0.5) == pytest.approx(0.001)
    assert found.quantile(0.25) == pytest.approx(0.0005)
    assert 0.01 < (found.quantile(0.9) or 0) <= 0.025
    assert found.quantile(0.999) == float("inf")
    assert found.since(found).quantile(0.5) is None


def test_rates_are_of_what_came_between_two_looks() -> None:
    before = scraped(answers(("compute", "200", spread(9.0, 9.0))), at=100.0)
    now = scraped(answers(("compute", "200", spread(9.0, 9.0, 0.0008, 0.0008)), ("image", "503", spread(0.2)), ("image", "404", spread(0.2))), at=102.0)
    found = figures(now, before, 1010.0)
    assert (found.seconds, found.whole, found.uptime_s, found.per_s) == (2.0, False, 10.0, 2.0)
    compute, image = found.services
    assert (compute.name, compute.per_s, compute.p50) == ("compute", 1.0, pytest.approx(0.0005))
    assert (image.per_s, image.refused, image.failed) == (1.0, 1, 1)
    assert found.trouble["answers 5xx"] == 1
    whole = figures(now, None, 1010.0)
    assert whole.whole and whole.per_s == pytest.approx(0.6) and whole.services[0].p99 == pytest.approx(10.0, rel=0.1)


def test_a_controller_that_began_anew_is_not_compared_with_the_old_one() -> None:
    before = Samples(0.0, "process_start_time_seconds 500.0\nmoln_audit_lost_total 9\n")
    now = Samples(1.0, "process_start_time_seconds 1000.0\nmoln_audit_lost_total 2\n")
    assert figures(now, before, 1010.0).trouble["audit lines lost"] == 2


def test_trouble_and_lost_nodes_are_seen_first_and_long_lists_are_cut() -> None:
    def node(name: str, n: int) -> tuple[dict[str, str], float]:
        return {"node": f"{name}-{n}"}, 1 if name == "up" else 0

    nodes = Family("moln_node_up", "gauge", "", [*(node("up", n) for n in range(50)), node("lost", 0)])
    used = Family("moln_node_used", "gauge", "", [({"node": "lost-0", "resource": "MEMORY_MB"}, 2048)])
    has = Family("moln_node_capacity", "gauge", "", [({"node": "lost-0", "resource": "MEMORY_MB"}, 4096)])
    given_up = Family("moln_reconciler_given_up_total", "counter", "", [({"reconciler": "servers"}, 3)])
    waiting = Family("moln_reconciler_waiting", "gauge", "", [({"reconciler": "servers"}, 7), ({"reconciler": "idle"}, 0)])
    refused = Family("moln_http_refused_total", "counter", "", [({"why": "share"}, 4), ({"why": "rate"}, 0)])
    text = drawn(figures(scraped(nodes, used, has, given_up, waiting, refused), None, 1010.0), height=24)
    lines = text.splitlines()
    assert len(lines) <= 24
    lost = next(line for line in lines if "lost-0" in line)
    assert "DOWN" in lost and "2 / 4 ████░░░░" in lost
    assert "trouble: 3 given up" in text and "turned away: 4 share" in text and "more" in lines[-1]
    assert "servers" in text and "idle" not in text


def test_engines_that_are_not_ready_and_a_silent_controller_are_told() -> None:
    text = drawn(None, {"engines": [{"name": "libvirtd", "state": "backoff"}]}, problem="it does not answer")
    assert "libvirtd backoff" in text and "it does not answer" in text


def test_times_are_said_in_the_unit_that_reads_best() -> None:
    assert [took(s) for s in (None, 0.0015, 0.25, 2.5, float("inf"))] == ["·", "1.5 ms", "250 ms", "2.5 s", "> 60 s"]
    assert [span(s) for s in (61, 3700, 90000)] == ["1 min 01 s", "1 h 01 min", "1 d 1 h"]


@pytest.fixture
async def served() -> AsyncIterator[tuple[Places, App]]:
    """A simulated cloud of two nodes whose operator's socket answers, under a supervisor."""
    home = Path(tempfile.mkdtemp(prefix="moln-top-"))
    places = Places(home)
    for folder in (places.host, places.run):
        folder.mkdir()
    engine = Engine("controller", ["/bin/sleep", "600"])
    control.ensure_supervisor(places, Plan([engine], str(places.log)))
    await asyncio.to_thread(control.wait_until, places, control.all_ready, timeout_s=15)
    app = compose(home, load_settings(home, simulate=True), simulated_links)
    await app.set_up()
    await start_nodes(app.cloud, 2)
    server = http_server(admin_app(app), uds=str(places.admin_socket))
    serving = asyncio.create_task(server.serve())
    while not server.started and not serving.done():
        await asyncio.wait([serving], timeout=0.01)
    yield places, app
    server.should_exit = True
    await serving
    await app.stop()
    await asyncio.to_thread(control.stop, places, keep=[], timeout_s=20)
    shutil.rmtree(home)


async def test_one_frame_of_a_cloud_as_plain_text(served: tuple[Places, App], capsys: pytest.CaptureFixture[str]) -> None:
    places, app = served
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app.asgi), base_url="http://127.0.0.1:5000") as anyone:
        await anyone.get("/compute/v2.1/servers")
    assert await asyncio.to_thread(main, ["top", "--once", "--home", str(places.home)]) == 0
    text = capsys.readouterr().out
    assert "\x1b" not in text
    lines = [line.split() for line in text.splitlines()]
    assert ["sim-1", "up", "0", "0", "/"] in [line[:5] for line in lines]
    assert sum(line[:1] in (["sim-1"], ["sim-2"]) for line in lines) == 2
    compute = next(line for line in lines if line[:1] == ["compute"])
    assert compute[6] == "1", compute  # the answer 401
    assert "1 engine ready" in text and "trouble: none" in text


def test_without_a_cloud_one_frame_is_a_failure_that_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["top", "--once", "--home", str(tmp_path)]) == 1
    assert "nothing runs" in capsys.readouterr().err


def test_on_a_terminal_q_ends_it_and_the_terminal_is_as_before(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    before = subprocess.run(["stty", "-a"], stdin=theirs, capture_output=True, text=True, check=True, timeout=10).stdout
    command = [sys.executable, "-c", PROGRAM, "top", "--home", str(tmp_path), "--every", "60"]
    env = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "30"}
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=env)
    try:
        shown = b""
        while b"nothing runs" not in shown and b"does not answer" not in shown:
            shown += os.read(ours, 4096)
        os.write(ours, b"q")
        assert process.wait(30) == 0
        after = subprocess.run(["stty", "-a"], stdin=theirs, capture_output=True, text=True, check=True, timeout=10).stdout
        assert after == before
    finally:
        process.kill()
        process.wait()
        os.close(ours)
        os.close(theirs)
