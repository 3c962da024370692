"""An image's files, copied from other controllers into a FileStore's folders. A file appears under its name once it is whole and right."""

from __future__ import annotations

import asyncio
import hashlib
import os
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

from moln.image.drivers.cache import clone_to
from moln.image.drivers.uploads import failed
from moln.image.model.formats import QEMU_NAME
from moln.image.model.images import HASH_ALGORITHM, Image
from moln.kernel import files
from moln.kernel.errors import NotFound, Unavailable
from moln.kernel.nodes import sparse

if TYPE_CHECKING:
    from moln.image.drivers.files import FileStore

MARK = ".folder"  # in the root: the folder's id; controllers that read the same one there share it
ARRIVED = ("ready", "incoming", "staged", "data")  # where bytes that are not yet an image's may lie, the furthest first
KINDS = (*ARRIVED, "base")
PIECE = 4 << 20


def mark(root: Path) -> str:
    """The id of a folder, which it has from now on. Blocks."""
    path = root / MARK
    root.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        with files.appearing(path) as file:  # whoever came first wins
            os.write(file, uuid.uuid4().hex.encode())
    return path.read_text().strip()


def opened(store: FileStore, kind: str, data_id: str) -> int:
    """A descriptor of a file here, for a peer. Blocks. Raises: NotFound."""
    if kind in KINDS and data_id == Path(data_id).name and not data_id.startswith("."):
        path = store.find_here(data_id) if kind == "data" else store.root / kind / data_id
        if path is not None:
            try:
                return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            except FileNotFoundError:
                pass
    raise NotFound(f"There is no {kind} {data_id} here.")


async def ensure_data(store: FileStore, image: Image, *, trusted: bool) -> None:
    """The data lies in each of the image's stores that is a folder here. trusted: what is there need not be read.

    Raises: NotFound, Unavailable, TooLarge.
    """
    data_id = image.data_id or ""
    paths = [store.folders[name] / data_id for name in image.stores if name in store.folders]
    here = []
    for path in paths:
        if await store.run(path.exists):
            if trusted or await holds(store, path, image):
                here.append(path)
            else:
                await store.run(files.vanish, path)  # what came of an import that ended elsewhere
    if paths and not here:

        async def good(file: int) -> bool:
            return await is_data(store, file, image)

        await fetched(store, "data", paths[0], image.size or 0, good)
        here = paths[:1]
    for path in paths:
        if path not in here:
            await store.run(clone_to, here[0], path)


async def holds(store: FileStore, path: Path, image: Image) -> bool:
    fd = await store.run(os.open, path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        return await is_data(store, fd, image)
    finally:
        os.close(fd)


async def is_data(store: FileStore, fd: int, image: Image) -> bool:
    """Whether an open file is what was uploaded: all of it is read, in pieces, so that others' reads come between."""
    found, at = hashlib.new(image.os_hash_algo or HASH_ALGORITHM), 0

    def some() -> int:
        piece = os.pread(fd, PIECE, at)
        found.update(piece)
        return len(piece)

    if os.fstat(fd).st_size != image.size:
        return False
    while came := await store.run(some):
        at += came
    return found.hexdigest() == image.os_hash_value


async def ensure_base(store: FileStore, image: Image, *, trusted: bool) -> None:
    """There is a base, when the image boots. trusted: one that is there is right. Raises: NotFound, Unavailable, TooLarge."""
    data_id = image.data_id or ""
    base, data = store.root / "base" / data_id, store.root / "data" / data_id
    if not image.bootable or (trusted and await store.run(base.exists)):
        return
    if (image.disk_format not in QEMU_NAME or not store.convert) and await store.run(data.exists):
        await store.make_base(data, -1, data_id, image.disk_format or "", 0)  # a link
        return
    await fetched(store, "base", base, replace=True)


async def ensure_arrived(store: FileStore, data_id: str) -> None:
    """Bytes that wait to become an image's are here, if they are anywhere. Raises: Unavailable, TooLarge."""
    if await store.run(lambda: any((store.root / kind / data_id).exists() for kind in ARRIVED) or store.find_here(data_id) is not None):
        return
    for kind in ARRIVED:
        try:  # what needs no preparation any more is ready
            return await fetched(store, kind, store.root / ("staged" if kind == "staged" else "ready") / data_id)
        except NotFound:
            continue


async def fetched(
    store: FileStore,
    kind: str,
    path: Path,
    most: int = sparse.MOST,
    good: Callable[[int], Awaitable[bool]] | None = None,
    *,
    replace: bool = False,
) -> None:
    """There is a file that a peer gave. Raises: NotFound, when none has it; Unavailable, TooLarge."""
    assert store.peers is not None
    try:
        with files.appearing(path, replace=replace) as file:
            await store.peers.fetch(kind, path.name, file, most, good)
            await asyncio.to_thread(os.fsync, file)  # not in the event loop
    except FileNotFoundError as error:  # somebody swept what was not whole yet
        raise Unavailable("A file of the image vanished while it came.", detail=str(error)) from error
    except OSError as error:
        raise failed(error) from error


__all__ = ["MARK", "ensure_arrived", "ensure_base", "ensure_data", "mark", "opened"]
