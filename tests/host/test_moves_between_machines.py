"""Servers move between two machines, and do not when a link is cut: real engines, emulated guests. One after the other, on one cloud."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.waiting import until
from tests.host.moving import Guest, Moving
from tests.host.writing import Writer
from tests.network import machines
from tests.node.turns import GUESTS, guests_alone

from moln.demo import story

pytestmark = [pytest.mark.engines, GUESTS, pytest.mark.timeout(900), pytest.mark.skipif(not machines.available(), reason="needs root and engines")]
CUT_S = 30.0
HEAL_S = 20.0  # until a guest goes on, once the link is there again
SLOW_MIB_S = 2
READ, WRITE = "cat /root/mark", "echo kept > /root/mark; sync"


@pytest.fixture(scope="module")
def moving() -> Iterator[Moving]:
    with guests_alone():
        found = Moving()
        try:
            found.up()
            yield found
        finally:
            found.down()


@pytest.fixture(scope="module")
def guest(moving: Moving) -> Guest:
    """Booted on the node, with a mark on its disk."""
    made = moving.boot("one", "n1")
    made.run(WRITE)
    return made


def test_an_image_of_a_server_on_a_node_boots_on_another_machine(moving: Moving, guest: Guest) -> None:
    image = guest.act(createImage={"name": "marked"})["image_id"]
    until(lambda: moving.call("GET", f"/image/v2/images/{image}")["status"] == "active", "the image", 120)
    other = moving.boot("two", "c1", image)
    assert other.run(READ) == "kept"
    other.delete()


def test_a_server_that_is_migrated_takes_its_disk_along_and_back(moving: Moving, guest: Guest) -> None:
    guest.act(migrate={"host": "c1"})
    guest.wait("VERIFY_RESIZE")
    assert guest.host == "c1" and guest.run(READ) == "kept"
    guest.act(revertResize=None)
    guest.wait("ACTIVE")
    assert guest.host == "n1" and guest.run(READ) == "kept"
    until(lambda: guest.id not in moving.domains("c1"), "nothing left on c1")


def test_a_resize_goes_to_the_other_machine_where_its_own_takes_no_servers(moving: Moving, guest: Guest) -> None:
    flavor = moving.call("POST", f"{story.COMPUTE}/flavors", {"flavor": {"name": "larger", "vcpus": 1, "ram": 320, "disk": 2}})["flavor"]["id"]
    moving.tell_service("n1", status="disabled")
    guest.act(resize={"flavorRef": flavor})
    guest.wait("VERIFY_RESIZE")
    assert guest.host == "c1"
    guest.act(confirmResize=None)
    guest.wait("ACTIVE")
    assert guest.run(READ) == "kept"
    assert int(guest.run("cat /sys/block/vda/size")) == 2 << 21
    moving.tell_service("n1", status="enabled")
    until(lambda: guest.id not in moving.domains("n1"), "nothing left on n1")


def move(guest: Guest, dest: str) -> None:
    """Live. A host where something of the server is left is no place for it until that is removed: asked again meanwhile."""

    def went() -> bool:
        guest.act(**{"os-migrateLive": {"host": dest, "block_migration": "auto"}})
        until(lambda: guest.migration() in ("completed", "error", "failed"), "the move's end", 120)
        guest.wait("ACTIVE")
        assert guest.migration() != "failed"
        return guest.migration() == "completed"

    until(went, f"it moves to {dest}", 120, each_s=1.0)


def slow_down(moving: Moving, guest: Guest, machine: str) -> None:
    """What leaves this machine of the guest's memory is slow, so that a test can come between."""
    with moving.libvirt(machine) as connection:
        connection.lookupByUUIDString(guest.id).migrateSetMaxSpeed(SLOW_MIB_S)


def fast_again(moving: Moving, guest: Guest, machine: str) -> None:
    with moving.libvirt(machine) as connection:
        connection.lookupByUUIDString(guest.id).migrateSetMaxSpeed(1 << 20)


@pytest.mark.parametrize("source", ["c1", "n1"])
def test_a_link_that_is_cut_while_a_server_moves_leaves_it_where_it_was(moving: Moving, guest: Guest, source: str) -> None:
    """The node's: it is the destination first, then the source, of which nobody hears meanwhile how far it is."""
    before = guest.boot_id()
    if guest.host != source:
        move(guest, source)
    dest = {"c1": "n1", "n1": "c1"}[source]
    slow_down(moving, guest, source)
    guest.act(**{"os-migrateLive": {"host": dest, "block_migration": "auto"}})
    until(lambda: guest.migration() == "running", "the move", 60)
    moving.cut("n1", "down")
    time.sleep(CUT_S)
    assert moving.service("n1")["state"] == "down"
    moving.cut("n1", "up")
    until(lambda: moving.service("n1")["state"] == "up", "the node is back", 60)
    guest.wait("ACTIVE")
    assert (guest.host, guest.migration(), guest.boot_id()) == (source, "failed", before)
    until(lambda: guest.id not in moving.domains(dest), "nothing left where it was to go")
    fast_again(moving, guest, source)
    move(guest, dest)
    assert (guest.host, guest.boot_id(), guest.run(READ)) == (dest, before, "kept")


