"""Ports: where one interface meets a network (network v2.0 api-ref, "Ports")."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

from msgspec import Struct

MOST_ADDRESS_PAIRS = 10  # Neutron's max_allowed_address_pair
IpAllocation = Literal["immediate", "deferred", "none"]


class PortStatus(StrEnum):
    """Whether the data plane carries the port's frames; it follows the engine, never a request."""

    ACTIVE = "ACTIVE"
    DOWN = "DOWN"
    NOT_APPLICABLE = "N/A"  # a port that only holds an address


class Owner:
    """Device owners that mean something to the network itself."""

    ROUTER_INTERFACE = "network:router_interface"
    ROUTER_GATEWAY = "network:router_gateway"
    FLOATING_IP = "network:floatingip"
    DISTRIBUTED = "network:distributed"  # the port metadata is served from; one per network
    DHCP = "network:dhcp"


ROUTER_OWNERS = (Owner.ROUTER_INTERFACE, Owner.ROUTER_GATEWAY)
OWN_OWNERS = frozenset({Owner.ROUTER_INTERFACE, Owner.ROUTER_GATEWAY, Owner.FLOATING_IP, Owner.DISTRIBUTED, Owner.DHCP})
AUTO_DELETED = (Owner.DISTRIBUTED, Owner.DHCP)  # go with their network or subnet instead of holding it
METADATA_DEVICE = "ovnmeta-"


class FixedIp(Struct, frozen=True):
    """One address of a port."""

    subnet_id: str
    ip_address: str


class AddressPair(Struct, frozen=True):
    """Further addresses a port may send from: an address or CIDR, and its MAC."""

    ip_address: str
    mac_address: str


class DhcpOption(Struct, frozen=True):
    """An extra DHCP option of one port; `opt_name` as dnsmasq or OVN call it, or a number."""

    opt_name: str
    opt_value: str
    ip_version: int = 4


class Port(Struct, frozen=True, kw_only=True):
    """One interface. host_id: `binding:host_id`, the node it is plugged into, or empty.

    ip_allocation: `deferred` until the port has a node, on a network of segments; `none` where no address was asked for.
    security_groups: None only where port security does not apply. up_at: µs when the engine last said that it carries it.
    """

    id: str
    network_id: str
    project_id: str
    mac_address: str
    name: str = ""
    description: str = ""
    admin_state_up: bool = True
    status: PortStatus = PortStatus.DOWN
    device_id: str = ""
    device_owner: str = ""
    fixed_ips: tuple[FixedIp, ...] = ()
    allowed_address_pairs: tuple[AddressPair, ...] = ()
    security_groups: tuple[str, ...] = ()
    port_security_enabled: bool = True
    extra_dhcp_opts: tuple[DhcpOption, ...] = ()
    host_id: str = ""
    vnic_type: str = "normal"
    vif_type: str = "unbound"
    profile: dict[str, Any] = {}
    dns_name: str = ""
    dns_domain: str = ""
    ip_allocation: IpAllocation = "immediate"
    qos_policy_id: str | None = None
    created_at: int = 0
    updated_at: int = 0
    revision_number: int = 1

    @property
    def trusted(self) -> bool:
        """Whether the firewall leaves the port alone: the network's own ports, which no tenant can make (SEC-29)."""
        return self.device_owner in OWN_OWNERS

    @property
    def secured(self) -> bool:
        """Whether anti-spoofing and security groups apply."""
        return self.port_security_enabled and not self.trusted


def is_network_owner(device_owner: str) -> bool:
    """Whether the owner claims to be the network itself; a tenant may not say so (SEC-29, CVE-2015-5240)."""
    return device_owner.startswith("network:")


def vif_details(port: Port) -> dict[str, Any]:
    """What a hypervisor needs to plug the port (`binding:vif_details`)."""
    if port.vif_type != "ovs":
        return {}
    return {
        "port_filter": True,
        "connectivity": "l2",
        "bound_drivers": {"0": "ovn"},
        "bridge_name": "br-int",
        "datapath_type": "system",
    }
