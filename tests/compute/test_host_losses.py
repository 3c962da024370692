"""Servers of a node that died begin anew by themselves: only with proof that it is dead, and only those whose owners asked for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.compute.moves import Hosts, three, two, world

from moln.compute.ops import hosts
from moln.compute.work.host_losses import Losses, program_for
from moln.kernel.work import Work

__all__ = ["three", "two", "world"]
NODE = "sim-1"


class Watch:
    """The home's fence programs, and who watches over nodes: any silence is long enough."""

    def __init__(self, cloud: Hosts, dead_s: float = 0.0):
        self._cloud = cloud
        self.losses = Losses(dead_s)
        self.folder: Path = cloud.cloud.home / "fence"

    def write(self, text: str, name: str = "default", mode: int = 0o700) -> Path:
        self.folder.mkdir(exist_ok=True)
        path = self.folder / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(mode)
        return path

    def fenced(self) -> list[str]:
        """What the program was called with, by the line that it writes."""
        path = self.folder / "called"
        return path.read_text().split() if path.exists() else []

    async def look(self) -> None:
        await self.losses.look(Work(self._cloud.cloud))
        await hosts.catch_up(self._cloud.cloud)
        await self._cloud.settle()
        await self._cloud.settle()


@pytest.fixture
def watch(three: Hosts) -> Watch:
    return Watch(three)


async def on_node(cloud: Hosts, name: str, **metadata: str) -> dict[str, Any]:
    services = (await cloud.call("GET", "/os-services", admin=True))["services"]
    for status in ("disabled", "enabled"):
        for service in services:
            if service["host"] != NODE:
                await cloud.call("PUT", f"/os-services/{service['id']}", 200, {"status": status}, admin=True)
        await hosts.catch_up(cloud.cloud)
        if status == "disabled":
            server = await cloud.boot(name=name, metadata=metadata)
    return server


async def service(cloud: Hosts) -> dict[str, Any]:
    found: dict[str, Any] = (await cloud.call("GET", f"/os-services?host={NODE}", admin=True))["services"][0]
    return found


async def test_a_lost_node_is_fenced_and_what_its_owner_asked_for_begins_anew(three: Hosts, watch: Watch) -> None:
    asked, other = await on_node(three, "asked", HA_Enabled="True"), await on_node(three, "other")
    watch.write('echo "$1" >> "$(dirname "$0")/called"')
    await watch.look()
    assert watch.fenced() == []  # it lives
    await three.lose(NODE, fenced=False)
    await watch.look()
    await watch.look()
    assert watch.fenced() == [NODE]  # once
    assert (await service(three))["forced_down"] is True
    seen = await three.show(asked, admin=True)
    assert (seen["status"], seen["OS-EXT-SRV-ATTR:host"] != NODE) == ("ACTIVE", True)
    assert (await three.show(other, admin=True))["OS-EXT-SRV-ATTR:host"] == NODE
    assert [(kind, status, source) for kind, status, source, _ in await three.records()] == [("evacuation", "done", NODE)]


async def test_without_proof_nothing_is_done_and_the_doctor_says_so(three: Hosts, watch: Watch) -> None:
    server = await on_node(three, "asked", HA_Enabled="true")
    watch.write("echo the power switch does not answer; exit 3")
    await three.lose(NODE, fenced=False)
    await watch.look()
    assert (await service(three))["forced_down"] is False
    assert (await three.show(server, admin=True))["OS-EXT-SRV-ATTR:host"] == NODE
    (told,) = await watch.losses.unfenced(three.cloud)
    assert "ended with 3: the power switch does not answer" in told.message
    watch.write("exit 0")
    await watch.look()
    assert (await service(three))["forced_down"] is False  # not before a minute
    watch.losses._since[NODE] -= 100
    await watch.look()
    assert (await three.show(server, admin=True))["OS-EXT-SRV-ATTR:host"] != NODE
    assert await watch.losses.unfenced(three.cloud) == []


async def test_who_hears_of_few_nodes_fences_none(three: Hosts, watch: Watch) -> None:
    await on_node(three, "asked", HA_Enabled="True")
    watch.write('echo "$1" >> "$(dirname "$0")/called"')
    for name in (NODE, "sim-2"):
        await three.lose(name, fenced=False)
    await watch.look()
    assert watch.fenced() == []


async def test_a_node_that_is_worked_on_or_away_for_a_moment_is_left_alone(three: Hosts, watch: Watch) -> None:
    watch.write('echo "$1" >> "$(dirname "$0")/called"')
    await three.lose(NODE, fenced=False)
    patient = Watch(three, dead_s=60.0)
    await patient.look()
    id = (await service(three))["id"]
    await three.call("PUT", f"/os-services/{id}", 200, {"status": "disabled", "disabled_reason": "maintenance: new memory"}, admin=True)
    await watch.look()
    assert watch.fenced() == []


async def test_a_cloud_without_programs_does_nothing(three: Hosts, watch: Watch) -> None:
    server = await on_node(three, "asked", HA_Enabled="True")
    await three.lose(NODE, fenced=False)
    await watch.look()
    assert (await three.show(server, admin=True))["OS-EXT-SRV-ATTR:host"] == NODE
    assert (await service(three))["forced_down"] is False


def test_only_a_program_that_nobody_else_may_write_counts(three: Hosts, watch: Watch) -> None:
    own = watch.write("exit 0", NODE)
    assert program_for(watch.folder, NODE) == own
    own.chmod(0o722)
    watch.write("exit 0")
    assert program_for(watch.folder, NODE) is None
    own.chmod(0o600)
    assert program_for(watch.folder, NODE) is None
    own.unlink()
    assert program_for(watch.folder, NODE) == watch.folder / "default"
