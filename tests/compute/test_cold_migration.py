"""Servers turned off and moved to another host: migrate, and resizes that find no room at home; confirmed, reverted, refused, undone."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace
from tests.compute.moves import Hosts, three, two, world

from moln.compute.drivers import fake_moves
from moln.compute.drivers.fake import Fault
from moln.compute.drivers.moves import DiskOffer
from moln.compute.ops import hosts
from moln.volume.ops.pools import pools_of
from moln.volume.store import attachments, volumes

__all__ = ["three", "two", "world"]
SMALL = {"VCPU": 1, "MEMORY_MB": 128, "DISK_GB": 1}


async def test_a_server_migrates_and_is_confirmed(two: Hosts) -> None:
    server = await two.boot()
    source = await two.host_of(server)
    dest = two.other(source)
    await two.move(server, "migrate")
    seen = await two.show(server, admin=True)
    assert (seen["status"], seen["OS-EXT-STS:task_state"], seen["OS-EXT-SRV-ATTR:host"]) == ("RESIZE", "resize_prep", source)
    migration = await two.record()
    assert (migration["status"], migration["migration_type"], migration["dest_compute"]) == ("pre-migrating", "migration", dest)
    assert await two.holds(server["id"]) == {dest: SMALL}
    assert await two.holds(migration["uuid"]) == {source: SMALL}
    await two.settle()
    seen = await two.show(server, admin=True)
    assert (seen["status"], seen["OS-EXT-SRV-ATTR:host"], seen["OS-EXT-STS:power_state"]) == ("VERIFY_RESIZE", dest, 1)
    assert (seen["addresses"], seen["flavor"]["original_name"]) == (server["addresses"], "small")
    assert await two.ports_on(server) == {dest}
    assert await two.records() == [("migration", "finished", source, dest)]
    assert (two.node(source).kept.servers[server["id"]].power, two.node(dest).kept.servers[server["id"]].power) == ("stopped", "running")
    (disk,) = (await two.row(server)).disks
    assert two.node(dest).kept.origins[disk.id] == two.node(source).kept.origins[disk.id]
    assert await two.sound()
    await two.act(server, {"confirmResize": None}, 204)
    await two.settle()
    assert (await two.show(server))["status"] == "ACTIVE"
    assert await two.records() == [("migration", "confirmed", source, dest)]
    assert not two.has(source, server)
    assert two.node(source).kept.disks == {}
    assert await two.holds(migration["uuid"]) == {}
    assert await two.holds(server["id"]) == {dest: SMALL}
    assert [a for a, _ in await two.actions(server)] == ["confirmResize", "migrate", "create"]
    assert await two.sound()


async def test_a_migrated_server_goes_home_again(two: Hosts) -> None:
    server = await two.boot()
    source = await two.host_of(server)
    await two.move(server, "migrate", host=two.other(source))
    await two.settle()
    await two.act(server, {"revertResize": None})
    await two.settle()
    seen = await two.show(server, admin=True)
    assert (seen["status"], seen["OS-EXT-SRV-ATTR:host"]) == ("ACTIVE", source)
    assert await two.records() == [("migration", "reverted", source, two.other(source))]
    assert (two.has(source, server), two.has(two.other(source), server)) == (True, False)
    assert two.node(two.other(source)).kept.disks == {}
    assert await two.holds(server["id"]) == {source: SMALL}
    assert await two.ports_on(server) == {source}
    assert await two.sound()
    await two.move(server, "migrate")  # and may go there once more
    await two.settle()
    assert (await two.show(server))["status"] == "VERIFY_RESIZE"


async def test_a_server_that_was_off_stays_off(two: Hosts) -> None:
    server = await two.boot(networks="none")
    await two.act(server, {"os-stop": None})
    await two.settle()
    dest = two.other(await two.host_of(server))
    await two.move(server, "migrate")
    await two.settle()
    assert two.node(dest).kept.servers[server["id"]].power == "stopped"
    await two.act(server, {"confirmResize": None}, 204)
    await two.settle()
    assert (await two.show(server))["status"] == "SHUTOFF"
    assert await two.sound()


async def test_where_a_migration_may_not_go(two: Hosts) -> None:
    server = await two.boot(networks="none")
    source = await two.host_of(server)
    dest = two.other(source)
    for body, words in (
        ({"host": source}, "Cannot migrate to the host where the server exists."),
        ({"host": "nowhere"}, "Compute host nowhere could not be found."),
    ):
        assert (await two.move(server, "migrate", 400, **body))["badRequest"]["message"] == words
    await two.act(server, {"migrate": None}, 403)
    await two.move(server, "migrate", 400, x=1)
    services = (await two.call("GET", f"/os-services?host={dest}", admin=True))["services"]
    await two.call("PUT", f"/os-services/{services[0]['id']}", 200, {"status": "disabled"}, admin=True)
    await hosts.catch_up(two.cloud)
    answer = await two.move(server, "migrate", 400)
    assert answer["badRequest"]["message"].startswith("No valid host was found. 2 hosts looked at: ")
    assert (await two.show(server))["status"] == "ACTIVE"
    assert await two.holds(server["id"]) == {source: SMALL}
    assert await two.records() == []
    await two.lose(source, fenced=False)
    answer = await two.move(server, "migrate", 409)
    assert answer["conflictingRequest"]["message"].startswith("Service is unavailable at this time")


async def filled(two: Hosts, server: dict[str, Any]) -> None:
    """The server's host has little room left."""
    flavor = await two.flavor("filler", disk=2000)
    body = {"server": {"name": "f", "flavorRef": flavor, "imageRef": two.image, "networks": "none"}, "os:scheduler_hints": {"same_host": server["id"]}}
    await two.call("POST", "/servers", 202, body)
    await two.settle()


