"""Routers and floating addresses (network v2.0 api-ref, "Routers", "Floating IPs")."""

from __future__ import annotations

from msgspec import Struct

from moln.network.model.subnets import Route

MOST_ROUTES = 30  # Neutron's max_routes


class Router(Struct, frozen=True, kw_only=True):
    """Joins subnets, and through its gateway the world.

    gateway_network_id: the external network, or None; of the first gateway where it has several, which are ports like it. enable_snat: whether hosts without a floating address go out as the gateway's own.
    Its interfaces and its gateway are ports whose device_id names it. qos_policy_id: of what leaves and comes as the gateway's own address.
    enable_default_route_ecmp: leave by all gateways, not by the first alone; enable_default_route_bfd: by those that answer.
    """

    id: str
    project_id: str
    name: str = ""
    description: str = ""
    admin_state_up: bool = True
    gateway_network_id: str | None = None
    gateway_port_id: str | None = None
    enable_snat: bool = True
    routes: tuple[Route, ...] = ()
    availability_zone_hints: tuple[str, ...] = ()
    qos_policy_id: str | None = None
    flavor_id: str | None = None
    enable_default_route_ecmp: bool = False
    enable_default_route_bfd: bool = False
    created_at: int = 0
    updated_at: int = 0
    revision_number: int = 1


class FloatingIp(Struct, frozen=True, kw_only=True):
    """An address of an external network that stands for one fixed address of a port.

    port_id, fixed_ip_address and router_id are all set or all None; only router_id is set while ports of it are forwarded.
    floating_port_id: the port that holds the address.
    """

    id: str
    project_id: str
    floating_network_id: str
    floating_ip_address: str
    floating_port_id: str
    port_id: str | None = None
    fixed_ip_address: str | None = None
    router_id: str | None = None
    status: str = "DOWN"
    description: str = ""
    dns_name: str = ""
    dns_domain: str = ""
    qos_policy_id: str | None = None
    created_at: int = 0
    updated_at: int = 0
    revision_number: int = 1


class PortForwarding(Struct, frozen=True, kw_only=True):
    """Lets connections to some ports of a floating address through to a port of the cloud (floating-ip-port-forwarding).

    external_first, external_last: the address's own ports. internal_first, internal_last: as many, or one for all of them.
    """

    id: str
    project_id: str
    floatingip_id: str
    protocol: str
    external_first: int
    external_last: int
    internal_port_id: str
    internal_ip_address: str
    internal_first: int
    internal_last: int
    description: str = ""
    created_at: int = 0
    updated_at: int = 0
    revision_number: int = 1

    def pairs(self) -> list[tuple[int, int]]:
        """Each external port, and the internal one it leads to."""
        outer = range(self.external_first, self.external_last + 1)
        step = 1 if self.internal_last > self.internal_first else 0
        return [(port, self.internal_first + step * place) for place, port in enumerate(outer)]
