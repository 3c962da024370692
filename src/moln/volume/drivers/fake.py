"""A backend that only remembers: for tests and `--simulate`. Sizes are kept, bytes are not."""

from __future__ import annotations

from moln.kernel.errors import BackendRefused
from moln.volume.drivers.base import Connection, Inventory, Pool, SourceKind


class FakeDriver:
    """VolumeDriver, Snapshots and ImageExport in memory. images: ids and sizes (GiB) of the images it can start from; None: any."""

    def __init__(self, *, total_gib: int = 100_000, images: dict[str, int] | None = None):
        self.total_gib = total_gib
        self.images = images
        self.volumes: dict[str, int] = {}
        self.snapshots: dict[str, int] = {}
        self.exports: dict[str, int] = {}

    async def ensure_volume(
        self, volume_id: str, size_gib: int, source: SourceKind = "blank", source_id: str = ""
    ) -> None:
        if volume_id in self.volumes:
            return
        if size_gib < 1:
            raise BackendRefused("A volume has at least 1 GiB.")
        if source != "blank" and self.source_gib(source, source_id) > size_gib:
            raise BackendRefused(f"The source does not fit into {size_gib} GiB.")
        self.volumes[volume_id] = size_gib

    def source_gib(self, source: SourceKind, source_id: str) -> int:
        if source == "image" and self.images is None:
            return 0
        found = {"image": self.images or {}, "snapshot": self.snapshots, "volume": self.volumes}[source].get(source_id)
        if found is None:
            raise BackendRefused("The pool has no such volume, snapshot or image.")
        return found

    async def extend_volume(self, volume_id: str, size_gib: int) -> None:
        self.volumes[volume_id] = max(size_gib, self.source_gib("volume", volume_id))

    async def remove_volume(self, volume_id: str) -> None:
        self.volumes.pop(volume_id, None)

    async def find_connection(self, volume_id: str) -> Connection | None:
        return Connection("file", f"/simulated/{volume_id}") if volume_id in self.volumes else None

    async def ensure_snapshot(self, snapshot_id: str, volume_id: str) -> None:
        if snapshot_id not in self.snapshots:
            self.snapshots[snapshot_id] = self.source_gib("volume", volume_id)

    async def remove_snapshot(self, snapshot_id: str) -> None:
        self.snapshots.pop(snapshot_id, None)

    async def revert_volume(self, volume_id: str, snapshot_id: str) -> None:
        self.volumes[volume_id] = max(self.source_gib("volume", volume_id), self.source_gib("snapshot", snapshot_id))

    async def ensure_image_data(self, image_id: str, volume_id: str) -> None:
        self.exports[image_id] = self.source_gib("volume", volume_id)

    async def pool(self) -> Pool:
        return Pool(self.total_gib, self.total_gib - sum(self.volumes.values()), True)

    async def inventory(self) -> Inventory:
        return Inventory(sorted(self.volumes), sorted(self.snapshots))