async def test_a_resize_moves_only_where_its_own_host_has_no_room(two: Hosts) -> None:
    big = await two.flavor("big", vcpus=2, ram=256, disk=3, swap=512)
    huge = await two.flavor("huge", vcpus=3, ram=512, disk=2500, **{"OS-FLV-EXT-DATA:ephemeral": 1})
    server = await two.boot(networks="none")
    source = await two.host_of(server)
    dest = two.other(source)
    await two.act(server, {"resize": {"flavorRef": big}})
    await two.settle()
    assert await two.host_of(server) == source
    await two.act(server, {"confirmResize": None}, 204)
    await two.settle()
    await filled(two, server)
    await two.act(server, {"resize": {"flavorRef": huge}})
    await two.settle()
    seen = await two.show(server, admin=True)
    assert (seen["status"], seen["OS-EXT-SRV-ATTR:host"], seen["flavor"]["original_name"]) == ("VERIFY_RESIZE", dest, "huge")
    assert (await two.records())[0] == ("resize", "finished", source, dest)
    assert sorted(d.size_bytes >> 30 for d in two.node(dest).kept.disks.values()) == [1, 2500]
    assert two.node(dest).spec_of(server["id"]).ram_mib == 512
    assert await two.sound()
    await two.act(server, {"revertResize": None})
    await two.settle()
    seen = await two.show(server, admin=True)
    assert (seen["status"], seen["OS-EXT-SRV-ATTR:host"], seen["flavor"]["original_name"]) == ("ACTIVE", source, "big")
    assert two.node(dest).kept.disks == {}
    assert two.node(source).spec_of(server["id"]).ram_mib == 256
    assert await two.sound()


async def test_a_migration_that_fails_is_undone(two: Hosts) -> None:
    server = await two.boot()
    source = await two.host_of(server)
    dest = two.other(source)
    for verb in ("fetch_disk", "ensure_server"):
        two.node(dest).faults[verb] = [Fault("refused", "The pool is full.")]
        await two.move(server, "migrate")
        await two.settle()
        await two.settle()  # what was given up is found again
        seen = await two.show(server, admin=True)
        assert (seen["status"], seen["OS-EXT-SRV-ATTR:host"], seen["OS-EXT-STS:power_state"]) == ("ACTIVE", source, 1), verb
        assert (await two.records())[0] == ("migration", "error", source, dest)
        assert (await two.actions(server))[0] == ("migrate", "Error")
        assert await two.holds(server["id"]) == {source: SMALL}
        assert (two.has(dest, server), two.node(dest).kept.disks) == (False, {})
        assert await two.sound()


