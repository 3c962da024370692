"""A simulated node's side of networking: remembers what it was told."""

from __future__ import annotations

from moln.network.drivers.node import MetadataPort


class FakeNodeNetwork:
    """NodeNetworkDriver without a network."""

    def __init__(self) -> None:
        self.ports: tuple[MetadataPort, ...] = ()

    async def sync_metadata(self, ports: tuple[MetadataPort, ...]) -> None:
        self.ports = tuple(ports)

    async def list_metadata(self) -> tuple[MetadataPort, ...]:
        return self.ports
