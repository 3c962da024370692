"""The network area's tables; no other folder names them."""

from __future__ import annotations

import sqlalchemy as sa

from moln.kernel.db import INT, column, table


def _plain() -> list[sa.Column]:  # type: ignore[type-arg]
    """What every resource has."""
    return [
        column("id", sa.Text, unique=True),
        column("project_id", index=True),
        column("created_at", INT),
        column("updated_at", INT),
        column("revision_number", INT),
    ]


def _standard() -> list[sa.Column]:  # type: ignore[type-arg]
    """What resources with Neutron's standard attributes have."""
    return [*_plain(), column("description")]


rbac = table(
    "network_rbac_policies", *_plain(), column("object_type"), column("object_id", sa.Text, index=True), column("action"),
    column("target_project", sa.Text, index=True), sa.UniqueConstraint("object_id", "action", "target_project"), history=True,
)  # fmt: skip
"""Who else may use a thing. Each such thing keeps the targets in its own row too (`shared_with`), for reading."""

address_scopes = table("address_scopes", *_plain(), column("name"), column("ip_version", INT), column("shared_with"), history=True)

subnet_pools = table(
    "subnet_pools", *_standard(), column("name"), column("ip_version", INT), column("prefixes"), column("default_prefixlen", INT),
    column("min_prefixlen", INT), column("max_prefixlen", INT), column("default_quota", INT, null=True), column("is_default", INT),
    column("default_for", INT, null=True, unique=True), column("address_scope_id", sa.Text, sa.ForeignKey("address_scopes.id"), null=True, index=True),
    column("shared_with"), column("allocations", INT), history=True,
)  # fmt: skip
"""default_for: the IP version that the pool is the default of, so that there is one. allocations: raised by each, so that they queue."""

qos_policies = table(
    "qos_policies", *_standard(), column("name"), column("is_default", INT), column("default_for", sa.Text, null=True, unique=True),
    column("shared_with"), history=True,
)  # fmt: skip
"""default_for: the project that the policy is the default of, so that there is one."""

qos_rules = table(
    "qos_rules", *_plain(), column("policy_id", sa.Text, sa.ForeignKey("qos_policies.id"), index=True), column("kind"), column("direction"),
    column("max_kbps", INT), column("max_burst_kbps", INT), column("dscp_mark", INT), column("min_kbps", INT),
    sa.UniqueConstraint("policy_id", "kind", "direction"),
    history=True,
)  # fmt: skip

networks = table(
    "networks", *_standard(), column("name"), column("admin_state_up", INT), column("shared_with"), column("external", INT),
    column("external_to"), column("is_default", INT), column("mtu", INT), column("network_type"), column("physical_network", null=True),
    column("segmentation_id", INT, null=True), column("port_security_enabled", INT), column("dns_domain"),
    column("availability_zone_hints"),
    column("qos_policy_id", sa.Text, sa.ForeignKey("qos_policies.id"), null=True, index=True),
    column("default_outside", INT, null=True, unique=True), column("vlan_transparent", INT), column("qinq", INT), history=True,
)  # fmt: skip
"""default_outside: 1 for the external network that is the default, so that there is one."""

segments = table(
    "network_segments", *_standard(), column("network_id", sa.Text, sa.ForeignKey("networks.id"), index=True), column("name"),
    column("network_type"), column("physical_network", null=True), column("segmentation_id", INT, null=True),
    column("key", sa.Text, unique=True), history=True,
)  # fmt: skip
"""key: type, physical network and number as one text, so that no two segments share one."""

segment_ranges = table(
    "network_segment_ranges", *_standard(), column("name"), column("default", INT), column("shared", INT), column("network_type"),
    column("physical_network", null=True), column("minimum", INT), column("maximum", INT), history=True,
)  # fmt: skip

hosts = table("network_hosts", column("name", sa.Text, unique=True), column("hostname"), column("physical_networks"))
"""What the engine says of its nodes, for choosing addresses inside a transaction."""

