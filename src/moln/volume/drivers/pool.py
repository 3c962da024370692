"""Volumes as raw files in a folder, by preference on a file system that shares blocks (reflinks).

    root/volumes/<id>    root/snapshots/<id>    root/backups/<id>/ (pool_backups.py)    images/base/<id> (read only)    images/incoming/<id> (written for the image store)

A file appears whole (hidden name, fsync, link, fsync of the folder), so that a crash at any line leaves either nothing or a hidden
file that `start` removes. It runs as root inside the node process and opens no format but raw.
"""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from moln.kernel import files
from moln.kernel.errors import BackendRefused, BackendUnreachable
from moln.kernel.files import known
from moln.volume.drivers import pool_backups
from moln.volume.drivers.base import BackupFacts, Connection, Inventory, Pool, SourceKind

R = TypeVar("R")
GIB = 1 << 30
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
AT_ONCE = 4  # threads that copy or unlink
READ_ONLY = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


class PoolDriver:
    """VolumeDriver on local files. reserve_gib: space never promised to volumes. lent: see Pool."""

    def __init__(self, root: Path, images: Path, *, reserve_gib: int = 1, lent: bool = False):
        self.volumes = root / "volumes"
        self.snapshots = root / "snapshots"
        self.backups = root / "backups"
        self.bases = images / "base"
        self.incoming = images / "incoming"
        self.reserve_gib = reserve_gib
        self.lent = lent
        self.reflink = False
        self.stopping = False
        self.threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="pool")
        self.guard = threading.Lock()
        self.turns: dict[str, tuple[threading.Lock, int]] = {}

    async def start(self) -> None:
        """Make the folders, remove what a crash left, learn what the file system can. Call it once, before any verb."""

        def prepare() -> bool:
            for folder in (self.volumes, self.snapshots):
                folder.mkdir(parents=True, exist_ok=True)
                os.chmod(folder, 0o711)  # QEMU's user passes through, and lists nothing
                files.sweep(folder)
            pool_backups.start(self.backups)
            if self.incoming.is_dir():
                files.sweep(self.incoming)
            return files.supports_reflink(self.volumes)

        self.reflink = await self.run("", prepare)

    async def stop(self) -> None:
        """Interrupt copies; what they were making never appears."""
        self.stopping = True
        self.threads.shutdown(wait=False, cancel_futures=True)

    async def ensure_volume(self, volume_id: str, size_gib: int, source: SourceKind = "blank", source_id: str = "") -> None:
        path = self.volumes / known(volume_id)
        if size_gib < 1:
            raise BackendRefused("A volume has at least 1 GiB.")
        folders = {"image": self.bases, "snapshot": self.snapshots, "volume": self.volumes, "backup": self.backups}
        if source != "blank" and source not in folders:
            raise BackendRefused("The pool knows no such kind of source.", detail=source)
        origin = None if source == "blank" else folders[source] / known(source_id)

        def make() -> None:
            if path.exists():
                return
            with files.appearing(path) as target:
                if origin and source == "backup":
                    pool_backups.restore(origin, target, most=size_gib * GIB, stop=lambda: self.stopping)
                elif origin:
                    self.copy(origin, target, most=size_gib * GIB)
                os.ftruncate(target, size_gib * GIB)

        await self.run(volume_id, make)

    async def extend_volume(self, volume_id: str, size_gib: int) -> None:
        path = self.volumes / known(volume_id)

        def grow() -> None:
            fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                if os.fstat(fd).st_size < size_gib * GIB:
                    os.ftruncate(fd, size_gib * GIB)
                    os.fsync(fd)
            finally:
                os.close(fd)

        await self.run(volume_id, grow)

    async def remove_volume(self, volume_id: str) -> None:
        await self.run(volume_id, files.vanish, self.volumes / known(volume_id))

    async def find_connection(self, volume_id: str) -> Connection | None:
        path = self.volumes / known(volume_id)
        return Connection("file", str(path)) if await self.run("", path.exists) else None

    async def ensure_snapshot(self, snapshot_id: str, volume_id: str) -> None:
        path, origin = self.snapshots / known(snapshot_id), self.volumes / known(volume_id)

        def make() -> None:
            if not path.exists():
                with files.appearing(path) as target:
                    self.copy(origin, target)

        await self.run(snapshot_id, make)

    async def remove_snapshot(self, snapshot_id: str) -> None:
        await self.run(snapshot_id, files.vanish, self.snapshots / known(snapshot_id))

    async def revert_volume(self, volume_id: str, snapshot_id: str) -> None:
        path, origin = self.volumes / known(volume_id), self.snapshots / known(snapshot_id)

        def make() -> None:
            size = path.stat().st_size
            with files.appearing(path, replace=True) as target:
                self.copy(origin, target)
                os.ftruncate(target, max(size, os.fstat(target).st_size))

        await self.run(volume_id, make)

    async def reimage_volume(self, volume_id: str, image_id: str) -> None:
        path, origin = self.volumes / known(volume_id), self.bases / known(image_id)

        def make() -> None:
            size = path.stat().st_size
            with files.appearing(path, replace=True) as target:
                self.copy(origin, target, most=size)
                os.ftruncate(target, size)

        await self.run(volume_id, make)

    async def ensure_image_data(self, image_id: str, volume_id: str) -> None:
        path, origin = self.incoming / known(image_id), self.volumes / known(volume_id)

        def make() -> None:
            if path.exists():
                return
            owner = os.lstat(self.incoming)
            with files.appearing(path) as target:
                self.copy(origin, target)
                os.fchown(target, owner.st_uid, owner.st_gid)  # the controller's: it hashes it and makes it an image

        await self.run(image_id, make)

    async def ensure_backup(self, backup_id: str, source: SourceKind, source_id: str, parent_id: str = "") -> BackupFacts:
        folder, parent = self.backups / known(backup_id), self.backups / known(parent_id) if parent_id else None
        if source not in ("snapshot", "volume"):
            raise BackendRefused("The pool knows no such kind of source.", detail=source)

        def make() -> BackupFacts:
            done = pool_backups.facts(pool_backups.manifest_of(folder))
            if done is not None:
                return done
            still = self.backups / f"{files.TEMP_PREFIX}{backup_id}.still"  # a guest may be writing: take the bytes of one moment first
            still.unlink(missing_ok=True)
            with open(still, "x+b") as file:
                still.unlink()
                self.read_into(file.fileno(), source, known(source_id))
                return pool_backups.ensure(folder, file.fileno(), parent, stop=lambda: self.stopping)

        return await self.run(backup_id, make)

    async def find_backup(self, backup_id: str) -> BackupFacts | None:
        return await self.run("", lambda: pool_backups.facts(pool_backups.manifest_of(self.backups / known(backup_id))))

    async def remove_backup(self, backup_id: str) -> None:
        await self.run(backup_id, pool_backups.remove, self.backups / known(backup_id))

    async def restore_backup(self, volume_id: str, backup_id: str) -> None:
        path, origin = self.volumes / known(volume_id), self.backups / known(backup_id)

        def make() -> None:
            size = path.stat().st_size
            with files.appearing(path, replace=True) as target:
                pool_backups.restore(origin, target, most=size, stop=lambda: self.stopping)
                os.ftruncate(target, size)

        await self.run(volume_id, make)

    async def pool(self) -> Pool:
        def look() -> Pool:
            stat = os.statvfs(self.volumes)
            free = stat.f_bavail * stat.f_frsize / GIB - self.reserve_gib
            return Pool(round(stat.f_blocks * stat.f_frsize / GIB, 2), round(max(free, 0.0), 2), self.reflink, lent=self.lent)

        return await self.run("", look)

    async def inventory(self) -> Inventory:
        def names(folder: Path) -> list[str]:
            return sorted(name for name in os.listdir(folder) if not name.startswith(files.TEMP_PREFIX))

        return await self.run("", lambda: Inventory(names(self.volumes), names(self.snapshots), names(self.backups)))

    def read_into(self, target: int, source: SourceKind, source_id: str) -> None:
        """Fill `target` with what a volume or a snapshot holds at this moment."""
        self.copy((self.snapshots if source == "snapshot" else self.volumes) / source_id, target)

    def copy(self, origin: Path, target: int, *, most: int | None = None) -> None:
        """Fill `target` from a regular file; most: bytes that may come. Raises: BackendRefused."""
        source = os.open(origin, READ_ONLY)  # O_NOFOLLOW, O_NONBLOCK: the images folder belongs to a user less trusted than root
        try:
            size = os.fstat(source).st_size
            if not os.path.isfile(f"/proc/self/fd/{source}"):
                raise BackendRefused("The source is not a file.", detail=str(origin))
            if most is not None and size > most:
                raise BackendRefused(f"The source has {-(-size // GIB)} GiB and does not fit into {most // GIB} GiB.")
            files.clone(source, target, stop=lambda: self.stopping)
        finally:
            os.close(source)

    async def run(self, key: str, work: Callable[..., R], *args: object) -> R:
        """Run `work` in a thread, one at a time per key ("" never waits); say its failures in the protocol's two words.

        A caller that gives up leaves the thread its turn: the next verb on the same key waits until it has ended.
        """

        def turn() -> R:
            if not key:
                return work(*args)
            with self.turn(key):
                return work(*args)

        try:
            return await asyncio.get_running_loop().run_in_executor(self.threads, turn)
        except FileNotFoundError as error:
            raise BackendRefused("The pool has no such volume, snapshot or image.", detail=str(error)) from error
        except InterruptedError as error:
            raise BackendUnreachable("The pool is stopping.", detail=str(error)) from error
        except OSError as error:
            if error.errno in FULL:
                raise BackendRefused("The pool is full.", detail=str(error)) from error
            raise BackendUnreachable("The pool's file system failed.", detail=str(error)) from error

    @contextmanager
    def turn(self, key: str) -> Iterator[None]:
        """Hold the key's lock; forget the lock when nobody waits for it."""
        with self.guard:
            lock, users = self.turns.get(key, (threading.Lock(), 0))
            self.turns[key] = (lock, users + 1)
        try:
            with lock:
                yield
        finally:
            with self.guard:
                lock, users = self.turns[key]
                if users == 1:
                    del self.turns[key]
                else:
                    self.turns[key] = (lock, users - 1)
