"""Volumes in guests: what is written stays, wherever it is attached next."""

from __future__ import annotations

from typing import Any

from tests.e2e.guests import Guest
from tests.e2e.waiting import until
from tests.e2e.world import Tenant, World

GIB = 1 << 30


def attach(tenant: Tenant, guest: Guest, volume_id: str) -> str:
    """The device's name in the guest."""
    before = disks(guest)
    guest.conn.compute.create_volume_attachment(guest.id, volume_id=volume_id)
    tenant.wait_volume(volume_id, "in-use")
    (name,) = until(lambda: disks(guest) - before, "the guest sees the disk", 30)
    return name


def detach(tenant: Tenant, guest: Guest, volume_id: str) -> None:
    before = disks(guest)
    guest.conn.compute.delete_volume_attachment(guest.id, volume_id)
    tenant.wait_volume(volume_id, "available")
    assert len(disks(guest)) == len(before) - 1


def disks(guest: Guest) -> set[str]:
    return set(guest.run("ls /sys/block").split())


def size(guest: Guest, disk: str) -> int:
    return int(guest.run(f"cat /sys/block/{disk}/size")) * 512


def test_a_file_written_on_one_server_is_read_on_another(north: Tenant, one: Guest, two: Guest, moved: Any) -> None:
    disk = attach(north, one, moved.id)
    assert size(one, disk) == GIB
    one.run(f"mkfs.ext4 -q /dev/{disk} && mount -t ext4 /dev/{disk} /mnt && echo from one > /mnt/said && umount /mnt")
    detach(north, one, moved.id)
    disk = attach(north, two, moved.id)
    assert two.run(f"mount -t ext4 /dev/{disk} /mnt && cat /mnt/said && umount /mnt") == "from one"


def test_a_volume_grows_under_a_running_guest(north: Tenant, two: Guest, moved: Any) -> None:
    (disk,) = disks(two) & {"vdb"}
    north.conn.block_storage.default_microversion = "3.42"
    north.conn.block_storage.extend_volume(moved.id, 2)
    until(lambda: size(two, disk) == 2 * GIB, "the guest sees the new size", 20)
    assert north.wait_volume(moved.id, "in-use").size == 2
    assert two.run(f"mount -t ext4 /dev/{disk} /mnt && cat /mnt/said && umount /mnt") == "from one"


def test_a_volume_in_use_is_neither_deleted_nor_attached_twice(north: Tenant, one: Guest, moved: Any) -> None:
    for attempt in (lambda: north.conn.block_storage.delete_volume(moved.id),
                    lambda: one.conn.compute.create_volume_attachment(one.id, volume_id=moved.id)):  # fmt: skip
        try:
            attempt()
        except Exception as refused:
            assert getattr(refused, "status_code", 0) == 400, refused
        else:
            raise AssertionError("it was not refused")


def test_a_volume_from_a_snapshot_holds_what_the_snapshot_held(north: Tenant, one: Guest, two: Guest, moved: Any) -> None:
    detach(north, two, moved.id)
    storage = north.conn.block_storage
    snapshot = storage.create_snapshot(volume_id=moved.id, name="kept")
    until(lambda: storage.get_snapshot(snapshot.id).status == "available", "the snapshot", 30)
    disk = attach(north, two, moved.id)
    two.run(f"mount -t ext4 /dev/{disk} /mnt && echo later > /mnt/said && umount /mnt")
    copy = north.volume("copy", snapshot_id=snapshot.id, size=2)
    disk = attach(north, one, copy.id)
    assert one.run(f"mount -t ext4 /dev/{disk} /mnt && cat /mnt/said && umount /mnt") == "from one"
    detach(north, one, copy.id)
    detach(north, two, moved.id)
    storage.delete_snapshot(snapshot.id)
    until(lambda: storage.find_snapshot(snapshot.id) is None, "the snapshot is gone", 30)
    for volume in (copy, moved):
        storage.delete_volume(volume.id)
        until(lambda v=volume.id: storage.find_volume(v) is None, "the volume is gone", 30)


def test_deleted_volumes_and_snapshots_leave_no_file(world: World, north: Tenant) -> None:
    held = [v.id for v in world.admin.block_storage.volumes(all_projects=True)]
    assert sorted(p.name for p in (world.places.pool / "volumes").iterdir()) == sorted(held)
    assert list((world.places.pool / "snapshots").iterdir()) == []
