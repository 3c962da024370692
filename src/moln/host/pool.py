"""The pool's file system: one that can share blocks between files (reflink), made from an image file if need be."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from pathlib import Path

from moln.host import made
from moln.host.places import Places
from moln.host.run import HostError, run
from moln.host.settings import HostSettings

FICLONE = 0x40049409  # linux/fs.h
GIB = 1 << 30
LEAST_GIB, MOST_GIB = 8, 500


def can_reflink(folder: Path) -> bool:
    """Tries it: no table of file systems knows how each was made."""
    one, two = folder / ".reflink-a", folder / ".reflink-b"
    try:
        one.write_bytes(b"x" * 4096)
        with one.open("rb") as source, two.open("wb") as target:
            fcntl.ioctl(target, FICLONE, source.fileno())
        return True
    except OSError:
        return False
    finally:
        one.unlink(missing_ok=True)
        two.unlink(missing_ok=True)


def image_size(settings: HostSettings, free: int) -> int:
    """Bytes of the pool's image file. free: bytes on the file system below it. Raises: HostError, when it won't fit."""
    size = settings.pool_size_gib * GIB or min(max(free // 3 // GIB, LEAST_GIB), MOST_GIB) * GIB
    spare = GIB
    if settings.pool_allocated and size + spare > free:
        raise HostError(
            f"The pool needs {size // GIB} GiB and {free // GIB} GiB are free; free some space, or set "
            "pool_size_gib under [host] in moln.toml.")
    return size


def ensure_pool(places: Places, settings: HostSettings) -> str:
    """Returns what the pool is, for people. Raises: HostError."""
    pool, file = places.pool, places.pool_file
    pool.mkdir(mode=0o755, exist_ok=True)
    if pool.is_mount():
        return describe(places)
    if not file.exists() and can_reflink(pool):
        return describe(places)
    if not file.exists():
        _make(file, image_size(settings, shutil.disk_usage(places.home).free), settings.pool_allocated)
    record = made.read(places)
    record.mounts = sorted({*record.mounts, str(pool)})
    made.write(places, record)
    run("mount", "-t", "xfs", "-o", "loop,noatime,nodev,nosuid,noexec", file, pool)
    if not can_reflink(pool):
        raise HostError(f"{file} was made without reflink; remove it when nothing in it is needed")
    return describe(places)


def _make(file: Path, size: int, allocated: bool) -> None:
    new = file.with_suffix(".new")
    new.unlink(missing_ok=True)
    fd = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        if allocated:
            os.posix_fallocate(fd, 0, size)
        else:
            os.ftruncate(fd, size)
    finally:
        os.close(fd)
    run("mkfs.xfs", "-q", "-m", "reflink=1", "-L", "moln", new, timeout_s=300)
    new.rename(file)


def describe(places: Places) -> str:
    usage = shutil.disk_usage(places.pool)
    kind = f"image file {places.pool_file.name}" if places.pool.is_mount() and places.pool_file.exists() else "host's"
    return f"{usage.free / GIB:.0f} of {usage.total / GIB:.0f} GiB free ({kind})"


def remove_pool(places: Places) -> None:
    """Unmount what we mounted. Raises: HostError, when somebody still uses it."""
    for mount in made.read(places).mounts:
        while Path(mount).is_mount():
            run("umount", mount)
    with contextlib.suppress(FileNotFoundError):
        places.pool_file.unlink()
