"""A backend that only remembers: for tests and `--simulate`. Sizes are kept, bytes are not."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from moln.kernel.errors import BackendRefused
from moln.volume.drivers.base import BackupFacts, Connection, Inventory, Pool, SourceKind


class FakeVolumes:
    """VolumeDriver in memory, or in a file that outlives the process as a real pool does.

    images: ids and sizes (GiB) of the images it can start from, None: any. exports: folder where an image's data is left as an
    empty file, None: nowhere. shared: see Pool; without, its volumes are lent (fake_exports.py). Faults: put an exception into `faults["ensure_volume"]` and the next such call raises it.
    """

    def __init__(
        self,
        state: Path | None = None,
        *,
        total_gib: int = 100_000,
        images: dict[str, int] | None = None,
        exports: Path | None = None,
        shared: str = "simulated",
    ):
        self.total_gib = total_gib
        self.images = images
        self.exports = exports
        self.shared = shared
        self.faults: dict[str, list[Exception]] = {}
        self.db = sqlite3.connect(state or ":memory:", isolation_level=None, check_same_thread=False)
        self.db.executescript(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;"
            "CREATE TABLE IF NOT EXISTS kept (kind TEXT, id TEXT, gib INTEGER, PRIMARY KEY (kind, id)) WITHOUT ROWID"
        )

    def get(self, kind: str, id: str) -> int | None:
        row = self.db.execute("SELECT gib FROM kept WHERE kind = ? AND id = ?", (kind, id)).fetchone()
        return row[0] if row else None

    def put(self, kind: str, id: str, gib: int) -> None:
        self.db.execute("INSERT OR REPLACE INTO kept VALUES (?, ?, ?)", (kind, id, gib))

    def drop(self, kind: str, id: str) -> None:
        self.db.execute("DELETE FROM kept WHERE kind = ? AND id = ?", (kind, id))

    def ids(self, kind: str) -> list[str]:
        return [row[0] for row in self.db.execute("SELECT id FROM kept WHERE kind = ? ORDER BY id", (kind,))]

    def act(self, verb: str) -> None:
        """Raise the fault that was ordered for this verb."""
        if ordered := self.faults.get(verb):
            raise ordered.pop(0)

    def source_gib(self, source: SourceKind, source_id: str) -> int:
        if source == "image":
            found = 0 if self.images is None else self.images.get(source_id)
        else:
            found = self.get(source, source_id)
        if found is None:
            raise BackendRefused("The pool has no such volume, snapshot or image.")
        return found

    async def ensure_volume(self, volume_id: str, size_gib: int, source: SourceKind = "blank", source_id: str = "") -> None:
        self.act("ensure_volume")
        if self.get("volume", volume_id) is not None:
            return
        if size_gib < 1:
            raise BackendRefused("A volume has at least 1 GiB.")
        if source != "blank" and self.source_gib(source, source_id) > size_gib:
            raise BackendRefused(f"The source does not fit into {size_gib} GiB.")
        self.put("volume", volume_id, size_gib)

    async def extend_volume(self, volume_id: str, size_gib: int) -> None:
        self.act("extend_volume")
        self.put("volume", volume_id, max(size_gib, self.source_gib("volume", volume_id)))

    async def remove_volume(self, volume_id: str) -> None:
        self.act("remove_volume")
        self.drop("volume", volume_id)

    async def find_connection(self, volume_id: str) -> Connection | None:
        self.act("find_connection")
        known = self.get("volume", volume_id) is not None
        return Connection("shared" if self.shared else "file", f"/simulated/volumes/{volume_id}") if known else None

    async def ensure_snapshot(self, snapshot_id: str, volume_id: str) -> None:
        self.act("ensure_snapshot")
        if self.get("snapshot", snapshot_id) is None:
            self.put("snapshot", snapshot_id, self.source_gib("volume", volume_id))

    async def remove_snapshot(self, snapshot_id: str) -> None:
        self.act("remove_snapshot")
        self.drop("snapshot", snapshot_id)

    async def revert_volume(self, volume_id: str, snapshot_id: str) -> None:
        self.act("revert_volume")
        gib = max(self.source_gib("volume", volume_id), self.source_gib("snapshot", snapshot_id))
        self.put("volume", volume_id, gib)

    async def reimage_volume(self, volume_id: str, image_id: str) -> None:
        self.act("reimage_volume")
        if self.source_gib("image", image_id) > (gib := self.source_gib("volume", volume_id)):
            raise BackendRefused(f"The source does not fit into {gib} GiB.")

    async def ensure_image_data(self, image_id: str, volume_id: str) -> None:
        self.act("ensure_image_data")
        self.source_gib("volume", volume_id)
        if self.exports is not None:
            (self.exports / image_id).touch()

    async def ensure_backup(self, backup_id: str, source: SourceKind, source_id: str, parent_id: str = "") -> BackupFacts:
        self.act("ensure_backup")
        if self.get("backup", backup_id) is None:
            self.put("backup", backup_id, self.source_gib(source, source_id))
        return BackupFacts(1, (self.get("backup", backup_id) or 0) << 30)

    async def find_backup(self, backup_id: str) -> BackupFacts | None:
        self.act("find_backup")
        gib = self.get("backup", backup_id)
        return None if gib is None else BackupFacts(1, gib << 30)

    async def remove_backup(self, backup_id: str) -> None:
        self.act("remove_backup")
        self.drop("backup", backup_id)

    async def restore_backup(self, volume_id: str, backup_id: str) -> None:
        self.act("restore_backup")
        if self.source_gib("backup", backup_id) > self.source_gib("volume", volume_id):
            raise BackendRefused("The backup does not fit into the volume.")

    async def pool(self) -> Pool:
        self.act("pool")
        used = self.db.execute("SELECT coalesce(sum(gib), 0) FROM kept WHERE kind = 'volume'").fetchone()[0]
        return Pool(self.total_gib, self.total_gib - used, True, shared=self.shared, lent=not self.shared)

    async def inventory(self) -> Inventory:
        self.act("inventory")
        return Inventory(self.ids("volume"), self.ids("snapshot"), self.ids("backup"))
