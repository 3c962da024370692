"""Running servers moved to another host: followed, aborted, hurried, lost on the way; and who may ask."""

from __future__ import annotations

from typing import Any

import pytest
from tests.compute.moves import Hosts, three, two, world

from moln.compute.drivers.fake import Fault

__all__ = ["three", "two", "world"]
SMALL = {"VCPU": 1, "MEMORY_MB": 128, "DISK_GB": 1}
MIB, GIB = 1 << 20, 1 << 30


async def sending(two: Hosts, **asked: Any) -> tuple[dict[str, Any], str, str]:
    """A server that writes its memory faster than it is sent: (server, source, destination)."""
    server = await two.boot(**asked)
    source = await two.host_of(server)
    two.node(source).busy.add(server["id"])
    await two.live(server)
    await two.settle()
    return server, source, two.other(source)


async def under_way(two: Hosts, server: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await two.call("GET", f"/servers/{server['id']}/migrations", admin=True))["migrations"]
    return found


async def test_a_running_server_moves(two: Hosts) -> None:
    server = await two.boot()
    source = await two.host_of(server)
    dest = two.other(source)
    await two.live(server)
    seen = await two.show(server, admin=True)
    assert (seen["status"], seen["OS-EXT-STS:task_state"], seen["progress"], seen["OS-EXT-SRV-ATTR:host"]) == ("MIGRATING", "migrating", 0, source)
    (migration,) = await under_way(two, server)
    assert (migration["status"], migration["source_compute"], migration["dest_compute"]) == ("queued", source, dest)
    assert (await two.holds(server["id"]), await two.holds(migration["uuid"])) == ({dest: SMALL}, {source: SMALL})
    assert [s["id"] for s in (await two.call("GET", "/servers?status=MIGRATING"))["servers"]] == [server["id"]]
    await two.act(server, {"reboot": {"type": "HARD"}}, 409)
    await two.settle()
    await two.settle()
    seen = await two.show(server, admin=True)
    assert (seen["status"], seen["OS-EXT-STS:task_state"], seen["OS-EXT-SRV-ATTR:host"], seen["OS-EXT-STS:power_state"]) == ("ACTIVE", None, dest, 1)
    assert (seen["addresses"], await two.ports_on(server)) == (server["addresses"], {dest})
    there = two.node(dest).kept.servers[server["id"]]
    assert (there.power, there.boots) == ("running", 1)  # it never began anew
    assert there.spec.disks[0].path.startswith(f"/simulated/{dest}/")
    assert (two.has(source, server), two.node(source).kept.disks) == (False, {})
    assert (await two.holds(server["id"]), await two.holds(migration["uuid"])) == ({dest: SMALL}, {})
    assert await two.records() == [("live-migration", "completed", source, dest)]
    assert (await two.actions(server))[0] == ("live-migration", None)
    assert await under_way(two, server) == []
    assert await two.sound()


async def test_a_paused_server_stays_paused(two: Hosts) -> None:
    server = await two.boot(networks="none")
    await two.act(server, {"pause": None})
    await two.settle()
    dest = two.other(await two.host_of(server))
    await two.live(server, host=dest)
    await two.settle()
    await two.settle()
    seen = await two.show(server, admin=True)
    assert (seen["status"], seen["OS-EXT-SRV-ATTR:host"], seen["OS-EXT-STS:power_state"]) == ("PAUSED", dest, 3)
    assert two.node(dest).kept.servers[server["id"]].power == "paused"


async def test_how_far_it_is(two: Hosts) -> None:
    server, source, dest = await sending(two, networks="none")
    (migration,) = await under_way(two, server)
    assert migration["status"] == "running"
    assert migration["memory_total_bytes"] == 128 * MIB
    assert migration["disk_total_bytes"] == GIB
    assert migration["memory_processed_bytes"] + migration["memory_remaining_bytes"] == 128 * MIB
    shown = (await two.call("GET", f"/servers/{server['id']}/migrations/{migration['id']}", admin=True))["migration"]
    assert shown == migration
    assert (await two.record())["links"][0]["href"].endswith(f"/v2.1/servers/{server['id']}/migrations/{migration['id']}")
    old = (await two.call("GET", f"/servers/{server['id']}/migrations", None, None, "2.23", admin=True))["migrations"][0]
    assert "uuid" not in old and old["server_uuid"] == server["id"]
    await two.call("GET", f"/servers/{server['id']}/migrations", 403)
    two.node(source).busy.clear()
    await two.settle()
    assert await two.host_of(server) == dest


async def bound(two: Hosts, server: dict[str, Any]) -> list[tuple[str, str]]:
    """The hosts of the server's card, and whether they have it or wait for it."""
    port = (await two.api.admin.get(f"/network/v2.0/ports?device_id={server['id']}")).json()["ports"][0]["id"]
    found = (await two.api.admin.get(f"/network/v2.0/ports/{port}/bindings")).json()["bindings"]
    return [(b["host"], b["status"]) for b in found]


