"""Images as files: root/{uploads,staged,incoming,data,base}/<data id>, on the volumes' pool so that booting is a reflink.

    uploads   bytes that are still arriving (the controller writes)
    staged    bytes that came, and wait for their import
    ready     the same, unpacked or converted (preparing.py)
    incoming  raw disks that a node left to become images
    data      what was uploaded, as it came; never written again. It is `pool`'s folder: each further store has one of its own, or is a Backend
    base      the same as a raw disk: a hard link of `data` when that is raw, else converted once

Rows name data, and are written before any file: a file that no row names is an orphan, whoever died.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakValueDictionary

from moln.image.drivers.base import Backend, Inventory, Stored
from moln.image.drivers.cache import STALLED_S, ImageCache, clone_to
from moln.image.drivers.preparing import Preparation, prepare
from moln.image.drivers.replicas import ensure_arrived
from moln.image.drivers.sandbox import Sandbox
from moln.image.drivers.uploads import PIECE, FileUpload, create, failed, write_all
from moln.image.model.formats import MAY_HOLD, NO_DISK, PLAIN_CONTAINERS, QEMU_NAME
from moln.image.model.images import HASH_ALGORITHM
from moln.kernel import files
from moln.kernel.errors import Failure, NotFound, Unavailable, UnsupportedMedia

if TYPE_CHECKING:
    from moln.image.drivers.peers import Peers

R = TypeVar("R")
READ_PIECE = 1 << 20
WAITING = ("incoming", "ready", "staged")
FOLDERS = ("uploads", *WAITING, "data", "base")
DEFAULT = "pool"


class FileStore:
    """ImageStore in folders. convert: False makes every base a hard link, for a simulation that never reads one.

    further: the folders of stores beside `pool`, by name; remote: the stores on other machines, and the cache of what lies there. default: the store of what names none.
    peers: other controllers, which have files that are not here; None: there are none.
    """

    peers: Peers | None = None

    def __init__(self, root: Path, sandbox: Sandbox, *, convert: bool = True, threads: int = 4, further: Mapping[str, Path] | None = None,
                 remote: Mapping[str, Backend] | None = None, default: str = DEFAULT, cache: ImageCache | None = None):  # fmt: skip
        self.root = root
        self.folders = {DEFAULT: root / "data", **(further or {})}
        self.remote = dict(remote or {})
        self.default = default
        self.cache = cache
        self.locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self.sandbox = sandbox
        self.convert = convert
        self.threads = ThreadPoolExecutor(threads, thread_name_prefix="images")

    async def start(self, *, shared: bool = False) -> None:
        """Make the folders. Files of a dead upload are found by their row (work/), not here.

        shared: another controller sees them, and may be writing; where there may be one, further stores' folders are taken for shared.
        """

        def prepare() -> None:
            stalled = time.time() - STALLED_S
            for name in FOLDERS:
                (self.root / name).mkdir(parents=True, exist_ok=True, mode=0o700)
            for name in ("base", "ready", "staged", "data"):
                files.sweep(self.root / name, older_than=stalled if shared else None)
            for name, folder in self.folders.items():
                if name != DEFAULT:
                    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                    files.sweep(folder, older_than=stalled if self.peers else None)
            if self.cache:
                self.cache.start()

        await self.run(prepare)

    async def stop(self) -> None:
        """End the threads once they have done what they hold."""
        for backend in self.remote.values():
            await backend.stop()
        self.threads.shutdown(wait=False, cancel_futures=True)

    def moving(self, data_id: str) -> asyncio.Lock:
        """See ImageStore."""
        return self.locks.setdefault(data_id, asyncio.Lock())

    async def run(self, work: Callable[..., R], *args: object) -> R:
        """Run in a thread; a failing disk is Unavailable, a full one TooLarge (Glance: 413)."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self.threads, work, *args)
        except OSError as error:
            raise failed(error) from error

    def names(self) -> list[str]:
        """See ImageStore."""
        return sorted([*self.folders, *self.remote], key=lambda name: (name != self.default, name))

    def is_folder(self, store: str) -> bool:
        """See ImageStore."""
        return store in self.folders

    def url(self, store: str, data_id: str) -> str:
        """See ImageStore."""
        return f"file://{self.folders[store]}/{data_id}" if store in self.folders else self.remote[store].url(data_id)

    def about(self, store: str) -> dict[str, Any]:
        """See ImageStore."""
        if store in self.folders:
            return {"type": "file", "properties": {"data_dir": str(self.folders[store])}}
        return {"type": self.remote[store].kind, "properties": self.remote[store].about()}

    async def begin(self, data_id: str, *, most: int, algorithm: str = HASH_ALGORITHM) -> FileUpload:
        """See ImageStore. A second upload under the same name is a bug: Unavailable."""
        path = self.root / "uploads" / data_id
        return FileUpload(self, data_id, await self.run(create, path), most, algorithm)

    async def adopt(self, data_id: str, disk_format: str, container_format: str, stores: Sequence[str] = ()) -> Stored:
        """See ImageStore. Ran to its end before: the answer is made again from the data."""
        await self.arrive(data_id)
        waiting = [path for name in WAITING if await self.run((path := self.root / name / data_id).exists)]
        source = waiting[0] if waiting else await self.run(self.find_here, data_id)
        if source is None:
            raise NotFound("The image has no data.", detail=data_id)
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

    async def prepare(self, data_id: str, disk_format: str, container_format: str, wanted: Preparation) -> None:
        """See ImageStore."""
        await self.arrive(data_id)
        await prepare(self, data_id, disk_format, container_format, wanted)

    async def arrive(self, data_id: str) -> None:
        """What waits at another controller to become an image's data waits here, too. Raises: Unavailable, TooLarge."""
        if self.peers is not None:
            await ensure_arrived(self, data_id)

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
        wanted = list(stores) or [self.default]
        for name in wanted:
            if name in self.remote:
                await self.remote[name].put(data_id, size, self.pieces_of(fd, 0, size))
        if here := [name for name in wanted if name in self.folders]:
            await self.run(self.place, source, fd, data_id, here)
        return virtual_size, bootable

    async def settled(self, data_id: str) -> None:
        """See ImageStore. Data that lies on other machines only is still where it arrived, and so is what another controller made an image's."""
        if self.remote or self.peers:
            for folder in ("uploads", *WAITING):
                await self.run(files.vanish, self.root / folder / data_id)

    def find_here(self, data_id: str) -> Path | None:
        """Where data lies, in whichever store of this machine. Blocks."""
        paths = [self.folders[name] / data_id for name in self.names() if name in self.folders]
        return next((path for path in paths if path.exists()), None)

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
        source = await self.run(self.find_here, data_id)
        if store in self.remote:
            size = os.stat(source).st_size if source else await self.size(data_id)
            async with aclosing(self.read(data_id, 0, size)) as pieces:
                await self.remote[store].put(data_id, size, pieces)
        elif source:
            await self.run(clone_to, source, self.folders[store] / data_id)
        elif not (target := self.folders[store] / data_id).exists():
            await self.fetch(data_id, target)

    async def fetch(self, data_id: str, target: Path) -> None:
        """A file with what lies on another machine. Raises: NotFound, Unavailable."""
        size, at = await self.size(data_id), 0
        hidden = target.with_name(f"{files.TEMP_PREFIX}{target.name}-{os.urandom(6).hex()}")
        fd = await self.run(create, hidden)
        try:
            async with aclosing(self.read(data_id, 0, size)) as pieces:
                async for piece in pieces:
                    await self.run(write_all, fd, piece, at)
                    at += len(piece)

            def appear() -> None:
                os.fsync(fd)
                os.rename(hidden, target)
                files.sync_folder(target.parent)

            await self.run(appear)
        finally:
            os.close(fd)
            hidden.unlink(missing_ok=True)

    async def size(self, data_id: str) -> int:
        """Of data on another machine. Raises: NotFound, Unavailable."""
        last: Failure = NotFound("The image has no data.", detail=data_id)
        for backend in self.remote.values():
            try:
                return await backend.size(data_id)
            except Failure as failure:
                last = failure if isinstance(last, NotFound) else last
        raise last

    async def drop(self, data_id: str, store: str) -> None:
        """See ImageStore."""
        if store in self.remote:
            await self.remote[store].remove(data_id)
        else:
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
        hidden = base.with_name(f"{files.TEMP_PREFIX}{data_id}-{os.urandom(6).hex()}")
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
        """See ImageStore. Of several places on other machines one that is lost is passed over, until it has begun to answer."""
        fd = await self.run(self.open_here, data_id)
        if fd is not None:
            try:
                async with aclosing(self.pieces_of(fd, start, length)) as pieces:
                    async for piece in pieces:
                        yield piece
            finally:
                os.close(fd)
            return
        last: Failure = NotFound("The image has no data.", detail=data_id)
        for backend in (*self.remote.values(), *([self.peers] if self.peers else [])):
            begun = False
            try:
                async with aclosing(backend.read(data_id, start, length)) as pieces:
                    async for piece in pieces:
                        begun = True
                        yield piece
                return
            except Failure as failure:
                if begun:
                    raise
                last = failure if isinstance(last, NotFound) else last
        raise last

    async def asked_for(self, data_id: str, image_id: str) -> None:
        """See ImageStore."""
        if cache := self.cache:

            def want() -> None:
                if self.find_here(data_id) is None and not cache.holds(data_id):
                    cache.enqueue(image_id)

            await self.run(want)

    def open_here(self, data_id: str) -> int | None:
        """A descriptor of the data, when it lies on this machine. Blocks."""
        path = self.find_here(data_id)
        if self.cache and (cached := self.cache.open(data_id)) is not None:
            return cached
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC) if path else None

    async def pieces_of(self, fd: int, start: int, length: int) -> AsyncIterator[bytes]:
        """The bytes of an open file. Raises: Unavailable."""
        while length > 0:
            piece = await self.run(os.pread, fd, min(READ_PIECE, length), start)
            if not piece:
                raise Unavailable("The image's data is shorter than its record.", detail=str(fd))
            yield piece
            start += len(piece)
            length -= len(piece)

    async def remove(self, data_id: str, stores: Sequence[str] | None = None) -> None:
        """See ImageStore."""
        for folder in (*(self.root / name for name in FOLDERS), *self.folders.values()):
            await self.run(files.vanish, folder / data_id)
        if self.cache:
            await self.run(self.cache.forget, data_id)
        for name, backend in self.remote.items():
            if stores is None or name in stores:
                await backend.remove(data_id)

    async def inventory(self) -> Inventory:
        """See ImageStore."""

        def names(folder: Path) -> list[str]:
            return sorted(name for name in os.listdir(folder) if not name.startswith(files.TEMP_PREFIX))

        def look() -> Inventory:
            stores = {name: names(folder) for name, folder in self.folders.items()}
            arriving = [n for name in ("uploads", *WAITING) for n in names(self.root / name)]
            return Inventory(sorted({n for held in stores.values() for n in held}), names(self.root / "base"), sorted(arriving), stores)

        found = await self.run(look)
        stores, silent = dict(found.stores), []
        cached = [one.data_id for one in await self.run(self.cache.held)] if self.cache else []
        for name, backend in self.remote.items():
            try:
                stores[name] = await backend.names()
            except Unavailable:
                silent.append(name)
        data = sorted({n for held in stores.values() for n in held}) if self.remote else found.data
        return Inventory(data, found.bases, found.arriving, stores, silent, cached)


def open_to_nobody(fd: int, mode: int) -> None:
    """When we are root the sandbox is not: let it open the file again by its descriptor (the folder is still ours alone)."""
    if os.geteuid() == 0:
        os.fchmod(fd, mode)
