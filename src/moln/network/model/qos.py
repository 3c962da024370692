"""Quality of service: policies and their rules (network v2.0 api-ref, "QoS policies")."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from msgspec import Struct

VALID_DSCP = (0, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30, 32, 34, 36, 38, 40, 44, 46, 48, 56)  # neutron-lib's VALID_DSCP_MARKS
Direction = Literal["egress", "ingress"]


class QosKind(StrEnum):
    """What rules there are: those that OVN's data plane keeps. Minimum bandwidth: on networks that are physical ones."""

    BANDWIDTH_LIMIT = "bandwidth_limit"
    DSCP_MARKING = "dscp_marking"
    MINIMUM_BANDWIDTH = "minimum_bandwidth"


UNKEPT = ("packet_rate_limit", "minimum_packet_rate")  # rules that Neutron has and OVN has not


class QosPolicy(Struct, frozen=True, kw_only=True):
    """A set of rules that networks, ports, floating addresses and routers' gateways refer to. is_default: for its project's networks."""

    id: str
    project_id: str
    name: str = ""
    description: str = ""
    is_default: bool = False
    shared_with: tuple[str, ...] = ()
    created_at: int = 0
    updated_at: int = 0
    revision_number: int = 1


class QosRule(Struct, frozen=True, kw_only=True):
    """One rule; a policy has at most one of a kind and direction. direction: as the guest sees it.

    max_kbps, min_kbps: kilobits per second. max_burst_kbps: kilobits; a burst of 0 is the engine's choice.
    """

    id: str
    project_id: str
    policy_id: str
    kind: QosKind
    direction: Direction = "egress"
    max_kbps: int = 0
    max_burst_kbps: int = 0
    dscp_mark: int = 0
    min_kbps: int = 0
    created_at: int = 0
    updated_at: int = 0
    revision_number: int = 1