async def test_an_abort_that_comes_too_late_changes_nothing(two: Hosts) -> None:
    server, source, dest = await sending(two)
    (migration,) = await under_way(two, server)
    two.node(source).busy.clear()
    await two.node(source).follow_server(server["id"], migration["uuid"])  # it arrives, and nobody hears of it
    await two.call("DELETE", f"/servers/{server['id']}/migrations/{migration['id']}", 202, admin=True)
    await two.settle()
    assert await two.host_of(server) == dest
    assert (await two.records())[0][1] == "completed"
    assert ("live_migration_cancel", "Error") in await two.actions(server)
    assert await bound(two, server) == [(dest, "ACTIVE")]
    assert await two.sound()


async def test_it_is_aborted(two: Hosts) -> None:
    server, source, dest = await sending(two)
    assert await bound(two, server) == [(source, "ACTIVE"), (dest, "INACTIVE")]
    (migration,) = await under_way(two, server)
    path = f"/servers/{server['id']}/migrations/{migration['id']}"
    await two.call("DELETE", path, 403)
    await two.call("DELETE", path, 202, admin=True)
    await two.settle()
    seen = await two.show(server, admin=True)
    assert (seen["status"], seen["OS-EXT-SRV-ATTR:host"], seen["OS-EXT-STS:task_state"]) == ("ACTIVE", source, None)
    assert await two.records() == [("live-migration", "cancelled", source, dest)]
    assert await bound(two, server) == [(source, "ACTIVE")]
    assert (two.has(source, server), two.has(dest, server), two.node(dest).kept.disks) == (True, False, {})
    assert (await two.holds(server["id"]), await two.holds(migration["uuid"])) == ({source: SMALL}, {})
    assert sorted(await two.actions(server))[-2:] == [("live-migration", "Error"), ("live_migration_cancel", None)]
    assert await two.sound()
    await two.call("DELETE", path, 409, admin=True)
    answer = await two.call("GET", path, 404, admin=True)
    assert answer["itemNotFound"]["message"] == f"Live migration {migration['id']} for server {server['id']} is not in progress."


async def test_what_is_not_sent_yet_is_aborted_since_2_65(two: Hosts) -> None:
    server = await two.boot(networks="none")
    source = await two.host_of(server)
    await two.live(server)
    (migration,) = await under_way(two, server)
    path = f"/servers/{server['id']}/migrations/{migration['id']}"
    await two.call("POST", path + "/action", 400, {"force_complete": None}, admin=True)
    await two.call("DELETE", path, 409, None, "2.64", admin=True)
    await two.call("DELETE", path, 202, None, "2.65", admin=True)
    await two.call("DELETE", path, 202, None, "2.65", admin=True)
    await two.settle()
    assert await two.host_of(server) == source
    assert (await two.records())[0][1] == "cancelled"
    assert await two.sound()


async def test_it_is_hurried(two: Hosts) -> None:
    server, _, dest = await sending(two, networks="none")
    await two.settle()
    assert (await two.show(server))["status"] == "MIGRATING"
    (migration,) = await under_way(two, server)
    path = f"/servers/{server['id']}/migrations/{migration['id']}/action"
    await two.call("POST", path, 403, {"force_complete": None})
    await two.call("POST", path, 202, {"force_complete": None}, admin=True)
    await two.settle()
    assert await two.host_of(server) == dest
    assert (await two.records())[0][1] == "completed"
    assert ("live_migration_force_complete", None) in await two.actions(server)
    await two.call("POST", path, 409, {"force_complete": None}, admin=True)
    await two.call("POST", path.replace(f"/{migration['id']}/", "/nonsense/"), 404, {"force_complete": None}, admin=True)


@pytest.mark.parametrize("verb", ["await_server", "send_server", "follow_server"])
async def test_one_that_fails_stays_where_it_was(two: Hosts, verb: str) -> None:
    server = await two.boot()
    source = await two.host_of(server)
    dest = two.other(source)
    two.node(dest if verb == "await_server" else source).faults[verb] = [Fault("refused", "The CPU lacks a feature.")]
    await two.live(server)
    await two.settle()
    await two.settle()
    seen = await two.show(server, admin=True)
    assert (seen["status"], seen["OS-EXT-SRV-ATTR:host"], seen["OS-EXT-STS:task_state"]) == ("ACTIVE", source, None)
    assert await two.records() == [("live-migration", "failed", source, dest)]
    action = (await two.call("GET", f"/servers/{server['id']}/os-instance-actions", admin=True))["instanceActions"][0]
    events = (await two.call("GET", f"/servers/{server['id']}/os-instance-actions/{action['request_id']}", admin=True))["instanceAction"]["events"]
    assert (events[0]["result"], events[0]["details"]) == ("Error", "The CPU lacks a feature.")
    assert (two.has(dest, server), two.node(dest).kept.disks) == (False, {})
    assert await two.holds(server["id"]) == {source: SMALL}
    assert await two.sound()


