"""Networks: a broadcast domain, isolated from every other (network v2.0 api-ref, "Networks")."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from moln.network.model.sharing import EVERYONE, reaches

NetworkType = Literal["geneve", "vlan", "flat"]

GENEVE_OVERHEAD = 58  # bytes: outer Ethernet 14, IPv4 20, UDP 8, geneve 8 and its option 8 (RFC 8926)
LOWEST_MTU = {4: 68, 6: 1280}  # RFC 791, RFC 8200


class Network(Struct, frozen=True, kw_only=True):
    """A switch owned by one project.

    mtu: bytes a guest may send in one IP packet. segmentation_id: the geneve VNI or VLAN tag; None for flat.
    shared_with, external_to: projects that may use it, or as an external network; `*` is all of them (RBAC policies).
    external: `router:external` on the wire; floating addresses and gateways come from such a network.
    dns_domain: ends in a dot, or is empty. vlan_transparent, qinq: guests may tag their own frames, which the network tags again; with qinq
    by 802.1ad, as switches of providers expect.
    """

    id: str
    project_id: str
    name: str = ""
    description: str = ""
    admin_state_up: bool = True
    shared_with: tuple[str, ...] = ()
    external: bool = False
    external_to: tuple[str, ...] = ()
    is_default: bool = False
    mtu: int = 1500 - GENEVE_OVERHEAD
    network_type: NetworkType = "geneve"
    physical_network: str | None = None
    segmentation_id: int | None = None
    port_security_enabled: bool = True
    dns_domain: str = ""
    availability_zone_hints: tuple[str, ...] = ()
    qos_policy_id: str | None = None
    vlan_transparent: bool = False
    qinq: bool = False
    created_at: int = 0
    updated_at: int = 0
    revision_number: int = 1

    @property
    def shared(self) -> bool:
        """Whether every project may use it."""
        return EVERYONE in self.shared_with

    def shared_to(self, project_id: str | None) -> bool:
        """Whether its owner lets the project use it."""
        return reaches(self.shared_with, project_id)

    def usable_by(self, project_id: str | None) -> bool:
        """Whether the project may put ports on it: its own, or shared with it."""
        return bool(project_id) and self.project_id == project_id or self.shared_to(project_id)

    def outside_of(self, project_id: str | None) -> bool:
        """Whether the project may take floating addresses and gateways from it."""
        return self.external and (bool(project_id) and self.project_id == project_id or reaches(self.external_to, project_id))


def highest_mtu(network_type: NetworkType, underlay_mtu: int) -> int:
    """The largest MTU a network of this type can carry over an underlay of `underlay_mtu` bytes."""
    return underlay_mtu - GENEVE_OVERHEAD if network_type == "geneve" else underlay_mtu
