"""A server as libvirt's XML (libvirt.org/formatdomain.html). Built as a tree: no name or path is ever pasted into text."""

from __future__ import annotations

from pathlib import Path
from typing import Literal
from xml.etree.ElementTree import Element, SubElement, fromstring, register_namespace, tostring

from msgspec import Struct

from moln.compute.drivers.base import Card, Disk, ServerSpec
from moln.kernel.errors import BackendRefused

NAMESPACE = "https://moln.cloud/libvirt/1"
NAME_PREFIX = "moln-"
ROOT_PORTS = 16  # q35 plugs one device into each; the first boot needs about five
TCG_CPU = "Nehalem"  # the x86-64-v2 baseline that today's distributions ask for
CONSOLE_LOG = "console.log"
SERIAL_SOCKET = "serial"  # short: a unix socket's path has 107 bytes, and most are the home's
OFFLOADS = ("csum", "gso", "tso4", "tso6", "ecn", "ufo")

register_namespace("moln", NAMESPACE)


class RbdLook(Struct, frozen=True):
    """How QEMU reaches Ceph. conf: ceph.conf, which its user reads; user: without `client.`; secret: the id of libvirt's secret with the key."""

    conf: str
    user: str
    secret: str


class Look(Struct, frozen=True):
    """How this host wants its domains. kvm: hardware acceleration; cache: QEMU's disk cache mode; rbd: where disks may lie in Ceph.

    offloads: whether cards may leave checksums to the host: OVS's userspace datapath cannot compute them.
    """

    kvm: bool
    emulator: str
    arch: str = "x86_64"
    cache: str = "none"
    offloads: bool = True
    rbd: RbdLook | None = None


def domain_name(server_id: str) -> str:
    """The domain's name: never the user's."""
    return NAME_PREFIX + server_id


def disk_alias(disk_id: str) -> str:
    return f"ua-disk-{disk_id}"


def card_alias(port_id: str) -> str:
    return f"ua-card-{port_id}"


def tap_name(port_id: str) -> str:
    """The tap of a port: Linux allows 15 bytes, so the first 11 of its id (as Neutron's and Nova's are)."""
    return "tap" + port_id[:11]


def domain_xml(spec: ServerSpec, look: Look, folder: Path, config_drive: str | None) -> str:
    """The whole domain. folder: of the server, for its serial port. Raises: BackendRefused, for properties that no machine can have."""
    domain = Element("domain", type="kvm" if look.kvm else "qemu")
    _text(domain, "name", domain_name(spec.id))
    _text(domain, "uuid", spec.id)
    _text(domain, "title", _printable(spec.name) or spec.id)
    SubElement(SubElement(domain, "metadata"), f"{{{NAMESPACE}}}server", generation=str(spec.generation))
    _text(domain, "memory", str(spec.ram_mib), unit="MiB")
    _text(domain, "vcpu", str(spec.vcpus))
    _machine(domain, spec, look)
    devices = SubElement(domain, "devices")
    _text(devices, "emulator", look.emulator)
    SubElement(devices, "controller", type="pci", index="0", model="pcie-root")
    for index in range(1, ROOT_PORTS + 1):
        SubElement(devices, "controller", type="pci", index=str(index), model="pcie-root-port")
    SubElement(devices, "controller", type="usb", model="qemu-xhci" if any(disk.bus == "usb" for disk in spec.disks) else "none")
    media_bus: Literal["sata", "scsi"] = "sata" if spec.properties.get("hw_cdrom_bus") in ("sata", "ide") else "scsi"
    if media_bus == "scsi" or any(disk.bus == "scsi" for disk in spec.disks):
        SubElement(devices, "controller", type="scsi", index="0", model="virtio-scsi")
    for disk in spec.disks:
        devices.append(disk_element(disk, look))
    if config_drive is not None:
        devices.append(_config_drive(config_drive, media_bus, look))
    for card in spec.cards:
        devices.append(card_element(card, look))
    _fixed_devices(devices, folder, spec.properties)
    return tostring(domain, encoding="unicode")


