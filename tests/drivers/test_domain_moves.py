"""The XML with which a running server goes on elsewhere: other paths, the same machine."""

from __future__ import annotations

from pathlib import Path
from xml.etree.ElementTree import fromstring, tostring

from msgspec.structs import replace

from moln.compute.drivers.base import Card, Disk, ServerSpec
from moln.compute.drivers.domain_moves import moved_domain, targets_of
from moln.compute.drivers.domain_xml import Look, RbdLook, domain_xml, read_domain

ROOT, DATA = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"
LOOK = Look(False, "/usr/bin/qemu-system-x86_64")


def spec(folder: str, generation: int) -> ServerSpec:
    disks = (Disk(ROOT, f"{folder}/{ROOT}", "vda", boot_index=0), Disk(DATA, f"{folder}/{DATA}", "vdb"))
    return ServerSpec("33333333-3333-4333-8333-333333333333", "vm", generation, 1, 128, disks, (Card("44444444-4444-4444-8444-444444444444", "fa:16:3e:00:00:01", "n"),), True)


def test_only_paths_and_the_generation_change() -> None:
    before = domain_xml(spec("/here/disks", 3), LOOK, Path("/here/servers/x"), "/here/servers/x/config.iso")
    after = moved_domain(before, spec("/there/disks", 4), Path("/there/servers/x"), "/there/servers/x/config.iso")
    assert "/here/" not in after
    assert read_domain(after).generation == 4
    assert after.replace("/there/", "/here/").replace('generation="4"', 'generation="3"') == fromstring_text(before)


def fromstring_text(xml: str) -> str:
    return tostring(fromstring(xml), encoding="unicode")


def test_the_names_of_the_disks_that_are_copied() -> None:
    xml = domain_xml(spec("/here/disks", 3), LOOK, Path("/here"), None)
    assert targets_of(xml, [DATA]) == ["vdb"]
    assert targets_of(xml, [ROOT, DATA]) == ["vda", "vdb"]
    assert targets_of(xml, []) == []


def test_a_volume_may_be_a_file_on_the_one_host_and_served_on_the_other() -> None:
    here, there = spec("/here/disks", 3), spec("/there/disks", 3)
    served = replace(there, disks=(there.disks[0], replace(there.disks[1], path="/run/served", protocol="nbd")))
    for before, after in ((here, served), (served, here)):
        moved = moved_domain(domain_xml(before, LOOK, Path("/x"), None), after, Path("/x"), None)
        assert sources(moved) == sources(domain_xml(after, LOOK, Path("/x"), None))


def sources(xml: str) -> list[str]:
    return [f"{disk.get('type')} {tostring(source, encoding='unicode').strip()}" for disk in fromstring(xml).iterfind("devices/disk") for source in disk.iterfind("source")]


def test_a_disk_in_ceph_is_copied_nowhere_and_stays_what_it_is() -> None:
    here, look = spec("/here/disks", 3), replace(LOOK, rbd=RbdLook("/etc/ceph/ceph.conf", "moln", ROOT))
    here = replace(here, disks=(replace(here.disks[0], path=f"vms/disk-{ROOT}", protocol="rbd"), here.disks[1]))
    before = domain_xml(here, look, Path("/here"), None)
    assert targets_of(before, [ROOT, DATA]) == ["vdb"]
    assert sources(moved_domain(before, here, Path("/there"), None)) == sources(before)
