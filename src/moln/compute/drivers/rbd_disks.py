"""Disks that live and die with their server, in a pool of Ceph's RBD: clones of their image's base. The verbs of DiskFolder, which all nodes share.

disk-<id>    base-<image> (docs/adr/0043-disks-in-ceph.md)    images/incoming/<id> (a local file, written for the image store)
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from moln.compute.drivers.base import DiskFile
from moln.compute.drivers.disks import Room
from moln.kernel import files
from moln.kernel.errors import BackendRefused, BackendUnreachable
from moln.kernel.files import known
from moln.kernel.rbd import GIB, RbdPool, begin, has_base, name_of

DISK = "disk"


class RbdDisks:
    """All of it blocks. Raises: BackendRefused, BackendUnreachable; OSError when the local file system fails."""

    def __init__(self, pool: RbdPool, images: Path) -> None:
        self.pool = pool
        self.bases = images / "base"
        self.incoming = images / "incoming"
        self.shared = pool.access.name

    def stop(self) -> None:
        self.pool.stop()

    def prepare(self) -> None:
        """Nothing: what crashes leave in the pool is swept by all nodes in turn (volume/drivers/rbd.py)."""

    def ensure(self, disk_id: str, size_gib: int, image_id: str | None) -> DiskFile:
        name, size = name_of(DISK, disk_id), size_gib * GIB
        there = self.pool.ask("size", name=name)
        if there is None:
            if image_id is None:
                self.pool.ask("blank", name=name, size=size)
            else:
                begin(self.pool, name, known(image_id), self.bases, size=size, most=size or None)
            there = self.pool.ask("size", name=name)
        if there is None:
            raise BackendUnreachable("The disk went while it was made.")
        return DiskFile(disk_id, f"{self.pool.access.pool}/{name}", there, "rbd")

    def size(self, disk_id: str) -> int:
        """Raises: BackendRefused, when there is no such disk."""
        there: int | None = self.pool.ask("size", name=name_of(DISK, disk_id))
        if there is None:
            raise BackendRefused("The host has no such disk or image.")
        return there

    def has_base(self, image_id: str) -> bool:
        return has_base(self.pool, image_id)

    def copy(self, copy_id: str, disk_id: str) -> None:
        self.pool.ask("copy", name=name_of(DISK, copy_id), source=name_of(DISK, disk_id))

    def restore(self, disk_id: str, copy_id: str) -> None:
        self.pool.ask("replace", name=name_of(DISK, disk_id), by=name_of(DISK, copy_id))

    def grow(self, disk_id: str, size_gib: int) -> None:
        self.pool.ask("grow", name=name_of(DISK, disk_id), size=size_gib * GIB)

    def remove(self, disk_id: str) -> None:
        self.pool.ask("remove", name=name_of(DISK, disk_id))

    def export(self, image_id: str, disk_id: str, while_still: Callable[[Callable[[], None]], None]) -> int:
        """Copy a disk for the image store. A snapshot is one moment of it: nobody has to stand still."""
        target_path = self.incoming / known(image_id)
        if not target_path.exists():
            owner = os.lstat(self.incoming)
            with files.appearing(target_path) as target:
                self.pool.ask("give", name=name_of(DISK, disk_id), path=f"/proc/{os.getpid()}/fd/{target}")
                os.fchown(target, owner.st_uid, owner.st_gid)  # the controller's: it hashes it and makes it an image
        return target_path.stat().st_size

    def ids(self) -> tuple[str, ...]:
        prefix, names = f"{DISK}-", list[str](self.pool.ask("names"))
        return tuple(sorted(name.removeprefix(prefix) for name in names if name.startswith(prefix)))

    def strays(self) -> list[str]:
        """None: whatever else is in the pool may be somebody else's."""
        return []

    def room(self) -> Room:
        """Nothing is free where the cluster does not say."""
        try:
            said = self.pool.ask("room")
        except BackendUnreachable:
            said = {"total": 0, "free": 0}
        return Room(said["total"] // GIB, said["free"] // GIB, True, self.shared)
