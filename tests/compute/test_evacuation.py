"""Servers of a lost host begun anew elsewhere: only when it is fenced; and what happens when it returns."""

from __future__ import annotations

from tests.compute.moves import Hosts, three, two, world

from moln.compute.drivers.base import ServerState
from moln.compute.drivers.fake import Fault
from moln.compute.model.moves import Leftover
from moln.compute.store import leftovers as store
from moln.compute.work import server_sync
from moln.kernel.db import Transaction
from moln.kernel.work import Work

__all__ = ["three", "two", "world"]
SMALL = {"VCPU": 1, "MEMORY_MB": 128, "DISK_GB": 1}


async def test_a_server_of_a_lost_host_begins_anew(two: Hosts) -> None:
    server = await two.boot()
    source = await two.host_of(server)
    dest = two.other(source)
    (old,) = (await two.row(server)).disks
    await two.lose(source)
    assert await two.move(server, "evacuate", 200, "2.94", host=dest) is None
    seen = await two.show(server, admin=True)
    assert (seen["status"], seen["OS-EXT-STS:task_state"], seen["OS-EXT-SRV-ATTR:host"]) == ("REBUILD", "rebuilding", dest)
    assert await two.records() == [("evacuation", "accepted", source, dest)]
    migration = await two.record()
    await two.settle()
    seen = await two.show(server, admin=True)
    assert (seen["status"], seen["OS-EXT-STS:power_state"], seen["addresses"]) == ("ACTIVE", 1, server["addresses"])
    assert await two.ports_on(server) == {dest}
    (new,) = (await two.row(server)).disks
    assert new.id != old.id
    assert two.node(dest).kept.origins[new.id] == old.image
    assert await two.records() == [("evacuation", "done", source, dest)]
    assert (await two.holds(server["id"]), await two.holds(migration["uuid"])) == ({dest: SMALL}, {source: SMALL})
    assert (await two.actions(server))[0] == ("evacuate", None)
    assert await two.sound()


async def test_what_an_evacuation_overtakes_ends(two: Hosts) -> None:
    """An image that was being made waits for no host any more, and its action has ended (found by the simulation)."""
    server = await two.boot()
    made = await two.act(server, {"createImage": {"name": "late"}})
    await two.lose(await two.host_of(server))
    await two.move(server, "evacuate", 200, "2.94")
    assert (await two.api.member.get(f"/image/v2/images/{made['image_id']}")).json()["status"] == "killed"
    await two.settle()
    assert (await two.show(server))["status"] == "ACTIVE"
    assert (await two.actions(server))[:2] == [("evacuate", None), ("createImage", "Error")]
    assert await two.sound()


async def test_a_host_that_is_away_keeps_no_other_hosts_leftovers_waiting(two: Hosts) -> None:
    async def leave_in(tx: Transaction) -> None:
        for number in range(2 * store.OF_EACH_HOST):
            await store.add(tx, Leftover(f"away-{number}", f"server-{number}", "away", 1, "", (), 1))
        await store.add(tx, Leftover("here", two.cloud.ids.uuid(), "sim-1", 1, "", (), 1))

    await two.cloud.db.write(leave_in)
    found = await store.unsettled(two.cloud.db, 0)
    assert len(found) == store.OF_EACH_HOST + 1 and found[-1].id == "here"
    await two.settle()
    assert {left.host for left in await store.everywhere(two.cloud.db)} == {"away"}


async def test_a_host_that_returns_gives_up_what_is_no_longer_its_own(two: Hosts) -> None:
    server, other = await two.boot(), await two.boot()
    source = await two.host_of(server)
    await two.lose(source)
    await two.move(server, "evacuate", 200, "2.94")
    await two.settle()
    migration = await two.record()
    node = two.node(source)
    assert node.kept.servers[server["id"]].power == "running"  # nobody could tell it
    await two.add_hosts(2)
    await two.settle()
    node = two.node(source)
    assert server["id"] not in node.kept.servers
    assert node.kept.disks.keys() == {d.id for s in (other,) for d in (await two.row(s)).disks if await two.host_of(s) == source}
    assert await two.holds(migration["uuid"]) == {}
    assert (await two.records())[0][1] == "completed"
    await two.force_down(source, False)
    await two.move(server, "migrate")  # and it may go there again
    await two.settle()
    assert await two.host_of(server) == source
    assert await two.sound()


async def test_only_a_host_that_is_fenced(two: Hosts) -> None:
    server = await two.boot(networks="none")
    source = await two.host_of(server)
    answer = await two.move(server, "evacuate", 400)
    assert answer["badRequest"]["message"] == f"Compute service of {source} is still in use."
    await two.lose(source, fenced=False)
    answer = await two.move(server, "evacuate", 409)
    assert answer["conflictingRequest"]["message"].startswith(f"Compute service of {source} is down, but its guests may still run.")
    await two.force_down(source)
    for body, words in (({"host": source}, "The target host can't be the same one."), ({"host": "nowhere"}, "Compute host nowhere could not be found.")):
        assert (await two.move(server, "evacuate", 400, **body))["badRequest"]["message"] == words
    await two.call("POST", f"/servers/{server['id']}/action", 403, {"evacuate": {}})
    assert await two.holds(server["id"]) == {source: SMALL}
    assert await two.records() == []


async def test_a_host_that_is_said_to_be_down_and_answers_ends_its_guest_first(two: Hosts) -> None:
    server = await two.boot()
    source = await two.host_of(server)
    await two.force_down(source)
    order: list[tuple[str, str]] = []
    for name, node in two.api.nodes.items():
        node.on_power_change(lambda state, name=name: order.append((name, state.power)))
    await two.move(server, "evacuate", 200, "2.94")
    await two.settle()
    assert not two.has(source, server)
    assert two.node(source).calls.index("remove_server") >= 0
    assert order == [(two.other(source), "running")]
    assert (await two.records())[0][1] == "completed"
    assert await two.sound()


