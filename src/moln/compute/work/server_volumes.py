"""Volumes that grow while servers have them: each guest is told the size that the row says."""

from __future__ import annotations

from moln.compute.drivers.base import ComputeDriver
from moln.compute.model.servers import Server
from moln.compute.store import instance_actions
from moln.compute.store import servers as store
from moln.kernel.db import Reader, Transaction
from moln.kernel.work import Reconciler, Work
from moln.volume.model.volumes import Volume, VolumeStatus
from moln.volume.ops import attachments, for_compute

GIB = 1 << 30
ACTION = "extend_volume"


class Sizes:
    """moved: volumes whose rows changed, by the feed; a node that comes back adds those of its servers. told: GiB, by volume in use.

    grown: those whose guests' actions shall say so (Nova's `extend_volume`).
    All live in memory only: told again, a hypervisor that knows the size does nothing.
    """

    def __init__(self) -> None:
        self.moved: set[str] = set()
        self.told: dict[str, int] = {}
        self.grown: set[str] = set()
        self.reconciler = Reconciler("server-volume-sizes", find=self.find, settle=self.settle, fail=self.fail, every_s=30)

    async def find(self, db: Reader, now_us: int) -> list[Volume]:
        """Volumes in use of another size than their guests were told."""
        found = []
        for volume_id in sorted(self.moved)[:256]:
            volume = await for_compute.find_volume(db, volume_id)
            if volume is None or volume.status is not VolumeStatus.IN_USE:
                self.told.pop(volume_id, None)
            elif self.told.get(volume_id) != volume.size_gib:
                found.append(volume)
                continue
            self.moved.discard(volume_id)
        return found

    async def settle(self, work: Work, volume: Volume) -> None:
        for held in await attachments.of_volume(work.db, volume.id):
            server = await store.find(work.db, held.server_id or "")
            if server is not None and server.host is not None:
                resource = f"volume-size:{volume.id}:{server.id}"
                driver = work.driver(server.host, "compute", ComputeDriver, resource=resource, generation=volume.generation)
                await driver.resize_attached_disk(server.id, volume.id, volume.size_gib * GIB)
                if volume.id in self.grown:
                    await work.write(note_in, work, server)
        self.grown.discard(volume.id)
        self.told[volume.id] = volume.size_gib
        self.moved.discard(volume.id)

    async def fail(self, work: Work, volume: Volume, reason: str) -> None:
        """The guest goes on with the size that it knows, until it boots again."""
        self.moved.discard(volume.id)


async def note_in(tx: Transaction, work: Work, server: Server) -> None:
    """One of the server's actions, asked for by the cloud."""
    await instance_actions.begin(tx, work.ctx, server.id, ACTION, "compute_extend_volume", server.host, owner=server)
    await instance_actions.finish(tx, server, ACTION, work.now_us)