subnets = table(
    "subnets", *_standard(), column("name"), column("network_id", sa.Text, sa.ForeignKey("networks.id"), index=True), column("cidr"),
    column("ip_version", INT), column("gateway_ip", null=True), column("enable_dhcp", INT), column("allocation_pools"),
    column("dns_nameservers"), column("host_routes"), column("ipv6_ra_mode", null=True), column("ipv6_address_mode", null=True),
    column("service_types"), column("dns_publish_fixed_ip", INT),
    column("subnetpool_id", sa.Text, sa.ForeignKey("subnet_pools.id"), null=True, index=True),
    column("segment_id", sa.Text, sa.ForeignKey("network_segments.id"), null=True, index=True), history=True,
)  # fmt: skip

ports = table(
    "ports", *_standard(), column("name"), column("network_id", sa.Text, sa.ForeignKey("networks.id")),
    column("mac_address"), column("admin_state_up", INT), column("status"), column("device_id", sa.Text, index=True),
    column("device_owner"), column("fixed_ips"), column("allowed_address_pairs"), column("security_groups"),
    column("port_security_enabled", INT), column("extra_dhcp_opts"), column("host_id", sa.Text, index=True), column("vnic_type"),
    column("vif_type"), column("profile"), column("dns_name"), column("dns_domain"), column("ip_allocation"),
    column("qos_policy_id", sa.Text, sa.ForeignKey("qos_policies.id"), null=True, index=True), sa.UniqueConstraint("network_id", "mac_address"),
    history=True,
)  # fmt: skip
"""fixed_ips and security_groups are kept here for reading; the two tables below hold what must be unique or referred to."""

addresses = table(
    "port_addresses", column("subnet_id", sa.Text, sa.ForeignKey("subnets.id")), column("ip_address"),
    column("port_id", sa.Text, sa.ForeignKey("ports.id"), index=True), sa.UniqueConstraint("subnet_id", "ip_address"),
)  # fmt: skip

bindings = table(
    "port_bindings", column("port_id", sa.Text, sa.ForeignKey("ports.id"), index=True), column("host"), column("vnic_type"), column("profile"),
    sa.UniqueConstraint("port_id", "host"),
)  # fmt: skip
"""Nodes that wait for a port; the one that has it is in the port's own row."""

routers = table(
    "routers", *_standard(), column("name"), column("admin_state_up", INT), column("gateway_network_id", sa.Text, null=True, index=True),
    column("gateway_port_id", null=True), column("enable_snat", INT), column("routes"), column("availability_zone_hints"),
    column("qos_policy_id", sa.Text, sa.ForeignKey("qos_policies.id"), null=True, index=True), column("flavor_id", sa.Text, null=True, index=True),
    column("enable_default_route_ecmp", INT), column("enable_default_route_bfd", INT), history=True,
)  # fmt: skip

router_subnets = table(
    "router_subnets", column("router_id", sa.Text, sa.ForeignKey("routers.id")), column("subnet_id", sa.Text, sa.ForeignKey("subnets.id")),
    column("port_id", sa.Text, sa.ForeignKey("ports.id"), index=True), sa.UniqueConstraint("router_id", "subnet_id"),
)  # fmt: skip
"""A router meets a subnet once."""

floating_ips = table(
    "floating_ips", *_standard(), column("floating_network_id", sa.Text, sa.ForeignKey("networks.id"), index=True),
    column("floating_ip_address"), column("floating_port_id", sa.Text, sa.ForeignKey("ports.id")),
    column("port_id", sa.Text, null=True, index=True), column("fixed_ip_address", null=True), column("router_id", sa.Text, null=True, index=True),
    column("status"), column("dns_name"), column("dns_domain"),
    column("qos_policy_id", sa.Text, sa.ForeignKey("qos_policies.id"), null=True, index=True),
    sa.UniqueConstraint("port_id", "fixed_ip_address", "floating_network_id"), history=True,
)  # fmt: skip

port_forwardings = table(
    "port_forwardings", *_standard(), column("floatingip_id", sa.Text, sa.ForeignKey("floating_ips.id"), index=True), column("protocol"),
    column("external_first", INT), column("external_last", INT), column("internal_port_id", sa.Text, sa.ForeignKey("ports.id"), index=True),
    column("internal_ip_address"), column("internal_first", INT), column("internal_last", INT),
    sa.UniqueConstraint("floatingip_id", "protocol", "external_first"), history=True,
)  # fmt: skip

