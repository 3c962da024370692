"""Trunks: several networks through one guest's card, each by a VLAN tag (network v2.0 api-ref, "Trunk networking")."""

from __future__ import annotations

from msgspec import Struct

SUBPORT_OWNER = "trunk:subport"
VLANS = range(1, 4095)


class SubPort(Struct, frozen=True):
    """A port whose frames travel through another, tagged."""

    port_id: str
    segmentation_type: str
    segmentation_id: int


class Trunk(Struct, frozen=True, kw_only=True):
    """port_id: the parent, whose own frames are untagged."""

    id: str
    project_id: str
    port_id: str
    name: str = ""
    description: str = ""
    admin_state_up: bool = True
    created_at: int = 0
    updated_at: int = 0
    revision_number: int = 1
