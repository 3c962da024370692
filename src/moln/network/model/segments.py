"""What carries a network: its segments, and the ranges their numbers come from (network v2.0 api-ref, "Segments", "Network Segment Ranges")."""

from __future__ import annotations

from collections.abc import Collection

from msgspec import Struct

from moln.network.model.networks import Network, NetworkType

HIGHEST_VNI = (1 << 24) - 1
MOST_NUMBERS = 1 << 16  # of one range: what is free in it is told number by number


def key(network_type: str, physical_network: str | None, segmentation_id: int | None) -> str:
    """What no two segments may share."""
    return f"{network_type}:{physical_network or ''}:{segmentation_id or ''}"


class Segment(Struct, frozen=True, kw_only=True):
    """One piece of a network. The first is in the network's own row too (`provider:…`); others make it a routed provider network."""

    id: str
    network_id: str
    project_id: str = ""
    name: str = ""
    description: str = ""
    network_type: NetworkType
    physical_network: str | None = None
    segmentation_id: int | None = None
    created_at: int = 0
    updated_at: int = 0
    revision_number: int = 1

    @property
    def key(self) -> str:
        return key(self.network_type, self.physical_network, self.segmentation_id)

    def carries(self, network: Network) -> bool:
        """Whether it is the network's first."""
        return self.key == key(network.network_type, network.physical_network, network.segmentation_id)

    def reached_from(self, physical_networks: Collection[str]) -> bool:
        """Whether a node with bridges for these has it."""
        return self.physical_network is None or self.physical_network in physical_networks


class SegmentRange(Struct, frozen=True, kw_only=True):
    """Numbers that networks get when nobody chooses one: a project's own ranges come first, then shared ones.

    default: what the settings say; nobody changes it. project_id: "" for a shared range.
    """

    id: str
    project_id: str = ""
    name: str = ""
    description: str = ""
    default: bool = False
    shared: bool = True
    network_type: NetworkType
    physical_network: str | None = None
    minimum: int
    maximum: int
    created_at: int = 0
    updated_at: int = 0
    revision_number: int = 1

    def __contains__(self, number: int) -> bool:
        return self.minimum <= number <= self.maximum

    def overlaps(self, other: SegmentRange) -> bool:
        """Whether some number of the same kind is in both."""
        same = (self.network_type, self.physical_network) == (other.network_type, other.physical_network)
        return same and self.minimum <= other.maximum and other.minimum <= self.maximum
