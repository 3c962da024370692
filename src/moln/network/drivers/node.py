"""What networking asks of each node: the sockets at which guests reach their metadata. Plugging cards is the hypervisor's affair."""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct


class MetadataPort(Struct, frozen=True):
    """A network's distributed port (an OVN localport), as each node that carries the network serves it.

    port_id: the logical port's name in OVN. cidrs: its addresses with their subnets' prefix lengths, IPv4 and IPv6. mtu: bytes.
    """

    network_id: str
    port_id: str
    mac: str
    cidrs: tuple[str, ...]
    mtu: int = 0


class NodeNetworkDriver(Protocol):
    """On the link as "network"."""

    async def sync_metadata(self, ports: tuple[MetadataPort, ...]) -> None:
        """Serve metadata on exactly these networks: what is there already stays untouched, others go. Kept over restarts."""

    async def list_metadata(self) -> tuple[MetadataPort, ...]:
        """Those served now."""
