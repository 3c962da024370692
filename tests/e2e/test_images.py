"""Servers that begin as another's disk: from its snapshot, from a volume."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.e2e.guests import Guest
from tests.e2e.waiting import until
from tests.e2e.world import Tenant, World


@pytest.fixture(scope="module")
def snapshot(north: Tenant, one: Guest) -> Iterator[Any]:
    """An image of a running server's disk, with a file that it wrote."""
    one.run("echo kept > /root/note && sync")
    image_id = north.conn.compute.create_server_image(one.id, "of-one").id
    until(lambda: north.conn.image.get_image(image_id).status == "active", "the image", 60)
    yield north.conn.image.get_image(image_id)
    north.conn.image.delete_image(image_id)


def test_a_running_server_becomes_an_image(world: World, one: Guest, snapshot: Any) -> None:
    assert snapshot.disk_format == "raw" and snapshot.size == 1 << 30
    assert snapshot.properties["image_type"] == "snapshot" and snapshot.properties["base_image_ref"] == world.image.id
    assert one.status == "ACTIVE" and one.answers()


def test_a_server_boots_from_the_image_of_another_with_a_name_and_keys_of_its_own(north: Tenant, home_network: Any, one: Guest, snapshot: Any) -> None:
    copy = north.guest("copy", home_network, image_id=snapshot.id).wait()
    try:
        assert copy.run("cat /root/note; hostname") == "kept\ncopy"
        fingerprint = "dropbearkey -y -f /etc/dropbear/dropbear_ed25519_host_key | grep Fingerprint"
        assert copy.run(fingerprint) != one.run(fingerprint)
    finally:
        copy.delete()


def test_a_server_boots_from_a_volume_which_outlives_it(world: World, north: Tenant, home_network: Any) -> None:
    mapping = {"boot_index": 0, "uuid": world.image.id, "source_type": "image", "destination_type": "volume", "volume_size": 1,
               "delete_on_termination": False}  # fmt: skip
    guest = north.guest("from-volume", home_network, image=False, block_device_mapping=[mapping]).wait()
    guest.run("echo on the volume > /root/note && sync")
    (attachment,) = list(north.conn.compute.volume_attachments(guest.id))
    assert not list((world.places.pool / "disks").glob(f"*{guest.id}*"))
    guest.delete()
    volume = north.wait_volume(attachment.volume_id, "available")
    assert volume.is_bootable
    again = {**mapping, "uuid": volume.id, "source_type": "volume", "delete_on_termination": True}
    again.pop("volume_size")
    guest = north.guest("again", home_network, image=False, block_device_mapping=[again]).wait()
    assert guest.run("cat /root/note") == "on the volume"
    guest.delete()
    until(lambda: north.conn.block_storage.find_volume(volume.id) is None, "the volume went with the server", 30)
