"""Which images a node needs for its volumes, and which wait for what it brings of them."""

from __future__ import annotations

from moln.image.ops import images
from moln.kernel.cloud import Cloud
from moln.volume.model.volumes import VolumeStatus
from moln.volume.store import volumes as store


async def on_host(cloud: Cloud, host: str, base: str) -> bool:
    """Whether a volume of a host began, or begins, as this base."""
    return await cloud.db.one(store.MADE_FROM, of=host, base=base) is not None


async def from_host(cloud: Cloud, host: str, data_id: str) -> bool:
    """Whether an image that is made of a volume of a host waits for this data."""
    for volume in await cloud.db.all(store.AT_HOST_IN, of=host, status=VolumeStatus.UPLOADING):
        if volume.task_id and await images.awaits(cloud.db, volume.task_id, data_id):
            return True
    return False
