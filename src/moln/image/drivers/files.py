"""Images as files: root/{uploads,incoming,data,base}/<data id>, on the volumes' pool so that booting is a reflink.

    uploads   bytes that are still arriving (the controller writes)
    incoming  raw disks that a node left to become images
    data      what was uploaded, as it came; never written again
    base      the same as a raw disk: a hard link of `data` when that is raw, else converted once

Rows name data, and are written before any file: a file that no row names is an orphan, whoever died.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from moln.image.drivers.base import Inventory, Stored
from moln.image.drivers.sandbox import Sandbox
from moln.image.model.formats import MAY_HOLD, NO_DISK, PLAIN_CONTAINERS, QEMU_NAME
from moln.kernel import files
from moln.kernel.errors import NotFound, TooLarge, Unavailable, UnsupportedMedia

R = TypeVar("R")
PIECE = 4 << 20  # bytes hashed and written at once; an upload holds at most two of these
READ_PIECE = 1 << 20
FOLDERS = ("uploads", "incoming", "data", "base")


class FileStore:
    """ImageStore in a folder. convert: False makes every base a hard link, for a simulation that never reads one."""

    def __init__(self, root: Path, sandbox: Sandbox, *, convert: bool = True, threads: int = 4):
        self.root = root
        self.sandbox = sandbox
        self.convert = convert
        self.threads = ThreadPoolExecutor(threads, thread_name_prefix="images")

    async def start(self) -> None:
        """Make the folders. Files of a dead upload are found by their row (work/), not here."""

        def prepare() -> None:
            for name in FOLDERS:
                (self.root / name).mkdir(parents=True, exist_ok=True, mode=0o700)
            files.sweep(self.root / "base")

        await self.run(prepare)

    async def stop(self) -> None:
        """End the threads once they have done what they hold."""
        self.threads.shutdown(wait=False, cancel_futures=True)

    async def run(self, work: Callable[..., R], *args: object) -> R:
        """Run in a thread; a failing disk is Unavailable, a full one TooLarge (Glance: 413)."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self.threads, work, *args)
        except FileNotFoundError as error:
            raise NotFound("The image has no data.", detail=str(error)) from error
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise TooLarge("The image store is full.", detail=str(error)) from error
            raise Unavailable("The image store failed.", detail=str(error)) from error

    async def begin(self, data_id: str, *, most: int) -> FileUpload:
        """See ImageStore. A second upload under the same name is a bug: Unavailable."""
        path = self.root / "uploads" / data_id
        return FileUpload(self, data_id, await self.run(create, path), most)

    async def adopt(self, data_id: str, disk_format: str, container_format: str) -> Stored:
        """See ImageStore. Ran to its end before: the answer is made again from the data."""
        source = self.root / "incoming" / data_id
        if not await self.run(source.exists):
            source = self.root / "data" / data_id
        fd = await self.run(os.open, source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            md5, sha512 = hashlib.md5(usedforsecurity=False), hashlib.sha512()
            size = at = (await self.run(os.fstat, fd)).st_size
            at = 0
            while at < size:
                piece = await self.run(os.pread, fd, PIECE, at)
                if not piece:
                    break
                await asyncio.gather(self.run(md5.update, piece), self.run(sha512.update, piece))
                at += len(piece)
            return await self.keep(source, fd, data_id, disk_format, container_format, at, md5.hexdigest(), sha512.hexdigest())
        finally:
            os.close(fd)

    async def keep(
        self,
        source: Path,
        fd: int,
        data_id: str,
        disk_format: str,
        container_format: str,
        size: int,
        md5: str,
        sha512: str,
    ) -> Stored:
        """Check the content, make its base, and give the data its name, in this order. Raises: UnsupportedMedia."""
        virtual_size, bootable = None, False
        if container_format in PLAIN_CONTAINERS:
            if disk_format not in MAY_HOLD:
                raise UnsupportedMedia(f"The disk format {disk_format} is not accepted.")
            await self.run(open_to_nobody, fd, 0o644)
            content = await self.sandbox.check(fd, disk_format, ask_qemu=self.convert)
            virtual_size = size if content.virtual_size is None else content.virtual_size
            if bootable := disk_format not in NO_DISK:
                await self.make_base(source, fd, data_id, disk_format, virtual_size)

        def name_it() -> None:
            os.fsync(fd)
            os.rename(source, self.root / "data" / data_id)
            files.sync_folder(self.root / "data")

        await self.run(name_it)
        return Stored(size, virtual_size, md5, sha512, bootable)

    async def make_base(self, source: Path, fd: int, data_id: str, disk_format: str, virtual_size: int) -> None:
        """There is base/<data_id>: the disk as raw."""
        base = self.root / "base" / data_id
        if disk_format not in QEMU_NAME or not self.convert:

            def link() -> None:
                base.unlink(missing_ok=True)
                os.link(source, base, follow_symlinks=False)
                files.sync_folder(base.parent)

            return await self.run(link)
        hidden = base.with_name(f"{files.TEMP_PREFIX}{data_id}")
        try:
            target = await self.run(create, hidden, virtual_size)
            try:
                await self.run(open_to_nobody, target, 0o666)
                await self.sandbox.convert(fd, disk_format, target, virtual_size)
                await self.run(os.fchmod, target, 0o600)
                await self.run(os.fsync, target)
            finally:
                os.close(target)

            def appear() -> None:
                os.rename(hidden, base)
                files.sync_folder(base.parent)

            await self.run(appear)
        finally:
            hidden.unlink(missing_ok=True)

    async def read(self, data_id: str, start: int, length: int) -> AsyncIterator[bytes]:
        """See ImageStore."""
        fd = await self.run(os.open, self.root / "data" / data_id, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            while length > 0:
                piece = await self.run(os.pread, fd, min(READ_PIECE, length), start)
                if not piece:
                    raise Unavailable("The image's data is shorter than its record.", detail=data_id)
                yield piece
                start += len(piece)
                length -= len(piece)
        finally:
            os.close(fd)

    async def remove(self, data_id: str) -> None:
        """See ImageStore."""
        for name in FOLDERS:
            await self.run(files.vanish, self.root / name / data_id)

    async def inventory(self) -> Inventory:
        """See ImageStore."""

        def names(*folders: str) -> list[str]:
            found = (name for folder in folders for name in os.listdir(self.root / folder))
            return sorted(name for name in found if not name.startswith(files.TEMP_PREFIX))

        return await self.run(lambda: Inventory(names("data"), names("base"), names("uploads", "incoming")))


class FileUpload:
    """Upload into uploads/<data id>: pieces are hashed twice and written at once, in threads."""

    def __init__(self, store: FileStore, data_id: str, fd: int, most: int):
        self.store = store
        self.data_id = data_id
        self.fd = fd
        self.most = most
        self.received = 0
        self.written = 0
        self.pending = bytearray()
        self.busy: asyncio.Future[Any] | None = None
        self.md5, self.sha512 = hashlib.md5(usedforsecurity=False), hashlib.sha512()

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
        jobs = run(self.md5.update, piece), run(self.sha512.update, piece), run(write_all, self.fd, piece, self.written)
        self.busy = asyncio.gather(*jobs)
        await asyncio.shield(self.busy)  # threads go on when we are cancelled: `abandon` waits for them
        self.written += len(piece)

    async def finish(self, disk_format: str, container_format: str) -> Stored:
        await self.flush()
        source = self.store.root / "uploads" / self.data_id
        stored = await self.store.keep(
            source, self.fd, self.data_id, disk_format, container_format,
            self.written, self.md5.hexdigest(), self.sha512.hexdigest(),
        )  # fmt: skip
        self.close()
        return stored

    async def abandon(self) -> None:
        """Close (once no thread writes there any more) and remove."""
        if self.busy is not None:
            await asyncio.wait({self.busy})
        self.close()
        for name in ("uploads", "base", "data"):
            (self.store.root / name / self.data_id).unlink(missing_ok=True)

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


def open_to_nobody(fd: int, mode: int) -> None:
    """When we are root the sandbox is not: let it open the file again by its descriptor (the folder is still ours alone)."""
    if os.geteuid() == 0:
        os.fchmod(fd, mode)
