"""NATS's servers, one on each controller: each knows the others by routes, and all are alike."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from moln.kernel.controllers.clusters import Member, Standing

PORT, LOOK_S = 4222, 2.0


class NatsServers:
    """A Cluster. Servers come and go without being told: whoever joins names the others, and these tell each other."""

    async def admit(self, address: str) -> None:
        """Nothing: one that is named and is not there is tried again and again."""

    async def keep(self, addresses: Sequence[str]) -> None:
        """Nothing."""

    async def remove(self, address: str) -> None:
        """Nothing: it is forgotten when its route is."""

    async def look(self, addresses: Sequence[str]) -> list[Standing]:
        found = await asyncio.gather(*(_answers(address) for address in addresses))
        return [Standing("nats", [Member(address, up) for address, up in zip(addresses, found, strict=True)], votes=False)]


async def _answers(address: str) -> bool:
    """Whether a server says who it is."""
    try:
        async with asyncio.timeout(LOOK_S):
            reader, writer = await asyncio.open_connection(address, PORT)
            try:
                return (await reader.readline()).startswith(b"INFO ")
            finally:
                writer.close()
    except (OSError, TimeoutError, ValueError):
        return False
