"""Which images a node needs."""

from __future__ import annotations

from moln.compute.store import servers
from moln.kernel.cloud import Cloud


async def on_host(cloud: Cloud, host: str, base: str) -> bool:
    """Whether a server of a host begins as this base, or is rescued by it."""
    for server in await servers.on_host(cloud.db, host):
        if any(disk.image == base for disk in server.disks) or (server.rescue is not None and server.rescue.image == base):
            return True
    return False
