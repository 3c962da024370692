"""What is asked of libvirt in one call each: plain functions of an open connection. They block, and raise libvirtError."""

from __future__ import annotations

import contextlib
from typing import Literal
from xml.etree.ElementTree import Element, fromstring, tostring

import libvirt

from moln.compute.drivers import libvirt_grown
from moln.compute.drivers.base import Power, ServerState
from moln.compute.drivers.domain_xml import NAME_PREFIX, Held, read_domain
from moln.kernel.errors import BackendRefused

Kind = Literal["disks", "cards"]
LIVE = libvirt.VIR_DOMAIN_AFFECT_LIVE
CONFIG = libvirt.VIR_DOMAIN_AFFECT_CONFIG
INACTIVE = libvirt.VIR_DOMAIN_XML_INACTIVE
POWERS: dict[int, Power] = {
    libvirt.VIR_DOMAIN_NOSTATE: "running",
    libvirt.VIR_DOMAIN_RUNNING: "running",
    libvirt.VIR_DOMAIN_BLOCKED: "running",
    libvirt.VIR_DOMAIN_SHUTDOWN: "running",
    libvirt.VIR_DOMAIN_PMSUSPENDED: "running",
    libvirt.VIR_DOMAIN_PAUSED: "paused",
    libvirt.VIR_DOMAIN_SHUTOFF: "stopped",
    libvirt.VIR_DOMAIN_CRASHED: "crashed",
}
COMING = {libvirt.VIR_DOMAIN_PAUSED_MIGRATION, libvirt.VIR_DOMAIN_PAUSED_STARTING_UP}
"""Why a guest stands still that does not run here yet: it is on its way to here, or its QEMU has just begun to wait for it."""
FELL = {libvirt.VIR_DOMAIN_SHUTOFF_CRASHED, libvirt.VIR_DOMAIN_SHUTOFF_FAILED}
UNDEFINE = (
    libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
    | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
    | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
)


def find(connection: libvirt.virConnect, server_id: str) -> libvirt.virDomain | None:
    try:
        return connection.lookupByUUIDString(server_id)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            return None
        raise


def get(connection: libvirt.virConnect, server_id: str) -> libvirt.virDomain:
    """Raises: BackendRefused."""
    domain = find(connection, server_id)
    if domain is None:
        raise BackendRefused("There is no such server on this host.")
    return domain


# ---- looking


def find_state(connection: libvirt.virConnect, server_id: str) -> ServerState | None:
    domain = find(connection, server_id)
    return _state_of(domain) if domain is not None else None


def list_states(connection: libvirt.virConnect) -> list[ServerState]:
    states = []
    for domain in connection.listAllDomains():
        if domain.name().startswith(NAME_PREFIX):
            with contextlib.suppress(libvirt.libvirtError):  # it went while we looked
                states.append(_state_of(domain))
    return states


def _state_of(domain: libvirt.virDomain) -> ServerState:
    state, reason = domain.state()
    power = POWERS.get(state, "crashed")
    if state == libvirt.VIR_DOMAIN_PAUSED and reason in COMING:
        power = "stopped"
    if state == libvirt.VIR_DOMAIN_SHUTOFF and reason in FELL:
        power = "crashed"
    return ServerState(domain.UUIDString(), power, read_domain(domain.XMLDesc(INACTIVE)).generation)


def held(connection: libvirt.virConnect, server_id: str) -> Held:
    """What is plugged into a running server. Raises: BackendRefused."""
    return read_domain(get(connection, server_id).XMLDesc())


def open_screen(connection: libvirt.virConnect, server_id: str) -> int:
    """A new connection to QEMU's VNC server, which listens nowhere; the caller closes it. Raises: BackendRefused."""
    fd: int = _running(connection, server_id).openGraphicsFD(0, libvirt.VIR_DOMAIN_OPEN_GRAPHICS_SKIPAUTH)
    return fd


def serial_socket(connection: libvirt.virConnect, server_id: str) -> str:
    """Where QEMU serves the first serial port. Raises: BackendRefused."""
    source = fromstring(_running(connection, server_id).XMLDesc()).find("devices/serial[@type='unix']/source")
    path = source.get("path") if source is not None else None
    if not path:
        raise BackendRefused("The server was started by an older Moln: its serial console is there after a hard reboot.")
    return path


def _running(connection: libvirt.virConnect, server_id: str) -> libvirt.virDomain:
    domain = get(connection, server_id)
    if not domain.isActive():
        raise BackendRefused("The server does not run.")
    return domain


def is_off(connection: libvirt.virConnect, server_id: str) -> bool:
    domain = find(connection, server_id)
    return domain is None or not domain.isActive()


# ---- power


def define(connection: libvirt.virConnect, xml: str) -> None:
    connection.defineXMLFlags(xml, libvirt.VIR_DOMAIN_DEFINE_VALIDATE)


def start(connection: libvirt.virConnect, server_id: str, paused: bool, memory: bool = False) -> None:
    """memory: run on from the memory that was kept, if there is any; else it is forgotten."""
    domain = get(connection, server_id)
    if not domain.isActive():
        domain.createWithFlags((libvirt.VIR_DOMAIN_START_PAUSED if paused else 0) | (0 if memory else libvirt.VIR_DOMAIN_START_FORCE_BOOT))


