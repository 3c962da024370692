"""Networks: a broadcast domain, isolated from every other (network v2.0 api-ref, "Networks")."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

NetworkType = Literal["geneve", "vlan", "flat"]

GENEVE_OVERHEAD = 58  # bytes: outer Ethernet 14, IPv4 20, UDP 8, geneve 8 and its option 8 (RFC 8926)
LOWEST_MTU = {4: 68, 6: 1280}  # RFC 791, RFC 8200


class Network(Struct, frozen=True, kw_only=True):
    """A switch owned by one project.

    mtu: bytes a guest may send in one IP packet. segmentation_id: the geneve VNI or VLAN tag; None for flat.
    external: `router:external` on the wire; floating addresses and gateways come from such a network.
    dns_domain: ends in a dot, or is empty.
    """

    id: str
    project_id: str
    name: str = ""
    description: str = ""
    admin_state_up: bool = True
    shared: bool = False
    external: bool = False
    is_default: bool = False
    mtu: int = 1500 - GENEVE_OVERHEAD
    network_type: NetworkType = "geneve"
    physical_network: str | None = None
    segmentation_id: int | None = None
    port_security_enabled: bool = True
    dns_domain: str = ""
    availability_zone_hints: tuple[str, ...] = ()
    created_at: int = 0
    updated_at: int = 0
    revision_number: int = 1


def highest_mtu(network_type: NetworkType, underlay_mtu: int) -> int:
    """The largest MTU a network of this type can carry over an underlay of `underlay_mtu` bytes."""
    return underlay_mtu - GENEVE_OVERHEAD if network_type == "geneve" else underlay_mtu
