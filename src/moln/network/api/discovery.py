"""Version documents, and the extensions that are really served."""

from __future__ import annotations

from typing import Any

from moln.kernel.context import RequestContext
from moln.kernel.errors import NotFound
from moln.kernel.http.routes import Params
from moln.network.api.service import routes

EXTENSIONS = {                                     # alias: (name, what it adds)
    "address-group": ("Address group", "Support address group"),
    "address-scope": ("Address scope", "Address scopes extension."),
    "expose-port-forwarding-in-fip": ("Expose Floating IP port forwardings", "Expose port forwardings in floating IPs."),
    "floating-ip-port-forwarding": ("Floating IP Port Forwarding", "Allow port forwarding from floating IP port to an internal port"),
    "floating-ip-port-forwarding-description": ("Floating IP Port Forwarding new attribute description", "Add a description field to Port Forwarding rules"),
    "floating-ip-port-forwarding-detail": ("Floating IP port forwarding detail", "Add internal_ip_address and internal_port_id to port forwardings of floating IPs"),
    "floating-ip-port-forwarding-port-ranges": ("Floating IP Port Forwarding support port ranges", "Add support to port ranges"),
    "qinq": ("QinQ networks", "Expose network 'qinq' attribute in the API."),
    "qos": ("Quality of Service", "The Quality of Service extension."),
    "qos-bw-limit-direction": ("Direction for QoS bandwidth limit rule", "Allow to configure QoS bandwidth limit rule with specific direction: ingress or egress"),
    "qos-default": ("QoS default policy", "Expose the QoS default policy per project"),
    "qos-fip": ("Floating IP QoS", "The floating IP Quality of Service extension"),
    "qos-gateway-ip": ("Router gateway IP QoS", "The router gateway IP Quality of Service extension"),
    "qos-rule-type-details": ("Details of QoS rule types", "Expose details about QoS rule types supported by loaded backend drivers"),
    "qos-rule-type-filter": ("Allow to filter the list of QoS rule types", "Allow to filter the list of QoS rule types"),
    "qos-rules-alias": ("Quality of Service rules alias API", "API to enable GET, PUT and DELETE operations on QoS policy rules without specifying policy ID"),
    "default-subnetpools": ("Default Subnetpools", "Provides ability to mark and use a subnetpool as the default."),
    "rbac-address-group": ("Add address_group type to RBAC", "Add address_group type to RBAC"),
    "security-groups-remote-address-group": ("Remote address group id field for security group rules", "Add new field of remote address group id in SG rules"),
    "trunk": ("Trunk Extension", "Provides support for trunk ports"),
    "trunk-details": ("Trunk port details", "Expose trunk port details"),
    "rbac-address-scope": ("Add address_scope type to RBAC", "Add address_scope type to RBAC"),
    "rbac-policies": ("RBAC Policies", "Allows creation and modification of policies that control project access to resources."),
    "rbac-security-groups": ("Add security_group type to network RBAC", "Add security_group type to network RBAC"),
    "rbac-subnetpool": ("Add subnetpool type to RBAC", "Add subnetpool type to RBAC"),
    "security-groups-shared-filtering": ("Security group filtering on the shared field", "Support filtering security groups on the shared field"),
    "subnet_allocation": ("Subnet Allocation", "Enables allocation of subnets from a subnet pool"),
    "subnet_onboard": ("Subnet Onboard", "Provides support for onboarding subnets into subnet pools"),
    "subnetpool-prefix-ops": ("Subnet Pool Prefix Operations", "Provides support for adjusting the prefix list of subnet pools"),
    "agent": ("agent", "The agent management extension."),
    "allowed-address-pairs": ("Allowed Address Pairs", "Provides allowed address pairs"),
    "auto-allocated-topology": ("Auto Allocated Topology Services", "Auto Allocated Topology Services."),
    "dns-domain-ports": ("dns_domain for ports", "Allows the DNS domain to be specified for a network port."),
    "flavors": ("Neutron Service Flavors", "Flavor specification for Neutron advanced services."),
    "floating-ip-router-writable": ("Floating IP Router (writable)", "Allow to choose the router of a floating IP"),
    "floatingip-pools": ("Floating IP Pools Extension", "Provides a floating IP pools API."),
    "l3-flavors": ("Router Flavor Extension", "Flavor support for routers."),
    "l3-ha": ("HA Router extension", "Adds HA capability to routers."),
    "network-ip-availability-details": ("Network IP Availability Details Extension", "Add ip_availability_details attribute to network-ip-availabilities resource."),
    "quota-check-limit": ("Quota engine limit check", "Support for checking the resource usage before applying a new quota limit"),
    "quota-check-limit-default": ("Quota engine limit check by default", "By default, the Neutron quota engine checks the resource usage before applying a new quota limit"),
    "router-enable-snat": ("Exposes the router \"enable_snat\" read-only configuration flag", "Exposes the router \"enable_snat\" read-only configuration flag"),
    "security-groups-default-rules": ("Default rules for security groups", "Configure set of security group rules used as default rules for every new security group"),
    "security-groups-default-statefulness": ("Security Groups Default Statefulness", "Allows configuring the default value of the stateful attribute for new security groups"),
    "network-segment-range": ("Neutron Network Segment Range", "Provides support for the network segment range management"),
    "segment": ("Segment", "Segments extension."),
    "service-type": ("Neutron Service Type Management", "API for retrieving service providers for Neutron advanced services"),
    "subnet-dns-publish-fixed-ip": ("Subnet DNS publish fixed IP", "Support choosing to publish DNS records for IPs from a subnet"),
    "vlan-transparent": ("Vlantransparent", "Provides Vlan Transparent Networks"),
    "availability_zone": ("Availability Zone", "The availability zone extension."),
    "binding": ("Port Binding", "Expose port bindings of a virtual port to external application"),
    "binding-extended": ("Port Bindings Extended", "Expose port bindings of a virtual port to external application"),
    "dns-integration": ("DNS Integration", "Provides integration with DNS."),
    "empty-string-filtering": ("Empty String Filtering Extension", "Allow filtering by attributes with empty string value"),
    "ext-gw-mode": ("Neutron L3 Configurable external gateway mode", "Extension of the router abstraction for specifying whether SNAT should occur on the external gateway"),
    "enable-default-route-bfd": ("Enable Default Route BFD", "Enables configuration of BFD for default routes of a router"),
    "enable-default-route-ecmp": ("Enable Default Route ECMP", "Enables configurable ECMP behavior for default routes of a router"),
    "external-gateway-multihoming": ("Neutron L3 External Gateway Multihoming", "Allow multiple external gateway ports per router"),
    "external-net": ("Neutron external network", "Adds external network attribute to network resource."),
    "extra_dhcp_opt": ("Neutron Extra DHCP options", "Extra options configuration for DHCP."),
    "extraroute": ("Neutron Extra Route", "Extra routes configuration for L3 router"),
    "extraroute-atomic": ("Atomically add/remove extra routes", "Edit extra routes of a router on server side by atomically adding/removing extra routes"),
    "filter-validation": ("Filter parameters validation", "Provides validation on filter parameters."),
    "fip-port-details": ("Floating IP Port Details Extension", "Add port_details attribute to Floating IP resource"),
    "ip-substring-filtering": ("IP address substring filtering", "Provides IP address substring filtering when listing ports"),
    "logging": ("Logging API Extension", "Provides a logging API for resources such as security group"),
    "ip_allocation": ("IP Allocation", "IP allocation extension."),
    "multi-provider": ("Multi Provider Network", "Expose mapping of virtual networks to multiple physical networks"),
    "net-mtu": ("Network MTU", "Provides MTU attribute for a network resource."),
    "net-mtu-writable": ("Network MTU (writable)", "Provides a writable MTU attribute for a network resource."),
    "network_availability_zone": ("Network Availability Zone", "Availability zone support for network."),
    "network-ip-availability": ("Network IP Availability", "Provides IP availability data for each network and subnet."),
    "pagination": ("Pagination support", "Extension that indicates that pagination is enabled."),
    "port-mac-address-regenerate": ("Neutron Port MAC address regenerate", "Network port MAC address regenerate"),
    "port-security": ("Port Security", "Provides port security"),
    "port-security-groups-filtering": ("Port filtering on security groups", "Provides security groups filtering when listing ports"),
    "project-id": ("project_id field enabled", "Extension that indicates that project_id field is enabled."),
    "provider": ("Provider Network", "Expose mapping of virtual networks to physical networks"),
    "quota_details": ("Quota details management support", "Expose functions for quotas usage statistics per project"),
    "quotas": ("Quota management support", "Expose functions for quotas management per project"),
    "revision-if-match": ("If-Match constraints based on revision_number", "Extension indicating that If-Match based on revision_number is supported."),
    "router": ("Neutron L3 Router", "Router abstraction for basic L3 forwarding between L2 Neutron networks and access to external networks via a NAT gateway."),
    "router_availability_zone": ("Router Availability Zone", "Availability zone support for router."),
    "security-group": ("security-group", "The security groups extension."),
    "security-groups-normalized-cidr": ("Normalized CIDR field for security group rules", "Add new field with normalized remote_ip_prefix cidr in SG rule"),
    "security-groups-rules-belongs-to-default-sg": ("Security group rule belongs to the project's default security group", "Flag to determine if the security group rule belongs to the project's default security group"),
    "sorting": ("Sorting support", "Extension that indicates that sorting is enabled."),
    "standard-attr-description": ("standard-attr-description", "Extension to add descriptions to standard attributes"),
    "standard-attr-revisions": ("Resource revision numbers", "This extension will display the revision number of neutron resources with standard attributes."),
    "standard-attr-tag": ("Tag support for resources with standard attribute: network, subnet, port, router, floatingip, security_group", "Enables to set tag on resources with standard attribute."),
    "standard-attr-timestamp": ("Resource timestamps", "Adds created_at and updated_at fields to all Neutron resources that have Neutron standard attributes."),
    "stateful-security-group": ("Stateful security group", "Indicates if the security group is stateful or not"),
    "subnet-external-network": ("Subnet belongs to an external network", "Informs if the subnet belongs to an external network"),
    "subnet-service-types": ("Subnet service types", "Provides ability to set the subnet service_types field"),
    "tag-creation": ("Tag creation extension", "Allow to create tags when creating the resources"),
}  # fmt: skip
UPDATED = "2026-11-22T00:00:00-00:00"
RESOURCES = (
    "networks", "subnets", "ports", "routers", "floatingips", "security-groups", "security-group-rules", "quotas", "agents",
    "availability_zones", "extensions", "network-ip-availabilities", "subnetpools", "address-scopes", "rbac-policies",
    "qos/policies", "log/logs", "trunks", "segments", "network_segment_ranges", "address-groups", "auto-allocated-topologies",
    "floatingip_pools", "flavors", "service_profiles", "service-providers", "default-security-group-rules",
)  # fmt: skip


