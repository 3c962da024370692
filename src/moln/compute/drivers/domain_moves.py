"""A running domain's XML as another host is to have it: the same machine to the last slot, other paths."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from xml.etree.ElementTree import Element, fromstring, tostring

from moln.compute.drivers.base import Disk, ServerSpec
from moln.compute.drivers.domain_xml import CONSOLE_LOG, NAMESPACE, SERIAL_SOCKET, disk_alias, source_of

CONFIG = "config"


def moved_domain(xml: str, spec: ServerSpec, folder: Path, drive: str | None) -> str:
    """xml: from libvirt, of the source. spec: as the destination sees the server. folder: the server's there; drive: its config drive there."""
    root = fromstring(xml)
    server = root.find(f"metadata/{{{NAMESPACE}}}server")
    if server is not None:
        server.set("generation", str(spec.generation))
    there = {disk.id: disk for disk in (*spec.disks, *([Disk(CONFIG, drive, "")] if drive else []))}
    for held in root.iterfind("devices/disk"):
        disk = there.get(_id(held))
        if disk is not None and disk.protocol != "rbd":  # that is opened in the same place from everywhere
            _lies(held, disk)
    for name in ("serial", "console"):
        for port in root.iterfind(f"devices/{name}"):
            for tag, attribute, file in (("source", "path", SERIAL_SOCKET), ("log", "file", CONSOLE_LOG)):
                element = port.find(tag)
                if element is not None and element.get(attribute):
                    element.set(attribute, str(folder / file))
    return tostring(root, encoding="unicode")


def _lies(element: Element, disk: Disk) -> None:
    """A volume that is a file on the one host may be served on a socket on the other. What libvirt found out about it here is not told."""
    kind, source = source_of(disk)
    before = element.find("source")
    if before is None:
        return
    at = list(element).index(before)
    element.remove(before)
    element.insert(at, source)
    element.set("type", kind)
    driver = element.find("driver")
    if driver is not None and kind == "network":
        driver.attrib.pop("io", None)  # Linux's own I/O is to files


def targets_of(xml: str, disk_ids: Iterable[str]) -> list[str]:
    """The names (`vda`) by which libvirt knows those of these disks that must be copied: what lies in Ceph is there already."""
    wanted, found = set(disk_ids), []
    for disk in fromstring(xml).iterfind("devices/disk"):
        target = disk.find("target")
        if target is not None and _id(disk) in wanted and disk.get("type") != "network":
            found.append(target.get("dev", ""))
    return found


def _id(disk: Element) -> str:
    alias = disk.find("alias")
    return (alias.get("name", "") if alias is not None else "").removeprefix(disk_alias(""))
