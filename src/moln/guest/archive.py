"""Write an initramfs: the "newc" cpio format, gzipped (kernel Documentation/driver-api/early-userspace/buffer-format.rst)."""

from __future__ import annotations

import gzip
import os
import stat
from pathlib import Path

TRAILER = "TRAILER!!!"


def write_initramfs(root: Path, target: Path) -> None:
    """Pack the tree `root`, owned by root and in a fixed order, into `target`."""
    with gzip.GzipFile(target, "wb", compresslevel=9, mtime=0) as out:
        for inode, path in enumerate(sorted(root.rglob("*")), 1):
            out.write(_entry(str(path.relative_to(root)), inode, path.lstat().st_mode, _content(path)))
        out.write(_entry(TRAILER, 0, 0, b""))


def _content(path: Path) -> bytes:
    if path.is_symlink():
        return os.readlink(path).encode()
    return path.read_bytes() if path.is_file() else b""


def _entry(name: str, inode: int, mode: int, content: bytes) -> bytes:
    """One member: magic, thirteen hexadecimal fields, the name and the content, each padded to four bytes."""
    links = 2 if stat.S_ISDIR(mode) else 1
    encoded = name.encode() + b"\0"
    fields = (inode, mode, 0, 0, links, 0, len(content), 0, 0, 0, 0, len(encoded), 0)
    header = b"070701" + b"".join(b"%08x" % field for field in fields) + encoded
    return _padded(header) + _padded(content)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)
