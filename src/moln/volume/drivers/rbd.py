"""Volumes as images in a pool of Ceph's RBD: clones of their image's base, their snapshot or one another. Backups stay chunks in files (pool_backups.py).

    volume-<id>    snapshot-<id>    base-<image> (docs/adr/0043-disks-in-ceph.md)    next-<volume> (what a volume is about to become)

A snapshot is a clone that nobody writes, so that it outlives its volume and a volume its snapshot.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from moln.kernel import files
from moln.kernel.errors import BackendRefused
from moln.kernel.files import known
from moln.kernel.rbd import BASE, GIB, RbdPool, begin, has_base, name_of
from moln.volume.drivers import pool_backups
from moln.volume.drivers.base import Connection, Inventory, Pool, SourceKind
from moln.volume.drivers.pool import PoolDriver

VOLUME, SNAPSHOT, NEXT = "volume", "snapshot", "next"
SWEEP_EVERY_S = 3600.0
KEPT_S = 7 * 24 * 3600.0  # seconds that a base is kept on which nothing stands


class RbdVolumes(PoolDriver):
    """VolumeDriver. root: of this node's backups; images: of its raw files."""

    def __init__(self, pool: RbdPool, root: Path, images: Path) -> None:
        super().__init__(root, images)
        self.rbd = pool
        self.shared = pool.access.name
        self.swept_at = -SWEEP_EVERY_S

    async def stop(self) -> None:
        self.rbd.stop()
        await super().stop()

    async def ensure_volume(self, volume_id: str, size_gib: int, source: SourceKind = "blank", source_id: str = "") -> None:
        if size_gib < 1:
            raise BackendRefused("A volume has at least 1 GiB.")
        if source not in ("blank", "image", "snapshot", "volume", "backup"):
            raise BackendRefused("The pool knows no such kind of source.", detail=source)
        name = name_of(VOLUME, volume_id)
        await self.run(volume_id, lambda: self.make(name, size_gib * GIB, source, source_id))

    def make(self, name: str, size: int, source: SourceKind, source_id: str) -> None:
        """There is an image of this name and at least this size, begun as that. Raises: BackendRefused, also when it does not fit."""
        match source:
            case "blank":
                self.rbd.ask("blank", name=name, size=size)
            case "image":
                begin(self.rbd, name, known(source_id), self.bases, size=size, most=size)
            case "backup":
                self.restore(name, size, known(source_id))
            case _:
                self.rbd.ask("copy", name=name, source=name_of(source, source_id), size=size, most=size)

    def restore(self, name: str, size: int, backup_id: str) -> None:
        """By way of a file of this node, which has no name."""
        if self.rbd.ask("size", name=name) is not None:
            return
        with tempfile.TemporaryFile(dir=self.backups, prefix=files.TEMP_PREFIX) as file:
            pool_backups.restore(self.backups / backup_id, file.fileno(), most=size, stop=lambda: self.stopping)
            self.rbd.ask("take", name=name, path=own(file.fileno()), size=size, snap=False)

    def replace(self, volume_id: str, make: Callable[[str, int], None]) -> None:
        """The volume becomes, at no less than its size, what `make` makes. Dying at any line leaves it as it was, or as it is to be, once this is repeated."""
        name, upcoming = name_of(VOLUME, volume_id), name_of(NEXT, volume_id)
        size = self.rbd.ask("size", name=name)
        if size is None:  # we died between taking the one away and giving its name to the other
            self.rbd.ask("replace", name=name, by=upcoming)
            size = self.rbd.ask("size", name=name)
        if size is None:
            raise BackendRefused("The pool has no such volume, snapshot or image.", detail=name)
        self.rbd.ask("remove", name=upcoming)
        make(upcoming, size)
        self.rbd.ask("replace", name=name, by=upcoming)

    async def extend_volume(self, volume_id: str, size_gib: int) -> None:
        await self.ask(volume_id, "grow", name=name_of(VOLUME, volume_id), size=size_gib * GIB)

    async def remove_volume(self, volume_id: str) -> None:
        await self.ask(volume_id, "remove", name=name_of(VOLUME, volume_id))
        await self.ask(volume_id, "remove", name=name_of(NEXT, volume_id))

    async def find_connection(self, volume_id: str) -> Connection | None:
        name = name_of(VOLUME, volume_id)
        if await self.ask("", "size", name=name) is None:
            return None
        return Connection("shared", f"{self.rbd.access.pool}/{name}", protocol="rbd")

    async def ensure_snapshot(self, snapshot_id: str, volume_id: str) -> None:
        await self.ask(snapshot_id, "copy", name=name_of(SNAPSHOT, snapshot_id), source=name_of(VOLUME, volume_id))

    async def remove_snapshot(self, snapshot_id: str) -> None:
        await self.ask(snapshot_id, "remove", name=name_of(SNAPSHOT, snapshot_id))

    async def revert_volume(self, volume_id: str, snapshot_id: str) -> None:
        def make(name: str, size: int) -> None:
            self.rbd.ask("copy", name=name, source=name_of(SNAPSHOT, snapshot_id), size=size)

        await self.run(volume_id, lambda: self.replace(volume_id, make))

    async def reimage_volume(self, volume_id: str, image_id: str) -> None:
        await self.run(volume_id, lambda: self.replace(volume_id, lambda name, size: self.make(name, size, "image", image_id)))

    async def restore_backup(self, volume_id: str, backup_id: str) -> None:
        await self.run(volume_id, lambda: self.replace(volume_id, lambda name, size: self.restore(name, size, known(backup_id))))

    async def ensure_image_data(self, image_id: str, volume_id: str) -> None:
        path, name = self.incoming / known(image_id), name_of(VOLUME, volume_id)

        def make() -> None:
            if path.exists():
                return
            owner = os.lstat(self.incoming)
            with files.appearing(path) as target:
                self.rbd.ask("give", name=name, path=own(target))
                os.fchown(target, owner.st_uid, owner.st_gid)  # the controller's: it hashes it and makes it an image

        await self.run(image_id, make)

    def read_into(self, target: int, source: SourceKind, source_id: str) -> None:
        self.rbd.ask("give", name=name_of(source, source_id), path=own(target))

    async def has_base(self, image_id: str) -> bool:
        """Whether a volume may begin as this image though no file of it is here."""
        return await self.run("", has_base, self.rbd, image_id)

    async def pool(self) -> Pool:
        """Now and then what crashes left goes, and bases that nobody uses: whichever node comes first."""
        if time.monotonic() - self.swept_at >= SWEEP_EVERY_S:
            self.swept_at = time.monotonic()
            await self.ask(
                "sweep", "sweep", prefixes=[f"{kind}-" for kind in (VOLUME, SNAPSHOT, NEXT, "disk")], base=f"{BASE}-", kept_s=KEPT_S
            )
        said = await self.ask("", "room")
        return Pool(round(said["total"] / GIB, 2), round(said["free"] / GIB, 2), True, self.shared)

    async def inventory(self) -> Inventory:
        def look() -> Inventory:
            names: list[str] = self.rbd.ask("names")
            volumes, snapshots = ([n.removeprefix(f"{kind}-") for n in names if n.startswith(f"{kind}-")] for kind in (VOLUME, SNAPSHOT))
            backups = [name for name in os.listdir(self.backups) if not name.startswith(files.TEMP_PREFIX)]
            return Inventory(sorted(volumes), sorted(snapshots), sorted(backups))

        return await self.run("", look)

    async def ask(self, key: str, do: str, **args: Any) -> Any:
        return await self.run(key, lambda: self.rbd.ask(do, **args))


def own(fd: int) -> str:
    """How another process of root's opens what this one has open."""
    return f"/proc/{os.getpid()}/fd/{fd}"
