"""A libvirt host's own disks: raw files beside each other, made, copied (as reflinks where the pool has them), put back and grown."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from moln.compute.drivers.base import DiskFile
from moln.compute.drivers.disks import DiskFolder


class LibvirtDisks:
    """DiskCopies, and ComputeDriver's disks, for LibvirtDriver: `files`, `turn` and `blocking` are its own."""

    files: DiskFolder
    turn: Callable[[str], AbstractAsyncContextManager[None]]
    blocking: Callable[..., Any]

    async def ensure_disk(self, disk_id: str, size_gib: int, image_id: str | None = None) -> DiskFile:
        async with self.turn(disk_id):
            made: DiskFile = await self.blocking(self.files.ensure, disk_id, size_gib, image_id)
        return made

    async def remove_disk(self, disk_id: str) -> None:
        async with self.turn(disk_id):
            await self.blocking(self.files.remove, disk_id)

    async def ensure_disk_copy(self, copy_id: str, disk_id: str) -> None:
        async with self.turn(disk_id):
            await self.blocking(self.files.copy, copy_id, disk_id)

    async def restore_disk(self, disk_id: str, copy_id: str) -> None:
        async with self.turn(disk_id):
            await self.blocking(self.files.restore, disk_id, copy_id)

    async def grow_disk(self, disk_id: str, size_gib: int) -> None:
        async with self.turn(disk_id):
            await self.blocking(self.files.grow, disk_id, size_gib)
