"""Rescue: a server booted from another disk, its own beside it (compute guide, "Rescue an instance").

Two ways, as the rescue image's properties ask: the old one puts the rescue disk before the server's root disk and leaves the
others away; the stable one (`hw_rescue_bus`, `hw_rescue_device`) leaves every device at its name and adds one to boot from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from msgspec import Struct

from moln.kernel.errors import Invalid

Bus = Literal["virtio", "scsi", "sata", "usb"]
Medium = Literal["disk", "cdrom"]
BUS, DEVICE = "hw_rescue_bus", "hw_rescue_device"
BUSES: dict[str, Bus] = {"virtio": "virtio", "scsi": "scsi", "sata": "sata", "usb": "usb"}  # what a q35 machine has
MEDIA: dict[str, Medium] = {"disk": "disk", "cdrom": "cdrom"}
LETTERS = "abcdefghijklmnopqrstuvwxy"  # sdz is the config drive


class Rescue(Struct, frozen=True, gc=False):
    """The disk that is booted instead. image: the raw base that it begins as. stable: all other devices stay.

    admin_pass: for the config drive, until the server runs. left: disks of rescues that failed, still to be removed.
    """

    disk_id: str
    image: str
    bus: Bus = "virtio"
    medium: Medium = "disk"
    stable: bool = False
    admin_pass: str = ""
    left: tuple[str, ...] = ()

    @property
    def disk_ids(self) -> tuple[str, ...]:
        return (self.disk_id, *self.left)

    def device(self, taken: Sequence[str]) -> str:
        """The name of the disk: the first one that is free (`vda` in the old way, where nothing is taken)."""
        prefix = "vd" if self.bus == "virtio" else "sd"
        return next(name for letter in LETTERS if (name := f"{prefix}{letter}") not in taken)


def is_stable(properties: Mapping[str, str]) -> bool:
    return BUS in properties or DEVICE in properties


def hardware(properties: Mapping[str, str]) -> tuple[Bus, Medium]:
    """How the rescue disk is plugged in. Raises: Invalid, for what our machines do not have."""
    device = properties.get(DEVICE, "disk")
    bus = properties.get(BUS) or ("sata" if device == "cdrom" else "virtio")
    if device not in MEDIA:
        raise Invalid(f"Requested rescue device '{device[:64]}' is not supported", field="rescue_image_ref")
    if bus not in BUSES or (bus, device) == ("virtio", "cdrom"):
        raise Invalid(f"Requested rescue bus '{bus[:64]}' is not supported by the host for a {device}", field="rescue_image_ref")
    return BUSES[bus], MEDIA[device]
