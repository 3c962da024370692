"""A running guest told that a disk has grown: by libvirt for a file; a disk that is served on a socket (NBD) is opened anew before.

QEMU's client learns a disk's size when it connects (docs/adr/0044). libvirt cannot have it connect again, so QEMU is asked: the disk's node, which
libvirt calls `…-format`, gets another one below it that connects anew, twice, so that in the end all is called as libvirt called it. QEMU waits for what is
being read and written each time; the guest notices nothing. Whatever a node of ours that died left half done is done again.
"""

from __future__ import annotations

import json
from typing import Any
from xml.etree.ElementTree import Element

import libvirt

from moln.kernel.errors import BackendRefused

ABOVE, BELOW, BETWEEN = "-format", "-storage", "moln-"


def grow(domain: libvirt.virDomain, disk: Element, size_bytes: int) -> None:
    """disk: its element in the running domain. Raises: BackendRefused, when it cannot grow while the guest runs."""
    target, socket = disk.find("target"), disk.find("source/host[@transport='unix']")
    name = target.get("dev") if target is not None else None
    if not name:
        return
    if disk.get("type") == "network" and socket is not None:
        alias = disk.find("alias")
        _connect_anew(domain, alias.get("name", "") if alias is not None else "", socket.get("socket", ""))
    domain.blockResize(name, size_bytes, libvirt.VIR_DOMAIN_BLOCK_RESIZE_BYTES)  # always: libvirt's own idea of a raw disk's size is the file's


def _connect_anew(domain: libvirt.virDomain, alias: str, socket: str) -> None:
    for found in _ask(domain, "query-block"):
        if f"/{alias}/" in f"/{found.get('qdev', '')}/" and "inserted" in found:
            above = found["inserted"]
            break
    else:
        raise BackendRefused("The guest's disk is not found in QEMU.")
    if not above["node-name"].endswith(ABOVE) or above["drv"] != "raw":
        raise BackendRefused("The guest sees its disk's new size when it is started anew: this version of libvirt opens it in another way.")
    below = above["node-name"].removesuffix(ABOVE) + BELOW
    cache = {"direct": above["cache"]["direct"], "no-flush": above["cache"]["no-flush"]}
    for name, other in ((BETWEEN + below, below), (below, BETWEEN + below)):
        nodes = {node["node-name"] for node in _ask(domain, "query-named-block-nodes", flat=True)}
        if name in nodes and other in nodes:  # left of a turn that was cut short: one of them has nothing above it, and goes
            _try_to_drop(domain, name)
            nodes = {node["node-name"] for node in _ask(domain, "query-named-block-nodes", flat=True)}
        if name not in nodes:
            _ask(domain, "blockdev-add", **{"driver": "nbd", "node-name": name, "server": {"type": "unix", "path": socket}, "cache": cache,
                                            "discard": "unmap", "auto-read-only": True})  # fmt: skip
        _ask(domain, "blockdev-reopen", options=[{"driver": "raw", "node-name": above["node-name"], "file": name, "read-only": above["ro"],
                                                  "discard": "unmap", "cache": cache}])  # fmt: skip
        _try_to_drop(domain, other)


def _try_to_drop(domain: libvirt.virDomain, node: str) -> None:
    """One that is in use stays."""
    _say(domain, "blockdev-del", {"node-name": node})


def _ask(domain: libvirt.virDomain, command: str, **arguments: Any) -> Any:
    """Raises: BackendRefused."""
    said = _say(domain, command, arguments)
    if "error" in said:
        raise BackendRefused("QEMU does not open the disk anew.", detail=f"{command}: {said['error'].get('desc', '')}"[:300])
    return said["return"]


def _say(domain: libvirt.virDomain, command: str, arguments: dict[str, Any]) -> dict[str, Any]:
    import libvirt_qemu  # only here: it costs every node 0.4 MiB, and no node whose disks are files needs it

    text = json.dumps({"execute": command, "arguments": arguments} if arguments else {"execute": command})
    said: dict[str, Any] = json.loads(libvirt_qemu.qemuMonitorCommand(domain, text, 0))
    return said