@pytest.mark.parametrize("end", ["source", "dest"])
def test_a_node_that_is_killed_while_a_server_moves_loses_nothing(moving: Moving, guest: Guest, end: str) -> None:
    """What it carried has broken off: the server is taken back or sent again, and is in one place, as it was."""
    before, source = guest.boot_id(), guest.host
    dest = {"c1": "n1", "n1": "c1"}[source]
    slow_down(moving, guest, source)
    guest.act(**{"os-migrateLive": {"host": dest, "block_migration": "auto"}})
    until(lambda: guest.migration() == "running", "the move", 60)
    moving.kill({"source": source, "dest": dest}[end], "node")
    fast_again(moving, guest, source)
    guest.wait("ACTIVE")
    ended = guest.migration()
    at = {"completed": dest, "failed": source}[ended]
    assert (guest.host, guest.boot_id(), guest.run(READ)) == (at, before, "kept")
    until(lambda: [m for m in ("c1", "n1") if guest.id in moving.domains(m)] == [at], "in one place")
    if at == source:
        move(guest, dest)
        assert guest.boot_id() == before


def test_nothing_but_the_documented_ports_listens_for_moves(moving: Moving) -> None:
    listening = {m: {line.split()[3] for line in moving.cloud.inside(m, "ss", "-Hltn").splitlines()} for m in ("c1", "n1")}
    beyond = {m: {a for a in found if not a.startswith(("127.", "[::1]"))} for m, found in listening.items()}
    assert beyond["n1"] == {"192.0.2.2:5010"}
    assert beyond["c1"] - {"192.0.2.1:6641"} == {f"192.0.2.1:{port}" for port in (5000, 5010, 5011, 6642, 4222)}  # 6641: other controllers


def test_a_volume_is_used_by_a_guest_of_another_machine(moving: Moving, guest: Guest) -> None:
    """Written, healed, grown, moved with and detached; what the guest wrote is in the one file."""
    volume, lender = moving.make_volume()
    here = {"c1": "n1", "n1": "c1"}[lender]
    if guest.host != here:
        move(guest, here)
    path = f"{story.COMPUTE}/servers/{guest.id}/os-volume_attachments"
    moving.call("POST", path, {"volumeAttachment": {"volumeId": volume}})
    until(lambda: moving.volume(volume)["status"] == "in-use", "attached", 60)
    guest.run("printf kept | dd of=/dev/vdb conv=fsync 2>/dev/null")
    file = moving.pool_file(lender, volume)
    assert first_bytes(file) == b"kept"
    assert moving.lent(lender).keys() == {f"exports/{volume}+{here}"} and moving.lent(here).keys() == {f"imports/{volume}"}

    [killed] = moving.lent(lender)[f"exports/{volume}+{here}"]
    os.kill(killed, signal.SIGKILL)
    guest.run("printf here | dd of=/dev/vdb conv=fsync 2>/dev/null")
    assert first_bytes(file) == b"here" and moving.lent(lender)[f"exports/{volume}+{here}"] != [killed]
    for machine in (lender, here):
        moving.kill(machine, "node")
    guest.run("printf kept | dd of=/dev/vdb conv=fsync 2>/dev/null")
    until(lambda: moving.service("n1")["state"] == "up", "the node is back", 60)

    moving.call("POST", f"{story.VOLUME}/volumes/{volume}/action", {"os-extend": {"new_size": 2}})
    until(lambda: guest.run("cat /sys/block/vdb/size") == str(2 << 21), "the guest sees it grown", 120, each_s=1.0)

    before = guest.boot_id()
    for dest in (lender, here):
        move(guest, dest)
        assert (guest.host, guest.boot_id()) == (dest, before)
        assert guest.run("echo 3 > /proc/sys/vm/drop_caches; dd if=/dev/vdb bs=4 count=1 2>/dev/null") == "kept"
        wanted = {f"exports/{volume}+{here}"} if dest == here else set()
        until(lambda wanted=wanted: moving.lent(lender).keys() == wanted, "lent to where the guest is, and to nobody else", 90)  # type: ignore[misc]
    moving.call("DELETE", f"{path}/{volume}")
    until(lambda: moving.volume(volume)["status"] == "available", "detached", 90)
    assert moving.lent(lender) == moving.lent(here) == {}
    assert first_bytes(file) == b"kept"


def first_bytes(file: Path) -> bytes:
    with open(file, "rb") as found:
        return found.read(4)


@pytest.fixture(scope="module")
def afar(moving: Moving) -> tuple[Guest, Writer]:
    """On the node, booted from a volume of the other machine, with a mark on it, and with another one of that which it writes to."""
    (root, _), (data, _) = moving.make_volume("c1", imageRef=moving.image), moving.make_volume("c1")
    disk = {"uuid": root, "source_type": "volume", "destination_type": "volume", "boot_index": 0, "delete_on_termination": True}
    made = moving.boot("afar", "n1", imageRef="", block_device_mapping_v2=[disk, {**disk, "uuid": data, "boot_index": None}])
    made.run(WRITE)
    return made, Writer(made, moving.pool_file("c1", data))


