"""Subnets: a block of addresses on a network and how its hosts learn them (network v2.0 api-ref, "Subnets")."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from moln.kernel.errors import Invalid
from moln.network.model.addresses import Cidr, Pool, Version

Ipv6Mode = Literal["slaac", "dhcpv6-stateful", "dhcpv6-stateless"]

MOST_NAMESERVERS = 5  # Neutron's max_dns_nameservers
MOST_HOST_ROUTES = 20  # Neutron's max_subnet_host_routes


class Route(Struct, frozen=True):
    """`destination` (a CIDR) by way of `nexthop`, an address."""

    destination: str
    nexthop: str


class Subnet(Struct, frozen=True, kw_only=True):
    """One CIDR of a network. gateway_ip: None when hosts get no default route from it. segment_id: where its addresses work, None: everywhere."""

    id: str
    network_id: str
    project_id: str
    cidr: str
    ip_version: Version = 4
    name: str = ""
    description: str = ""
    gateway_ip: str | None = None
    enable_dhcp: bool = True
    allocation_pools: tuple[Pool, ...] = ()
    dns_nameservers: tuple[str, ...] = ()
    host_routes: tuple[Route, ...] = ()
    ipv6_ra_mode: Ipv6Mode | None = None
    ipv6_address_mode: Ipv6Mode | None = None
    service_types: tuple[str, ...] = ()
    dns_publish_fixed_ip: bool = False
    subnetpool_id: str | None = None
    segment_id: str | None = None
    created_at: int = 0
    updated_at: int = 0
    revision_number: int = 1

    @property
    def is_auto_address(self) -> bool:
        """Whether a host works its address out from its MAC (SLAAC), so that nobody allocates it."""
        return self.ip_version == 6 and self.ipv6_address_mode in ("slaac", "dhcpv6-stateless")


def check_ipv6_modes(version: Version, cidr: Cidr, enable_dhcp: bool, ra_mode: str | None, address_mode: str | None) -> None:
    """Refuse combinations that no router could advertise (Neutron's _validate_ipv6_attributes). Raises: Invalid."""
    if version == 4:
        if ra_mode is not None or address_mode is not None:
            raise Invalid("ipv6_ra_mode and ipv6_address_mode are not valid with IP version 4.", type="InvalidInput")
        return
    if ra_mode and address_mode and ra_mode != address_mode:
        raise Invalid(
            f"Invalid input for operation: ipv6_ra_mode set to '{ra_mode}' with ipv6_address_mode set to '{address_mode}' is not valid. "
            "If both attributes are set, they must be the same value.",
            type="InvalidInput",
        )
    if (ra_mode or address_mode) and not enable_dhcp:
        raise Invalid(
            "Invalid input for operation: ipv6_ra_mode or ipv6_address_mode cannot be set when enable_dhcp is set to False.",
            type="InvalidInput",
        )
    if (ra_mode in ("slaac", "dhcpv6-stateless") or address_mode in ("slaac", "dhcpv6-stateless")) and cidr.prefixlen != 64:
        raise Invalid(
            f"Invalid input for operation: Invalid CIDR {cidr} for IPv6 address mode. OpenStack uses the EUI-64 address format, "
            "which requires the prefix to be /64.",
            type="InvalidInput",
        )
