"""Volumes lent between simulated nodes: remembered, as a real node's files remember them over the end of its process."""

from __future__ import annotations

import hashlib

from moln.kernel.errors import BackendRefused
from moln.volume.drivers.base import Connection, Export, Exports, Lent
from moln.volume.drivers.fake import FakeVolumes


class FakeExports(Exports):
    """Exports of a node with these volumes. What is lent is in their memory, so that it outlives the process as they do."""

    def __init__(self, node: str, volumes: FakeVolumes) -> None:
        self.node = node
        self.volumes = volumes

    async def ensure_export(self, volume_id: str, host: str) -> Export:
        self.volumes.act("ensure_export")
        if self.volumes.get("volume", volume_id) is None:
            raise BackendRefused("The pool has no such volume.")
        self.volumes.put(f"lent by {self.node}", f"{volume_id} {host}", 0)
        secret = hashlib.sha256(f"{self.node} {volume_id} {host}".encode()).hexdigest()
        return Export(volume_id, host, f"{self.node}:10809", "simulated", secret)

    async def remove_export(self, volume_id: str, host: str) -> None:
        self.volumes.act("remove_export")
        self.volumes.drop(f"lent by {self.node}", f"{volume_id} {host}")

    async def ensure_import(self, export: Export) -> Connection:
        self.volumes.act("ensure_import")
        self.volumes.put(f"lent to {self.node}", export.volume_id, 0)
        return Connection("nbd", f"/simulated/lent/{export.volume_id}")

    async def remove_import(self, volume_id: str) -> None:
        self.volumes.act("remove_import")
        self.volumes.drop(f"lent to {self.node}", volume_id)

    async def lent(self) -> Lent:
        self.volumes.act("lent")
        exports = [(volume, host) for volume, _, host in (key.partition(" ") for key in self.volumes.ids(f"lent by {self.node}"))]
        return Lent(exports, self.volumes.ids(f"lent to {self.node}"))
