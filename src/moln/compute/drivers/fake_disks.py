"""The simulated host's disks copied, put back and grown: only their sizes and where they came from are remembered."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from moln.compute.drivers.base import DiskFile
from moln.compute.drivers.disks import GIB
from moln.kernel.errors import BackendRefused
from moln.kernel.files import known


class FakeDisks:
    """DiskCopies, for FakeCompute: `kept` and `_duty` are its own."""

    hostname: str
    kept: Any
    _duty: Any

    async def ensure_disk_copy(self, copy_id: str, disk_id: str) -> None:
        async with self._duty("ensure_disk_copy"):
            if known(copy_id) not in self.kept.disks:
                self._put(copy_id, self._disk(disk_id).size_bytes, self.kept.origins.get(disk_id))

    async def restore_disk(self, disk_id: str, copy_id: str) -> None:
        async with self._duty("restore_disk"):
            copy = self.kept.disks.get(known(copy_id))
            if copy is not None:
                self._put(known(disk_id), copy.size_bytes, self.kept.origins.get(copy_id))
                self.kept.drop("disk", copy_id)
                self.kept.drop("origin", copy_id)

    async def grow_disk(self, disk_id: str, size_gib: int) -> None:
        async with self._duty("grow_disk"):
            disk = self._disk(disk_id)
            self.kept.put("disk", disk_id, replace(disk, size_bytes=max(disk.size_bytes, size_gib * GIB)))

    def _disk(self, disk_id: str) -> DiskFile:
        if known(disk_id) not in self.kept.disks:
            raise BackendRefused("The host has no such disk or image.")
        found: DiskFile = self.kept.disks[disk_id]
        return found

    def _put(self, disk_id: str, size_bytes: int, origin: str | None) -> None:
        if origin is not None:
            self.kept.put("origin", disk_id, origin)
        self.kept.put("disk", disk_id, DiskFile(disk_id, f"/simulated/{self.hostname}/disks/{disk_id}", size_bytes))
