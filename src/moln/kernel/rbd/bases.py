"""What disks and volumes begin as: a clone of an image's base, which is brought into the pool once, by the node that needs it first."""

from __future__ import annotations

import os
from pathlib import Path

from moln.kernel.errors import BackendRefused
from moln.kernel.rbd.pool import Absent, RbdPool, name_of

BASE = "base"
READ_ONLY = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # the images' folder belongs to a user less trusted than root


def has_base(pool: RbdPool, image_id: str) -> bool:
    """Whether a disk may begin as this image though no file of it is here. Raises: BackendRefused, BackendUnreachable."""
    return pool.ask("size", name=name_of(BASE, image_id)) is not None


def begin(pool: RbdPool, name: str, image_id: str, bases: Path, *, size: int, most: int | None = None) -> None:
    """There is an image of this name, of at least `size` bytes, begun as a clone. bases: the folder where the raw file is. most: bytes that it may have.

    Raises: BackendRefused, BackendUnreachable.
    """
    base = name_of(BASE, image_id)

    def clone() -> None:
        pool.ask("clone", name=name, parent=base, size=size, most=most)

    try:
        clone()
    except Absent:
        with pool.bringing:
            try:
                clone()  # somebody has brought it meanwhile
            except Absent:
                bring(pool, base, bases / image_id)
                clone()


def bring(pool: RbdPool, base: str, path: Path) -> None:
    """The base is in the pool. Raises: BackendRefused, when the file is not here."""
    try:
        file = os.open(path, READ_ONLY)
    except OSError as error:
        raise BackendRefused(f"Image {path.name} is not on this host.", detail=str(error)) from error
    try:
        pool.ask("take", name=base, path=f"/proc/{os.getpid()}/fd/{file}")  # what was opened here, whatever becomes of its name
    finally:
        os.close(file)
