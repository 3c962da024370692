"""What sandbox_child.py does for `unpack`: the bytes inside a gzip, bzip2, xz or zip file, piece by piece, zeros as holes.

It imports nothing of moln.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

PIECE = 1 << 20
XZ_MEMORY = 256 << 20


class Damaged(Exception):
    """The file is not what it seems to be."""


def gzip_pieces(file: Any) -> Iterator[bytes]:
    import zlib

    return _pieces(
        file, lambda: zlib.decompressobj(31), lambda d, data: (d.decompress(data, PIECE), d.unconsumed_tail), lambda d: d.unused_data
    )


def bzip2_pieces(file: Any) -> Iterator[bytes]:
    import bz2

    return _pieces(file, bz2.BZ2Decompressor, _held, lambda d: d.unused_data)


def xz_pieces(file: Any) -> Iterator[bytes]:
    import lzma

    return _pieces(file, lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY), _held, lambda d: d.unused_data)


def _held(decompressor: Any, data: bytes) -> tuple[bytes, bytes]:
    """bz2's and lzma's keep what they did not come to; an empty input asks them to go on."""
    return decompressor.decompress(data, PIECE), b"" if decompressor.needs_input or decompressor.eof else None  # type: ignore[return-value]


def _pieces(
    file: Any, make: Callable[[], Any], step: Callable[[Any, bytes], tuple[bytes, bytes | None]], unused: Callable[[Any], bytes]
) -> Iterator[bytes]:
    """Every member of the file, one after another. step: a piece, and what is to be given again (None: nothing, but ask again)."""
    decompressor, data = make(), file.read(PIECE)
    while data:
        piece, rest = step(decompressor, data)
        yield piece
        while not decompressor.eof and (rest is None or rest):
            piece, rest = step(decompressor, rest or b"")
            yield piece
        if not decompressor.eof:
            data = file.read(PIECE)
            if not data:
                raise Damaged("it ends too early")
            continue
        data = (unused(decompressor) or file.read(PIECE)).lstrip(b"\0")
        if not data:
            return
        decompressor = make()


def zip_pieces(file: Any) -> Iterator[bytes]:
    import zipfile

    with zipfile.ZipFile(file) as archive:
        inside = [one for one in archive.infolist() if not one.is_dir()]
        if len(inside) != 1:
            raise Damaged("the archive has more than one file, or none")
        with archive.open(inside[0]) as member:
            while piece := member.read(PIECE):
                yield piece


KINDS = {"gzip": gzip_pieces, "bzip2": bzip2_pieces, "xz": xz_pieces, "zip": zip_pieces}


def unpack(kind: str, target: int) -> int:
    """From descriptor 0 to `target`; how many bytes. The limit on files is this process's. Raises: whatever the data makes the libraries raise."""
    os.lseek(0, 0, os.SEEK_SET)
    at = 0
    with open(0, "rb", closefd=False) as file:
        for piece in KINDS[kind](file):
            if piece.count(0) != len(piece):
                write(target, piece, at)
            at += len(piece)
            os.ftruncate(target, at)  # beyond the limit it fails, also for zeros
    return at


def write(target: int, piece: bytes, at: int) -> None:
    with memoryview(piece) as view:
        done = 0
        while done < len(view):
            done += os.pwrite(target, view[done:], at + done)
