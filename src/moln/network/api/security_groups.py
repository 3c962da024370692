"""/v2.0/security-groups and /v2.0/security-group-rules."""

from __future__ import annotations

from typing import Any

from moln.kernel.context import RequestContext
from moln.kernel.http.routes import Params
from moln.network.api import attributes as a
from moln.network.api import views
from moln.network.api.attributes import NAME, Attribute, Schema
from moln.network.api.networks import TAGS
from moln.network.api.resources import Resource, publish
from moln.network.api.service import routes
from moln.network.model import security_groups as model
from moln.network.ops import security_group_rules as rule_ops
from moln.network.ops import security_groups as group_ops
from moln.network.store import rows


async def _default_first(ctx: RequestContext, params: Params) -> None:
    """A project has its default group before anybody lists its groups: the caller's, and the one that an administrator asks about."""
    asked = params.get("project_id") or params.get("tenant_id") or []
    for project_id in {ctx.project_id or "", *(asked[:1] if ctx.is_admin and len(asked) == 1 else ())}:
        await group_ops.ensure_default(ctx, project_id)


def _protocols(values: list[str]) -> list[tuple[str, str, Any]]:
    """A protocol by name or number; "any" for rules without one."""
    found = [model.parse_protocol(value) for value in values]
    if None in found:
        return [("protocol", "null", None)]
    numbers = {model.number(protocol) for protocol in found}
    names = [name for name, number in model.PROTOCOLS.items() if number in numbers]
    return [("protocol", "in", [*names, *(str(n) for n in numbers)])]


GROUPS = Resource(
    Schema(
        "security_group",
        "security_groups",
        [
            NAME,
            TAGS,
            Attribute(
                name="stateful",
                field="stateful",
                post=True,
                put=True,
                default=None,
                parse=a.boolean,
                filter=a.truths("stateful"),
                sort=True,
            ),
            Attribute(name="shared", filter=a.shared_with_caller()),
            Attribute(name="security_group_rules"),
        ],
    ),
    "security-groups",
    rows.groups,
    views.security_groups,
    create=group_ops.create_in,
    update=group_ops.update_in,
    delete=group_ops.delete_in,
    first=_default_first,
)

MATCHES = [
    Attribute(
        name="direction", field="direction", post=True, required=True, parse=a.one_of("ingress", "egress"), filter="direction", sort=True
    ),
    Attribute(
        name="ethertype", field="ethertype", post=True, default="IPv4", parse=lambda v, _: model.parse_ethertype(v),
        filter=lambda values: [("ethertype", "in", [model.parse_ethertype(v) for v in values])], sort=True,
    ),
    Attribute(
        name="protocol", field="protocol", post=True, default=None, parse=lambda v, _: model.parse_protocol(v), filter=_protocols, sort=True
    ),
    Attribute(
        name="port_range_min", field="port_range_min", post=True, default=None, parse=model.parse_port,
        filter=a.numbers("port_range_min"), sort=True,
    ),
    Attribute(
        name="port_range_max", field="port_range_max", post=True, default=None, parse=model.parse_port,
        filter=a.numbers("port_range_max"), sort=True,
    ),
    Attribute(
        name="remote_ip_prefix", field="remote_ip_prefix", post=True, default=None, parse=lambda v, _: model.parse_prefix(v),
        filter=lambda values: [("remote_ip_prefix", "in", [model.parse_prefix(v) for v in values])], sort=True,
    ),
    Attribute(
        name="remote_group_id", field="remote_group_id", post=True, default=None, parse=a.optional(a.text()), filter="remote_group_id", sort=True
    ),
    Attribute(
        name="remote_address_group_id", field="remote_address_group_id", post=True, default=None, parse=a.optional(a.uuid),
        filter="remote_address_group_id", sort=True,
    ),
]  # fmt: skip
"""What packets a rule is about."""

RULES = Resource(
    Schema(
        "security_group_rule",
        "security_group_rules",
        [
            Attribute(
                name="security_group_id", field="security_group_id", post=True, required=True, parse=a.uuid, filter="security_group_id", sort=True
            ),
            *MATCHES,
            Attribute(name="normalized_cidr"),
            Attribute(name="belongs_to_default_sg", filter=a.truths("default_group")),
        ],
    ),
    "security-group-rules",
    rows.rules,
    views.security_group_rules,
    create=rule_ops.create_in,
    update=None,
    delete=rule_ops.delete_in,
    first=_default_first,
)  # fmt: skip

publish(routes, GROUPS)
publish(routes, RULES)
