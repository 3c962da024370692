"""Spans from process to process, what is remembered for later work, and settings that cannot be."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Protocol

import pytest
from tests.kernel.otlp import collector

from moln.kernel import tracing
from moln.kernel.errors import BackendRefused, Invalid
from moln.kernel.link import MemoryFences, SocketEnd, SocketLinks, Verbs
from moln.kernel.tracing import Tracer, TracingSettings, tracer_of


class Pot(Protocol):
    async def boil(self, minutes: int) -> int: ...


class PotDriver:
    async def boil(self, minutes: int) -> int:
        if minutes < 0:
            raise BackendRefused("No.")
        return minutes * 60


async def test_a_trace_goes_on_in_the_nodes_process(tmp_path: Path) -> None:
    with collector() as found:
        settings = TracingSettings(endpoint=found.url)
        ours, theirs = Tracer(settings, "moln-controller"), Tracer(settings, "moln-node", "node-1")
        links = SocketLinks(tmp_path / "s", lambda: 0)
        links.tracer = ours
        up = asyncio.Event()

        async def node_up(node: str, facts: bytes) -> None:
            up.set()

        links.on_report("node.up", node_up)
        await links.start()
        end = SocketEnd(tmp_path / "s", "node-1", dict, Verbs({"pot": (Pot, PotDriver())}, MemoryFences(), lambda: 0, theirs))
        serving = asyncio.create_task(end.run())
        await asyncio.wait_for(up.wait(), 10)
        pot = links.driver("node-1", "pot", Pot, resource="pot/1", generation=1)  # type: ignore[type-abstract]
        assert await pot.boil(1) == 60  # no span is around: none begins
        with ours.span("above", {}):
            assert await pot.boil(2) == 120
            with pytest.raises(BackendRefused):
                await pot.boil(-1)
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        await links.close()
        await asyncio.to_thread(lambda: (ours.close(), theirs.close()))
    (above,) = found.named("above")
    calls = found.below(above)
    assert [(c.name, c.kind, c.process, c.attributes["moln.node"]) for c in calls] == [("call pot.boil", 3, "moln-controller", "node-1")] * 2
    verbs = [v for call in calls for v in found.below(call)]
    assert [(v.name, v.kind, v.process, v.attributes["moln.outcome"]) for v in verbs] == [
        ("pot.boil", 2, "moln-node", "ok"), ("pot.boil", 2, "moln-node", "refused"),
    ]
    assert calls[1].attributes["error.type"] == "BackendRefused" and not calls[1].error
    assert len(found.spans) == 5


def test_causes_are_bounded_in_number_and_time(monkeypatch: pytest.MonkeyPatch) -> None:
    with collector() as found:
        tracer = Tracer(TracingSettings(endpoint=found.url), "test")
        now = [0.0]
        monkeypatch.setattr(tracing.time, "monotonic", lambda: now[0])
        monkeypatch.setattr(tracing, "KEPT", 2)
        for n in range(3):
            with tracer.span(f"write {n}", {}):
                tracer.woken([("wake.pots", f"pot-{n}"), ("pots", "pot-9"), ("wake.pots", "")], tracer.cause)
        for n in range(3):
            with tracer.settling("pots", f"pot-{n}"):
                pass
        now[0] = tracing.KEPT_S + 1
        with tracer.settling("pots", "pot-2"):
            pass
        monkeypatch.undo()
        tracer.close()
    writes = {s.id: s.name for s in found.spans if s.name.startswith("write")}
    settled = [(s.attributes["moln.resource"], writes.get(s.parent, "")) for s in found.named("settle pots")]
    assert settled == [("pot-0", ""), ("pot-1", "write 1"), ("pot-2", "write 2"), ("pot-2", "")]


def test_a_collector_that_answers_nobody_keeps_no_process_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "EXPORT_S", 0.2)
    with collector() as found:
        found.gate.clear()
        tracer = Tracer(TracingSettings(endpoint=found.url), "test")
        with tracer.span("one", {}):
            pass
        tracer.close()
        assert not found.gate.is_set() and found.spans == []


@pytest.mark.parametrize(("settings", "message"), [
    (TracingSettings(endpoint="http://127.0.0.1:1/", sample_ratio=1.5), "sample_ratio"),
    (TracingSettings(endpoint="127.0.0.1:4318"), "tracing.endpoint"),
])  # fmt: skip
def test_settings_that_cannot_be_are_refused_by_name(settings: TracingSettings, message: str) -> None:
    with pytest.raises(Invalid, match=message):
        tracer_of(settings, "test")


def test_without_the_library_the_refusal_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(Invalid, match=r"pip install 'moln\[tracing\]'"):
        tracer_of(TracingSettings(endpoint="http://127.0.0.1:4318/v1/traces"), "test")
    assert tracer_of(TracingSettings(), "test") is None
