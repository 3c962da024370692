"""A node drained and one that is worked on, as `moln node` asks for it: what moves, what stays and why, and what is silent meanwhile."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from tests.compute.moves import Hosts, three, two, world

from moln.compute.drivers.fake import Fault
from moln.compute.model.facts import HostFacts
from moln.compute.ops import hosts
from moln.local import admin_app

__all__ = ["three", "two", "world"]
NODE = "sim-1"


class Operator:
    """Who asks on the controller's own socket."""

    def __init__(self, cloud: Hosts):
        self._cloud = cloud
        self._client = httpx.AsyncClient(transport=httpx.ASGITransport(admin_app(cloud.api.app)), base_url="http://admin")
        self._since = 0

    async def ask(self, method: str, path: str, **query: Any) -> Any:
        answer = await self._client.request(method, path, params=query)
        assert answer.status_code == 200, answer.text
        await hosts.catch_up(self._cloud.cloud)
        return answer.json()

    async def look(self, **query: Any) -> dict[str, tuple[str, str]]:
        """One step of the drain: state and why by the server's name."""
        told = await self.ask("POST", f"/nodes/{NODE}/drain", since=self._since, **query)
        self._since = told["since"]
        return {guest["name"]: (guest["state"], guest["why"]) for guest in told["guests"]}

    async def drain(self, **query: Any) -> dict[str, tuple[str, str]]:
        """Until nothing more changes."""
        for _ in range(20):
            told = await self.look(**query)
            if all(state in ("moved", "staying") for state, _ in told.values()):
                return told
            await self._cloud.settle()
        raise AssertionError(told)


@pytest.fixture
def operator(two: Hosts) -> Operator:
    return Operator(two)


async def on(cloud: Hosts, name: str, node: str = NODE, **asked: Any) -> dict[str, Any]:
    """A server on this node."""
    services = (await cloud.call("GET", "/os-services", admin=True))["services"]
    others = [s["id"] for s in services if s["host"] != node]
    for id in others:
        await cloud.call("PUT", f"/os-services/{id}", 200, {"status": "disabled"}, admin=True)
    await hosts.catch_up(cloud.cloud)
    server = await cloud.boot(name=name, **asked)
    for id in others:
        await cloud.call("PUT", f"/os-services/{id}", 200, {"status": "enabled"}, admin=True)
    await hosts.catch_up(cloud.cloud)
    return server


async def test_what_runs_moves_live_what_is_off_moves_cold_and_nothing_is_left(two: Hosts, operator: Operator) -> None:
    runs, off = await on(two, "runs"), await on(two, "off")
    await two.act(off, {"os-stop": None})
    await two.settle()
    assert await operator.drain() == {"runs": ("moved", "sim-2"), "off": ("moved", "sim-2")}
    assert [(await two.show(s, admin=True))["status"] for s in (runs, off)] == ["ACTIVE", "SHUTOFF"]
    assert two.node("sim-2").kept.servers[runs["id"]].boots == 1  # it never began anew
    assert (two.node(NODE).kept.servers, two.node(NODE).kept.disks) == ({}, {})
    assert sorted(await two.records()) == [("live-migration", "completed", NODE, "sim-2"), ("migration", "confirmed", NODE, "sim-2")]
    services = (await two.call("GET", f"/os-services?host={NODE}", admin=True))["services"]
    assert (services[0]["status"], services[0]["disabled_reason"]) == ("disabled", "drained")
    await two.boot(name="new")
    assert two.node(NODE).kept.servers == {}
    assert await two.sound()


async def test_what_cannot_move_stays_and_says_why(two: Hosts, operator: Operator) -> None:
    asleep, resized, bound = await on(two, "asleep"), await on(two, "resized"), await on(two, "alone")
    await two.act(asleep, {"suspend": None})
    await two.act(resized, {"resize": {"flavorRef": await two.flavor("larger", ram=256)}})
    await two.settle()
    await two.cloud.links.leave("sim-2")  # type: ignore[attr-defined]
    told = await operator.drain()
    assert told["asleep"] == ("staying", "a server that is suspended cannot move")
    assert told["resized"] == ("staying", "its owner has to confirm or revert its resize")
    assert told["alone"][0] == "staying" and "No valid host was found" in told["alone"][1]
    assert (await two.show(bound, admin=True))["status"] == "ACTIVE"


