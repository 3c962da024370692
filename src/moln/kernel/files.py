"""Files that must survive a crash: reflinks, sparse copies, and names that appear only when their bytes are safe.

All of it blocks: call it from a thread.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from moln.kernel.errors import BackendRefused

FICLONE = 0x40049409  # linux/fs.h
COPY_STEP = 32 << 20  # bytes between two looks at `stop`
PIECE = 4 << 20  # bytes that pass through memory at once
TEMP_PREFIX = ".tmp-"
ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
NO_REFLINK = {errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ENOSYS}


def known(id: str) -> str:
    """The id, once it is shown to be one (it becomes a file's or an image's name). Raises: BackendRefused."""
    if not ID.fullmatch(id):
        raise BackendRefused("That is not an id.", detail=repr(id)[:100])
    return id


def never() -> bool:
    """The default `stop`: go on."""
    return False


def reflink(source: int, target: int) -> bool:
    """Share the whole of `source`'s blocks with `target` (two descriptors); False where the file system cannot."""
    try:
        fcntl.ioctl(target, FICLONE, source)
    except OSError as error:
        if error.errno in NO_REFLINK:
            return False
        raise
    return True


def copy_sparse(source: int, target: int, *, stop: Callable[[], bool] = never) -> None:
    """Copy the data of `source` and keep its holes. Raises: InterruptedError, when `stop` says so between two steps."""
    size = os.fstat(source).st_size
    os.ftruncate(target, size)
    at = 0
    while at < size:
        try:
            start = os.lseek(source, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # only a hole is left
                return
            raise
        at = os.lseek(source, start, os.SEEK_HOLE)
        while start < at:
            if stop():
                raise InterruptedError(errno.EINTR, "the copy was stopped")
            done = _copy_range(source, target, min(COPY_STEP, at - start), start)
            if not done:  # the source shrank
                return
            start += done


def _copy_range(source: int, target: int, count: int, at: int) -> int:
    """Copy at most so many bytes; how many it were. The kernel refuses to do it between two kinds of file systems (since Linux 5.19)."""
    try:
        return os.copy_file_range(source, target, count, at, at)
    except OSError as error:
        if error.errno not in NO_REFLINK:
            raise
    return os.pwrite(target, os.pread(source, min(count, PIECE), at), at)


def clone(source: int, target: int, *, stop: Callable[[], bool] = never) -> bool:
    """Make `target` (empty, open for writing) hold what `source` holds; True when it was a reflink."""
    if reflink(source, target):
        return True
    copy_sparse(source, target, stop=stop)
    return False


@contextmanager
def private() -> Iterator[None]:
    """What this process makes meanwhile is read by its user alone: for commands, which do one thing at a time."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextmanager
def appearing(path: Path, *, mode: int = 0o600, replace: bool = False) -> Iterator[int]:
    """A descriptor of a hidden file that becomes `path`, whole and durable, when the block ends well, else vanishes.

    replace: whether an existing `path` may be replaced; else it stays, and ours vanishes (whoever came first wins).
    """
    hidden = path.parent / f"{TEMP_PREFIX}{path.name}-{os.urandom(6).hex()}"
    fd = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        yield fd
        os.fsync(fd)
        if replace:
            os.rename(hidden, path)
        else:
            with suppress(FileExistsError):
                os.link(hidden, path)
        sync_folder(path.parent)
    finally:
        os.close(fd)
        hidden.unlink(missing_ok=True)


def vanish(path: Path) -> bool:
    """Remove `path` durably; False when it was not there."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return False
    sync_folder(path.parent)
    return True


def sweep(folder: Path, *, older_than: float | None = None) -> list[str]:
    """Remove the hidden files that a crash left in `folder`; older_than: only those last written before this time (s since 1970)."""
    gone = []
    for entry in os.scandir(folder):
        if entry.name.startswith(TEMP_PREFIX):
            if older_than is not None and entry.stat(follow_symlinks=False).st_mtime >= older_than:
                continue
            os.unlink(entry.path)
            gone.append(entry.name)
    return gone


def supports_reflink(folder: Path) -> bool:
    """Whether the file system below `folder` shares blocks (xfs with reflink=1, btrfs, bcachefs)."""
    first, second = (folder / f"{TEMP_PREFIX}probe-{os.urandom(6).hex()}" for _ in range(2))
    try:
        with open(first, "w+b") as source, open(second, "wb") as target:
            source.write(b"x" * 4096)
            source.flush()
            return reflink(source.fileno(), target.fileno())
    finally:
        first.unlink(missing_ok=True)
        second.unlink(missing_ok=True)
