"""/v2.0/networks and /v2.0/subnets."""

from __future__ import annotations

from typing import Any

from moln.network.api import attributes as a
from moln.network.api import views
from moln.network.api.attributes import ADMIN_STATE, NAME, Attribute, Schema, bad_value
from moln.network.api.resources import Resource, parse_tags, publish
from moln.network.api.service import routes
from moln.network.model.addresses import Pool, parse_address
from moln.network.model.subnets import Route
from moln.network.ops import networks as network_ops
from moln.network.ops import subnets as subnet_ops
from moln.network.store import rows

TAGS = Attribute(name="tags", post=True, default=None, parse=parse_tags)
ZONE_HINTS = Attribute(
    name="availability_zone_hints", field="availability_zone_hints", post=True, put=True, default=(), parse=a.list_of(a.text())
)


def dns_domain(value: Any, name: str) -> str:
    """A DNS domain that ends in a dot, or nothing (SEC-32: labels only)."""
    text: str = a.text_or_none()(value, name)
    if not text:
        return ""
    labels = text.rstrip(".").split(".")
    if not text.endswith("."):
        raise bad_value(name, f"'{text}' not a valid PQDN or FQDN. Reason: An FQDN must end with a dot")
    if any(not 0 < len(label) < 64 or not label.replace("-", "").isalnum() or not label.isascii() or label[0] == "-" for label in labels):
        raise bad_value(name, f"'{text}' not a valid PQDN or FQDN. Reason: each label must be 1-63 letters, digits and hyphens")
    return text


def always(value: str) -> Any:
    """A filter on something that is the same for all: other values find nothing."""
    return lambda values: [] if value in values else [("id", "in", [])]


def _segments(value: Any, name: str) -> tuple[dict[str, Any], ...]:
    """`segments`: several pieces of one network, each with its provider attributes (multi-provider)."""
    shape = {
        "provider:network_type": a.optional(a.text(32)),
        "provider:physical_network": a.optional(a.text(64)),
        "provider:segmentation_id": a.optional(a.whole(0)),
    }
    found = a.list_of(a.object_of(shape))(value, name)
    return tuple({key.removeprefix("provider:"): item for key, item in one.items()} for one in found)


NETWORKS = Resource(
    Schema(
        "network",
        "networks",
        [
            NAME,
            ADMIN_STATE,
            TAGS,
            ZONE_HINTS,
            Attribute(name="status", filter=always("ACTIVE"), sort=False),
            Attribute(name="subnets"),
            Attribute(name="availability_zones"),
            a.SHARED,
            Attribute(name="ipv4_address_scope"),
            Attribute(name="ipv6_address_scope"),
            Attribute(
                name="router:external", field="external", post=True, put=True, default=False, parse=a.boolean, filter=a.truths("external"),
            ),
            Attribute(name="is_default", field="is_default", post=True, put=True, default=False, parse=a.boolean, filter=a.truths("is_default")),
            Attribute(
                name="mtu", field="mtu", post=True, put=True, default=None, parse=a.optional(a.whole(0)), filter=a.numbers("mtu"), sort=True
            ),
            Attribute(
                name="provider:network_type", field="network_type", post=True, put=True, parse=a.optional(a.text(32)), filter="network_type",
                sort=True,
            ),
            Attribute(
                name="provider:physical_network", field="physical_network", post=True, put=True, parse=a.optional(a.text(64)),
                filter="physical_network", sort=True,
            ),
            Attribute(
                name="provider:segmentation_id", field="segmentation_id", post=True, put=True, parse=a.optional(a.whole(0)),
                filter=a.numbers("segmentation_id"), sort=True,
            ),
            Attribute(name="segments", field="segments", post=True, default=(), parse=_segments),
            Attribute(
                name="port_security_enabled", field="port_security_enabled", post=True, put=True, default=True, parse=a.boolean,
                filter=a.truths("port_security_enabled"), sort=True,
            ),
            a.QOS_POLICY,
            Attribute(
                name="vlan_transparent", field="vlan_transparent", post=True, default=False, parse=a.boolean, filter=a.truths("vlan_transparent")
            ),
            Attribute(name="qinq", field="qinq", post=True, default=False, parse=a.boolean, filter=a.truths("qinq")),
            Attribute(name="dns_domain", field="dns_domain", post=True, put=True, default="", parse=dns_domain, filter="dns_domain"),
        ],
    ),
    "networks",
    rows.networks,
    views.networks,
    create=network_ops.create_in,
    update=network_ops.update_in,
    delete=network_ops.delete_in,
)  # fmt: skip


