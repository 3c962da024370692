"""`/healthz`, `/readyz` and `/metrics`: what watches a cloud without a token."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families as parse

from moln.app import compose, load_settings
from moln.kernel import metrics
from moln.kernel.errors import Unavailable
from moln.kernel.http import watching
from moln.kernel.http.watching import Readiness
from moln.kernel.metrics import Family, Spread
from moln.local import admin_app
from moln.simulation import simulated_links


def samples(text: str) -> dict[str, list[Any]]:
    """By family name, as Prometheus's own parser reads it."""
    return {family.name: family.samples for family in parse(text)}


async def scrape(api: Any) -> dict[str, list[Any]]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(admin_app(api.app)), base_url="http://admin") as operator:
        answer = await operator.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return samples(answer.text)


def test_a_histogram_counts_below_each_bound() -> None:
    spread = Spread((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 9.0):
        spread.add(value)
    text = metrics.render([Family("took_seconds", "histogram", "How long.", [({"a": "b"}, spread)])]).decode()
    found = {(s.name, s.labels.get("le")): s.value for s in samples(text)["took_seconds"]}
    assert found == {("took_seconds_bucket", "1.0"): 2, ("took_seconds_bucket", "2.0"): 3, ("took_seconds_bucket", "+Inf"): 4,
                     ("took_seconds_sum", None): 12.0, ("took_seconds_count", None): 4}  # fmt: skip


def test_labels_are_escaped() -> None:
    text = metrics.render([Family("x", "gauge", "A \\ and\na line.", [({"a": 'q"\\\n'}, 1)])]).decode()
    assert samples(text)["x"][0].labels == {"a": 'q"\\\n'}


async def test_answers_are_counted_by_template_method_and_status(api) -> None:
    await api.member.get("/compute/v2.1/flavors/no-such-1")
    await api.member.get("/compute/v2.1/flavors/no-such-2")
    await api.anonymous.get("/volume/v3/volumes")
    found = await scrape(api)
    counts = {(s.labels["service"], s.labels["route"], s.labels["method"], s.labels["status"]): s.value
              for s in found["moln_http_request_duration_seconds"] if s.name.endswith("_count")}  # fmt: skip
    assert counts["compute", "/compute/v2.1/flavors/{flavor_id}", "GET", "404"] == 2
    assert counts["volume", "/volume/v3/volumes", "GET", "401"] == 1
    assert not [key for key in counts if "no-such" in key[1]]
    assert found["moln_http_requests_running"][0].value == 0


async def test_work_links_database_and_process_are_measured(api) -> None:
    await api.settle()
    found = await scrape(api)
    assert {s.labels["reconciler"] for s in found["moln_reconciler_running"]} >= {"servers", "volumes"}
    assert found["moln_nodes_connected"][0].value == 1
    calls = [s for s in found["moln_link_call_duration_seconds"] if s.name.endswith("_count")]
    assert sum(s.value for s in calls if s.labels["outcome"] == "ok") > 0
    assert next(s.value for s in found["moln_database_commit_duration_seconds"] if s.name.endswith("_count")) > 0
    assert found["process_resident_memory_bytes"][0].value > 1 << 20
    assert found["process_cpu_seconds"][0].value > 0
    assert found["process_start_time_seconds"][0].value > 1.6e9
    assert "moln_servers" in found
    assert [(s.labels, s.value) for s in found["moln_node_up"]] == [({"node": "sim-1"}, 1)]
    assert {s.labels["resource"] for s in found["moln_node_capacity"]} == {"VCPU", "MEMORY_MB", "DISK_GB"}


async def test_a_source_that_fails_leaves_the_others(api, caplog) -> None:
    async def broken(cloud: Any) -> list[Family]:
        raise RuntimeError("no")

    api.app.metrics._sources.insert(0, broken)
    assert "moln_nodes_connected" in await scrape(api)
    assert "a source of metrics" in caplog.text


@pytest.mark.parametrize(("setting", "status"), [("", 404), ("metrics = true", 200)])
async def test_the_api_port_shows_metrics_only_when_set(tmp_path: Path, setting: str, status: int) -> None:
    (tmp_path / "moln.toml").write_text(setting)
    app = compose(tmp_path, load_settings(tmp_path, simulate=True), simulated_links)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app.asgi), base_url="http://127.0.0.1:5000") as anyone:
        assert (await anyone.get("/metrics")).status_code == status
    await app.cloud.db.close()


async def test_metrics_hold_no_name_of_a_tenant(api) -> None:
    made = await api.member.post("/identity/v3/users/canary-9f31", headers={"X-Auth-Token": "canary-token-77"})
    assert made.status_code in (401, 404, 405)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(admin_app(api.app)), base_url="http://admin") as operator:
        text = (await operator.get("/metrics")).text
    assert "canary" not in text and "alice" not in text


async def test_a_cloud_with_database_node_and_network_is_ready(api) -> None:
    await api.settle()
    assert (await api.anonymous.get("/healthz")).json() == {"status": "ok"}
    ready = await api.anonymous.get("/readyz")
    assert ready.status_code == 200, ready.text
    assert ready.json() == {"ready": True, "checks": {"database": "ok", "nodes": "ok", "network": "ok"}}


async def test_a_cloud_without_nodes_lives_but_is_not_ready(api) -> None:
    await api.settle()
    await api.cloud.links.leave("sim-1")
    assert (await api.anonymous.get("/healthz")).status_code == 200
    ready = await api.anonymous.get("/readyz")
    assert ready.status_code == 503
    assert ready.json()["checks"] == {"database": "ok", "nodes": "no node is connected", "network": "ok"}


async def test_a_closed_database_is_not_ready(api) -> None:
    await api.cloud.db.write(watching._nothing)
    api.cloud.db._closed = True
    ready = await api.anonymous.get("/readyz")
    api.cloud.db._closed = False
    assert ready.status_code == 503
    assert ready.json()["checks"]["database"] == "The database is closed."


async def test_a_check_that_hangs_is_given_up_and_a_refusal_is_told(cloud, monkeypatch) -> None:
    monkeypatch.setattr(watching, "CHECK_S", 0.05)

    async def hangs(cloud: Any) -> str:
        await asyncio.Event().wait()
        return ""

    async def refuses(cloud: Any) -> str:
        raise Unavailable("The engine is lost.", detail="a path of the host")

    found = await Readiness(cloud, {"one": hangs, "two": refuses}).look()
    assert found["one"] == "no answer in 0.05 s" and found["two"] == "The engine is lost."


async def test_many_askers_cause_one_look(cloud) -> None:
    looks = 0

    async def counts(cloud: Any) -> str:
        nonlocal looks
        looks += 1
        return ""

    readiness = Readiness(cloud, {"counted": counts})
    await asyncio.gather(*(readiness.look() for _ in range(20)))
    await readiness.look()
    assert looks == 1
