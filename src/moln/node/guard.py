"""What the source of a server on its way may say to this host's libvirtd: what a migration of that one server takes, and nothing else.

libvirt's RPC (libvirt.org/kbase/internals/rpc.html): messages with their length before them, in XDR. Only calls that a migration consists of
pass, and of what the domain is to be like here only such files, sockets and devices as this host told. So whoever has the source can neither
read another server here nor have a QEMU do it.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import Iterator
from typing import Any
from xml.etree.ElementTree import Element, ParseError, fromstring

from msgspec import Struct

from moln.compute.drivers.domain_xml import domain_name
from moln.kernel.errors import BackendRefused
from moln.kernel.link.streams import STUCK_S

LENGTH, HEAD = struct.Struct(">I"), struct.Struct(">IIiiIi")  # program, version, procedure, type, serial, status
MOST = 4 << 20  # bytes of a message: a domain's XML twice, and much room
REMOTE, KEEPALIVE, CALL = (0x20008086, 1), (0x6B656570, 1), 0
OPEN, CLOSE, FEATURE, AUTH, PREPARE, FINISH, CLOSE_TOLD, CLOSE_UNTOLD = 1, 2, 60, 66, 303, 306, 360, 361
PROCEDURES = {OPEN, CLOSE, FEATURE, AUTH, PREPARE, FINISH, CLOSE_TOLD, CLOSE_UNTOLD}

NAME = "qemu:///system"  # of the only hypervisor

DEVICES = {"emulator", "disk", "controller", "interface", "serial", "console", "channel", "input", "graphics", "video", "audio", "watchdog",
           "memballoon", "rng"}  # fmt: skip
KINDS = {"disk": {"file", "block", "network"}, "interface": {"ethernet"}, "serial": {"unix"}, "console": {"unix"}, "channel": {"unix"}, "graphics": {"vnc"}}
BELOW = ("source/reservations", "source/slices", "backingStore/source", "mirror", "script", "downscript")
TEXTS, ATTRIBUTED, FILES = {"emulator", "loader", "nvram", "kernel", "initrd", "dtb"}, {"source", "log"}, {"file", "dev", "path", "dir", "socket"}
OWN = "http://libvirt.org/schemas/domain/"  # namespaces by which words reach QEMU's command line
COMMON = {"/dev/urandom", "/machine"}  # the latter is a control group
HYPERVISOR = ("/var/lib/libvirt/qemu/", "/usr/share/", "/usr/bin/qemu-system-", "/run/libvirt/qemu/")
"""Where libvirt puts what a domain has of its own, and the distribution firmware and QEMU itself."""

log = logging.getLogger("moln.node")


class Expected(Struct, frozen=True):
    """A server that may come. files: its disks (those in Ceph by pool/image) and its drive here, and ceph.conf. folder: its own. uris: where its QEMU may listen, for memory and disks."""

    server_id: str
    files: frozenset[str]
    folder: str
    uris: frozenset[str]


class Xdr:
    """Reads RFC 4506. Raises: BackendRefused, at the end."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, count: int) -> bytes:
        end = self.at + count
        if end > len(self.data):
            raise BackendRefused("A message ends before its time.")
        found, self.at = self.data[self.at : end], end
        return found

    def number(self) -> int:
        return int.from_bytes(self.take(4))

    def opaque(self) -> bytes:
        found = self.take(self.number())
        self.take(-len(found) % 4)
        return found

    def text(self) -> str:
        return self.opaque().decode("utf-8", "replace")

    def parameters(self) -> Iterator[tuple[str, Any]]:
        """libvirt's typed parameters; of those that are no text None."""
        for _ in range(self.number()):
            name, kind = self.text(), self.number()
            if kind == 7:
                yield name, self.text()
            else:
                self.take(8 if kind in (3, 4, 5) else 4)
                yield name, None


def check(message: bytes, expected: Expected) -> None:
    """message: without its length. Raises: BackendRefused."""
    if len(message) < HEAD.size:
        raise BackendRefused("A message is too short.")
    program, version, procedure, kind, _, _ = HEAD.unpack_from(message)
    if (program, version) == KEEPALIVE:
        return
    if (program, version) != REMOTE or kind != CALL or procedure not in PROCEDURES:
        raise BackendRefused(f"Procedure {procedure} of program {program:#x} is no part of a migration.")
    said = Xdr(message[HEAD.size :])
    if procedure == OPEN and (not said.number() or said.text() != NAME):
        raise BackendRefused("Another hypervisor than ours is asked for.")
    if procedure in (PREPARE, FINISH):
        _check_migration(said, expected)