def _machine(domain: Element, spec: ServerSpec, look: Look) -> None:
    """Firmware, identity, CPU and clock."""
    machine = spec.properties.get("hw_machine_type", "q35")
    if not (machine == "q35" or machine.startswith("pc-q35-")):
        raise BackendRefused("This host runs machines of type q35 only.", detail=repr(machine)[:100])
    system = SubElement(domain, "os")
    if spec.properties.get("hw_firmware_type", "bios") == "uefi":
        system.set("firmware", "efi")
    _text(system, "type", "hvm", arch=look.arch, machine=machine)
    SubElement(system, "smbios", mode="sysinfo")
    _sysinfo(domain, spec.id)
    features = SubElement(domain, "features")
    for feature in ("acpi", "apic"):
        SubElement(features, feature)
    if look.kvm:
        SubElement(domain, "cpu", mode="host-passthrough", check="none", migratable="on")
    else:
        cpu = SubElement(domain, "cpu", mode="custom", match="exact", check="none")
        _text(cpu, "model", TCG_CPU, fallback="forbid")
    clock = SubElement(domain, "clock", offset="utc")
    if look.kvm:  # emulated guests keep all timers: their TSC is often miscalibrated on a busy host
        SubElement(clock, "timer", name="pit", tickpolicy="delay")
        SubElement(clock, "timer", name="rtc", tickpolicy="catchup")
        SubElement(clock, "timer", name="hpet", present="no")
    for event, action in (("on_poweroff", "destroy"), ("on_reboot", "restart"), ("on_crash", "destroy")):
        _text(domain, event, action)


def _sysinfo(domain: Element, server_id: str) -> None:
    """SMBIOS: the id, and the product name by which cloud-init knows where to ask (ds-identify)."""
    sysinfo = SubElement(domain, "sysinfo", type="smbios")
    system = SubElement(sysinfo, "system")
    for name, value in (
        ("manufacturer", "Moln"),
        ("product", "OpenStack Compute"),
        ("serial", server_id),
        ("uuid", server_id),
        ("family", "Virtual Machine"),
    ):
        _text(system, "entry", value, name=name)
    chassis = SubElement(sysinfo, "chassis")
    _text(chassis, "entry", "OpenStack Compute", name="asset")


def disk_element(disk: Disk, look: Look) -> Element:
    """One `<disk>`: always raw and always said so, so that nothing a guest writes is ever taken for a format. Raises: BackendRefused."""
    kind, source = source_of(disk, look.rbd)
    element = Element("disk", type=kind, device=disk.medium)
    driver = SubElement(element, "driver", name="qemu", type="raw")
    if disk.medium == "disk":
        driver.set("cache", look.cache)
        driver.set("discard", "unmap")
        if look.cache in ("none", "directsync") and kind != "network":
            driver.set("io", "native")
    element.append(source)
    SubElement(element, "target", dev=disk.device, bus=disk.bus)
    if disk.read_only or disk.medium == "cdrom":
        SubElement(element, "readonly")
    if disk.serial:
        _text(element, "serial", disk.serial)
    if disk.boot_index is not None and disk.boot_index >= 0:
        SubElement(element, "boot", order=str(disk.boot_index + 1))
    SubElement(element, "alias", name=disk_alias(disk.id))
    return element


def source_of(disk: Disk, rbd: RbdLook | None = None) -> tuple[str, Element]:
    """Where a disk is: the `type` of its `<disk>`, and its `<source>`. Raises: BackendRefused, for what libvirt is not told here."""
    if disk.protocol == "nbd":
        source = Element("source", protocol="nbd")
        SubElement(source, "host", transport="unix", socket=disk.path)
        return "network", source
    if disk.protocol == "rbd" and rbd is not None:
        source = Element("source", protocol="rbd", name=disk.path)
        SubElement(source, "config", file=rbd.conf)
        SubElement(SubElement(source, "auth", username=rbd.user), "secret", type="ceph", uuid=rbd.secret)
        return "network", source
    if disk.protocol != "file":
        raise BackendRefused(f"This host opens no disks by {disk.protocol}.")
    if disk.path.startswith("/dev/"):
        return "block", Element("source", dev=disk.path)
    return "file", Element("source", file=disk.path)


