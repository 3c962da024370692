"""Backups as folders of chunks.

    <backups>/<id>/manifest    sizes, and the sha256 of each chunk by its number (JSON)
    <backups>/<id>/<number>    the bytes of a chunk; one of zeros only has no file

A folder appears whole under its name or not at all. An incremental backup links the files of the chunks that its parent has as well:
it stands alone, and the file system counts who still needs a chunk. All of it blocks: call it from a thread.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
from msgspec import Struct

from moln.kernel import files
from moln.kernel.errors import BackendRefused
from moln.volume.drivers.base import BackupFacts

CHUNK = 4 << 20  # bytes
MANIFEST = "manifest"
READ_ONLY = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC


class Manifest(Struct, frozen=True):
    """size_bytes: of the volume. chunks: sha256 by number."""

    size_bytes: int
    chunk_bytes: int
    chunks: dict[int, str]


def start(root: Path) -> None:
    """Make the folder, remove what a crash left."""
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    for entry in os.scandir(root):
        if entry.name.startswith(files.TEMP_PREFIX):
            remove_tree(Path(entry.path))


def remove_tree(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def manifest_of(folder: Path) -> Manifest | None:
    """None: there is no such backup. Raises: BackendRefused, for one that cannot be read."""
    try:
        raw = (folder / MANIFEST).read_bytes()
    except FileNotFoundError:
        return None
    try:
        return msgspec.json.decode(raw, type=Manifest)
    except msgspec.DecodeError as error:
        raise BackendRefused("The backup is damaged: its manifest cannot be read.", detail=str(error)) from None


def facts(manifest: Manifest | None) -> BackupFacts | None:
    return None if manifest is None else BackupFacts(len(manifest.chunks), manifest.size_bytes)


def ensure(folder: Path, source: int, parent: Path | None, *, stop: Callable[[], bool]) -> BackupFacts:
    """There is a backup of `source` (a descriptor of a file that nobody writes). Raises: InterruptedError, when `stop` says so."""
    made = facts(manifest_of(folder))
    if made is not None:
        return made
    hidden = folder.parent / f"{files.TEMP_PREFIX}{folder.name}"
    remove_tree(hidden)
    hidden.mkdir(mode=0o700)
    before = manifest_of(parent) if parent else None
    known = before.chunks if before and before.chunk_bytes == CHUNK else {}
    chunks: dict[int, str] = {}
    for number in numbers(source):
        if stop():
            raise InterruptedError("the backup was stopped")
        content = os.pread(source, CHUNK, number * CHUNK)
        if not content.strip(b"\0"):
            continue
        chunks[number] = digest = hashlib.sha256(content).hexdigest()
        if parent and known.get(number) == digest:
            os.link(parent / str(number), hidden / str(number), follow_symlinks=False)
        else:
            write(hidden / str(number), content)
    manifest = Manifest(os.fstat(source).st_size, CHUNK, chunks)
    write(hidden / MANIFEST, msgspec.json.encode(manifest))
    files.sync_folder(hidden)
    os.rename(hidden, folder)
    files.sync_folder(folder.parent)
    return BackupFacts(len(chunks), manifest.size_bytes)


def write(path: Path, content: bytes) -> None:
    with open(path, "xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def numbers(source: int) -> Iterator[int]:
    """The chunks in which the file has data, in order."""
    size, at, last = os.fstat(source).st_size, 0, -1
    while at < size:
        try:
            start = os.lseek(source, at, os.SEEK_DATA)
        except OSError:  # only a hole is left
            return
        at = os.lseek(source, start, os.SEEK_HOLE)
        for number in range(max(start // CHUNK, last + 1), -(-at // CHUNK)):
            last = number
            yield number


def restore(folder: Path, target: int, *, most: int | None = None, stop: Callable[[], bool]) -> None:
    """Fill `target` (empty, open for writing). most: bytes that fit. Raises: BackendRefused, when it does not fit or is damaged."""
    manifest = manifest_of(folder)
    if manifest is None:
        raise FileNotFoundError(str(folder))
    if most is not None and manifest.size_bytes > most:
        raise BackendRefused("The backup does not fit into the volume.")
    os.ftruncate(target, manifest.size_bytes)
    for number, digest in sorted(manifest.chunks.items()):
        if stop():
            raise InterruptedError("the restore was stopped")
        try:
            chunk = os.open(folder / str(number), READ_ONLY)
        except FileNotFoundError:
            raise BackendRefused(f"The backup is damaged: chunk {number} is missing.") from None
        with open(chunk, "rb") as file:
            content = file.read(manifest.chunk_bytes + 1)
        if hashlib.sha256(content).hexdigest() != digest:
            raise BackendRefused(f"The backup is damaged: chunk {number} is not what was written.")
        os.pwrite(target, content, number * manifest.chunk_bytes)


def remove(folder: Path) -> None:
    """There is no such backup."""
    hidden = folder.parent / f"{files.TEMP_PREFIX}{folder.name}.gone"
    if folder.exists():
        remove_tree(hidden)
        os.rename(folder, hidden)
        files.sync_folder(folder.parent)
    remove_tree(hidden)