groups = table(
    "security_groups", *_standard(), column("name"), column("stateful", INT), column("is_default", INT), column("shared_with"), history=True,
)  # fmt: skip

default_groups = table(
    "default_security_groups", column("project_id", sa.Text, unique=True), column("group_id", sa.Text, sa.ForeignKey("security_groups.id")),
)  # fmt: skip
"""Which group is a project's default: one a project, whoever comes first."""

rules = table(
    "security_group_rules", *_standard(), column("security_group_id", sa.Text, sa.ForeignKey("security_groups.id"), index=True),
    column("direction"), column("ethertype"), column("protocol", null=True), column("port_range_min", INT, null=True),
    column("port_range_max", INT, null=True), column("remote_ip_prefix", null=True), column("remote_group_id", sa.Text, null=True, index=True),
    column("remote_address_group_id", sa.Text, null=True, index=True),
    column("sameness"), sa.UniqueConstraint("security_group_id", "sameness"), history=True,
)  # fmt: skip
"""sameness: what the rule means, as text, so that a group has no two rules of one meaning."""

default_rules = table(
    "default_security_group_rules", *_standard(), column("direction"), column("ethertype"), column("protocol", null=True),
    column("port_range_min", INT, null=True), column("port_range_max", INT, null=True), column("remote_ip_prefix", null=True),
    column("remote_group_id", null=True), column("remote_address_group_id", null=True), column("used_in_default_sg", INT),
    column("used_in_non_default_sg", INT), column("sameness", sa.Text, unique=True), history=True,
)  # fmt: skip
"""What new groups begin with. remote_group_id: PARENT is the new group itself."""

statefulness = table(
    "default_statefulness", *_plain(), column("stateful", INT), sa.UniqueConstraint("project_id", name="one_statefulness"), history=True
)
"""Whether a project's new groups are stateful; project "" is everyone who says nothing else."""

port_groups = table(
    "port_security_groups", column("port_id", sa.Text, sa.ForeignKey("ports.id")),
    column("group_id", sa.Text, sa.ForeignKey("security_groups.id"), index=True), sa.UniqueConstraint("port_id", "group_id"),
)  # fmt: skip

logs = table(
    "network_logs", *_standard(), column("name"), column("enabled", INT), column("event"), column("resource_type"),
    column("resource_id", sa.Text, null=True, index=True), column("target_id", sa.Text, null=True, index=True), history=True,
)  # fmt: skip

address_groups = table("address_groups", *_standard(), column("name"), column("addresses"), column("shared_with"), history=True)

trunks = table(
    "trunks", *_standard(), column("name"), column("admin_state_up", INT), column("port_id", sa.Text, sa.ForeignKey("ports.id"), unique=True),
    history=True,
)  # fmt: skip

subports = table(
    "trunk_subports", column("trunk_id", sa.Text, sa.ForeignKey("trunks.id")), column("port_id", sa.Text, sa.ForeignKey("ports.id"), unique=True),
    column("segmentation_type"), column("segmentation_id", INT), sa.UniqueConstraint("trunk_id", "segmentation_type", "segmentation_id"),
)  # fmt: skip

auto_topologies = table(
    "auto_allocated_topologies", column("project_id", sa.Text, unique=True), column("network_id"), column("router_id"),
)  # fmt: skip

flavors = table(
    "network_flavors", *_standard(), column("name"), column("service_type"), column("enabled", INT), column("service_profiles"), history=True
)
profiles = table("service_profiles", *_standard(), column("driver"), column("metainfo"), column("enabled", INT), history=True)

tags = table("network_tags", column("resource_id", sa.Text), column("tag"), sa.UniqueConstraint("resource_id", "tag"))

agent_notes = table("network_agent_notes", column("agent_id", sa.Text, unique=True), column("description"))
"""What operators said of agents; the agents themselves are the engine's nodes."""

writers = table("network_writers", column("name", sa.Text, unique=True), column("epoch", INT))
"""The engine's writer: each start takes a higher epoch."""
