"""What the source of a server on its way may say to the destination's libvirtd: messages as libvirt writes them, one wrong thing in each."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from msgspec import structs

from moln.compute.drivers.base import Card, Disk, ServerSpec
from moln.compute.drivers.domain_moves import moved_domain
from moln.compute.drivers.domain_xml import Look, RbdLook, domain_xml
from moln.kernel.errors import BackendRefused
from moln.node.guard import AUTH, CALL, CLOSE, FINISH, HEAD, KEEPALIVE, LENGTH, OPEN, PREPARE, REMOTE, Expected, check, pass_on

SERVER = "bbbbbbbb-0000-4000-8000-000000000001"
FOLDER = Path("/var/lib/moln/host/node/servers") / SERVER
DISKS = (Disk("d1", "/var/lib/moln/pool/disks/d1", "vda", boot_index=0),)
SPEC = ServerSpec(SERVER, "vm", 2, 1, 128, DISKS, (Card("p1", "fa:16:3e:00:00:01", "n1"),), config_drive=True)
DRIVE = str(FOLDER / "config.iso")
MEMORY, COPIES = (f"unix:///run/libvirt/moln/{SERVER}-{what}" for what in "md")
EXPECTED = Expected(SERVER, frozenset({DISKS[0].path, DRIVE}), str(FOLDER), frozenset({MEMORY, COPIES}))


def xml() -> str:
    """As it leaves a source where everything lies elsewhere."""
    elsewhere = ServerSpec(SERVER, "vm", 1, 1, 128, (Disk("d1", "/srv/pool/disks/d1", "vda", boot_index=0),), SPEC.cards, config_drive=True)
    return moved_domain(domain_xml(elsewhere, Look(False, "/usr/bin/qemu-system-x86_64"), Path("/srv/x"), "/srv/x/config.iso"), SPEC, FOLDER, DRIVE)


def opaque(data: bytes) -> bytes:
    return len(data).to_bytes(4) + data + bytes(-len(data) % 4)


def call(procedure: int, arguments: bytes = b"", program: tuple[int, int] = REMOTE, kind: int = CALL) -> bytes:
    return HEAD.pack(*program, procedure, kind, 7, 0) + arguments


def migration(procedure: int = PREPARE, cookie: str = "", **parameters: str | int) -> bytes:
    said = len(parameters).to_bytes(4)
    for name, value in parameters.items():
        said += opaque(name.encode())
        said += (7).to_bytes(4) + opaque(value.encode()) if isinstance(value, str) else (4).to_bytes(4) + value.to_bytes(8)
    return call(procedure, said + opaque(cookie.encode() + b"\0" if cookie else b"") + (91).to_bytes(4))


def opened(name: str | None) -> bytes:
    """Arguments of the call that opens a connection; its name is optional."""
    return (bytes(4) if name is None else (1).to_bytes(4) + opaque(name.encode())) + bytes(4)


@pytest.mark.parametrize("name", [None, "", "lxc:///system", "qemu+ext:///system?command=/bin/sh", "qemu:///system?x"])
def test_no_other_hypervisor_is_opened(name: str | None) -> None:
    with pytest.raises(BackendRefused):
        check(call(OPEN, opened(name)), EXPECTED)


def test_a_server_may_be_called_like_a_file() -> None:
    named = xml().replace("<title>vm</title>", "<title>/etc/shadow</title>")
    assert named != xml()
    check(migration(destination_xml=named), EXPECTED)


def test_a_migration_passes() -> None:
    for message in (call(AUTH), call(OPEN, opened("qemu:///system")), call(1, program=KEEPALIVE, kind=2), call(CLOSE)):
        check(message, EXPECTED)
    cookie = f"<qemu-migration><name>x</name>{xml()}</qemu-migration>"
    check(migration(destination_xml=xml(), migrate_uri=MEMORY, disks_uri=COPIES, bandwidth=5, migrate_disks="vda", cookie=cookie), EXPECTED)
    check(migration(FINISH, destination_xml=xml()), EXPECTED)


@pytest.mark.parametrize("procedure", [0, 3, 23, 103, 106, 211, 302, 305, 307, 10_000])
def test_no_other_procedure_passes(procedure: int) -> None:
    with pytest.raises(BackendRefused, match="no part of a migration"):
        check(call(procedure), EXPECTED)


@pytest.mark.parametrize(("program", "kind"), [((0x20008087, 1), 0), ((0x20008088, 1), 0), (REMOTE, 3), (REMOTE, 4), ((0x20008086, 2), 0)])
def test_no_other_program_and_no_stream_passes(program: tuple[int, int], kind: int) -> None:
    with pytest.raises(BackendRefused):
        check(call(PREPARE, program=program, kind=kind), EXPECTED)


@pytest.mark.parametrize("wrong", [
    {"migrate_uri": "tcp://0.0.0.0:49152"}, {"disks_uri": f"unix:///run/libvirt/moln/{SERVER}-x"}, {"graphics_uri": "vnc://192.0.2.9"},
    {"listen_address": "0.0.0.0"}, {"destination_name": "moln-another"}, {"destination_xml": ""}, {"destination_xml": "<domain"},
    {"destination_xml": "<!DOCTYPE x [<!ENTITY a 'b'>]><domain/>"},
])  # fmt: skip
def test_it_listens_and_is_called_as_was_said(wrong: dict[str, str]) -> None:
    with pytest.raises(BackendRefused):
        check(migration(**wrong), EXPECTED)


CHANGES = {
    "another server's disk": (DISKS[0].path, "/var/lib/moln/pool/disks/d2"),
    "a file of the host": (DISKS[0].path, "/etc/shadow"),
    "out of its folder": (str(FOLDER / "serial"), str(FOLDER / "../other/serial")),
    "beside its folder": (str(FOLDER / "serial"), f"{FOLDER}x/serial"),
    "another program": ("/usr/bin/qemu-system-x86_64", "/bin/sh"),
    "another id": (f"<uuid>{SERVER}</uuid>", "<uuid>cccccccc-0000-4000-8000-000000000001</uuid>"),
    "another name": (f"<name>moln-{SERVER}</name>", "<name>moln-x</name>"),
    "a device of the host": ("<devices>", "<devices><hostdev mode='subsystem' type='pci'/>"),
    "a folder of the host": ("<devices>", "<devices><filesystem type='mount'><source dir='x'/></filesystem>"),
    "a network disk": ('<disk type="file"', '<disk type="network"'),
    "a card on the host": ('<interface type="ethernet"', '<interface type="direct"'),
    "a serial port on the network": ('<serial type="unix"', '<serial type="tcp"'),
    "QEMU's command line": ("</devices>", "</devices><q:commandline xmlns:q='http://libvirt.org/schemas/domain/qemu/1.0'><q:arg value='-x'/></q:commandline>"),
    "a file by another way": (DISKS[0].path, "etc/shadow"),
    "a program by another way": ("/usr/bin/qemu-system-x86_64", "bin/sh"),
    "a kernel of the host": ("<os>", "<os><kernel>boot/vmlinuz</kernel>"),
    "a script": ('<mac address', '<script path="bin/sh"/><mac address'),
    "a screen that listens": ('<listen type="none"', '<listen type="address" address="0.0.0.0"'),
    "a screen that listens by another way": ('<graphics type="vnc"', '<graphics type="vnc" listen="0.0.0.0"'),
    "entropy from the network": ('<backend model="random">/dev/urandom', '<backend model="egd">'),
    "a backing file": ('<target dev="vda"', '<backingStore type="file"><source file="relative"/></backingStore><target dev="vda"'),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("where", ["destination_xml", "cookie"])
def test_the_domain_has_what_is_its_own(change: str, where: str) -> None:
    before, after = CHANGES[change]
    assert before in xml()
    changed = xml().replace(before, after)
    with pytest.raises(BackendRefused):
        check(migration(**{where: changed}), EXPECTED)


SERVED = "/run/libvirt/moln-volumes/22222222-2222-4222-8222-222222222222"


def served(change: tuple[str, str] = ("", "")) -> str:
    """The server with a volume that lies in a file on its source, and is served to its destination on a socket."""
    volume = Disk("v1", "/srv/pool/volumes/v1", "vdb")
    before = domain_xml(structs.replace(SPEC, disks=(*DISKS, volume)), Look(False, "/usr/bin/qemu-system-x86_64"), FOLDER, DRIVE)
    after = structs.replace(SPEC, disks=(*DISKS, structs.replace(volume, path=SERVED, protocol="nbd")))
    there = moved_domain(before, after, FOLDER, DRIVE)
    assert change[0] in there and "/srv/" not in there
    return there.replace(*change) if change[0] else there


def test_a_volume_that_this_host_serves_passes() -> None:
    told = structs.replace(EXPECTED, files=EXPECTED.files | {SERVED})
    check(migration(destination_xml=served(), cookie=f"<qemu-migration>{served()}</qemu-migration>"), told)


@pytest.mark.parametrize("change", [
    ("", ""),  # it was not told of this one
    (SERVED, "/run/libvirt/libvirt-sock"), (SERVED, "run/other"), ('transport="unix"', 'transport="tcp" name="192.0.2.9" port="10809"'), ('protocol="nbd"', 'protocol="http"'),
    ('protocol="nbd"', 'protocol="nbd" name="/etc/shadow"'), ('protocol="nbd"', 'protocol="nbd" name="x" tls="yes"'),
    ("<host ", '<host name="192.0.2.9" port="10809"/><host '), ("<host ", '<auth username="x"><secret type="ceph" usage="y"/></auth><host '),
    (f'<host transport="unix" socket="{SERVED}" />', ""),
])  # fmt: skip
def test_no_other_disk_of_a_network_passes(change: tuple[str, str]) -> None:
    told = EXPECTED if change == ("", "") else structs.replace(EXPECTED, files=EXPECTED.files | {SERVED})
    with pytest.raises(BackendRefused):
        check(migration(destination_xml=served(change)), told)


def test_what_is_cut_short_does_not_pass() -> None:
    whole = migration(destination_xml=xml())
    for length in (0, 10, HEAD.size + 3, HEAD.size + 40, len(whole) - 8):
        with pytest.raises(BackendRefused):
            check(whole[:length], EXPECTED)


class Heard:
    """A libvirtd's end."""

    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes) -> None:
        self.data += data

    async def drain(self) -> None:
        pass


