"""Disks that live and die with their server: raw files, begun as reflinks (else sparse copies) of a cached raw image.

    pool/disks/<id>    images/base/<id> (raw, read only)    images/incoming/<id> (written for the image store)
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from moln.compute.drivers.base import DiskFile
from moln.kernel import files
from moln.kernel.errors import BackendRefused, BackendUnreachable
from moln.kernel.files import ID, known

GIB = 1 << 30
READ_ONLY = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # the images belong to a user less trusted than root
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class Room(Struct, frozen=True):
    """Where disks lie. total_gib, free_gib: GiB; reflink: whether copies share their blocks; shared: its name, when other hosts reach it as well."""

    total_gib: int
    free_gib: int
    reflink: bool
    shared: str = ""


class DiskFolder:
    """All of it blocks. Raises: BackendRefused; OSError when the file system fails. RbdDisks has the same verbs."""

    def __init__(self, pool: Path, images: Path) -> None:
        self.folder = pool / "disks"
        self.bases = images / "base"
        self.incoming = images / "incoming"
        self.stopping = False

    def stop(self) -> None:
        """Interrupt copies; what they were making never appears."""
        self.stopping = True

    def prepare(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        os.chmod(self.folder, 0o711)  # QEMU's user passes through, and lists nothing
        files.sweep(self.folder)

    def ensure(self, disk_id: str, size_gib: int, image_id: str | None) -> DiskFile:
        path = self.folder / known(disk_id)
        if not path.exists():
            with files.appearing(path) as target:
                if image_id is not None:
                    self.copy_image(known(image_id), target, most=size_gib * GIB or None)
                os.ftruncate(target, max(size_gib * GIB, os.fstat(target).st_size))
        return DiskFile(disk_id, str(path), path.stat().st_size)

    def copy_image(self, image_id: str, target: int, most: int | None) -> None:
        try:
            source = os.open(self.bases / image_id, READ_ONLY)
        except OSError as error:
            raise BackendRefused(f"Image {image_id} is not on this host.", detail=str(error)) from error
        try:
            size = os.fstat(source).st_size
            if most is not None and size > most:
                raise BackendRefused(f"The image has {-(-size // GIB)} GiB and does not fit into {most // GIB} GiB.")
            files.clone(source, target, stop=lambda: self.stopping)
        finally:
            os.close(source)

    def copy(self, copy_id: str, disk_id: str) -> None:
        target_path = self.path(copy_id)
        if target_path.exists():
            return
        source = os.open(self.path(disk_id), READ_ONLY)
        try:
            with files.appearing(target_path) as target:
                files.clone(source, target, stop=lambda: self.stopping)
        finally:
            os.close(source)

    def restore(self, disk_id: str, copy_id: str) -> None:
        """One rename: the disk is never half of the one and half of the other."""
        if self.path(copy_id).exists():
            os.rename(self.path(copy_id), self.path(disk_id))
            files.sync_folder(self.folder)

    def grow(self, disk_id: str, size_gib: int) -> None:
        target = os.open(self.path(disk_id), os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if os.fstat(target).st_size < size_gib * GIB:
                os.ftruncate(target, size_gib * GIB)
                os.fsync(target)
        finally:
            os.close(target)

    def remove(self, disk_id: str) -> None:
        files.vanish(self.folder / known(disk_id))

    def path(self, disk_id: str) -> Path:
        return self.folder / known(disk_id)

    def size(self, disk_id: str) -> int:
        return self.path(disk_id).stat().st_size

    def has_base(self, image_id: str) -> bool:
        """Whether a disk may begin as this image though no file of it is here."""
        return False

    def export(self, image_id: str, disk_id: str, while_still: Callable[[Callable[[], None]], None]) -> int:
        """Copy a disk for the image store. A reflink is one moment of the disk; where there is none, `while_still` must
        keep the guest from writing while the function that it is given copies."""
        target_path = self.incoming / known(image_id)
        if not target_path.exists():
            source = os.open(self.path(disk_id), READ_ONLY)
            try:
                owner = os.lstat(self.incoming)
                with files.appearing(target_path) as target:
                    if not files.reflink(source, target):
                        while_still(lambda: files.copy_sparse(source, target, stop=lambda: self.stopping))
                    os.fchown(target, owner.st_uid, owner.st_gid)  # the controller's: it hashes it and makes it an image
            finally:
                os.close(source)
        return target_path.stat().st_size

    def ids(self) -> tuple[str, ...]:
        return tuple(sorted(name for name in os.listdir(self.folder) if ID.fullmatch(name)))

    def strays(self) -> list[str]:
        """Files that are no disks of ours, and no disks in the making."""
        names = (name for name in os.listdir(self.folder) if not ID.fullmatch(name) and not name.startswith(files.TEMP_PREFIX))
        return [f"the file {self.folder / name}" for name in names]

    def room(self) -> Room:
        stat = os.statvfs(self.folder)
        total, free = stat.f_blocks * stat.f_frsize, stat.f_bavail * stat.f_frsize
        return Room(total // GIB, free // GIB, files.supports_reflink(self.folder))


def said(error: OSError) -> BackendRefused | BackendUnreachable:
    """A file system's failure in the protocol's two words."""
    if isinstance(error, FileNotFoundError):
        return BackendRefused("The host has no such disk or image.", detail=str(error))
    if error.errno in FULL:
        return BackendRefused("The host's disk is full.", detail=str(error))
    return BackendUnreachable("The host's file system failed.", detail=str(error))
