"""Servers whose own disks lie where several hosts reach them: a move copies nothing, and leaving a host takes no disk away."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.compute.moves import Hosts, two, world

from moln.compute.ops import hosts
from moln.compute.store import leftovers

__all__ = ["two", "world"]


@pytest.fixture
async def sharing(two: Hosts) -> Hosts:
    """Both hosts keep disks in one place."""
    nodes = [two.node(name) for name in sorted(two.api.nodes)]
    for node in nodes:
        node.shared_disks = "rbd:cluster/vms"
        node.kept.disks, node.kept.origins = nodes[0].kept.disks, nodes[0].kept.origins
        await hosts.node_facts(two.cloud, node.hostname, msgspec.msgpack.encode(await node.host_facts()))
    return two


async def booted(cloud: Hosts) -> tuple[dict[str, Any], str, str, str]:
    """A server, its host, the other one, and its disk."""
    server = await cloud.boot()
    source = await cloud.host_of(server)
    (disk,) = (await cloud.row(server)).disks
    return server, source, cloud.other(source), disk.id


def disks(cloud: Hosts) -> set[str]:
    return set(cloud.node("sim-1").kept.disks)


async def test_a_live_migration_leaves_the_disk_where_it_is(sharing: Hosts) -> None:
    server, source, dest, disk = await booted(sharing)
    await sharing.live(server, block_migration=False)
    await sharing.settle()
    assert await sharing.host_of(server) == dest and not sharing.has(source, server)
    assert disks(sharing) == {disk}
    assert await sharing.sound()


async def test_disks_are_copied_only_where_they_must(sharing: Hosts) -> None:
    server, *_ = await booted(sharing)
    await sharing.live(server, 400, "2.25", block_migration=True, disk_over_commit=False)


async def test_a_migration_that_is_taken_back_keeps_the_disk(sharing: Hosts) -> None:
    server, source, dest, disk = await booted(sharing)
    sharing.node(source).busy.add(server["id"])
    await sharing.live(server)
    await sharing.settle()
    migration = await sharing.record()
    await sharing.call("DELETE", f"/servers/{server['id']}/migrations/{migration['id']}", 202, admin=True)
    await sharing.settle()
    assert await sharing.host_of(server) == source and not sharing.has(dest, server)
    assert disks(sharing) == {disk}
    assert await sharing.sound()


async def test_a_cold_migration_has_a_copy_for_the_way_back(sharing: Hosts) -> None:
    server, source, dest, disk = await booted(sharing)
    await sharing.move(server, "migrate")
    await sharing.settle()
    assert await sharing.host_of(server) == dest
    assert disk in disks(sharing) and len(disks(sharing)) == 2
    await sharing.act(server, {"confirmResize": None}, 204)
    await sharing.settle()
    assert disks(sharing) == {disk} and not sharing.has(source, server)
    assert await sharing.sound()


async def test_a_cold_migration_that_is_reverted_brings_the_disk_back_as_it_was(sharing: Hosts) -> None:
    server, source, dest, disk = await booted(sharing)
    await sharing.move(server, "migrate")
    await sharing.settle()
    (copy,) = disks(sharing) - {disk}
    sharing.node(dest).kept.put("origin", copy, "as it was")
    await sharing.act(server, {"revertResize": None})
    await sharing.settle()
    assert await sharing.host_of(server) == source and not sharing.has(dest, server)
    assert disks(sharing) == {disk} and sharing.node(source).kept.origins[disk] == "as it was"
    assert await sharing.sound()


async def test_an_evacuated_server_goes_on_with_its_disk_and_the_lost_host_takes_none_away(sharing: Hosts) -> None:
    server, source, dest, disk = await booted(sharing)
    await sharing.lose(source)
    await sharing.move(server, "evacuate", 200, "2.94")
    await sharing.settle()
    assert await sharing.host_of(server) == dest and disks(sharing) == {disk}
    (left,) = await leftovers.of_server(sharing.cloud.db, server["id"])  # what goes there when that host answers
    assert (left.host, left.disks) == (source, ())


async def test_a_server_that_is_deleted_takes_its_disk_along(sharing: Hosts) -> None:
    server, *_ = await booted(sharing)
    await sharing.call("DELETE", f"/servers/{server['id']}", 204)
    await sharing.settle()
    assert disks(sharing) == set()
    assert await sharing.sound()
