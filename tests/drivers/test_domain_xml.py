"""What libvirt is told of a server: nothing of a user's is ever taken for XML, a format or a device."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, fromstring

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from moln.compute.drivers.base import Card, Disk, ServerSpec
from moln.compute.drivers.domain_xml import ROOT_PORTS, Look, RbdLook, domain_xml, read_domain, tap_name
from moln.kernel.errors import BackendRefused

EMULATED = Look(kvm=False, emulator="/usr/bin/qemu-system-x86_64", offloads=False)
SERVER, DISK, PORT = (f"{digit * 8}-0000-4000-8000-000000000000" for digit in "123")
SPEC = ServerSpec(
    SERVER, "one", 3, vcpus=2, ram_mib=512,
    disks=(Disk(DISK, "/pool/disks/x", "vda", serial="s", boot_index=0),),
    cards=(Card(PORT, "fa:16:3e:00:00:01", "net", 1442),),
)  # fmt: skip


def tree(spec: ServerSpec = SPEC, look: Look = EMULATED, drive: str | None = None) -> Element:
    return fromstring(domain_xml(spec, look, Path("/servers/one"), drive))


@given(st.text())
def test_any_name_makes_a_well_formed_domain_with_the_same_devices(name: str) -> None:
    plain, odd = tree(), tree(replace(SPEC, name=name))
    assert [e.tag for e in odd.iter()] == [e.tag for e in plain.iter()]
    assert odd.findtext("name") == f"moln-{SERVER}"


def test_what_is_plugged_in_is_read_back_with_its_generation() -> None:
    held = read_domain(domain_xml(SPEC, EMULATED, Path("/servers/one"), "/config.iso"))
    assert held.generation == 3
    assert set(held.disks) == {DISK, "config"}
    assert set(held.cards) == {PORT}


def test_every_disk_names_raw_as_its_format() -> None:
    domain = tree(drive="/config.iso")
    assert [driver.get("type") for driver in domain.iterfind("devices/disk/driver")] == ["raw", "raw"]


IN_CEPH = replace(SPEC, disks=(Disk(DISK, f"vms/disk-{DISK}", "vda", boot_index=0, protocol="rbd"),))


def test_a_disk_in_ceph_names_its_image_and_the_secret_but_no_key() -> None:
    look = replace(EMULATED, rbd=RbdLook("/etc/ceph/ceph.conf", "moln", SERVER))
    (disk,) = tree(IN_CEPH, look, None).iterfind("devices/disk")
    source, driver = disk.find("source"), disk.find("driver")
    assert source is not None and driver is not None
    assert (disk.get("type"), driver.get("type"), driver.get("io")) == ("network", "raw", None)
    assert source.attrib == {"protocol": "rbd", "name": f"vms/disk-{DISK}"}
    assert [(e.tag, e.attrib) for e in source.iter() if e is not source] == [
        ("config", {"file": "/etc/ceph/ceph.conf"}), ("auth", {"username": "moln"}), ("secret", {"type": "ceph", "uuid": SERVER}),
    ]  # fmt: skip


def test_a_host_without_ceph_refuses_such_a_disk() -> None:
    with pytest.raises(BackendRefused):
        tree(IN_CEPH)


def test_a_config_drive_is_read_only() -> None:
    cd = tree(drive="/config.iso").findall("devices/disk")[-1]
    assert cd.get("device") == "cdrom"
    assert cd.find("readonly") is not None


def test_there_is_room_for_devices_that_come_later() -> None:
    ports = [c for c in tree().iterfind("devices/controller") if c.get("model") == "pcie-root-port"]
    assert len(ports) == ROOT_PORTS >= 12


def test_taps_are_ours_and_stay_when_qemu_dies() -> None:
    target = tree().find("devices/interface/target")
    assert target is not None
    assert target.attrib == {"dev": tap_name(PORT), "managed": "no"}
    assert len(tap_name(PORT)) <= 15


def test_cards_compute_their_own_checksums_on_the_userspace_datapath_only() -> None:
    assert tree().find("devices/interface/driver/host[@csum='off']") is not None
    assert tree(look=replace(EMULATED, offloads=True)).find("devices/interface/driver") is None


def test_the_screen_listens_nowhere() -> None:
    (screen,) = tree().findall("devices/graphics")
    assert screen.attrib == {"type": "vnc"}
    assert [listen.attrib for listen in screen] == [{"type": "none"}]


def test_the_serial_port_is_a_socket_of_the_server_and_its_log_stays() -> None:
    (serial,) = tree().findall("devices/serial")
    source, log = serial.find("source"), serial.find("log")
    assert source is not None and log is not None
    assert source.attrib == {"mode": "bind", "path": "/servers/one/serial"}
    assert log.attrib == {"file": "/servers/one/console.log", "append": "on"}


@pytest.mark.parametrize(("kvm", "kind"), [(True, "kvm"), (False, "qemu")])
def test_hardware_is_used_where_it_works(kvm: bool, kind: str) -> None:
    assert tree(look=replace(EMULATED, kvm=kvm)).get("type") == kind


def test_a_machine_that_is_not_ours_is_refused() -> None:
    with pytest.raises(BackendRefused):
        tree(replace(SPEC, properties={"hw_machine_type": "q35' accel='kvm"}))


def test_a_block_device_is_opened_as_one() -> None:
    disk = tree(replace(SPEC, disks=(Disk(DISK, "/dev/vg/lv", "vda"),))).find("devices/disk")
    assert disk is not None
    assert disk.get("type") == "block"


def test_a_volume_of_another_host_is_opened_by_its_socket_and_nothing_else() -> None:
    disk = tree(replace(SPEC, disks=(Disk(DISK, "/run/libvirt/moln-volumes/x", "vda", protocol="nbd"),))).find("devices/disk")
    assert disk is not None and disk.get("type") == "network"
    source, driver = disk.find("source"), disk.find("driver")
    assert source is not None and source.attrib == {"protocol": "nbd"} and driver is not None
    assert [host.attrib for host in source] == [{"transport": "unix", "socket": "/run/libvirt/moln-volumes/x"}]
    assert driver.get("type") == "raw" and "io" not in driver.attrib


def test_a_protocol_that_this_host_does_not_speak_is_refused() -> None:
    with pytest.raises(BackendRefused, match="rbd"):
        tree(replace(SPEC, disks=(Disk(DISK, "pool/x", "vda", protocol="rbd"),)))


def test_an_agent_has_a_channel_where_the_image_says_so() -> None:
    def channels(**properties: str) -> list[str]:
        found = tree(replace(SPEC, properties=properties)).iterfind("devices/channel/target[@type='virtio']")
        return [target.get("name", "") for target in found]

    assert channels(hw_qemu_guest_agent="yes") == ["org.qemu.guest_agent.0"]
    assert channels(hw_qemu_guest_agent="no") == channels() == []


@pytest.mark.parametrize(("bus", "controllers"), [("virtio", ["none"]), ("usb", ["qemu-xhci"])])
def test_usb_is_there_for_a_disk_that_asks_for_it(bus: Any, controllers: list[str]) -> None:
    found = tree(replace(SPEC, disks=(Disk(DISK, "/disks/one", "sda", bus=bus),)))
    assert [c.get("model") for c in found.iterfind("devices/controller[@type='usb']")] == controllers
