"""What an import may do to staged bytes before they become an image's data: unpack them, and convert the disk inside to another format.

Both are done by children of the sandbox, from `staged` to `ready`; a child is bounded in what it may write, so that a few bytes which
promise a mountain cost no more than that.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from msgspec import Struct

from moln.image.drivers.uploads import create
from moln.image.model.formats import PLAIN_CONTAINERS, QEMU_NAME
from moln.kernel import files
from moln.kernel.errors import TooLarge

if TYPE_CHECKING:
    from moln.image.drivers.files import FileStore

MAGIC = {"gzip": b"\x1f\x8b\x08", "bzip2": b"BZh", "xz": b"\xfd7zXZ\0", "zip": b"PK\x03\x04"}


class Preparation(Struct, frozen=True):
    """unpack: whether what is compressed is unpacked; output: the format that disks are converted to, empty: none; most: bytes that may
    come of it.
    """

    unpack: bool
    output: str
    most: int


def converted(disk_format: str, container_format: str, output: str) -> str:
    """The format that data has after a conversion."""
    may = container_format in PLAIN_CONTAINERS and disk_format in {"raw", *QEMU_NAME}
    return output if output and may else disk_format


async def prepare(store: FileStore, data_id: str, disk_format: str, container_format: str, wanted: Preparation) -> None:
    """There is ready/<data_id>, unless nothing was staged (any more). Raises: UnsupportedMedia, TooLarge."""
    staged, ready = store.root / "staged" / data_id, store.root / "ready" / data_id
    if container_format not in PLAIN_CONTAINERS or await store.run(ready.exists) or not await store.run(staged.exists):
        return
    fds = [await store.run(os.open, staged, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)]
    hidden = [ready.with_name(f"{files.TEMP_PREFIX}{data_id}-{n}-{os.urandom(6).hex()}") for n in range(2)]
    try:
        await store.run(give_away, fds[0], 0o644)
        last = staged
        head = await store.run(os.pread, fds[0], 8, 0)
        kind = next((name for name, magic in MAGIC.items() if head.startswith(magic)), None) if wanted.unpack else None
        if kind:
            fds.append(await store.run(create, hidden[0]))
            await store.run(give_away, fds[-1], 0o666)
            await store.sandbox.unpack(fds[0], kind, fds[-1], wanted.most)
            last = hidden[0]
        output = converted(disk_format, container_format, wanted.output)
        if output != disk_format:
            content = await store.sandbox.check(fds[-1], disk_format)
            size = (await store.run(os.fstat, fds[-1])).st_size if content.virtual_size is None else content.virtual_size
            if size > wanted.most:
                raise TooLarge(f"The disk inside the image is larger than {wanted.most} bytes.")
            fds.append(await store.run(create, hidden[1], size if output == "raw" else 0))
            await store.run(give_away, fds[-1], 0o666)
            await store.sandbox.convert(fds[-2], disk_format, fds[-1], size, output)
            last = hidden[1]
        if last == staged:
            return

        def appear() -> None:
            os.fchmod(fds[-1], 0o600)
            os.fsync(fds[-1])
            os.rename(last, ready)
            files.sync_folder(ready.parent)
            files.vanish(staged)

        await store.run(appear)
    finally:
        for fd in fds:
            os.close(fd)
        for path in hidden:
            with suppress(FileNotFoundError):
                path.unlink()


def give_away(fd: int, mode: int) -> None:
    """When we are root the sandbox is not: let it open the file again by its descriptor (the folder is still ours alone)."""
    if os.geteuid() == 0:
        os.fchmod(fd, mode)
