"""Images as files: root/{uploads,staged,incoming,data,base}/<data id>, on the volumes' pool so that booting is a reflink.

    uploads   bytes that are still arriving (the controller writes)
    staged    bytes that came, and wait for their import
    incoming  raw disks that a node left to become images
    data      what was uploaded, as it came; never written again. It is the default store's folder: each further store has one of its own
    base      the same as a raw disk: a hard link of `data` when that is raw, else converted once

Rows name data, and are written before any file: a file that no row names is an orphan, whoever died.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from moln.image.drivers.base import Inventory, Stored
from moln.image.drivers.sandbox import Sandbox
from moln.image.model.formats import MAY_HOLD, NO_DISK, PLAIN_CONTAINERS, QEMU_NAME
from moln.image.model.images import HASH_ALGORITHM
from moln.kernel import files
from moln.kernel.errors import NotFound, TooLarge, Unavailable, UnsupportedMedia

R = TypeVar("R")
PIECE = 4 << 20  # bytes hashed and written at once; an upload holds at most two of these
READ_PIECE = 1 << 20
WAITING = ("incoming", "staged")
FOLDERS = ("uploads", *WAITING, "data", "base")
DEFAULT = "pool"


class FileStore:
    """ImageStore in folders. convert: False makes every base a hard link, for a simulation that never reads one.

    further: the folders of stores beside `pool`, by name. default: the store of what names none.
    """

    def __init__(self, root: Path, sandbox: Sandbox, *, convert: bool = True, threads: int = 4, further: Mapping[str, Path] | None = None,
                 default: str = DEFAULT):  # fmt: skip
        self.root = root
        self.folders = {DEFAULT: root / "data", **(further or {})}
        self.default = default
        self.moving = asyncio.Lock()
        self.sandbox = sandbox
        self.convert = convert
        self.threads = ThreadPoolExecutor(threads, thread_name_prefix="images")

    async def start(self) -> None:
        """Make the folders. Files of a dead upload are found by their row (work/), not here."""

        def prepare() -> None:
            for name in FOLDERS:
                (self.root / name).mkdir(parents=True, exist_ok=True, mode=0o700)
            files.sweep(self.root / "base")
            for folder in self.folders.values():
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                files.sweep(folder)

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

    def names(self) -> list[str]:
        """See ImageStore."""
        return sorted(self.folders, key=lambda name: (name != self.default, name))

    def where(self, store: str) -> str:
        """See ImageStore."""
        return str(self.folders[store])

    async def begin(self, data_id: str, *, most: int, algorithm: str = HASH_ALGORITHM) -> FileUpload:
        """See ImageStore. A second upload under the same name is a bug: Unavailable."""
        path = self.root / "uploads" / data_id
        return FileUpload(self, data_id, await self.run(create, path), most, algorithm)

    async def adopt(self, data_id: str, disk_format: str, container_format: str, stores: Sequence[str] = ()) -> Stored:
        """See ImageStore. Ran to its end before: the answer is made again from the data."""
        waiting = [path for name in WAITING if await self.run((path := self.root / name / data_id).exists)]
        source = waiting[0] if waiting else await self.run(self.find, data_id)
        fd = await self.run(os.open, source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            md5, digest = hashlib.md5(usedforsecurity=False), hashlib.new(HASH_ALGORITHM)
            size = (await self.run(os.fstat, fd)).st_size
            at = 0
            while at < size:
                piece = await self.run(os.pread, fd, PIECE, at)
                if not piece:
                    break
                await asyncio.gather(self.run(md5.update, piece), self.run(digest.update, piece))
                at += len(piece)
            virtual_size, bootable = await self.keep(source, fd, data_id, disk_format, container_format, at, stores)
            return Stored(at, virtual_size, md5.hexdigest(), digest.hexdigest(), bootable)
        finally:
            os.close(fd)

    async def keep(
        self, source: Path, fd: int, data_id: str, disk_format: str, container_format: str, size: int, stores: Sequence[str]
    ) -> tuple[int | None, bool]:
        """Check the content, make its base, and give the data its name, in this order. Virtual size, and whether it can be booted.

        Raises: UnsupportedMedia.
        """
        virtual_size, bootable = None, False
        if container_format in PLAIN_CONTAINERS:
            if disk_format not in MAY_HOLD:
                raise UnsupportedMedia(f"The disk format {disk_format} is not accepted.")
            await self.run(open_to_nobody, fd, 0o644)
            content = await self.sandbox.check(fd, disk_format, ask_qemu=self.convert)
            virtual_size = size if content.virtual_size is None else content.virtual_size
            if bootable := disk_format not in NO_DISK:
                await self.make_base(source, fd, data_id, disk_format, virtual_size)
        await self.run(self.place, source, fd, data_id, list(stores) or [self.default])
        return virtual_size, bootable

    def find(self, data_id: str) -> Path:
        """Where data lies, in whichever store. Blocks. Raises: FileNotFoundError."""
        paths = [self.folders[name] / data_id for name in self.names()]
        found = next((path for path in paths if path.exists()), None)
        if found is None:
            raise FileNotFoundError(errno.ENOENT, "no store has it", data_id)
        return found

    def place(self, source: Path, fd: int, data_id: str, stores: Sequence[str]) -> None:
        """Give data its name in each of these stores; the source's own name goes last, unless it is one of them. Blocks."""
        os.fsync(fd)
        targets = [self.folders[name] / data_id for name in stores]
        first, rest = targets[0], targets[1:]
        for target in rest:
            clone_to(source, target)
        if source in targets:
            clone_to(source, first)
            return
        if os.stat(first.parent).st_dev == os.fstat(fd).st_dev:
            os.rename(source, first)
            files.sync_folder(first.parent)
        else:
            clone_to(source, first)
            source.unlink()

    async def copy(self, data_id: str, store: str) -> None:
        """See ImageStore."""
        await self.run(lambda: clone_to(self.find(data_id), self.folders[store] / data_id))

    async def drop(self, data_id: str, store: str) -> None:
        """See ImageStore."""
        await self.run(files.vanish, self.folders[store] / data_id)

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
        fd = await self.run(lambda: os.open(self.find(data_id), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC))
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
        for folder in (*(self.root / name for name in FOLDERS), *self.folders.values()):
            await self.run(files.vanish, folder / data_id)

    async def inventory(self) -> Inventory:
        """See ImageStore."""

        def names(folder: Path) -> list[str]:
            return sorted(name for name in os.listdir(folder) if not name.startswith(files.TEMP_PREFIX))

        def look() -> Inventory:
            stores = {name: names(folder) for name, folder in self.folders.items()}
            arriving = [n for name in ("uploads", *WAITING) for n in names(self.root / name)]
            return Inventory(sorted({n for held in stores.values() for n in held}), names(self.root / "base"), sorted(arriving), stores)

        return await self.run(look)


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


def clone_to(source: Path, target: Path) -> None:
    """The same bytes under another name; whoever put it there before was one of us. Blocks."""
    if target.exists():
        return
    fd = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        with files.appearing(target) as copy:
            files.clone(fd, copy)
    finally:
        os.close(fd)


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
