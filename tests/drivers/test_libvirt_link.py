"""The connection to libvirt, without a libvirtd: lost, late, and stuck. (tests/node has the real one.)"""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest
from tests.kernel.otlp import collector

from moln.kernel.errors import BackendRefused, BackendUnreachable
from moln.kernel.tracing import Tracer, TracingSettings

pytest.importorskip("libvirt")
import libvirt

from moln.compute.drivers.libvirt_link import AT_ONCE, LibvirtLink


def link_to_nowhere(folder: Path, call_s: float = 60) -> LibvirtLink:
    return LibvirtLink(f"qemu:///system?socket={folder}/none", lambda name: None, lambda: None, call_s)


async def test_a_daemon_that_is_not_there_is_unreachable(tmp_path: Path) -> None:
    link = link_to_nowhere(tmp_path)
    await link.start()
    with pytest.raises(BackendUnreachable):
        await link.call(lambda connection: None)
    await link.stop()


async def test_a_call_that_does_not_end_in_time_is_unreachable(tmp_path: Path) -> None:
    link = link_to_nowhere(tmp_path, call_s=0.05)
    link.connection = object()
    end = threading.Event()
    with pytest.raises(BackendUnreachable):
        await link.call(lambda connection: end.wait(10))
    end.set()


async def test_threads_are_stuck_only_when_all_are_busy_and_none_moves(tmp_path: Path) -> None:
    link = link_to_nowhere(tmp_path)
    link.connection = object()
    link.moved_at = -3600.0  # an idle hour before is not a stuck one
    end = threading.Event()
    calls = [asyncio.create_task(link.call(lambda connection: end.wait(20))) for _ in range(AT_ONCE)]
    async with asyncio.timeout(10):
        while link.waiting < AT_ONCE:
            await asyncio.sleep(0.01)
    assert link.stuck_s() < 60
    link.moved_at -= 200
    assert link.stuck_s() >= 200
    end.set()
    await asyncio.gather(*calls)
    assert link.stuck_s() == 0.0


async def test_a_call_is_a_span_below_the_verb_that_makes_it(tmp_path: Path) -> None:
    """libvirt's own test driver answers, so that the library is the real one and no guest is needed."""
    with collector() as found:
        tracer = Tracer(TracingSettings(endpoint=found.url), "moln-node")
        link = LibvirtLink("test:///default", lambda name: None, lambda: None)
        link.tracer = tracer
        link.connection = libvirt.open("test:///default")

        def list_names(connection: libvirt.virConnect) -> list[str]:
            return [domain.name() for domain in connection.listAllDomains()]

        def look_up(connection: libvirt.virConnect) -> None:
            connection.lookupByName("no-such")

        with tracer.served("compute.list_servers", f"00-{'a' * 32}-{'b' * 16}-01", {}):
            assert await link.call(list_names) == ["test"]
            with pytest.raises(BackendRefused):
                await link.call(look_up)
        assert await link.call(list_names) == ["test"]
        await link.stop()
        await asyncio.to_thread(tracer.close)
    (verb,) = found.named("compute.list_servers")
    assert (verb.trace, verb.parent) == ("a" * 32, "b" * 16)
    assert [(s.name, s.attributes.get("error.type")) for s in found.below(verb)] == [
        ("libvirt list_names", None), ("libvirt look_up", "BackendRefused"),
    ]
    assert len(found.spans) == 3