async def test_an_answer_that_is_lost_is_asked_for_again(two: Hosts) -> None:
    server = await two.boot()
    source = await two.host_of(server)
    two.node(source).faults = {v: [Fault("unreachable", after=True)] for v in ("send_server", "follow_server")}
    await two.live(server)
    for _ in range(4):
        await two.settle()
    assert await two.host_of(server) == two.other(source)
    assert two.node(two.other(source)).kept.servers[server["id"]].boots == 1
    assert await two.sound()


async def test_a_source_that_is_lost_after_the_guest_arrived_changes_nothing(two: Hosts) -> None:
    server, source, dest = await sending(two)
    two.node(source).busy.clear()
    await two.node(source).follow_server(server["id"], (await under_way(two, server))[0]["uuid"])  # it arrives, and nobody hears of it
    await two.lose(source, fenced=False)
    await two.settle()
    assert (await two.show(server))["status"] == "ACTIVE"
    assert await two.host_of(server) == dest
    assert (await two.records())[0][1] == "completed"
    await two.add_hosts(2)
    await two.settle()
    assert two.node(source).kept.disks == {}
    assert await two.sound()


async def test_where_neither_host_answers_the_server_waits(two: Hosts) -> None:
    server, source, dest = await sending(two)
    (migration,) = await under_way(two, server)
    await two.call("DELETE", f"/servers/{server['id']}/migrations/{migration['id']}", 202, admin=True)
    await two.lose(source, fenced=False)
    await two.lose(dest, fenced=False)
    await two.settle()
    assert (await two.show(server))["status"] == "MIGRATING"
    await two.move(server, "evacuate", 409)
    await two.add_hosts(2)
    await two.settle()
    assert await two.host_of(server) == source
    assert (await two.records())[0][1] == "cancelled"
    assert await two.sound()


async def test_a_server_on_its_way_may_be_deleted(two: Hosts) -> None:
    server, _, _ = await sending(two)
    await two.call("DELETE", f"/servers/{server['id']}", 204)
    await two.settle()
    for node in two.api.nodes.values():
        assert (node.kept.servers, node.kept.disks, node.kept.outgoings) == ({}, {}, {})
    assert (await two.records())[0][1] == "failed"
    assert await two.sound()


async def test_a_state_that_is_reset_does_not_stop_the_move(two: Hosts) -> None:
    server, source, dest = await sending(two)
    await two.call("POST", f"/servers/{server['id']}/action", 202, {"os-resetState": {"state": "error"}}, admin=True)
    two.node(source).busy.clear()
    await two.settle()
    seen = await two.show(server, admin=True)
    assert (seen["status"], seen["OS-EXT-SRV-ATTR:host"]) == ("ERROR", dest)
    assert await two.sound()


async def test_what_is_refused_before_2_34_and_told_later_since(two: Hosts) -> None:
    server = await two.boot(networks="none")
    source = await two.host_of(server)
    dest = two.other(source)
    for asked, words in (
        ({"host": source}, f"Unable to migrate instance ({server['id']}) to current host ({source})."),
        ({"block_migration": False}, f"{source} is not on shared storage: Shared storage live-migration requires"),
    ):
        assert (await two.live(server, 400, "2.33", **asked))["badRequest"]["message"].startswith(words)
        assert await two.records() == []
    await two.live(server, 202, "2.34", block_migration=False)
    assert (await two.records())[0][:2] == ("live-migration", "error")
    assert (await two.actions(server))[0] == ("live-migration", "Error")
    assert (await two.show(server))["status"] == "ACTIVE"
    for version, asked, status in (
        ("2.24", {"block_migration": True}, 400),  # disk_over_commit is missing
        ("2.24", {"block_migration": "auto", "disk_over_commit": False}, 400),
        ("2.25", {"disk_over_commit": False}, 400),
        ("2.29", {"force": True, "host": dest}, 400),
        ("2.30", {"force": True}, 400),
        ("2.68", {"force": True, "host": dest}, 400),
        ("2.30", {"host": "nowhere"}, 400),
        ("2.100", {"block_migration": "perhaps"}, 400),
    ):
        await two.live(server, status, version, **asked)
    await two.act(server, {"os-migrateLive": {"host": None, "block_migration": "auto"}}, 403)
    await two.act(server, {"os-stop": None})
    await two.settle()
    answer = await two.live(server, 409)
    assert answer["conflictingRequest"]["message"] == f"Cannot 'os-migrateLive' instance {server['id']} while it is in vm_state stopped"


async def test_force_asks_only_for_room(two: Hosts) -> None:
    server = await two.boot(networks="none")
    dest = two.other(await two.host_of(server))
    service = (await two.call("GET", f"/os-services?host={dest}", admin=True))["services"][0]
    await two.call("PUT", f"/os-services/{service['id']}", 200, {"status": "disabled"}, admin=True)
    from moln.compute.ops import hosts

    await hosts.catch_up(two.cloud)
    assert "1 is disabled" in (await two.live(server, 400, "2.33", host=dest))["badRequest"]["message"]
    await two.live(server, 202, "2.33", host=dest, force=True)
    await two.settle()
    await two.settle()
    assert await two.host_of(server) == dest
