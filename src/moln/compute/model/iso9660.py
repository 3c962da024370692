"""Write an ISO 9660 image with Joliet names: all that a config drive needs of a CD.

Sources: ECMA-119; Microsoft's "Joliet Specification" (1995). Joliet carries the real names; the primary tree carries
made-up ones (`D0001`, `F0002.;1`), for no reader that understands neither Joliet nor Rock Ridge exists in a guest of ours.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

SECTOR = 2048
SYSTEM_SECTORS = 16
PAD_SECTORS = 150  # as mkisofs -pad: probes (busybox's findfs, kernel read-ahead) look beyond the end of a tiny medium
MOST_BYTES = 64 << 20
NO_TIME = b"0" * 16 + b"\0"
RECORD_TIME = bytes([126, 1, 1, 0, 0, 0, 0])  # 2026-01-01: the image is a function of its files alone


@dataclass
class _Node:
    """A file or a folder. extents: first sector and bytes, in the primary (0) and the Joliet tree (1)."""

    name: str
    content: bytes = b""
    children: dict[str, _Node] | None = None
    parent: _Node | None = None
    number: int = 0
    extents: list[tuple[int, int]] = field(default_factory=lambda: [(0, 0), (0, 0)])

    def folder(self, name: str) -> _Node:
        assert self.children is not None
        child = self.children.setdefault(name, _Node(name, children={}, parent=self))
        if child.children is None:
            raise ValueError(f"{name} is both a file and a folder")
        return child


def iso_image(files: dict[str, bytes], label: str) -> bytes:
    """An image labelled `label` (16 characters at most) with these files by their relative paths.

    Raises: ValueError, for a path or a label that it cannot hold.
    """
    if not 0 < len(label) <= 16:
        raise ValueError("a label has 1 to 16 characters")
    if sum(map(len, files.values())) > MOST_BYTES:
        raise ValueError("the files are too large for a config drive")
    root = _tree(files)
    folders = list(_folders(root))
    for number, node in enumerate(folders, 1):
        node.number = number

    at = SYSTEM_SECTORS + 3  # two descriptors and their end
    tables: list[tuple[int, int]] = []
    for joliet in (False, True):
        size = len(_path_table(folders, joliet, "<"))
        tables.append((at, size))
        at += 2 * _sectors(size)  # little-endian, big-endian
    for joliet in (False, True):
        for node in folders:
            size = _sectors(len(b"".join(_padded_records(_records(node, joliet))))) * SECTOR
            node.extents[joliet] = (at, size)
            at += size // SECTOR
    for node in _files(folders):
        node.extents = [(at, len(node.content))] * 2
        at += _sectors(len(node.content))
    at += PAD_SECTORS

    image = bytearray(at * SECTOR)

    def put(sector: int, data: bytes) -> None:
        image[sector * SECTOR : sector * SECTOR + len(data)] = data

    for joliet in (False, True):
        table_at, table_size = tables[joliet]
        put(SYSTEM_SECTORS + joliet, _descriptor(root, label, joliet, at, table_at, table_size))
        put(table_at, _path_table(folders, joliet, "<"))
        put(table_at + _sectors(table_size), _path_table(folders, joliet, ">"))
        for node in folders:
            put(node.extents[joliet][0], b"".join(_padded_records(_records(node, joliet))))
    put(SYSTEM_SECTORS + 2, b"\xffCD001\x01")
    for node in _files(folders):
        put(node.extents[0][0], node.content)
    return bytes(image)


def _tree(files: dict[str, bytes]) -> _Node:
    root = _Node("", children={})
    root.parent = root
    for path, content in sorted(files.items()):
        *folders, name = path.split("/")
        if any(part in ("", ".", "..") or len(part) > 64 or not part.isprintable() for part in (*folders, name)):
            raise ValueError(f"{path!r} is no path inside a medium")
        node = root
        for folder in folders:
            node = node.folder(folder)
        assert node.children is not None
        if name in node.children:
            raise ValueError(f"{name} is both a file and a folder")
        node.children[name] = _Node(name, content, parent=node)
    return root


def _folders(root: _Node) -> Iterator[_Node]:
    """Breadth first, as path tables want them."""
    queue = [root]
    while queue:
        node = queue.pop(0)
        yield node
        queue += [child for child in (node.children or {}).values() if child.children is not None]


def _files(folders: list[_Node]) -> Iterator[_Node]:
    for folder in folders:
        yield from (child for child in (folder.children or {}).values() if child.children is None)


def _identifier(node: _Node, joliet: bool, index: int) -> bytes:
    if joliet:
        suffix = "" if node.children is not None else ";1"
        return (node.name + suffix).encode("utf-16-be")
    return (f"D{index:04}" if node.children is not None else f"F{index:04}.;1").encode()


def _records(folder: _Node, joliet: bool) -> list[bytes]:
    """The folder's entries: itself, its parent, then its children in the order of their identifiers."""
    assert folder.parent is not None
    records = [_record(b"\0", folder, joliet), _record(b"\1", folder.parent, joliet)]
    children = list((folder.children or {}).values())
    named = sorted((_identifier(child, joliet, index), index) for index, child in enumerate(children, 1))
    return records + [_record(name, children[index - 1], joliet) for name, index in named]


