"""What several operations share: Neutron's faults, quotas, and telling the engine."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from moln.kernel.context import RequestContext
from moln.kernel.db import Reader, Transaction
from moln.kernel.errors import Conflict, Invalid, NotFound, PreconditionFailed
from moln.kernel.quota import Quota
from moln.network.model.ports import Port
from moln.network.store.reads import Table

T = TypeVar("T")

QUOTA = Quota(
    "network",
    {"network": 100, "subnet": 100, "port": 500, "router": 10, "floatingip": 50, "security_group": 10, "security_group_rule": 100,
     "subnetpool": -1, "rbac_policy": 10, "trunk": -1, "address_group": -1},
)
METADATA = "network-metadata"  # topic and reconciler: nodes whose metadata sockets have to be looked at
ENGINE = "network-engine"  # topic and reconciler: what the engine has to look at
PORTS = "ports"  # topic: ports whose status, addresses or binding changed, for upper areas
DEVICES = "port-devices"  # topic: the devices (servers) of such ports

_MISSING = {
    "network": ("NetworkNotFound", "Network {} could not be found."),
    "subnet": ("SubnetNotFound", "Subnet {} could not be found."),
    "port": ("PortNotFound", "Port {} could not be found."),
    "router": ("RouterNotFound", "Router {} could not be found"),
    "floatingip": ("FloatingIPNotFound", "Floating IP {} could not be found"),
    "security_group": ("SecurityGroupNotFound", "Security group {} does not exist"),
    "security_group_rule": ("SecurityGroupRuleNotFound", "Security group rule {} does not exist"),
    "subnetpool": ("SubnetPoolNotFound", "Subnet pool {} could not be found."),
    "address_scope": ("AddressScopeNotFound", "Address scope {} could not be found."),
    "rbac_policy": ("RbacPolicyNotFound", "RBAC policy of type unknown with ID {} not found"),
    "floatingip_port_forwarding": ("PortForwardingNotFound", "Port Forwarding {} could not be found."),
    "policy": ("QosPolicyNotFound", "QoS policy {} could not be found."),
    "policy_bandwidth_limit_rule": ("QosRuleNotFound", "QoS rule {} could not be found."),
    "policy_dscp_marking_rule": ("QosRuleNotFound", "QoS rule {} could not be found."),
    "policy_minimum_bandwidth_rule": ("QosRuleNotFound", "QoS rule {} could not be found."),
    "segment": ("SegmentNotFound", "Segment {} could not be found."),
    "network_segment_range": ("NetworkSegmentRangeNotFound", "Network Segment Range {} could not be found."),
    "log": ("LogResourceNotFound", "Log resource {} could not be found."),
    "trunk": ("TrunkNotFound", "Trunk {} could not be found."),
    "address_group": ("AddressGroupNotFound", "Address group {} could not be found."),
    "default_security_group_rule": ("DefaultSecurityGroupRuleNotFound", "Default Security Group rule {} does not exist"),
    "security_groups_default_statefulness": (
        "SecurityGroupDefaultStatefulnessNotFound", "Security group default statefulness {} could not be found.",
    ),
    "flavor": ("FlavorNotFound", "Flavor {} could not be found."),
    "service_profile": ("ServiceProfileNotFound", "Service Profile {} could not be found."),
    "agent": ("AgentNotFound", "Agent {} could not be found."),
}  # fmt: skip


def missing(resource: str, id: str) -> NotFound:
    """Neutron's word for a thing that is not there."""
    kind, text = _MISSING[resource]
    return NotFound(text.format(id), type=kind)


def bad(resource: str, message: str) -> Invalid:
    """Neutron's BadRequest."""
    return Invalid(f"Bad {resource} request: {message}.", type="BadRequest")


def invalid(message: str) -> Invalid:
    """Neutron's InvalidInput."""
    return Invalid(f"Invalid input for operation: {message}.", type="InvalidInput")


def conflict(kind: str, message: str) -> Conflict:
    return Conflict(message, type=kind)


async def get(db: Reader, table: Table[T], resource: str, id: str) -> T:  # type: ignore[type-var]
    """The thing. Raises: NotFound."""
    found = await table.find(db, id)
    if found is None:
        raise missing(resource, id)
    return found


def look_at(tx: Transaction, kind: str, id: str) -> None:
    """The engine's rows of this thing may have to change."""
    tx.changed(ENGINE, f"{kind}:{id}")
    tx.wake(ENGINE, "engine")


def changed(tx: Transaction, port: Port) -> None:
    """Upper areas may have to look at a port, and at the device that has it."""
    tx.changed(PORTS, port.id)
    if port.device_id:
        tx.changed(DEVICES, port.device_id)
    if port.host_id:
        serve_metadata(tx, port.host_id)


def serve_metadata(tx: Transaction, host_id: str = "") -> None:
    """What metadata a node serves (all nodes: "") may have to change."""
    tx.changed(METADATA, host_id)
    tx.wake(METADATA, host_id)


def check_zones(ctx: RequestContext, hints: Iterable[str]) -> None:
    """Refuse a zone there is not. Raises: NotFound."""
    for zone in hints:
        if zone != ctx.settings.network.availability_zone:
            raise NotFound(f"AvailabilityZone {zone} could not be found.", type="AvailabilityZoneNotFound")


def check_revision(revision: int, expected: int | None) -> None:
    """If-Match: revision_number=N. Raises: PreconditionFailed."""
    if expected is not None and expected != revision:
        raise PreconditionFailed(f"Constrained to {expected}, but current revision is {revision}", type="RevisionNumberConstraintFailed")
