"""A guest's image, brought by each way that images are imported: what boots is what was brought."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.guests import SSH_S, Guest
from tests.e2e.waiting import until
from tests.e2e.world import Tenant, World, shell
from tests.image.web import serving

QEMU_NAME = {"raw": "raw", "qcow2": "qcow2", "vhd": "vpc"}
SAYS = '#!/bin/sh\necho "SAID: I am $(hostname), made for $(cat /etc/made-for)." > /dev/console\n'


def disk_for(world: World, purpose: str, disk_format: str, folder: Path) -> Path:
    """The small guest, with a file inside that names what it was made for."""
    raw, note, made = folder / f"{purpose}.plain", folder / f"{purpose}.note", folder / f"{purpose}.{disk_format}"
    shell("qemu-img", "convert", "-O", "raw", world.places.home / "demo/guest.qcow2", raw)
    note.write_text(purpose)
    commands = folder / f"{purpose}.debugfs"
    commands.write_text(f"cd /etc\nwrite {note} made-for\n")
    shell("debugfs", "-w", "-f", commands, raw)
    assert shell("debugfs", "-R", "cat /etc/made-for", raw) == purpose
    shell("qemu-img", "convert", "-f", "raw", "-O", QEMU_NAME[disk_format], raw, made)
    return made


def kept(world: World) -> set[tuple[str, str]]:
    """Every file of the image stores, with its folder."""
    folders = [*(world.places.pool / "images").iterdir(), world.places.home / "archive"]
    return {(folder.name, name) for folder in folders for name in os.listdir(folder)}


def active(conn: Any, image: Any) -> Any:
    """The image, once it has its data."""
    def there() -> Any:
        found = conn.image.get_image(image.id)
        assert found.status != "queued", [task.message for task in conn.image.image_tasks(image.id)]
        return found if found.status == "active" else None

    return until(there, f"{image.name} is active", 90)


class Bringing:
    """Brings images of one project, each of a disk of its own, and knows them all."""

    def __init__(self, world: World, tenant: Tenant, folder: Path) -> None:
        self.world, self.conn, self.folder = world, tenant.conn, folder
        self.images: list[Any] = []

    def image(self, name: str, disk_format: str) -> Any:
        self.images.append(self.conn.image.create_image(name, disk_format=disk_format, container_format="bare"))
        return self.images[-1]

    def staged(self) -> Any:
        image = self.image("staged", "qcow2")
        self.conn.image.stage_image(image, data=disk_for(self.world, "staged", "qcow2", self.folder).read_bytes())
        self.conn.image.import_image(image, "glance-direct")
        return active(self.conn, image)

    def fetched(self) -> Any:
        """From a web site, through a redirect."""
        image = self.image("fetched", "vhd")
        with serving() as site:
            site.put("/disk.vhd", disk_for(self.world, "fetched", "vhd", self.folder).read_bytes())
            self.conn.image.import_image(image, "web-download", uri=site.redirect("/latest", f"{site.url}/disk.vhd"))
            return active(self.conn, image)

    def copied(self) -> Any:
        """Uploaded into the pool, copied to the archive, and taken out of the pool."""
        image = self.image("copied", "raw")
        image.upload(self.conn.image, data=disk_for(self.world, "copied", "raw", self.folder).read_bytes())
        admin = self.world.admin.image
        admin.import_image(image, "copy-image", stores=["archive"])
        until(lambda: in_stores(self.conn, image) == {"pool", "archive"}, "a copy in the archive", 60)
        admin.delete_image(image, store="pool")
        assert in_stores(self.conn, image) == {"archive"}
        return active(self.conn, image)

    def taken_over(self, source: Any) -> Any:
        """From the Glance of a region, which is this one's; its formats come with it."""
        image = self.image("taken-over", "iso")
        self.conn.image.import_image(
            image, "glance-download", remote_region="RegionOne", remote_image_id=source.id, remote_service_interface="public"
        )
        return active(self.conn, image)


def in_stores(conn: Any, image: Any) -> set[str]:
    return set(conn.image.get(f"/images/{image.id}").json()["stores"].split(","))


@pytest.fixture(scope="module")
def before(world: World) -> set[tuple[str, str]]:
    return kept(world)


@pytest.fixture(scope="module")
def brought(world: World, north: Tenant, before: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The images, by name."""
    folder = tmp_path_factory.mktemp("brought")
    bringing = Bringing(world, north, folder)
    try:
        copied = bringing.copied()
        yield {image.name: image for image in (bringing.staged(), bringing.fetched(), copied, bringing.taken_over(copied))}
    finally:
        for image in bringing.images:
            north.conn.image.delete_image(image)
        shutil.rmtree(folder)


def test_each_method_brings_the_whole_disk(world: World, north: Tenant, before: set[tuple[str, str]], brought: dict[str, Any]) -> None:
    assert {name: image.disk_format for name, image in brought.items()} == {"staged": "qcow2", "fetched": "vhd", "copied": "raw", "taken-over": "raw"}
    assert brought["taken-over"].hash_value == brought["copied"].hash_value
    assert {name: in_stores(north.conn, image) for name, image in brought.items()} == {
        "staged": {"pool"}, "fetched": {"pool"}, "copied": {"archive"}, "taken-over": {"pool"},
    }  # fmt: skip
    there = ["archive", *["base"] * 4, *["data"] * 3]
    until(lambda: sorted(folder for folder, _ in kept(world) - before) == there, "what was copied has left the pool, its base has not", 60)


@pytest.mark.parametrize("pair", [{"staged": "staged", "fetched": "fetched"}, {"copied": "copied", "taken-over": "copied"}], ids="-".join)
def test_what_was_imported_boots_and_says_what_it_is(north: Tenant, home_network: Any, brought: dict[str, Any], pair: dict[str, str]) -> None:
    ids = {name: north.launch(f"guest-{name}", home_network, image_id=brought[name].id, user_data=SAYS) for name in pair}
    guests = {name: Guest(north.conn, id, "", north.key) for name, id in ids.items()}
    try:
        for name, purpose in pair.items():
            says(guests[name], f"SAID: I am guest-{name}, made for {purpose}.")
    finally:
        for guest in guests.values():
            guest.delete()


def says(guest: Guest, line: str) -> None:
    """The guest comes to write this line on its console. Raises: AssertionError, with what it wrote."""
    guest.wait_status("ACTIVE")
    try:
        until(lambda: line in guest.console(), f"{line!r} on the console", SSH_S, each_s=1)
    except AssertionError as late:
        raise AssertionError(f"{late}; its console:\n{guest.console()[-3000:]}") from None


def test_deleted_imports_leave_no_file(world: World, north: Tenant, before: set[tuple[str, str]], brought: dict[str, Any]) -> None:
    for image in brought.values():
        north.conn.image.delete_image(image)
    until(lambda: not kept(world) - before, "no file of an imported image", 60)