def _extension(alias: str) -> dict[str, Any]:
    name, description = EXTENSIONS[alias]
    return {"alias": alias, "name": name, "description": description, "updated": UPDATED, "links": []}


def _version(ctx: RequestContext) -> dict[str, Any]:
    return {"id": "v2.0", "status": "CURRENT", "links": [{"rel": "self", "href": f"{ctx.settings.public_url}/network/v2.0/"}]}


@routes.get("/", public=True)
async def versions(ctx: RequestContext) -> dict[str, Any]:
    return {"versions": [_version(ctx)]}


@routes.get("/v2.0", public=True)
async def resources(ctx: RequestContext) -> dict[str, Any]:
    base = f"{ctx.settings.public_url}/network/v2.0"
    return {
        "resources": [
            {"name": name.rstrip("s"), "collection": name, "links": [{"rel": "self", "href": f"{base}/{name}"}]} for name in RESOURCES
        ]
    }


@routes.get("/v2.0/extensions")
async def extensions(query: Params) -> dict[str, Any]:
    wanted = query.get("alias", list(EXTENSIONS))
    return {"extensions": [_extension(alias) for alias in EXTENSIONS if alias in wanted]}


@routes.get("/v2.0/extensions/{alias}")
async def extension(alias: str) -> dict[str, Any]:
    if alias not in EXTENSIONS:
        raise NotFound(f"Extension with alias {alias} does not exist", type="HTTPNotFound")
    return {"extension": _extension(alias)}
