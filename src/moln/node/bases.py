"""Images on a node of another machine's cloud: fetched when a disk is to begin as one, kept, and dropped when nobody has used them for long.
And the other way round: what a node copies for the image store is brought to a controller."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from pathlib import Path
from typing import Any

from moln.compute.drivers.disks import known
from moln.kernel import files
from moln.kernel.errors import BackendUnreachable
from moln.kernel.nodes import sparse
from moln.kernel.nodes.gate import GateClient

VERB, BRING = "image.base", "image.bring"
SAFE_S = 120.0  # seconds that a controller may take to have all of it on its disk
KEPT_S = 7 * 24 * 3600.0  # seconds that one is kept unused
log = logging.getLogger("moln.node")


class Bases:
    """In `images/base`, as on the controller."""

    def __init__(self, images: Path, gate: GateClient) -> None:
        self.folder = images / "base"
        self.gate = gate
        self.coming: dict[str, asyncio.Task[None]] = {}

    def prepare(self) -> None:
        """Nothing half fetched is left; nor what nobody has used for KEPT_S. Blocks."""
        for folder in (self.folder, self.folder.with_name("incoming")):
            folder.mkdir(parents=True, exist_ok=True)
        files.sweep(self.folder)
        for path in self.folder.iterdir():
            if path.stat().st_mtime < time.time() - KEPT_S:
                files.vanish(path)

    async def ensure(self, name: str) -> None:
        """It is here. A call that is given up meanwhile leaves it coming; the next one waits for the same.

        Raises: BackendUnreachable, BackendRefused.
        """
        path = self.folder / known(name)
        if path.exists():
            with contextlib.suppress(OSError):
                await asyncio.to_thread(os.utime, path)
            return
        task = self.coming.get(name)
        if task is None:
            task = self.coming[name] = asyncio.create_task(self.fetch(path), name=f"image {name}")
            task.add_done_callback(lambda done: self.came(name, done))
        await asyncio.shield(task)

    def came(self, name: str, task: asyncio.Task[None]) -> None:
        self.coming.pop(name, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("image %s did not come: %s", name, error)

    async def fetch(self, path: Path) -> None:
        began = time.monotonic()
        stream = await self.gate.open(VERB, path.name)
        try:
            with files.appearing(path, mode=0o644) as file:
                size = await sparse.take(stream.reader, file)
        except OSError as error:
            raise BackendUnreachable("This host cannot keep the image.", detail=f"{path}: {error}") from error
        finally:
            stream.close()
        log.info("image %s came: %d MiB in %.1f s", path.name, size >> 20, time.monotonic() - began)

    async def bring(self, name: str) -> None:
        """A controller has what the driver left under this name; nothing of it is left here. Raises: BackendUnreachable, BackendRefused."""
        path, began = self.folder.with_name("incoming") / known(name), time.monotonic()
        stream = await self.gate.open(BRING, name)
        try:
            with open(path, "rb", opener=unfollowed) as file:  # noqa: ASYNC230
                size = os.fstat(file.fileno()).st_size
                await sparse.send(file.fileno(), stream.writer)
            async with asyncio.timeout(SAFE_S):
                answer = sparse.SIZE.unpack(await stream.reader.readexactly(sparse.SIZE.size))
        except (OSError, asyncio.IncompleteReadError) as error:
            raise BackendUnreachable("The image was not taken.", detail=f"{path}: {error!r}") from error
        finally:
            stream.close()
        if answer != (size,):
            raise BackendUnreachable("The image was not taken whole.")
        await asyncio.to_thread(files.vanish, path)
        log.info("image %s was brought: %d MiB in %.1f s", name, size >> 20, time.monotonic() - began)

    async def stop(self) -> None:
        for task in list(self.coming.values()):
            task.cancel()
        await asyncio.gather(*self.coming.values(), return_exceptions=True)


def unfollowed(path: str, flags: int) -> int:
    """An opener that follows no link."""
    return os.open(path, flags | os.O_NOFOLLOW)


class WithBases:
    """A compute driver or a VolumeDriver that has each image there before a disk or a volume begins as it, and brings what becomes one."""

    def __init__(self, driver: Any, bases: Bases) -> None:
        self._driver = driver
        self._bases = bases

    def __getattr__(self, name: str) -> Any:
        return getattr(self._driver, name)

    async def ensure_disk(self, disk_id: str, size_gib: int, image_id: str | None = None) -> Any:
        if image_id is not None:
            await self._bases.ensure(image_id)
        return await self._driver.ensure_disk(disk_id, size_gib, image_id)

    async def ensure_volume(self, volume_id: str, size_gib: int, source: str = "blank", source_id: str = "") -> None:
        if source == "image":
            await self._bases.ensure(source_id)
        await self._driver.ensure_volume(volume_id, size_gib, source, source_id)

    async def reimage_volume(self, volume_id: str, image_id: str) -> None:
        await self._bases.ensure(image_id)
        await self._driver.reimage_volume(volume_id, image_id)

    async def ensure_image_data(self, image_id: str, *of: str) -> Any:
        made = await self._driver.ensure_image_data(image_id, *of)
        await self._bases.bring(image_id)
        return made