async def test_a_host_that_offers_another_disk_than_it_was_asked_for_is_not_believed(two: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    victim, server = await two.boot(), await two.boot()
    source = await two.host_of(server)
    if await two.host_of(victim) == source:
        await two.live(victim)
        await two.settle()
    dest = two.other(source)
    [theirs] = (await two.row(victim)).disk_ids
    had = two.node(dest).kept.disks[theirs]
    stolen = two.node(source)
    stolen.kept.put("disk", theirs, replace(had, size_bytes=had.size_bytes + 1))
    stolen.offered.add(theirs)
    monkeypatch.setattr(fake_moves, "DiskOffer", lambda _, *said: DiskOffer(theirs, *said))
    await two.move(server, "migrate")
    await two.settle()
    await two.settle()
    stolen.kept.drop("disk", theirs)
    assert (await two.records())[0] == ("migration", "error", source, dest)
    assert two.node(dest).kept.disks == {theirs: had} and await two.sound()


async def test_a_former_host_that_is_away_is_cleaned_when_it_is_back(two: Hosts) -> None:
    server = await two.boot(networks="none")
    source = await two.host_of(server)
    await two.move(server, "migrate")
    await two.settle()
    migration = await two.record()
    await two.lose(source, fenced=False)
    await two.act(server, {"confirmResize": None}, 204)
    await two.settle()
    assert (await two.show(server))["status"] == "ACTIVE"
    assert await two.holds(migration["uuid"]) == {source: SMALL}  # what lies there still takes its place
    answer = await two.move(server, "migrate", 400)
    assert "No valid host" in answer["badRequest"]["message"]
    await two.add_hosts(2)
    await two.settle()
    assert (two.has(source, server), two.node(source).kept.disks) == (False, {})
    assert await two.holds(migration["uuid"]) == {}
    assert await two.sound()


async def test_a_migrated_server_may_be_deleted(two: Hosts) -> None:
    server = await two.boot()
    await two.move(server, "migrate")
    await two.settle()
    await two.call("DELETE", f"/servers/{server['id']}", 204)
    await two.settle()
    for node in two.api.nodes.values():
        assert (node.kept.servers, node.kept.disks) == ({}, {})
    assert (await two.records())[0][1] == "confirmed"
    assert await two.sound()


async def test_an_anti_affinity_group_is_heeded_by_moves(three: Hosts) -> None:
    group = (await three.call("POST", "/os-server-groups", 200, {"server_group": {"name": "g", "policy": "anti-affinity"}}))["server_group"]["id"]

    async def boot() -> dict[str, Any]:
        body = {"server": {"name": "a", "flavorRef": three.small, "imageRef": three.image, "networks": "none"}, "os:scheduler_hints": {"group": group}}
        made = (await three.call("POST", "/servers", 202, body))["server"]
        await three.settle()
        return dict(made)

    first, second = await boot(), await boot()
    free = ({"sim-1", "sim-2", "sim-3"} - {await three.host_of(first), await three.host_of(second)}).pop()
    answer = await three.move(first, "migrate", 400, host=await three.host_of(second))
    assert "runs servers of the group" in answer["badRequest"]["message"]
    await three.move(first, "migrate")
    await three.settle()
    assert await three.host_of(first) == free
    third = await boot()  # the first may go home again: its place there is kept
    assert (await three.show(third))["status"] == "ERROR"
    await three.act(first, {"confirmResize": None}, 204)
    await three.settle()
    assert (await three.show(await boot()))["status"] == "ACTIVE"


async def test_volumes_come_along_where_both_hosts_reach_them(two: Hosts) -> None:
    volume = await two.volume()
    server = await two.boot(networks="none")
    await two.call("POST", f"/servers/{server['id']}/os-volume_attachments", 200, {"volumeAttachment": {"volumeId": volume}})
    await two.settle()
    source = await two.host_of(server)
    await two.move(server, "migrate")
    await two.settle()
    assert volume in [d.id for d in two.node(two.other(source)).spec_of(server["id"]).disks]
    attachment = (await two.row(server)).volumes[0].attachment_id
    assert (await attachments.find(two.cloud.db, attachment)).host == two.other(source)  # type: ignore[union-attr]
    assert await two.sound()


async def test_a_volume_that_only_its_host_reaches_keeps_the_server_there(two: Hosts) -> None:
    volume = await two.volume()
    server = await two.boot(networks="none")
    await two.call("POST", f"/servers/{server['id']}/os-volume_attachments", 200, {"volumeAttachment": {"volumeId": volume}})
    await two.settle()
    pools = pools_of(two.cloud)
    for name, seen in list(pools.seen.items()):
        pools.seen[name] = replace(seen, lent=False)
    held = (await volumes.find(two.cloud.db, volume)).host  # type: ignore[union-attr]
    answer = await two.move(server, "migrate", 400)
    assert answer["badRequest"]["message"].startswith(f"No valid host was found. Volume {volume} lies in the pool of host {held}")
    answer = await two.live(server, 400, "2.30")
    assert f"Volume {volume} lies in the pool" in answer["badRequest"]["message"]


async def test_a_card_that_goes_meanwhile_leaves_the_former_host_too(two: Hosts) -> None:
    server = await two.boot()
    source = await two.host_of(server)
    await two.move(server, "migrate")
    await two.settle()
    (card,) = (await two.call("GET", f"/servers/{server['id']}/os-interface"))["interfaceAttachments"]
    await two.api.admin.delete(f"/network/v2.0/ports/{card['port_id']}")
    await two.settle()
    assert two.node(source).kept.servers[server["id"]].spec.cards == ()
    assert await two.sound()
