"""SEC-16, -18: a server that moved opens its own devices and nobody else's, and each of its disks holds what that disk held.

The same on real hosts, with the bytes: tests/drivers/test_moves_contract.py.
"""

from __future__ import annotations

from typing import Any

from tests.compute.moves import Hosts, two, world

__all__ = ["two", "world"]


async def opened(two: Hosts, server: dict[str, Any]) -> dict[str, str]:
    """What its host opens for a server: paths by disk."""
    return {d.id: d.path for d in two.node(await two.host_of(server)).spec_of(server["id"]).disks}


async def moved(two: Hosts, server: dict[str, Any]) -> None:
    await two.live(server)
    for _ in range(2):
        await two.settle()


async def test_sec_16_no_stale_description_follows_a_live_migration(two: Hosts) -> None:
    """OSSA-2020-006: after a soft reboot the server opens what it opened before it, all of it its own and on its own host."""
    volume = await two.volume()
    server = await two.boot(networks="none")
    source = await two.host_of(server)
    await two.call("POST", f"/servers/{server['id']}/os-volume_attachments", 200, {"volumeAttachment": {"volumeId": volume}})
    await two.settle()
    await moved(two, server)
    dest = two.other(source)
    after = await opened(two, server)
    row = await two.row(server)
    assert after.keys() == {d.id for d in row.disks} | {volume}
    assert not [path for path in after.values() if f"/{source}/" in path]
    for kind in ("SOFT", "HARD"):
        await two.act(server, {"reboot": {"type": kind}})
        await two.settle()
        assert await opened(two, server) == after
    assert await two.host_of(server) == dest
    assert await two.sound()


async def test_sec_18_each_disk_is_copied_onto_itself(two: Hosts) -> None:
    """OSSA-2014-003: an ephemeral disk never begins as the root disk, neither where it lands nor when it goes home again."""
    flavor = await two.flavor("two-disks", disk=2, swap=512, **{"OS-FLV-EXT-DATA:ephemeral": 1})
    server = await two.boot(networks="none", flavorRef=flavor)
    source = await two.host_of(server)

    def disks(host: str) -> dict[str, tuple[int, str | None]]:
        kept = two.node(host).kept
        return {id: (disk.size_bytes, kept.origins.get(id)) for id, disk in kept.disks.items()}

    before = disks(source)
    assert len({origin for _, origin in before.values()}) == 2  # one began as the image, the others as nothing
    await moved(two, server)
    assert (disks(source), disks(two.other(source))) == ({}, before)
    await two.move(server, "migrate")
    await two.settle()
    await two.act(server, {"confirmResize": None}, 204)
    await two.settle()
    assert (disks(source), disks(two.other(source))) == (before, {})
