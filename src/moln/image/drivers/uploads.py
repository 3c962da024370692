"""Bytes on their way into a FileStore."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moln.image.drivers.base import Stored
from moln.kernel import files
from moln.kernel.errors import Failure, NotFound, TooLarge, Unavailable

if TYPE_CHECKING:
    from moln.image.drivers.files import FileStore

PIECE = 2 << 20  # bytes hashed and written at once; an upload holds at most two of these


class FileUpload:
    """Upload into uploads/<data id>: pieces are hashed twice and written at once, in threads."""

    def __init__(self, store: FileStore, data_id: str, fd: int, most: int, algorithm: str):
        self.store = store
        self.data_id = data_id
        self.fd = fd
        self.most = most
        self.received = 0
        self.written = 0
        self.pending = bytearray()
        self.busy: asyncio.Future[Any] | None = None
        self.stores: Sequence[str] = ()
        self.md5, self.digest = hashlib.md5(usedforsecurity=False), hashlib.new(algorithm)

    async def write(self, chunk: bytes) -> None:
        self.received += len(chunk)
        if self.received > self.most:
            raise TooLarge(f"The image is larger than {self.most} bytes.")
        self.pending += chunk
        if len(self.pending) >= PIECE:
            await self.flush()

    async def flush(self) -> None:
        piece, self.pending = self.pending, bytearray()
        run = self.store.run
        jobs = run(self.md5.update, piece), run(self.digest.update, piece), run(write_all, self.fd, piece, self.written)
        self.busy = asyncio.gather(*jobs)
        await asyncio.shield(self.busy)  # threads go on when we are cancelled: `abandon` waits for them
        self.written += len(piece)

    async def finish(self, disk_format: str, container_format: str, stores: Sequence[str] = ()) -> Stored:
        """See Upload."""
        await self.flush()
        self.stores = stores
        source = self.store.root / "uploads" / self.data_id
        judged = await self.store.keep(source, self.fd, self.data_id, disk_format, container_format, self.written, stores)
        virtual_size, bootable = judged
        self.close()
        return Stored(self.written, virtual_size, self.md5.hexdigest(), self.digest.hexdigest(), bootable)

    async def stage(self) -> int:
        """See Upload."""
        await self.flush()
        root = self.store.root

        def name_it() -> None:
            os.fsync(self.fd)
            os.rename(root / "uploads" / self.data_id, root / "staged" / self.data_id)
            files.sync_folder(root / "staged")

        await self.store.run(name_it)
        self.close()
        return self.written

    async def abandon(self) -> None:
        """Close (once no thread writes there any more) and remove."""
        if self.busy is not None:
            await asyncio.wait({self.busy})
        self.close()
        root = self.store.root
        for folder in (root / "uploads", root / "staged", root / "base", *self.store.folders.values()):
            (folder / self.data_id).unlink(missing_ok=True)
        for name in self.stores or (self.store.default,):
            if name in self.store.remote:
                with suppress(Failure):  # a store that is lost has its rest swept later: no row names it
                    await self.store.remote[name].remove(self.data_id)

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def create(path: Path, size: int = 0) -> int:
    """A descriptor of a new file that only we can read. Blocks."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    if size:
        os.ftruncate(fd, size)
    return fd


def write_all(fd: int, data: bytearray, at: int) -> None:
    """Write every byte at its place. Blocks."""
    with memoryview(data) as view:
        done = 0
        while done < len(view):
            done += os.pwrite(fd, view[done:], at + done)


def failed(error: OSError) -> Failure:
    """What it is to whoever asked."""
    if isinstance(error, FileNotFoundError):
        return NotFound("The image has no data.", detail=str(error))
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return TooLarge("The image store is full.", detail=str(error))
    return Unavailable("The image store failed.", detail=str(error))