async def test_so_many_move_at_once(two: Hosts, operator: Operator) -> None:
    for name in ("a", "b", "c"):
        await on(two, name)
    assert [state for state, _ in (await operator.look(at_once=2)).values()] == ["moving", "moving", "waiting"]
    assert set((await operator.drain(at_once=2)).values()) == {("moved", "sim-2")}


async def test_a_move_that_fails_is_tried_twice(two: Hosts, operator: Operator) -> None:
    server = await on(two, "stays")
    two.node(NODE).faults["send_server"] = [Fault("refused", "The CPU lacks a feature.", times=9)]
    state, why = (await operator.drain())["stays"]
    assert (state, why) == ("staying", f"its move failed 2 times: openstack server event list {server['id']}")
    assert len(await two.records()) == 2
    assert await two.sound()


async def test_what_cannot_move_live_is_turned_off_only_if_told_so(two: Hosts, operator: Operator) -> None:
    server = await on(two, "runs")
    two.node(NODE).faults["send_server"] = [Fault("refused", "The CPU lacks a feature.", times=2)]
    assert (await operator.drain())["runs"][0] == "staying"
    assert (await operator.drain(cold=True))["runs"] == ("moved", "sim-2")
    assert (await two.show(server, admin=True))["status"] == "ACTIVE"
    assert await two.sound()


async def test_a_drain_that_is_asked_for_again_ends_what_it_began(two: Hosts, operator: Operator) -> None:
    off = await on(two, "off")
    await two.act(off, {"os-stop": None})
    await two.settle()
    assert (await operator.look())["off"][0] == "moving"
    await two.settle()  # whoever drained has gone: the server waits to be confirmed
    assert (await two.show(off, admin=True))["status"] == "VERIFY_RESIZE"
    again = Operator(two)
    assert (await again.look())["off"] == ("moving", "sim-2")
    await two.settle()
    assert await again.drain() == {}
    assert [r[1] for r in await two.records()] == ["confirmed"]
    assert await two.sound()


async def test_a_node_that_is_worked_on_takes_no_servers_and_its_faults_are_not_told(two: Hosts, operator: Operator) -> None:
    facts = hosts.table(two.cloud).facts[NODE]
    await hosts._seen(two.cloud, NODE, HostFacts(**{f: getattr(facts, f) for f in facts.__struct_fields__} | {"clock_off_ms": 9000.0}))
    assert [v for v in await two.violations() if NODE in v] != []
    await operator.ask("PUT", f"/nodes/{NODE}/maintenance", reason="new memory")
    assert [v for v in await two.violations() if NODE in v] == []
    (service,) = (await two.call("GET", f"/os-services?host={NODE}", admin=True))["services"]
    assert (service["status"], service["disabled_reason"]) == ("disabled", "maintenance: new memory")
    await two.boot()
    assert two.node(NODE).kept.servers == {}
    told = {node["name"]: node for node in await operator.ask("GET", "/nodes")}
    assert (told[NODE]["maintenance"], told["sim-2"]["maintenance"]) == (True, False)
    assert (told[NODE]["clock_off_ms"], told[NODE]["astray"], told["sim-2"]["servers"]) == (9000.0, "9000 ms, 500 are allowed", 1)
    await operator.ask("DELETE", f"/nodes/{NODE}/maintenance")
    (service,) = (await two.call("GET", f"/os-services?host={NODE}", admin=True))["services"]
    assert (service["status"], service["disabled_reason"]) == ("enabled", None)
    assert [v for v in await two.violations() if NODE in v] != []
