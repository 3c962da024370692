"""Real disk images, honest and hostile, made by qemu-img or byte by byte."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

MIB = 1 << 20


def qemu_img(*args: object) -> None:
    subprocess.run(["qemu-img", *map(str, args)], check=True, capture_output=True, timeout=60, cwd="/tmp")


def raw(path: Path, text: bytes = b"a disk") -> Path:
    path.write_bytes(text)
    with open(path, "r+b") as file:
        file.truncate(2 * MIB)
    return path


def of_format(path: Path, name: str, *options: str) -> Path:
    """An honest image in one of QEMU's formats, holding what `raw` makes."""
    source = raw(path.with_suffix(".source"))
    qemu_img("convert", "-f", "raw", "-O", name, *options, source, path)
    return path


def qcow2_with_backing(path: Path, backing: str = "/etc/passwd") -> Path:
    """OSSA-2015-014: a header that names a host file as its backing file."""
    qemu_img("create", "-f", "qcow2", path, "1M")
    data = bytearray(path.read_bytes())
    name = backing.encode()
    data[8:20] = struct.pack(">QI", 0x300, len(name))
    data[0x300 : 0x300 + len(name)] = name
    path.write_bytes(data)
    return path


def qcow2_with_data_file(path: Path, target: str = "/etc/passwd") -> Path:
    """OSSA-2024-001: the guest's clusters lie in another host file."""
    beside = f"{path}.d"
    qemu_img("create", "-f", "qcow2", "-o", f"data_file={beside},data_file_raw=on", path, "1M")
    data = path.read_bytes()
    assert beside.encode() in data
    path.write_bytes(data.replace(beside.encode(), target.rjust(len(beside), "/").encode()))
    return path


def vmdk_descriptor(path: Path, kind: str = "monolithicFlat", target: str = "/etc/passwd") -> Path:
    """OSSA-2023-002: a text that makes any host file an extent."""
    path.write_text(
        "# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\n"
        f'createType="{kind}"\n\n# Extent description\nRW 20480 FLAT "{target}" 0\n\n'
        '# The Disk Data Base\n#DDB\n\nddb.virtualHWVersion = "4"\nddb.geometry.cylinders = "20"\n' + "# padding\n" * 200
    )
    return path


def huge_qcow2(path: Path) -> Path:
    """OSSA-2016-012: a few KiB that claim to be 8 EiB less a little."""
    qemu_img("create", "-f", "qcow2", path, "1M")
    data = bytearray(path.read_bytes())
    data[24:32] = struct.pack(">Q", (1 << 62))
    path.write_bytes(data)
    return path
