"""Which content may come under which `disk_format`, and by which name QEMU's tools are told of it."""

from __future__ import annotations

#: disk_format → what the sniffer may find. `gpt` is any disk with a partition table; a raw disk may hold an ISO or LUKS.
#: Formats that qemu's tools would follow into other files are never raw (OSSA-2024-002).
MAY_HOLD: dict[str, frozenset[str]] = {
    "raw": frozenset({"raw", "gpt", "iso", "luks"}),
    "iso": frozenset({"iso", "gpt"}),
    "ami": frozenset({"raw", "gpt"}),
    "ari": frozenset({"raw"}),
    "aki": frozenset({"raw"}),
    "qcow2": frozenset({"qcow2"}),
    "vmdk": frozenset({"vmdk"}),
    "vhd": frozenset({"vhd"}),
    "vhdx": frozenset({"vhdx"}),
    "vdi": frozenset({"vdi"}),
}

#: disk_format → `qemu-img -f`, for those that are converted to a raw base before anything boots from them.
QEMU_NAME = {"qcow2": "qcow2", "vmdk": "vmdk", "vhd": "vpc", "vhdx": "vhdx", "vdi": "vdi"}

#: A kernel and a ramdisk by themselves boot nothing.
NO_DISK = frozenset({"aki", "ari"})

DISK_FORMATS = tuple(MAY_HOLD)
CONTAINER_FORMATS = ("ami", "ari", "aki", "bare", "ovf", "ova", "docker", "compressed")

#: Containers whose content is the disk itself; what others hold is stored and never opened, and boots nothing.
PLAIN_CONTAINERS = frozenset({"bare", "ami", "ari", "aki"})


def mismatch(disk_format: str, found: set[str]) -> str | None:
    """Why content sniffed as `found` may not be called `disk_format`; None when it may.

    Two formats at once hide one header in another: only a bootable ISO (iso and gpt) is honest.
    """
    allowed = MAY_HOLD.get(disk_format)
    if allowed is None:
        return f"The disk format {disk_format} is not accepted."
    if not found:
        return "The content's format could not be determined."
    if len(found) > 1 and found != {"iso", "gpt"}:
        return f"The content looks like several formats at once: {', '.join(sorted(found))}."
    if not found <= allowed:
        return f"Image disk_format {disk_format} does not match the content, which is {', '.join(sorted(found))}."
    return None
