"""Which images a node needs, and which wait for what it brings."""

from __future__ import annotations

from moln.compute.store import servers
from moln.image.ops import images
from moln.kernel.cloud import Cloud
from moln.volume.ops import needed_images


async def on_host(cloud: Cloud, host: str, base: str) -> bool:
    """Whether a server or a volume of a host begins as this base, or a server is rescued by it."""
    for server in await servers.on_host(cloud.db, host):
        if any(disk.image == base for disk in server.disks) or (server.rescue is not None and server.rescue.image == base):
            return True
    return await needed_images.on_host(cloud, host, base)


async def from_host(cloud: Cloud, host: str, data_id: str) -> bool:
    """Whether an image that is made of a server or a volume of a host waits for this data."""
    for server in await servers.on_host(cloud.db, host):
        if server.snapshot and await images.awaits(cloud.db, server.snapshot, data_id):
            return True
    return await needed_images.from_host(cloud, host, data_id)