def _pools(value: Any, name: str) -> tuple[Pool, ...] | None:
    if value is None:
        return None
    shape = a.object_of({"start": a.address, "end": a.address}, required=("start", "end"))
    return tuple(Pool(**item) for item in a.list_of(shape)([*value] if isinstance(value, list) else value, name))


def parse_routes(value: Any, name: str) -> tuple[Route, ...]:
    """`[{"destination", "nexthop"}]`, no two alike, each of one IP version."""
    shape = a.object_of({"destination": a.cidr, "nexthop": a.address}, required=("destination", "nexthop"))
    found = tuple(Route(**item) for item in a.list_of(shape)(value, name))
    if len(set(found)) != len(found):
        raise bad_value(name, "Duplicate hostroute")
    return found


def _servers(value: Any, name: str) -> tuple[str, ...]:
    return tuple(a.list_of(a.address, unique=True)(value, name))


def _gateway(value: Any, name: str) -> str | None:
    return None if value is None else str(parse_address(value, field=name))


def _pool_id(value: Any, name: str) -> str | None:
    """A pool's id; not the word for prefixes that an upstream router delegates, which OVN has not."""
    if value == "prefix_delegation":
        raise bad_value(name, "IPv6 prefix delegation is not supported")
    return a.optional(a.uuid)(value, name)  # type: ignore[no-any-return]


IPV6_MODES = a.optional(a.one_of("dhcpv6-stateful", "dhcpv6-stateless", "slaac"))

SUBNETS = Resource(
    Schema(
        "subnet",
        "subnets",
        [
            NAME,
            TAGS,
            Attribute(
                name="ip_version",
                field="ip_version",
                post=True,
                required=True,
                parse=a.ip_version,
                filter=a.numbers("ip_version"),
                sort=True,
            ),
            Attribute(name="network_id", field="network_id", post=True, required=True, parse=a.uuid, filter="network_id", sort=True),
            Attribute(
                name="subnetpool_id", field="subnetpool_id", post=True, default=None, parse=_pool_id, filter="subnetpool_id", sort=True
            ),
            Attribute(
                name="segment_id", field="segment_id", post=True, default=None, parse=a.optional(a.uuid), filter="segment_id", sort=True
            ),
            Attribute(name="use_default_subnetpool", field="use_default_subnetpool", post=True, default=False, parse=a.boolean),
            Attribute(name="prefixlen", field="prefixlen", post=True, default=None, parse=a.optional(a.whole(0))),
            Attribute(name="cidr", field="cidr", post=True, default=None, filter="cidr", sort=True),
            Attribute(
                name="gateway_ip", field="gateway_ip", post=True, put=True, default="", parse=_gateway, filter="gateway_ip", sort=True
            ),
            Attribute(name="allocation_pools", field="allocation_pools", post=True, put=True, default=None, parse=_pools),
            Attribute(name="dns_nameservers", field="dns_nameservers", post=True, put=True, default=(), parse=_servers),
            Attribute(name="host_routes", field="host_routes", post=True, put=True, default=(), parse=parse_routes),
            Attribute(
                name="enable_dhcp",
                field="enable_dhcp",
                post=True,
                put=True,
                default=True,
                parse=a.boolean,
                filter=a.truths("enable_dhcp"),
                sort=True,
            ),
            Attribute(name="ipv6_ra_mode", field="ipv6_ra_mode", post=True, default=None, parse=IPV6_MODES, filter="ipv6_ra_mode"),
            Attribute(
                name="ipv6_address_mode", field="ipv6_address_mode", post=True, default=None, parse=IPV6_MODES, filter="ipv6_address_mode"
            ),
            Attribute(name="service_types", field="service_types", post=True, put=True, default=(), parse=a.list_of(a.text(), unique=True)),
            Attribute(
                name="dns_publish_fixed_ip",
                field="dns_publish_fixed_ip",
                post=True,
                put=True,
                default=False,
                parse=a.boolean,
                filter=a.truths("dns_publish_fixed_ip"),
            ),
            Attribute(name="shared", filter=a.shared_with_caller("net_shared")),
            Attribute(name="router:external", filter=a.truths("net_external")),
        ],
    ),
    "subnets",
    rows.subnets,
    views.subnets,
    create=subnet_ops.create_in,
    update=subnet_ops.update_in,
    delete=subnet_ops.delete_in,
)

publish(routes, NETWORKS)
publish(routes, SUBNETS)