async def test_messages_pass_whole_until_the_first_that_may_not() -> None:
    first, second = (LENGTH.pack(LENGTH.size + len(m)) + m for m in (call(AUTH), call(103)))
    reader, heard = asyncio.StreamReader(), Heard()
    reader.feed_data(first + second + first)
    with pytest.raises(BackendRefused):
        await pass_on(reader, heard, EXPECTED)  # type: ignore[arg-type]
    assert heard.data == first


@pytest.mark.parametrize("length", [0, 4, 5 << 20, (1 << 32) - 1])
async def test_no_message_is_longer_than_it_may_be(length: int) -> None:
    reader, heard = asyncio.StreamReader(), Heard()
    reader.feed_data(length.to_bytes(4))
    with pytest.raises(BackendRefused, match="too long"):
        await pass_on(reader, heard, EXPECTED)  # type: ignore[arg-type]
    assert heard.data == b""


IMAGE, CEPH_CONF = "vms/disk-d1", "/etc/ceph/ceph.conf"
IN_CEPH = Expected(SERVER, frozenset({IMAGE, CEPH_CONF, DRIVE}), str(FOLDER), frozenset({MEMORY, COPIES}))


def in_ceph() -> str:
    look = Look(False, "/usr/bin/qemu-system-x86_64", rbd=RbdLook(CEPH_CONF, "moln", "cccccccc-0000-4000-8000-000000000002"))
    there = structs.replace(SPEC, disks=(Disk("d1", IMAGE, "vda", boot_index=0, protocol="rbd"),))
    return domain_xml(there, look, FOLDER, DRIVE)


def test_a_migration_with_a_disk_in_ceph_passes() -> None:
    check(migration(destination_xml=in_ceph()), IN_CEPH)


@pytest.mark.parametrize(("before", "after"), [
    (IMAGE, "vms/disk-d2"), ('protocol="rbd"', 'protocol="nbd"'), (CEPH_CONF, "/tmp/ceph.conf"),
    ("<config ", "<host name='192.0.2.9' port='3300'/><config "), (f'<config file="{CEPH_CONF}" />', ""), ("<config ", "<snapshot name='s'/><config "),
])  # fmt: skip
def test_a_disk_in_ceph_is_its_own_and_in_the_cluster_that_is_known_here(before: str, after: str) -> None:
    changed = in_ceph().replace(before, after)
    assert changed != in_ceph()
    with pytest.raises(BackendRefused):
        check(migration(destination_xml=changed), IN_CEPH)
