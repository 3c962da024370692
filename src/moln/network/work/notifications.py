"""What others are told of networks and what belongs to them, by Neutron's names. What a port's binding holds (`profile`) is not told."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from msgspec.structs import replace

from moln.kernel.clock import iso
from moln.kernel.db import Reader
from moln.kernel.notifications.events import Event, Kind, of_rows, plain
from moln.network.model.networks import Network
from moln.network.model.ports import Port
from moln.network.model.routers import FloatingIp, Router
from moln.network.model.security_groups import SecurityGroup
from moln.network.model.subnets import Subnet
from moln.network.store import tables as t

STANDARD = ("id", "project_id", "description", "revision_number")
SHOWN = {
    "network": ("name", "admin_state_up", "shared", "mtu"),
    "subnet": ("name", "network_id", "cidr", "ip_version", "gateway_ip", "enable_dhcp", "allocation_pools", "dns_nameservers"),
    "port": ("name", "network_id", "mac_address", "admin_state_up", "status", "device_id", "device_owner", "fixed_ips", "security_groups"),
    "router": ("name", "admin_state_up", "routes"),
    "floatingip": ("floating_network_id", "floating_ip_address", "port_id", "fixed_ip_address", "router_id", "status"),
    "security_group": ("name",),
}


def _of(what: str) -> Callable[[Reader, Any, Any], Awaitable[list[Event]]]:
    async def tell(reader: Reader, before: Any, after: Any) -> list[Event]:
        row = after or before
        if before is not None and after is not None:
            if replace(before, revision_number=after.revision_number, updated_at=after.updated_at) == after:
                return []  # something that belongs to it changed
        done = "create" if before is None else "delete" if after is None else "update"
        shown = plain(row, *STANDARD, *SHOWN[what], tenant_id=row.project_id, created_at=iso(row.created_at), updated_at=iso(row.updated_at))
        data = {what: shown} | ({f"{what}_id": row.id} if done == "delete" else {})
        return [Event(f"{what}.{done}.end", "".join(word.title() for word in what.split("_")) + "Payload", data)]

    return tell


KINDS = tuple(
    Kind(table, of_rows(shape, table), _of(what), "network", "network")
    for what, table, shape in (
        ("network", t.networks, Network), ("subnet", t.subnets, Subnet), ("port", t.ports, Port), ("router", t.routers, Router),
        ("floatingip", t.floating_ips, FloatingIp), ("security_group", t.groups, SecurityGroup),
    )
)  # fmt: skip
