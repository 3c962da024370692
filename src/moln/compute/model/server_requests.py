"""What a caller asks of a new server, once its form has been checked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

from msgspec import Struct

from moln.kernel.errors import Invalid

SourceType = Literal["blank", "image", "snapshot", "volume"]
DestinationType = Literal["local", "volume"]
DEVICE_NAME = re.compile(r"^(/dev/)?[a-zA-Z]+[0-9]*$")
BUSES = frozenset({"fdc", "ide", "sata", "scsi", "usb", "virtio", "xen", "lxc", "uml"})  # Nova's DiskBus


class NetworkRequest(Struct, frozen=True):
    """One card: on a network, or through a port that exists."""

    network_id: str | None = None
    port_id: str | None = None
    fixed_ip: str | None = None
    tag: str | None = None


class BlockDevice(Struct, frozen=True, kw_only=True):
    """One disk (compute api-ref, `block_device_mapping_v2`). source_id: of the image, snapshot or volume. size_gib: GiB."""

    source: SourceType
    destination: DestinationType
    source_id: str | None = None
    size_gib: int | None = None
    boot_index: int | None = None
    delete_on_termination: bool = False
    device: str | None = None
    tag: str | None = None
    volume_type: str | None = None
    guest_format: str | None = None

    @property
    def swap(self) -> bool:
        return self.destination == "local" and self.guest_format == "swap"


class InjectedFile(Struct, frozen=True):
    """A file for the config drive (`personality`). contents: base64, as it came; size: of what it holds, in bytes."""

    path: str
    contents: str
    size: int


class ServerRequest(Struct, frozen=True, kw_only=True):
    """POST /servers. networks: a list, "auto", "none", or None where an old microversion said nothing.

    zone, host, node: what `availability_zone` holds (`az:host:node`), or `host` and `hypervisor_hostname` (2.74).
    user_data: base64. security_groups: names or ids; None: the default group.
    """

    name: str
    flavor_ref: str
    image_ref: str | None = None
    networks: tuple[NetworkRequest, ...] | Literal["auto", "none"] | None = None
    block_devices: tuple[BlockDevice, ...] = ()
    metadata: dict[str, str] = {}
    security_groups: tuple[str, ...] | None = None
    key_name: str | None = None
    user_data: str | None = None
    config_drive: bool = False
    zone: str | None = None
    host: str | None = None
    node: str | None = None
    forced: bool = False
    min_count: int = 1
    max_count: int = 1
    description: str | None = None
    tags: tuple[str, ...] = ()
    hostname: str | None = None
    disk_config: str = "MANUAL"
    access_ip_v4: str | None = None
    access_ip_v6: str | None = None
    scheduler_hints: dict[str, Any] = {}
    admin_password: str = ""
    files: tuple[InjectedFile, ...] = ()


class Malformed(Invalid):
    """A block device mapping that makes no sense."""

    def __init__(self, details: str):
        super().__init__(f"Block Device Mapping is Invalid: {details}", field="block_device_mapping_v2")


def device_name(text: str) -> str:
    """`/dev/vdb`, with or without its folder. Raises: Malformed."""
    if not DEVICE_NAME.match(text) or len(text) > 255:
        raise Malformed("Device name contains spaces." if " " in text else f"Invalid device name: {text[:40]}")
    return text if text.startswith("/dev/") else f"/dev/{text}"


def check_boot_order(devices: Sequence[BlockDevice]) -> None:
    """Boot indexes must be 0, 1, 2… without a gap. Raises: Invalid."""
    indexes = sorted(d.boot_index for d in devices if d.boot_index is not None and d.boot_index >= 0)
    if not indexes or indexes != list(range(len(indexes))):
        raise Invalid(
            "Block Device Mapping is Invalid: Boot sequence for the instance and image/block device mapping combination is not valid.",
            field="block_device_mapping_v2",
        )


def split_zone(text: str | None) -> tuple[str | None, str | None, str | None]:
    """(zone, host, node) of `zone[:host[:node]]`. Raises: Invalid."""
    if not text or ":" not in text:
        return text or None, None, None
    parts = text.split(":")
    if len(parts) > 3:
        raise Invalid("Unable to parse availability_zone", field="availability_zone")
    zone, host, node = (*parts, "", "")[:3]
    return zone or None, host or None, node or None


def sanitize_hostname(name: str) -> str:
    """A host name made of a server's name: letters, digits, dots and dashes, 63 at most (nova.utils.sanitize_hostname)."""
    text = re.sub(r"[ _.]", "-", name)
    text = re.sub(r"[^a-zA-Z0-9-]", "", text).lower().strip("-")
    return text[:63].rstrip("-")
