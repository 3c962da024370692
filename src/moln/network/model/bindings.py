"""A port's bindings: the node it is plugged into, and others that make ready for it (network v2.0 api-ref, "Port Bindings Extended")."""

from __future__ import annotations

from typing import Any

from msgspec import Struct


class Binding(Struct, frozen=True, kw_only=True):
    """A node that waits for a port. The one that has it is in the port itself (`host_id`, `vnic_type`, `profile`)."""

    port_id: str
    host: str
    vnic_type: str = "normal"
    profile: dict[str, Any] = {}
