"""What lies among a host's servers and taps and is not the cloud's: for `moln doctor`, which tells and touches nothing."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable

import libvirt

from moln.compute.drivers.domain_xml import NAME_PREFIX, tap_name

TAP = re.compile(r"tap[0-9a-f]{8}-[0-9a-f]{2}")  # as tap_name gives it


def domains(connection: libvirt.virConnect) -> list[str]:
    """This libvirtd is ours alone: whatever else it holds was put there by hand."""
    return [f"the domain {domain.name()}" for domain in connection.listAllDomains() if not domain.name().startswith(NAME_PREFIX)]


def taps(plugged: Iterable[str]) -> list[str]:
    """Taps with names like ours that are in no switch on our behalf. plugged: the ports that are."""
    ours = {tap_name(port_id) for port_id in plugged}
    return [f"the tap {name}" for _, name in socket.if_nameindex() if TAP.fullmatch(name) and name not in ours]