def test_a_guest_waits_for_its_volumes_while_the_link_is_cut_or_whoever_lends_them_is_killed(moving: Moving, afar: tuple[Guest, Writer]) -> None:
    """It sees no error, and nothing that it was told is written is lost, or comes again over what it wrote later."""
    made, writer = afar
    lent, before = [moving.lent(machine) for machine in ("c1", "n1")], made.boot_id()
    assert [len(processes) for processes in lent] == [2, 2]
    writer.start()
    moving.cut("n1", "down")
    time.sleep(CUT_S)
    assert moving.service("n1")["state"] == "down" and made.state == ("ACTIVE", None)
    assert moving.volume(writer.file.name)["status"] == "in-use"
    moving.cut("n1", "up")
    writer.go_on()
    assert [moving.lent(machine) for machine in ("c1", "n1")] == lent
    until(lambda: moving.service("n1")["state"] == "up", "the node is back", 60)

    moving.kill("c1", "node")
    for processes in lent[0].values():
        os.kill(processes[0], signal.SIGKILL)
    writer.go_on()
    last, waited = writer.stop()
    assert CUT_S - 2 < waited < CUT_S + HEAL_S
    assert writer.written() == (str(last), writer.numbers(last))
    assert (made.run(f"echo 3 > /proc/sys/vm/drop_caches; {READ}"), made.run("dmesg | grep -c 'I/O error' || true"), made.boot_id()) == ("kept", "0", before)


def test_servers_of_a_node_that_is_lost_begin_anew_once_it_is_fenced(moving: Moving, guest: Guest, afar: tuple[Guest, Writer]) -> None:
    """Also one all of whose disks were lent to it: what it was told is written is there, and it writes no more once it is back."""
    if guest.host != "n1":
        move(guest, "n1")
    before = guest.boot_id()
    other, file = afar[0], afar[1].file
    writer = Writer(other, file, 1000)
    writer.start()
    answered = writer.last()
    moving.cut("n1", "down")
    until(lambda: moving.service("n1")["state"] == "down", "the node is down", 60)
    moving.tell_service("n1", forced_down=True)
    for server in (guest, other):
        server.act(evacuate={"host": "c1"})
    for server in (guest, other):
        server.wait("ACTIVE")
        assert server.host == "c1"
    after = guest.boot_id()
    assert after != before and {guest.id, other.id} <= moving.domains("n1")
    assert other.run(READ) == "kept" and moving.lent("c1") == {}
    found = writer.written()[1]
    assert found == writer.numbers(1000 + len(found)) and len(found) >= answered - 1000
    other.run("printf %-512s anew | dd of=/dev/vdb conv=fsync,notrunc 2>/dev/null")
    moving.cut("n1", "up")
    until(lambda: not {guest.id, other.id} & moving.domains("n1") and not moving.lent("n1"), "the former guests are removed where they came back", 90)
    assert guest.boot_id() == after and writer.written() == ("anew", found)
    moving.tell_service("n1", forced_down=False)
    until(lambda: moving.service("n1")["state"] == "up", "the node is back", 60)
    move(guest, "n1")
    assert guest.boot_id() == after


def test_a_server_whose_disks_are_all_lent_to_it_is_migrated_and_deleted(moving: Moving, afar: tuple[Guest, Writer]) -> None:
    made, writer = afar
    made.act(migrate={"host": "n1"})
    made.wait("VERIFY_RESIZE")
    assert made.host == "n1" and made.run(READ) == "kept"
    made.act(confirmResize=None)
    made.wait("ACTIVE")
    assert len(moving.lent("c1")) == len(moving.lent("n1")) == 2
    made.delete()
    until(lambda: not writer.file.exists(), "its volumes are gone", 60)
    assert moving.lent("c1") == moving.lent("n1") == {}


def test_a_volume_on_a_node_becomes_an_image(moving: Moving) -> None:
    disk = {"uuid": moving.image, "source_type": "image", "destination_type": "volume", "boot_index": 0, "volume_size": 1, "delete_on_termination": True}
    made = moving.boot("from-a-volume", "n1", block_device_mapping_v2=[disk], imageRef="")
    [attached] = moving.call("GET", f"{story.COMPUTE}/servers/{made.id}/os-volume_attachments")["volumeAttachments"]
    assert moving.call("GET", f"{story.VOLUME}/volumes/{attached['volumeId']}")["volume"]["os-vol-host-attr:host"].startswith("n1")
    asked = {"os-volume_upload_image": {"image_name": "of-a-volume", "force": True, "disk_format": "raw"}}
    image = moving.call("POST", f"{story.VOLUME}/volumes/{attached['volumeId']}/action", asked)["os-volume_upload_image"]["image_id"]
    until(lambda: moving.call("GET", f"/image/v2/images/{image}")["status"] == "active", "the image", 120)
    assert moving.call("GET", f"/image/v2/images/{image}")["size"] == 1 << 30
    made.delete()
