"""What the network API takes and answers, from the attributes of its resources."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from moln.kernel.http.schemas import Described, Given
from moln.network.api.attributes import Attribute, Schema, schema_of
from moln.network.api.lists import NOT_FILTERS, TAG_FILTERS
from moln.network.api.resources import PUBLISHED, Resource
from moln.network.api.service import routes
from moln.network.ops.common import QUOTA

ERROR = {"NeutronError": {"type": str, "message": str, "detail": str}}
TEXT = {"type": "string"}
LINKS = {"type": "array", "items": {"type": "object", "required": ["rel", "href"]}}
SHOWN_TYPES: dict[str, dict[str, Any]] = {
    "id": TEXT, "status": TEXT, **dict.fromkeys(("tenant_id", "project_id"), {"type": ["string", "null"]}), "created_at": TEXT, "updated_at": TEXT,
    "revision_number": {"type": "integer"}, "tags": {"type": "array", "items": TEXT}, "subnets": {"type": "array", "items": TEXT},
    "availability_zones": {"type": "array", "items": TEXT}, "security_group_rules": {"type": "array", "items": {"type": "object"}},
    "port_details": {"type": ["object", "null"]}, "port_forwardings": {"type": "array", "items": {"type": "object"}}, "ha": {"type": "boolean"},
    "default_quota": {"type": ["integer", "null"]}, "min_prefixlen": TEXT, "default_prefixlen": TEXT, "max_prefixlen": TEXT,
    "external_gateways": {"type": "array", "items": {"type": "object"}}, "ip_allocation": TEXT,
    "used": {"type": "object"}, "available": {"type": "array", "items": {"type": "integer"}},
}  # fmt: skip
"""Of attributes that nobody may give, or that are shown otherwise."""


def _objects(**properties: Any) -> dict[str, Any]:
    return {"type": "array", "items": {"type": "object", "properties": properties}}


TAKEN: dict[str, dict[str, Any]] = {
    "tags": {"type": "array", "items": TEXT}, "dns_domain": TEXT, "gateway_ip": {"type": ["string", "null"]},
    "allocation_pools": _objects(start=TEXT, end=TEXT), "dns_nameservers": {"type": "array", "items": TEXT},
    "host_routes": _objects(destination=TEXT, nexthop=TEXT), "routes": _objects(destination=TEXT, nexthop=TEXT),
    "fixed_ips": _objects(subnet_id=TEXT, ip_address=TEXT), "allowed_address_pairs": _objects(ip_address=TEXT, mac_address=TEXT),
    "extra_dhcp_opts": _objects(opt_name=TEXT, opt_value={"type": ["string", "null"]}, ip_version={"enum": [4, 6]}),
    "binding:profile": {"type": "object"}, "dns_name": TEXT, "ethertype": {"type": ["string", "null"]},
    "port_range_min": {"type": ["integer", "null"]}, "port_range_max": {"type": ["integer", "null"]},
    "remote_ip_prefix": {"type": ["string", "null"]}, **dict.fromkeys(("external_port", "internal_port"), {"type": ["integer", "null"]}),
    "external_port_range": TEXT, "internal_port_range": TEXT, "object_type": TEXT, "target_tenant": TEXT, "event": TEXT, "protocol": {"type": ["string", "null"]},
    "sub_ports": _objects(port_id=TEXT, segmentation_type=TEXT, segmentation_id={"type": "integer"}),
    "segments": {"type": "array", "items": {"type": "object"}},
    "external_gateway_info": {
        "type": ["object", "null"],
        "properties": {"network_id": TEXT, "enable_snat": {"type": "boolean"}, "external_fixed_ips": _objects(subnet_id=TEXT, ip_address=TEXT)},
    },
}  # fmt: skip
"""Of attributes that a function of their own reads."""


def _taken(attribute: Attribute) -> dict[str, Any]:
    return schema_of(attribute.parse) or TAKEN.get(attribute.name, {})


def _kinds(schema: dict[str, Any]) -> dict[str, Any]:
    """Only the kind of what is shown: what may be given is narrower than what there is (older rows, our own ports)."""
    if "anyOf" in schema:
        return {"anyOf": [_kinds(inner) for inner in schema["anyOf"]]}
    if "enum" in schema:
        return {"type": sorted({"integer" if isinstance(value, int) else "string" for value in schema["enum"]})}
    return {name: schema[name] for name in ("type",) if name in schema}


def _view(schema: Schema) -> dict[str, Any]:
    """A thing as it is shown; `fields` and policy leave attributes out."""
    properties = {a.name: SHOWN_TYPES.get(a.name) or _kinds(_taken(a)) for a in schema.attributes.values()}
    return {"type": "object", "properties": properties}


def _body(schema: Schema, verb: str) -> dict[str, Any]:
    given = [a for a in schema.attributes.values() if getattr(a, verb)]
    properties = {a.name: _taken(a) for a in given}
    required = [a.name for a in given if a.required] if verb == "post" else []
    if verb == "post":
        properties |= {"tenant_id": TEXT, "project_id": TEXT}
    return {"type": "object", "properties": properties, "additionalProperties": False, **({"required": required} if required else {})}


def _wrapped(key: str, schema: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {key: schema, **more}, "required": [key]}


def _resource(path: str, resource: Resource) -> Described:
    """The operations that api/resources.publish declares."""
    schema, one = resource.schema, f"{path}/{{id}}"
    single, many, view = schema.single, schema.collection, _view(schema)
    listed = _wrapped(many, {"type": "array", "items": view}, **{f"{many}_links": LINKS})
    shown = _wrapped(single, view)
    new = _body(schema, "post")
    filters = [a.name for a in schema.attributes.values() if a.filter is not None]
    tags = {"tags": [str]}
    answers: dict[str, Any] = {
        f"GET {path}": Given(listed), f"GET {one}": Given(shown), f"PUT {one}": Given(shown),
        f"POST {path}": Given({"anyOf": [shown, _wrapped(many, {"type": "array", "items": view})]}),
        f"GET {one}/tags": tags, f"PUT {one}/tags": tags, f"POST {one}/tags": tags, f"PUT {one}/tags/{{tag}}": None,
    }  # fmt: skip
    bodies = {
        f"POST {path}": Given({"anyOf": [_wrapped(single, new), _wrapped(many, {"type": "array", "items": new, "minItems": 1})]}),
        f"PUT {one}": Given(_wrapped(single, _body(schema, "put"))),
        f"PUT {one}/tags": tags, f"POST {one}/tags": tags,
    }  # fmt: skip
    has_tags = "tags" in schema.attributes
    queries: dict[str, Iterable[str]] = {f"GET {path}": {*filters, *(NOT_FILTERS - {"verbose"}), *(TAG_FILTERS if has_tags else ())}, f"GET {one}": {"fields"}}
    return Described(answers, bodies, queries, {f"PUT {one}": ["If-Match"], f"DELETE {one}": ["If-Match"]})


QUOTAS = dict.fromkeys(QUOTA.defaults, int)
QUOTA_VIEW = {f"{name}?": int for name in QUOTA.defaults}
INTERFACE = {"id": str, "project_id": str, "tenant_id": str, "port_id": str, "network_id": str, "subnet_id": str, "subnet_ids": [str]}
INTERFACE_BODY = {"subnet_id?": str | None, "port_id?": str | None}
ROUTES_BODY = {"router": {"routes": [{"destination": str, "nexthop": str}]}}
AVAILABILITY = {"network_id": str, "network_name": str, "total_ips": int, "used_ips": int, "subnet_ip_availability": [dict]}
EXTENSION = {"alias": str, "name": str, "description": str, "updated": str, "links": list}
AGENT = {"id?": str, "agent_type?": str, "binary?": str, "host?": str, "alive?": bool, "admin_state_up?": bool}
BINDING = {"host?": str, "vif_type?": str, "vif_details?": dict, "vnic_type?": str, "profile?": dict, "status?": str}
LINK = {"rel": str, "href": str}
SUB_PORTS = {"sub_ports": [{"port_id": str, "segmentation_type?": str, "segmentation_id?": int}]}

BINDING = {"host?": str, "vif_type?": str, "vif_details?": dict, "vnic_type?": str, "profile?": dict, "status?": str}
BOUND, ONE_BOUND = "/v2.0/ports/{port_id}/bindings", "/v2.0/ports/{port_id}/bindings/{host}"
GATEWAYS = ["add_external_gateways", "update_external_gateways", "remove_external_gateways"]
CHANGING = {
    "/v2.0/routers": [*GATEWAYS, "add_extraroutes", "remove_extraroutes"], "/v2.0/address-groups": ["add_addresses", "remove_addresses"],
}  # fmt: skip
"""What changes a part of a thing and answers with all of it."""
ANSWERS: dict[str, Any] = {
    "GET /": {"versions": [{"id": str, "status": str, "links": [LINK]}]},
    "GET /v2.0": {"resources": [{"name": str, "collection": str, "links": [LINK]}]},
    "GET /v2.0/extensions": {"extensions": [EXTENSION]},
    "GET /v2.0/extensions/{alias}": {"extension": EXTENSION},
    "GET /v2.0/agents": {"agents": [AGENT]},
    "GET /v2.0/agents/{id}": {"agent": AGENT},
    "PUT /v2.0/agents/{id}": {"agent": AGENT},
    f"GET {BOUND}": {"bindings": [BINDING]},
    f"POST {BOUND}": {"binding": BINDING},
    f"GET {ONE_BOUND}": {"binding": BINDING},
    f"PUT {ONE_BOUND}": {"binding": BINDING},
    f"PUT {ONE_BOUND}/activate": {"binding": BINDING},
    "GET /v2.0/log/loggable-resources": {"loggable_resources": [{"type": str}]},
    "GET /v2.0/agents/{id}/l3-routers": {"routers": [dict]},
    "GET /v2.0/agents/{id}/dhcp-networks": {"networks": [dict]},
    "GET /v2.0/routers/{id}/l3-agents": {"agents": [AGENT]},
    "GET /v2.0/networks/{id}/dhcp-agents": {"agents": [AGENT]},
    "GET /v2.0/availability_zones": {"availability_zones": [{"name": str, "resource": str, "state": str}]},
    "GET /v2.0/auto-allocated-topology/{project_id}": {"auto_allocated_topology": {"id": str, "project_id": str, "tenant_id": str}},
    "GET /v2.0/network-ip-availabilities": {"network_ip_availabilities": [AVAILABILITY]},
    "GET /v2.0/network-ip-availabilities/{network_id}": {"network_ip_availability": AVAILABILITY},
    "GET /v2.0/floatingip_pools": {"floatingip_pools": [dict]},
    "GET /v2.0/floatingip-pools": {"floatingip_pools": [dict]},
    "GET /v2.0/quotas": {"quotas": [QUOTA_VIEW]},
    "GET /v2.0/quotas/{project_id}": {"quota": QUOTAS},
    "GET /v2.0/quotas/{project_id}/default": {"quota": QUOTAS},
    "GET /v2.0/quotas/{project_id}/details": {"quota": {str: {"limit": int, "used": int, "reserved": int}}},
    "GET /v2.0/quotas/{project_id}/details.json": {"quota": {str: {"limit": int, "used": int, "reserved": int}}},
    "PUT /v2.0/quotas/{project_id}": {"quota": QUOTAS},
    "PUT /v2.0/routers/{id}/add_router_interface": INTERFACE,
    "PUT /v2.0/routers/{id}/remove_router_interface": INTERFACE,
    "GET /v2.0/trunks/{id}/get_subports": SUB_PORTS,
    "PUT /v2.0/subnetpools/{id}/add_prefixes": {"prefixes": [str]},
    "PUT /v2.0/subnetpools/{id}/remove_prefixes": {"prefixes": [str]},
    "PUT /v2.0/subnetpools/{id}/onboard_network_subnets": [{"id": str, "cidr": str}],
    "GET /v2.0/service-providers": {"service_providers": [{"service_type": str, "name": str, "default": bool}]},
    "POST /v2.0/flavors/{id}/service_profiles": {"service_profile": {"id": str, "name": str, "service_profiles": [str]}},
    "GET /v2.0/flavors/{id}/next_providers": {"next_providers": [{"driver": str, "provider": str}]},
    "GET /v2.0/qos/rule-types": {"rule_types": [{"type": str}]},
    "GET /v2.0/qos/rule-types/{rule_type}": {"rule_type": {"type": str, "drivers": [dict]}},
}
BODIES: dict[str, Any] = {
    "PUT /v2.0/agents/{id}": {"agent": {"description?": str, "admin_state_up?": bool}},
    f"POST {BOUND}": {"binding": {"host": str, "vnic_type?": str, "profile?": dict}},
    f"PUT {ONE_BOUND}": {"binding": {"vnic_type?": str, "profile?": dict}},
    **{f"PUT /v2.0/routers/{{id}}/{verb}": {"router": {"external_gateways": [Given(TAKEN["external_gateway_info"])]}} for verb in GATEWAYS},
    "PUT /v2.0/quotas/{project_id}": {"quota": {**QUOTA_VIEW, "force?": bool, "check_limit?": bool}},
    "PUT /v2.0/routers/{id}/add_router_interface": INTERFACE_BODY,
    "PUT /v2.0/routers/{id}/remove_router_interface": INTERFACE_BODY,
    "PUT /v2.0/routers/{id}/add_extraroutes": ROUTES_BODY,
    "PUT /v2.0/routers/{id}/remove_extraroutes": ROUTES_BODY,
    "PUT /v2.0/trunks/{id}/add_subports": SUB_PORTS,
    "PUT /v2.0/trunks/{id}/remove_subports": SUB_PORTS,
    "PUT /v2.0/subnetpools/{id}/add_prefixes": {"prefixes": [str]},
    "PUT /v2.0/subnetpools/{id}/remove_prefixes": {"prefixes": [str]},
    "PUT /v2.0/subnetpools/{id}/onboard_network_subnets": {"network_id": str},
    "PUT /v2.0/address-groups/{id}/add_addresses": {"addresses": [str]},
    "PUT /v2.0/address-groups/{id}/remove_addresses": {"addresses": [str]},
    "POST /v2.0/flavors/{id}/service_profiles": {"service_profile": {"id": str}},
}
QUERIES: dict[str, Any] = {
    f"GET {BOUND}": ["fields", "host", "status", "vif_type", "vnic_type"],
    f"GET {ONE_BOUND}": ["fields"],
    "GET /v2.0/extensions": ["alias"],
    "GET /v2.0/agents": ["agent_type", "alive", "binary", "fields", "host"],
    "GET /v2.0/agents/{id}": ["fields"],
    "GET /v2.0/agents/{id}/l3-routers": ["fields"],
    "GET /v2.0/routers/{id}/l3-agents": ["fields"],
    "GET /v2.0/ports/{port_id}/bindings": ["fields", "host", "status", "vif_type", "vnic_type"],
    "GET /v2.0/ports/{port_id}/bindings/{host}": ["fields"],
    "GET /v2.0/qos/rule-types": ["all_rules", "all_supported", "type"],
    "GET /v2.0/auto-allocated-topology/{project_id}": ["fields"],
    "GET /v2.0/network-ip-availabilities": ["ip_version", "network_id", "network_name", "project_id", "tenant_id"],
    "GET /v2.0/floatingip-pools": ["cidr", "fields", "network_id", "subnet_id", "subnet_name"],
    "GET /v2.0/floatingip_pools": ["cidr", "fields", "network_id", "subnet_id", "subnet_name"],
    "GET /v2.0/service-providers": ["name", "service_type"],
}


def described() -> Described:
    answers, bodies, queries, headers = dict(ANSWERS), dict(BODIES), dict(QUERIES), {}
    there = {f"{route.method} {route.path}" for route in routes.all}
    for path, resource in PUBLISHED:
        for verb in CHANGING.get(path, ()):
            answers[f"PUT {path}/{{id}}/{verb}"] = Given(_wrapped(resource.schema.single, _view(resource.schema)))
        if path == "/v2.0/trunks":
            answers |= {f"PUT {path}/{{id}}/{verb}_subports": Given(_view(resource.schema)) for verb in ("add", "remove")}
        of = _resource(path, resource)
        answers.update((key, shape) for key, shape in of.answers.items() if key in there)
        bodies.update((key, shape) for key, shape in of.bodies.items() if key in there)
        queries.update((key, names) for key, names in of.queries.items() if key in there)
        headers.update((key, names) for key, names in of.headers.items() if key in there and "{parent_id}" not in key)
    for key in there:  # tags have other addresses too
        if key.startswith("PUT ") and key.endswith("/tags/{tag}"):
            answers[key] = None
    return Described(answers, bodies, queries, headers, ERROR)
