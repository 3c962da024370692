"""Images without data that say which snapshots or volumes a server boots from: `block_device_mapping` among their properties."""

from __future__ import annotations

from typing import Any

import msgspec

from moln.compute.model.server_requests import BlockDevice, Malformed
from moln.compute.model.servers import Attached
from moln.image.model.images import Image, ImageStatus

SOURCES = ("blank", "image", "snapshot", "volume")


def of_snapshot(attached: Attached, snapshot_id: str, size_gib: int) -> dict[str, Any]:
    """The mapping that brings a volume back from its snapshot, as Nova writes it."""
    return {
        "source_type": "snapshot", "destination_type": "volume", "snapshot_id": snapshot_id, "volume_id": None, "image_id": None,
        "volume_size": size_gib, "device_name": attached.device, "boot_index": attached.boot_index,
        "delete_on_termination": attached.delete_on_termination, "device_type": "disk", "disk_bus": "virtio", "guest_format": None,
        "no_device": None, "tag": attached.tag, "volume_type": None,
    }  # fmt: skip


def properties(mappings: list[dict[str, Any]], root_device: str) -> dict[str, str]:
    return {"bdm_v2": "True", "root_device_name": root_device, "block_device_mapping": msgspec.json.encode(mappings).decode()}


def maps(image: Image) -> bool:
    """Whether it has no data of its own, and says which volumes to boot from instead."""
    return not image.size and image.status is ImageStatus.ACTIVE and bool(image.properties.get("block_device_mapping"))


def devices(image: Image) -> tuple[BlockDevice, ...]:
    """What the image says; nothing for an ordinary one. Raises: Malformed."""
    text = image.properties.get("block_device_mapping")
    if not text:
        return ()
    try:
        mappings = msgspec.json.decode(text, type=list[dict[str, Any]])
    except msgspec.DecodeError:
        raise Malformed("The image's block_device_mapping cannot be read.") from None
    return tuple(_device(m) for m in mappings if not m.get("no_device"))


def merged(own: tuple[BlockDevice, ...], asked: list[BlockDevice]) -> list[BlockDevice]:
    """The image's devices and the caller's, whose boot indexes win; but for the image itself as a local root, which clients add."""
    if any(d.boot_index == 0 for d in own):
        asked = [d for d in asked if not (d.source == "image" and d.boot_index == 0)]
    taken = {d.boot_index for d in asked if d.boot_index is not None}
    return [*(d for d in own if d.boot_index not in taken), *asked]


def _device(mapping: dict[str, Any]) -> BlockDevice:
    """Raises: Malformed. Whoever made the image wrote this: nothing in it is taken for granted."""
    source = mapping.get("source_type")
    destination = mapping.get("destination_type") or ("local" if source == "blank" else "volume")
    source_id, size, index = mapping.get(f"{source}_id"), mapping.get("volume_size"), mapping.get("boot_index")
    if source not in SOURCES or destination not in ("local", "volume"):
        raise Malformed("The image's block_device_mapping has no known source or destination.")
    if source != "blank" and not isinstance(source_id, str):
        raise Malformed("The image's block_device_mapping names no source.")
    if any(not isinstance(n, int | None) or isinstance(n, bool) for n in (size, index)) or isinstance(size, int) and size < 1:
        raise Malformed("The image's block_device_mapping has a size or boot index that is no number.")
    tag, volume_type, form = (v if isinstance(v := mapping.get(k), str) else None for k in ("tag", "volume_type", "guest_format"))
    return BlockDevice(
        source=source, destination=destination, source_id=source_id, size_gib=size, boot_index=index if index is not None and index >= 0 else None,
        delete_on_termination=mapping.get("delete_on_termination") is True, tag=tag, volume_type=volume_type, guest_format=form,
    )  # fmt: skip