def _record(identifier: bytes, node: _Node, joliet: bool) -> bytes:
    sector, size = node.extents[joliet]
    length = 33 + len(identifier) + (len(identifier) + 1) % 2
    flags = 2 if node.children is not None else 0
    head = bytes([length, 0]) + _both32(sector) + _both32(size) + RECORD_TIME + bytes([flags, 0, 0]) + _both16(1)
    return (head + bytes([len(identifier)]) + identifier).ljust(length, b"\0")


def _padded_records(records: list[bytes]) -> Iterator[bytes]:
    """A record never crosses a sector."""
    at = 0
    for record in records:
        if at % SECTOR + len(record) > SECTOR:
            yield bytes(SECTOR - at % SECTOR)
            at += SECTOR - at % SECTOR
        yield record
        at += len(record)


def _path_table(folders: list[_Node], joliet: bool, order: str) -> bytes:
    table = b""
    for node in folders:
        assert node.parent is not None
        siblings = list((node.parent.children or {}).values())
        index = siblings.index(node) + 1 if node in siblings else 0
        name = _identifier(node, joliet, index) if index else b"\0"
        table += struct.pack(f"{order}BBIH", len(name), 0, node.extents[joliet][0], node.parent.number)
        table += name + b"\0" * (len(name) % 2)
    return table


def _descriptor(root: _Node, label: str, joliet: bool, sectors: int, table_at: int, table_size: int) -> bytes:
    """Primary or Joliet volume descriptor (ECMA-119 8.4, 8.5)."""

    def text(value: str, length: int) -> bytes:
        if joliet:
            return value.encode("utf-16-be").ljust(length, b"\0")
        return value.encode("ascii", "replace").ljust(length)

    big_table = table_at + _sectors(table_size)
    body = bytes([2 if joliet else 1]) + b"CD001\x01\0"
    body += text("", 32) + text(label, 32) + bytes(8) + _both32(sectors)
    body += b"%/E".ljust(32, b"\0") if joliet else bytes(32)
    body += _both16(1) + _both16(1) + _both16(SECTOR) + _both32(table_size)
    body += struct.pack("<II", table_at, 0) + struct.pack(">II", big_table, 0)
    body += _record(b"\0", root, joliet)
    body += text("", 128) * 4 + text("", 37) * 3  # set, publisher, preparer, application; three file names
    body += NO_TIME * 4 + b"\x01\0"
    return body.ljust(SECTOR, b"\0")


def _sectors(size: int) -> int:
    return -(-size // SECTOR)


def _both16(value: int) -> bytes:
    return struct.pack("<H", value) + struct.pack(">H", value)


def _both32(value: int) -> bytes:
    return struct.pack("<I", value) + struct.pack(">I", value)