def keep_memory(connection: libvirt.virConnect, server_id: str) -> None:
    """Stop a server that is on, its memory kept in libvirt's own folder. Raises: BackendRefused, when it is off and nothing is kept."""
    domain = get(connection, server_id)
    if domain.isActive():
        domain.managedSave(libvirt.VIR_DOMAIN_SAVE_RUNNING)
    elif not domain.hasManagedSaveImage():
        raise BackendRefused("The server does not run.")


def inject_nmi(connection: libvirt.virConnect, server_id: str) -> None:
    """Raises: BackendRefused."""
    _running(connection, server_id).injectNMI()


def ask_to_shut_down(connection: libvirt.virConnect, server_id: str) -> None:
    """Press the power button of a running server."""
    domain = find(connection, server_id)
    if domain is not None and domain.isActive() and domain.state()[0] == libvirt.VIR_DOMAIN_RUNNING:
        with contextlib.suppress(libvirt.libvirtError):  # no ACPI in the guest: its power will be cut
            domain.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN)


def cut_power(connection: libvirt.virConnect, server_id: str) -> None:
    domain = find(connection, server_id)
    if domain is not None and domain.isActive():
        _cut(domain)


def _cut(domain: libvirt.virDomain) -> None:
    """A domain that went by itself meanwhile is off too."""
    try:
        domain.destroy()
    except libvirt.libvirtError as error:
        if error.get_error_code() not in (libvirt.VIR_ERR_OPERATION_INVALID, libvirt.VIR_ERR_NO_DOMAIN):
            raise


def set_paused(connection: libvirt.virConnect, server_id: str, paused: bool) -> None:
    """Of a server that is on. Raises: BackendRefused."""
    domain = get(connection, server_id)
    state = domain.state()[0]
    if paused and state == libvirt.VIR_DOMAIN_RUNNING:
        domain.suspend()
    elif not paused and state == libvirt.VIR_DOMAIN_PAUSED:
        domain.resume()


def is_running(connection: libvirt.virConnect, server_id: str) -> bool:
    domain = find(connection, server_id)
    return domain is not None and domain.state()[0] == libvirt.VIR_DOMAIN_RUNNING


def remove(connection: libvirt.virConnect, server_id: str) -> Held | None:
    """Cut its power and forget it. Returns what was plugged in."""
    domain = find(connection, server_id)
    if domain is None:
        return None
    had = read_domain(domain.XMLDesc(INACTIVE))
    if domain.isActive():
        had.cards.update(read_domain(domain.XMLDesc()).cards)
        _cut(domain)
    domain.undefineFlags(UNDEFINE)
    return had


# ---- devices


def plug(connection: libvirt.virConnect, server_id: str, kind: Kind, id: str, element: Element) -> None:
    """Into the definition, and into the running server. Raises: BackendRefused, when there is no such server."""
    domain = get(connection, server_id)
    xml = tostring(element, encoding="unicode")
    if _device(domain, kind, id, INACTIVE) is None:
        domain.attachDeviceFlags(xml, CONFIG)
    if domain.isActive() and _device(domain, kind, id) is None:
        domain.attachDeviceFlags(xml, LIVE)


def forget_device(connection: libvirt.virConnect, server_id: str, kind: Kind, id: str) -> None:
    """Out of the definition."""
    domain = find(connection, server_id)
    xml = _device(domain, kind, id, INACTIVE) if domain is not None else None
    if domain is not None and xml is not None:
        domain.detachDeviceFlags(xml, CONFIG)


def ask_to_unplug(connection: libvirt.virConnect, server_id: str, kind: Kind, id: str) -> None:
    """Ask a running guest to let go of a device."""
    domain = find(connection, server_id)
    if domain is not None and domain.isActive():
        xml = _device(domain, kind, id)
        if xml is not None:
            with contextlib.suppress(libvirt.libvirtError):  # "already in the process of unplug"
                domain.detachDeviceFlags(xml, LIVE)


def is_unplugged(connection: libvirt.virConnect, server_id: str, kind: Kind, id: str) -> bool:
    domain = find(connection, server_id)
    return domain is None or not domain.isActive() or _device(domain, kind, id) is None


def resize_disk(connection: libvirt.virConnect, server_id: str, disk_id: str, size_bytes: int) -> None:
    """Tell a running guest the new size of a disk that has grown. Raises: BackendRefused."""
    domain = find(connection, server_id)
    xml = _device(domain, "disks", disk_id) if domain is not None and domain.isActive() else None
    if domain is not None and xml is not None:
        libvirt_grown.grow(domain, fromstring(xml), size_bytes)


def _device(domain: libvirt.virDomain, kind: Kind, id: str, flags: int = 0) -> str | None:
    """A device's own XML in the running domain, or in its definition (INACTIVE)."""
    found: dict[str, str] = getattr(read_domain(domain.XMLDesc(flags)), kind)
    return found.get(id)
