"""The XML with which a running server goes on elsewhere: other paths, the same machine."""

from __future__ import annotations

from pathlib import Path
from xml.etree.ElementTree import fromstring

from moln.compute.drivers.base import Card, Disk, ServerSpec
from moln.compute.drivers.domain_moves import moved_domain, targets_of
from moln.compute.drivers.domain_xml import Look, domain_xml, read_domain

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
    from xml.etree.ElementTree import tostring

    return tostring(fromstring(xml), encoding="unicode")


def test_the_names_of_the_disks_that_are_copied() -> None:
    xml = domain_xml(spec("/here/disks", 3), LOOK, Path("/here"), None)
    assert targets_of(xml, [DATA]) == ["vdb"]
    assert targets_of(xml, [ROOT, DATA]) == ["vda", "vdb"]
    assert targets_of(xml, []) == []
