"""Guests under libvirt: their counters, and words to the QEMU guest agent in them."""

from __future__ import annotations

from xml.etree.ElementTree import fromstring

import libvirt

from moln.compute.drivers import libvirt_domains as domains
from moln.compute.drivers.guests import CardNumbers, Diagnostics, DiskNumbers
from moln.compute.drivers.libvirt_link import LibvirtLink
from moln.kernel.errors import BackendRefused
from moln.kernel.files import known

#: What libvirt says where no agent answers: the guest runs none, or the domain has no channel to one.
NO_AGENT = {libvirt.VIR_ERR_AGENT_UNRESPONSIVE, libvirt.VIR_ERR_AGENT_UNSYNCED, libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED}


class LibvirtGuests:
    """Guests. hypervisor: `kvm` or `qemu`."""

    def __init__(self, link: LibvirtLink, hypervisor: str) -> None:
        self.link = link
        self.hypervisor = hypervisor

    async def find_diagnostics(self, server_id: str) -> Diagnostics | None:
        return await self.link.call(find_diagnostics, known(server_id), self.hypervisor)

    async def set_password(self, server_id: str, user: str, password: str) -> bool:
        return await self.link.call(set_password, known(server_id), user, password)


def find_diagnostics(connection: libvirt.virConnect, server_id: str, hypervisor: str) -> Diagnostics | None:
    """Blocks; raises libvirtError."""
    domain = domains.find(connection, server_id)
    if domain is None or domain.state()[0] != libvirt.VIR_DOMAIN_RUNNING:
        return None
    try:
        return _numbers(domain, hypervisor)
    except libvirt.libvirtError:
        if not domain.isActive():  # it stopped while we asked
            return None
        raise


def _numbers(domain: libvirt.virDomain, hypervisor: str) -> Diagnostics:
    _, most, used, _, _ = domain.info()
    devices = fromstring(domain.XMLDesc()).find("devices")
    assert devices is not None
    disks, cards = [], []
    for target in devices.iterfind("disk/target"):
        device = target.get("dev", "")
        reads, read, writes, written, errors = domain.blockStats(device)
        disks.append(DiskNumbers(device, read, reads, written, writes, max(errors, 0)))  # -1: not counted
    for card in devices.iterfind("interface"):
        tap, mac = card.find("target"), card.find("mac")
        if tap is not None and mac is not None:
            cards.append(CardNumbers(tap.get("dev", ""), mac.get("address", ""), *domain.interfaceStats(tap.get("dev", ""))))
    times = tuple(cpu[2] for cpu in domain.vcpus()[0])
    return Diagnostics("libvirt", hypervisor, times, most, used, domain.memoryStats(), tuple(disks), tuple(cards))


def _active(connection: libvirt.virConnect, server_id: str) -> libvirt.virDomain:
    """Raises: BackendRefused."""
    domain = domains.get(connection, server_id)
    if not domain.isActive():
        raise BackendRefused("The server does not run.")
    return domain


def set_password(connection: libvirt.virConnect, server_id: str, user: str, password: str) -> bool:
    """Blocks. Raises: BackendRefused; its text holds no more than libvirt's code, for a password must get into no log."""
    domain = _active(connection, server_id)
    try:
        domain.setUserPassword(user, password, 0)
    except libvirt.libvirtError as error:
        if error.get_error_code() in NO_AGENT:
            return False
        raise BackendRefused("The guest did not take the password.", detail=str(error.get_error_code())) from None
    return True