async def test_evacuated_servers_are_off_since_2_95(two: Hosts) -> None:
    servers = [await two.boot(networks="none") for _ in range(4)]
    (first, second, *_) = [s for s in servers if await two.host_of(s) == "sim-1"]
    await two.act(second, {"os-stop": None})
    await two.settle()
    await two.lose("sim-1")
    await two.move(first, "evacuate", 200, "2.95")
    await two.move(second, "evacuate", 200, "2.94")
    await two.settle()
    for server in (first, second):
        seen = await two.show(server, admin=True)
        assert (seen["status"], seen["OS-EXT-STS:power_state"], seen["OS-EXT-SRV-ATTR:host"]) == ("SHUTOFF", 4, "sim-2")
    await two.act(first, {"os-start": None})
    await two.settle()
    assert (await two.show(first))["status"] == "ACTIVE"
    assert await two.sound()


async def test_what_each_microversion_takes_and_answers(two: Hosts) -> None:
    server = await two.boot(networks="none")
    source = await two.host_of(server)
    await two.lose(source)
    for version, body in (
        ("2.13", {}), ("2.13", {"onSharedStorage": True, "adminPass": "x"}), ("2.14", {"onSharedStorage": False}), ("2.28", {"force": True}),
        ("2.29", {"force": True}), ("2.68", {"force": True, "host": two.other(source)}), ("2.68", {"host": ""}),
    ):  # fmt: skip
        await two.call("POST", f"/servers/{server['id']}/action", 400, {"evacuate": body}, version, admin=True)
    answer = await two.move(server, "evacuate", 200, "2.13", onSharedStorage=False, adminPass="secret")
    assert answer == {"adminPass": "secret"}


async def test_an_evacuation_that_fails_may_be_tried_again(three: Hosts) -> None:
    server = await three.boot(networks="none")
    source = await three.host_of(server)
    first, second = [name for name in sorted(three.api.nodes) if name != source]
    await three.lose(source)
    three.node(first).faults["ensure_server"] = [Fault("refused", "No machine type.")]
    await three.move(server, "evacuate", 200, "2.94", host=first)
    await three.settle()
    seen = await three.show(server, admin=True)
    assert (seen["status"], seen["fault"]["message"], seen["OS-EXT-SRV-ATTR:host"]) == ("ERROR", "No machine type.", first)
    assert (await three.records())[0][1] == "failed"
    await three.lose(first)
    await three.move(server, "evacuate", 200, "2.94")
    await three.settle()
    seen = await three.show(server, admin=True)
    assert (seen["status"], seen["OS-EXT-SRV-ATTR:host"]) == ("ACTIVE", second)
    await three.add_hosts(3)
    await three.settle()
    assert [n for n in three.api.nodes if three.has(n, server)] == [second]
    assert three.node(source).kept.disks == three.node(first).kept.disks == {}
    assert await three.sound()


async def test_the_next_host_may_be_lost_meanwhile(three: Hosts) -> None:
    server = await three.boot(networks="none")
    source = await three.host_of(server)
    first, second = [name for name in sorted(three.api.nodes) if name != source]
    await three.lose(source)
    await three.move(server, "evacuate", 200, "2.94", host=first)
    await three.lose(first)
    await three.settle()
    assert (await three.show(server))["status"] == "REBUILD"
    await three.move(server, "evacuate", 200, "2.94")
    await three.settle()
    assert await three.host_of(server) == second
    assert [r[1] for r in await three.records()] == ["done", "failed"]
    assert await three.sound()


async def test_an_evacuated_server_may_be_deleted_before_its_host_returns(two: Hosts) -> None:
    server = await two.boot()
    source = await two.host_of(server)
    await two.lose(source)
    await two.move(server, "evacuate", 200, "2.94")
    await two.call("DELETE", f"/servers/{server['id']}", 204)
    await two.settle()
    await two.add_hosts(2)
    await two.settle()
    for node in two.api.nodes.values():
        assert (node.kept.servers, node.kept.disks) == ({}, {})
    assert await two.sound()


async def test_a_lost_host_may_be_forgotten(two: Hosts) -> None:
    server = await two.boot(networks="none")
    source = await two.host_of(server)
    await two.lose(source)
    await two.move(server, "evacuate", 200, "2.94")
    service = (await two.call("GET", f"/os-services?host={source}", admin=True))["services"][0]
    answer = await two.call("DELETE", f"/os-services/{service['id']}", 409, admin=True)
    assert "in-progress migrations" in answer["conflictingRequest"]["message"]
    await two.settle()
    migration = await two.record()
    await two.call("DELETE", f"/os-services/{service['id']}", 204, admin=True)
    assert await two.holds(migration["uuid"]) == {}
    assert (await two.records())[0][1] == "completed"
    assert await two.sound()


async def test_a_guest_whose_row_names_another_host_is_removed(two: Hosts) -> None:
    """Whatever led to it: a host that was restored from an old image, say."""
    server = await two.boot(networks="none")
    host = await two.host_of(server)
    stray = two.node(two.other(host))
    stray.kept.put("server", server["id"], two.node(host).kept.servers[server["id"]])
    await server_sync.sync_node(Work(two.cloud), two.other(host))
    await two.settle()
    assert [s for s in await stray.list_servers() if isinstance(s, ServerState)] == []
    assert two.has(host, server)
    assert await two.sound()