def _check_migration(said: Xdr, expected: Expected) -> None:
    for name, value in said.parameters():
        if name.endswith("_xml"):
            check_domain(_parsed(value), expected)
        elif name.endswith("uri") and value not in expected.uris:
            raise BackendRefused("It would listen elsewhere than it may.")
        elif name in ("listen_address", "destination_name") and value != domain_name(expected.server_id):
            raise BackendRefused(f"It may not say its {name}.")
    if cookie := said.opaque().rstrip(b"\0"):
        root = _parsed(cookie.decode("utf-8", "replace"))
        for domain in root.iter("domain"):
            check_domain(domain, expected)


def _parsed(text: str | None) -> Element:
    if not text or "<!" in text:  # no declarations: nothing that grows
        raise BackendRefused("A domain is not described as it should be.")
    try:
        return fromstring(text)
    except ParseError:
        raise BackendRefused("A domain is not described as it should be.") from None


def check_domain(root: Element, expected: Expected) -> None:
    """Raises: BackendRefused, for one that is not the server, or has what is not its own."""
    if root.findtext("uuid") != expected.server_id or root.findtext("name") != domain_name(expected.server_id):
        raise BackendRefused("It is another server.")
    for element in root.iter():
        if element.tag.startswith(f"{{{OWN}"):
            raise BackendRefused("It has words for QEMU's command line.")
        for value in _files(element):
            if not _its_own(value, expected):
                raise BackendRefused("It has a file that is not its own.", detail=value[:200])
    for device in root.iterfind("devices/*"):
        if device.tag not in DEVICES or device.get("type") not in KINDS.get(device.tag, {device.get("type")}):
            raise BackendRefused(f"It has a {device.tag} that no server has here.", detail=str(device.attrib)[:200])
        if any(device.find(below) is not None for below in BELOW):
            raise BackendRefused(f"It has a {device.tag} of more than it may be.")
        if device.tag == "disk" and device.get("type") == "network":
            _check_served(device, expected)
        if any(listen.get("type") != "none" for listen in device.iterfind("listen")) or device.get("listen"):
            raise BackendRefused("It has a screen that listens.")
        if any(backend.get("model") != "random" for backend in device.iterfind("backend")):
            raise BackendRefused("It has entropy from elsewhere.")


def _check_served(disk: Element, expected: Expected) -> None:
    """A disk that is no file is a volume of another host, which this one serves on a socket that it told, or lies in Ceph. Raises: BackendRefused."""
    for source in disk.iterfind("source"):
        if _in_ceph(source, expected):
            continue
        inner = [(found.tag, {**found.attrib, "socket": found.get("socket", "") in expected.files}) for found in source]
        if source.attrib != {"protocol": "nbd"} or inner != [("host", {"transport": "unix", "socket": True})]:
            raise BackendRefused("It has a disk from elsewhere.", detail=str(source.attrib)[:200])


def _files(element: Element) -> Iterator[str]:
    """What libvirt or QEMU may open, or may take for a file."""
    text = "" if element.tag == "title" else (element.text or "").strip()  # the title is what its owner calls it
    if text and (element.tag in TEXTS or text.startswith("/")):
        yield text
    for name, value in element.attrib.items():
        if value.startswith("/") or (element.tag in ATTRIBUTED and name in FILES):
            yield value


def _in_ceph(source: Element, expected: Expected) -> bool:
    """One of its images, in the cluster that this host's own ceph.conf names."""
    if set(source.attrib) - {"index"} != {"protocol", "name"} or source.get("protocol") != "rbd" or source.get("name") not in expected.files:
        return False
    return sorted(inner.tag for inner in source) == ["auth", "config"]


def _its_own(path: str, expected: Expected) -> bool:
    if path in expected.files or path in COMMON:
        return True
    return ".." not in path and (path.startswith(HYPERVISOR) or path.startswith(f"{expected.folder}/"))


async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, expected: Expected) -> None:
    """From a source to our libvirtd, until the source's end, or what it may not say. Raises: OSError, BackendRefused."""
    try:
        while True:
            length = LENGTH.unpack(await reader.readexactly(LENGTH.size))[0]
            if not LENGTH.size < length <= MOST:
                raise BackendRefused("A message is too long.")
            message = await reader.readexactly(length - LENGTH.size)
            check(message, expected)
            writer.write(LENGTH.pack(length) + message)
            async with asyncio.timeout(STUCK_S):
                await writer.drain()
    except asyncio.IncompleteReadError:
        pass  # it has hung up
    except BackendRefused as refused:
        log.warning("the source of server %s was refused: %s %s", expected.server_id, refused.message, refused.detail or "")
        raise
