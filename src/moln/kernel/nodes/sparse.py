"""A file on its way to another machine: its data without its holes, and at the end its size and a hash of all that was sent.

Each piece is its offset and length (8 bytes, big-endian, each), then its bytes; one of length 0 has the file's size for an offset and the
SHA-256 of everything before it follows.

That hash tells that what came is what was sent. What a file is, whoever sends it and wherever its holes are, `digest` tells.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import struct
from collections.abc import Iterator
from itertools import islice

from moln.kernel.errors import BackendUnreachable

PIECE = 256 << 10  # bytes
HEAD = struct.Struct(">QQ")
SIZE = struct.Struct(">Q")  # what who took a file may answer
MOST = 1 << 62
BLOCK, STEP = 1 << 20, 16  # bytes that are hashed together, and how many of these in one go
ZEROS = bytes(BLOCK)
STUCK_S = 30.0  # seconds that the other side may say or take nothing


def extents(file: int) -> Iterator[tuple[int, int]]:
    """Offset and length of what is no hole. Blocks, little."""
    size, at = os.fstat(file).st_size, 0
    while at < size:
        try:
            start = os.lseek(file, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            raise
        at = os.lseek(file, start, os.SEEK_HOLE)
        yield start, at - start


def blocks(file: int) -> Iterator[int]:
    """The offset of each block that is not all hole. Blocks, little."""
    after = 0
    for start, length in extents(file):
        first = max(after, start - start % BLOCK)
        after = -(-(start + length) // BLOCK) * BLOCK
        yield from range(first, after, BLOCK)


async def digest(file: int) -> bytes:
    """Of an open file's bytes and size: a hole, and zeros that somebody wrote, are the same. Raises: OSError."""
    whole, left = hashlib.sha256(), blocks(file)

    def some() -> bool:
        at = None
        for at in islice(left, STEP):
            data = os.pread(file, BLOCK, at)
            if data != (ZEROS if len(data) == BLOCK else ZEROS[: len(data)]):
                whole.update(HEAD.pack(at, len(data)))
                whole.update(data)
        return at is not None

    while await asyncio.to_thread(some):
        pass
    whole.update(HEAD.pack(os.fstat(file).st_size, 0))
    return whole.digest()


async def send(file: int, writer: asyncio.StreamWriter) -> None:
    """All of an open file. Raises: OSError, TimeoutError."""
    digest = hashlib.sha256()

    async def put(data: bytes) -> None:
        digest.update(data)
        writer.write(data)
        async with asyncio.timeout(STUCK_S):
            await writer.drain()

    for start, length in extents(file):
        for at in range(start, start + length, PIECE):
            data = await asyncio.to_thread(os.pread, file, min(PIECE, start + length - at), at)
            await put(HEAD.pack(at, len(data)) + data)
    await put(HEAD.pack(os.fstat(file).st_size, 0))
    writer.write(digest.digest())
    await writer.drain()


async def send_part(file: int, writer: asyncio.StreamWriter, start: int, length: int) -> None:
    """So many bytes of an open file as they are, holes as zeros; fewer, when it ends. Raises: OSError, TimeoutError."""
    while length > 0 and (data := await asyncio.to_thread(os.pread, file, min(PIECE, length), start)):
        writer.write(data)
        async with asyncio.timeout(STUCK_S):
            await writer.drain()
        start, length = start + len(data), length - len(data)


async def take(reader: asyncio.StreamReader, file: int, most: int = MOST, most_data: int = MOST) -> int:
    """Write what comes into an empty file; its size. most: bytes that it may have. most_data: that may come.

    Raises: BackendUnreachable, when it is not whole, not what was sent, or too long; OSError.
    """
    digest, came = hashlib.sha256(), 0

    async def get(count: int) -> bytes:
        async with asyncio.timeout(STUCK_S):
            return await reader.readexactly(count)

    try:
        while True:
            head = await get(HEAD.size)
            digest.update(head)
            at, length = HEAD.unpack(head)
            if at + length > most:
                raise BackendUnreachable("It is longer than it may be.")
            if not length:
                if await get(digest.digest_size) != digest.digest():
                    raise BackendUnreachable("What came is not what was sent.")
                os.ftruncate(file, at)
                return int(at)
            if length > PIECE:
                raise BackendUnreachable("A piece is too long.")
            came += length
            if came > most_data:
                raise BackendUnreachable("There is more of it than there may be.")
            data = await get(length)
            digest.update(data)
            await asyncio.to_thread(os.pwrite, file, data, at)
    except (TimeoutError, asyncio.IncompleteReadError) as error:
        raise BackendUnreachable("It did not come whole.", detail=repr(error)) from None
