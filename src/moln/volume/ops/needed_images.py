"""Which images a node needs for its volumes."""

from __future__ import annotations

from moln.kernel.cloud import Cloud
from moln.volume.store import volumes as store


async def on_host(cloud: Cloud, host: str, base: str) -> bool:
    """Whether a volume of a host began, or begins, as this base."""
    return await cloud.db.one(store.MADE_FROM, of=host, base=base) is not None
