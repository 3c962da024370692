"""How much room a node's images may have: what is unused goes, the longest unused first, when they have more than their share of the
file system, or little of it is free.

An image is in use while a disk or a volume that began as it is here (`images/began/<id of the disk>` says as which), and while one begins
as it. All of it is on the file system, or lasts only as long as the process.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from moln.compute.drivers.disks import READ_ONLY
from moln.kernel import files

SHARE, FREE = 0.25, 0.1  # of the file system: what images may have together; what they leave free
KEPT_S = 7 * 24 * 3600.0  # seconds that one is kept unused
WRITE_ONLY = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
NAME_BYTES = 64  # of a name, at most
Space = Callable[[Path], tuple[int, int]]


def space_of(folder: Path) -> tuple[int, int]:
    """Bytes of a folder's file system: all, and those that are free."""
    total, _, free = shutil.disk_usage(folder)
    return total, free


class Kept(NamedTuple):
    """used_at: seconds since 1970. data: bytes on the disk."""

    used_at: float
    name: str
    data: int


class Room:
    """images: the pool's folder of them. All but `using` blocks."""

    def __init__(self, images: Path, space: Space = space_of) -> None:
        self.folder, self.began = images / "base", images / "began"
        self.disks = (images.parent / "disks", images.parent / "volumes")
        self.space = space
        self.pinned: Counter[str] = Counter()
        self.lock = threading.Lock()  # between who begins to use one and the thread that takes it away; never held for long

    def prepare(self) -> None:
        for folder in (self.folder, self.began):
            folder.mkdir(parents=True, exist_ok=True)
        files.sweep(self.folder)

    @contextlib.contextmanager
    def using(self, name: str) -> Iterator[None]:
        """Whether it is here or not yet, it is not taken away."""
        with self.lock:
            self.pinned[name] += 1
        try:
            yield
        finally:
            with self.lock:
                self.pinned[name] -= 1
                if not self.pinned[name]:
                    del self.pinned[name]

    def has(self, disk_id: str) -> bool:
        """Whether this disk or volume is here, whatever it began as."""
        return any((folder / disk_id).exists() for folder in self.disks)

    def note(self, name: str, disk_id: str) -> None:
        """The disk or volume is here, and began as this image."""
        file = os.open(self.began / disk_id, WRITE_ONLY, 0o600)  # not made durable: without it the image goes sooner, that is all
        try:
            os.write(file, name.encode())
        finally:
            os.close(file)

    def used(self) -> set[str]:
        """What disks and volumes that are here began as; of others no note is left."""
        found = set()
        for note in self.began.iterdir():
            with contextlib.suppress(OSError):
                if self.has(note.name):
                    file = os.open(note, READ_ONLY)
                    try:
                        found.add(os.read(file, NAME_BYTES).decode("ascii", "replace"))
                    finally:
                        os.close(file)
                else:
                    note.unlink()
        return found

    def kept(self) -> list[Kept]:
        """The longest unused first."""
        found = []
        for path in self.folder.iterdir():
            if not path.name.startswith(files.TEMP_PREFIX):
                with contextlib.suppress(FileNotFoundError):
                    about = path.stat()
                    found.append(Kept(about.st_mtime, path.name, about.st_blocks * 512))
        return sorted(found)

    def make(self, coming: int = 0) -> list[str]:
        """Make room for so many bytes more. What had to go."""
        kept, used, gone = self.kept(), self.used(), []
        total, free = self.space(self.folder)
        over = sum(image.data for image in kept) + coming - SHARE * total
        short = coming + FREE * total - free
        old = time.time() - KEPT_S
        for image in kept:
            if image.name in used or (over <= 0 and short <= 0 and image.used_at >= old):
                continue
            if self.drop(image.name):
                gone.append(image.name)
                over, short = over - image.data, short - image.data
        return gone

    def drop(self, name: str) -> bool:
        """Unless somebody uses it just now. Who reads it already, reads on."""
        hidden = self.folder / f"{files.TEMP_PREFIX}{name}-{os.urandom(6).hex()}"
        with self.lock:
            if name in self.pinned:
                return False
            try:
                os.rename(self.folder / name, hidden)
            except FileNotFoundError:
                return False
        files.vanish(hidden)
        return True