def _config_drive(path: str, bus: Literal["sata", "scsi"], look: Look) -> Element:
    """A CD on virtio-scsi, for Debian's cloud kernels have no AHCI; apart from the disks, which fill target 0."""
    element = disk_element(Disk("config", path, "sdz", bus=bus, read_only=True, medium="cdrom"), look)
    if bus == "scsi":
        SubElement(element, "address", type="drive", controller="0", bus="0", target="1", unit="0")
    return element


def card_element(card: Card, look: Look) -> Element:
    """One `<interface>` on a tap that is there already, is ours, and stays when QEMU dies."""
    element = Element("interface", type="ethernet")
    SubElement(element, "mac", address=card.mac)
    SubElement(element, "target", dev=tap_name(card.port_id), managed="no")
    SubElement(element, "model", type=card.model)
    if card.model == "virtio" and not look.offloads:
        driver = SubElement(element, "driver", name="qemu")
        SubElement(driver, "host", dict.fromkeys(OFFLOADS, "off"))
        SubElement(driver, "guest", {name: "off" for name in OFFLOADS if name != "gso"})
    if card.mtu:
        SubElement(element, "mtu", size=str(card.mtu))
    SubElement(element, "rom", enabled="no")
    SubElement(element, "alias", name=card_alias(card.port_id))
    return element


def agent(properties: dict[str, str]) -> bool:
    """Whether the image says that there is a QEMU guest agent in it."""
    return properties.get("hw_qemu_guest_agent", "").lower() in ("1", "t", "true", "on", "y", "yes")


def _fixed_devices(devices: Element, folder: Path, properties: dict[str, str]) -> None:
    """Serial port on a socket that only root reaches, with a log that virtlogd bounds; a screen that listens nowhere; entropy, balloon, an agent's channel."""
    serial = SubElement(devices, "serial", type="unix")
    SubElement(serial, "source", mode="bind", path=str(folder / SERIAL_SOCKET))
    SubElement(serial, "log", file=str(folder / CONSOLE_LOG), append="on")
    SubElement(serial, "target", type="isa-serial", port="0")
    if agent(properties):
        channel = SubElement(devices, "channel", type="unix")
        SubElement(channel, "target", type="virtio", name="org.qemu.guest_agent.0")
    graphics = SubElement(devices, "graphics", type="vnc")
    SubElement(graphics, "listen", type="none")
    model = properties.get("hw_video_model", "vga")
    SubElement(SubElement(devices, "video"), "model", type=model if model in ("vga", "virtio", "cirrus") else "vga")
    rng = SubElement(devices, "rng", model="virtio")
    _text(rng, "backend", "/dev/urandom", model="random")
    SubElement(devices, "memballoon", model="virtio")


class Held(Struct, frozen=True):
    """What a domain's XML says is plugged in: each device's own XML under its id."""

    generation: int
    disks: dict[str, str]
    cards: dict[str, str]


def read_domain(xml: str) -> Held:
    """Read back what domain_xml wrote (from libvirt, never from a user)."""
    root = fromstring(xml)
    server = root.find(f"metadata/{{{NAMESPACE}}}server")
    held = Held(int(server.get("generation", "0")) if server is not None else 0, {}, {})
    for kind, prefix, into in (("disk", disk_alias(""), held.disks), ("interface", card_alias(""), held.cards)):
        for element in root.iterfind(f"devices/{kind}"):
            alias = element.find("alias")
            name = alias.get("name", "") if alias is not None else ""
            if name.startswith(prefix):
                into[name.removeprefix(prefix)] = tostring(element, encoding="unicode")
    return held


def _text(parent: Element, tag: str, text: str, **attributes: str) -> None:
    SubElement(parent, tag, attributes).text = text


def _printable(text: str) -> str:
    """XML 1.0 knows no control characters, and a title no line breaks."""
    return "".join(char for char in text if char.isprintable() and char < "\ufffe")[:255].strip()
