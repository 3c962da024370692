"""Data of stores on other machines, kept on this controller's disk while there is room: folder/{data/<data id>, queue/<image id>}.

It is this machine's alone, and may be lost: nothing is told of it in any row. All of it blocks, but for `fill`.
"""

from __future__ import annotations

import hashlib
import os
import time
from contextlib import aclosing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from moln.image.drivers.uploads import create, write_all
from moln.kernel import files
from moln.kernel.errors import BackendRefused

if TYPE_CHECKING:
    from moln.image.drivers.files import FileStore

HITS = "user.moln.hits"
STALLED_S = 24 * 3600.0  # what arrives for so long has died


class Cached(Struct, frozen=True):
    """One entry. Times: seconds since 1970; hits: readers since it came."""

    data_id: str
    size: int
    hits: int
    last_accessed: float
    last_modified: float


class ImageCache:
    """most: bytes in all; what was not read for longest goes first."""

    def __init__(self, folder: Path, most: int):
        self.data = folder / "data"
        self.queue = folder / "queue"
        self.most = most

    def start(self) -> None:
        for folder in (self.data, self.queue):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        files.sweep(self.data)

    def open(self, data_id: str) -> int | None:
        """A descriptor, for a reader who counts; None, when it is not cached."""
        try:
            fd = os.open(self.data / data_id, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        with suppress(OSError):  # a file system without such attributes counts nothing
            os.setxattr(fd, HITS, str(hits_of(fd) + 1).encode())
        os.utime(fd, (time.time(), os.fstat(fd).st_mtime))
        return fd

    def holds(self, data_id: str) -> bool:
        return (self.data / data_id).exists()

    def held(self) -> list[Cached]:
        """What is cached, the longest unread first."""
        found = []
        for entry in os.scandir(self.data):
            if not entry.name.startswith(files.TEMP_PREFIX):
                with suppress(FileNotFoundError):
                    is_ = entry.stat(follow_symlinks=False)
                    found.append(Cached(entry.name, is_.st_size, hits_of(entry.path), is_.st_atime, is_.st_mtime))
        return sorted(found, key=lambda one: (one.last_accessed, one.data_id))

    def prune(self, more: int = 0) -> tuple[int, int]:
        """Make room for so many bytes more. How many entries went, and their bytes."""
        held = self.held()
        over, gone, freed = sum(one.size for one in held) + more - self.most, 0, 0
        for one in held:
            if freed >= over:
                break
            if self.forget(one.data_id):
                gone, freed = gone + 1, freed + one.size
        return gone, freed

    def forget(self, data_id: str) -> bool:
        return files.vanish(self.data / data_id)

    def sweep(self) -> list[str]:
        """Remove what began to arrive and never came."""
        return files.sweep(self.data, older_than=time.time() - STALLED_S)

    def enqueue(self, image_id: str) -> None:
        """It shall be cached, once those before it are."""
        path = self.queue / image_id
        if not path.exists():
            path.touch(0o600)
            now = time.time_ns()
            os.utime(path, ns=(now, now))  # the file system's own clock moves every 4 ms

    def dequeue(self, image_id: str) -> bool:
        return files.vanish(self.queue / image_id)

    def queued(self) -> list[str]:
        """Images that wait, the first first."""
        found = []
        for entry in os.scandir(self.queue):
            with suppress(FileNotFoundError):
                found.append((entry.stat().st_mtime_ns, entry.name))
        return [name for _, name in sorted(found)]


def hits_of(file: int | str) -> int:
    try:
        return int(os.getxattr(file, HITS))
    except (OSError, ValueError):
        return 0


async def fill(store: FileStore, cache: ImageCache, data_id: str, size: int, algorithm: str, digest: str) -> None:
    """Cache what lies in a store, once it proved to be what the image's row says. Raises: NotFound, Unavailable, BackendRefused."""
    target = cache.data / data_id
    if cache.holds(data_id):
        return
    if size > cache.most:
        raise BackendRefused("The image is larger than the cache.")
    await store.run(cache.prune, size)
    hidden = target.with_name(f"{files.TEMP_PREFIX}{data_id}-{os.urandom(6).hex()}")
    if (source := await store.run(store.find_here, data_id)) is not None:
        await store.run(link_or_clone, source, target)
        return
    fd = await store.run(create, hidden)
    found, at = hashlib.new(algorithm), 0

    def take(piece: bytes, where: int) -> None:
        found.update(piece)
        write_all(fd, piece, where)

    try:
        async with aclosing(store.read(data_id, 0, size)) as pieces:
            async for piece in pieces:
                await store.run(take, piece, at)
                at += len(piece)
        if found.hexdigest() != digest:
            raise BackendRefused(
                "The data in the store is not what was put there.", detail=f"{algorithm} of {data_id}: {found.hexdigest()}"
            )
        await store.run(os.rename, hidden, target)
    finally:
        os.close(fd)
        hidden.unlink(missing_ok=True)


def link_or_clone(source: Path, target: Path) -> None:
    """Another name of a file, or a copy on another file system. Blocks."""
    try:
        os.link(source, target, follow_symlinks=False)
    except FileExistsError:
        return
    except OSError:
        clone_to(source, target)


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
