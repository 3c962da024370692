"""/v2.0/qos: policies, their rules, and which rules there are."""

from __future__ import annotations

from typing import Any

from moln.kernel.context import RequestContext
from moln.kernel.db import Reader
from moln.kernel.errors import Forbidden, Invalid, NotFound
from moln.kernel.http.routes import Params
from moln.network.api import attributes as a
from moln.network.api import views
from moln.network.api.attributes import NAME, Attribute, Schema
from moln.network.api.networks import TAGS
from moln.network.api.resources import PUBLISHED, Resource, publish, publish_children, publish_tags
from moln.network.api.service import routes
from moln.network.model.qos import UNKEPT, VALID_DSCP, QosKind, QosPolicy, QosRule
from moln.network.ops import authority
from moln.network.ops import qos as ops
from moln.network.store import qos, rows

MOST = (1 << 31) - 1


def _rule(r: QosRule) -> dict[str, Any]:
    """A rule by itself; inside its policy it has its type and policy too."""
    if r.kind == QosKind.DSCP_MARKING:
        return {"id": r.id, "dscp_mark": r.dscp_mark}
    if r.kind == QosKind.MINIMUM_BANDWIDTH:
        return {"id": r.id, "min_kbps": r.min_kbps, "direction": r.direction}
    return {"id": r.id, "max_kbps": r.max_kbps, "max_burst_kbps": r.max_burst_kbps, "direction": r.direction}


async def _policies(db: Reader, ctx: RequestContext, things: list[QosPolicy]) -> views.Found:
    tags = await rows.tags_of(db, [p.id for p in things])
    within: dict[str, list[dict[str, Any]]] = {}
    for r in await qos.rules.by_any(db, "policy_id", [p.id for p in things]):
        within.setdefault(r.policy_id, []).append({**_rule(r), "type": r.kind, "qos_policy_id": r.policy_id})
    return [
        (
            {
                **views.standard(p, tags),
                "name": p.name,
                "is_default": p.is_default,
                "shared": authority.shared_with(ctx, p.shared_with),
                "rules": within.get(p.id, []),
            },
            authority.of_shareable(ctx, p),
        )
        for p in things
    ]


POLICIES = Resource(
    Schema(
        "policy",
        "policies",
        [
            NAME,
            TAGS,
            a.SHARED,
            Attribute(
                name="is_default", field="is_default", post=True, put=True, default=False, parse=a.boolean, filter=a.truths("is_default")
            ),
            Attribute(name="rules"),
        ],
    ),
    "qos/policies",
    qos.policies,
    _policies,
    create=ops.create_in,
    update=ops.update_in,
    delete=ops.delete_in,
)
publish(routes, POLICIES)
publish_tags(routes, POLICIES, "/v2.0/policies/{id}/tags")  # tags know a resource by its type alone


async def _rules(db: Reader, ctx: RequestContext, things: list[QosRule]) -> views.Found:
    parents = {p.id: p for p in await qos.policies.some(db, {r.policy_id for r in things})}
    return [(_rule(r), ops.of_parent(parents[r.policy_id]) | {"id": r.id}) for r in things]


def _kbps(name: str, *, required: bool) -> Attribute:
    return Attribute(
        name=name, field=name, post=True, put=True, required=required, default=0, parse=a.whole(0, MOST), filter=a.numbers(name), sort=True
    )


def _dscp(value: Any, name: str) -> int:
    return int(a.one_of(*VALID_DSCP)(a.whole()(value, name), name))


def _direction(*values: str) -> Attribute:
    return Attribute(
        name="direction", field="direction", post=True, put=True, default="egress", parse=a.one_of(*values), filter="direction", sort=True
    )


RULES = {
    QosKind.BANDWIDTH_LIMIT: [
        _kbps("max_kbps", required=True),
        _kbps("max_burst_kbps", required=False),
        _direction("egress", "ingress"),
    ],
    QosKind.DSCP_MARKING: [
        Attribute(
            name="dscp_mark", field="dscp_mark", post=True, put=True, required=True, parse=_dscp, filter=a.numbers("dscp_mark"), sort=True
        ),
    ],
    QosKind.MINIMUM_BANDWIDTH: [_kbps("min_kbps", required=True), _direction("egress")],  # what comes in has no queue of the node's
}  # fmt: skip


def _publish_rules(kind: QosKind) -> None:
    single = f"{kind}_rule"
    resource = Resource(
        Schema(f"policy_{single}", f"{single}s", RULES[kind], standard=False, single=single), f"{single}s", qos.rules, _rules,
        create=ops.add_rule_in, update=ops.change_rule_in, delete=ops.drop_rule_in,
    )  # fmt: skip
    publish_children(routes, POLICIES, resource, "policy_id", kind=kind)
    alias = f"alias_{single}"
    direct = Resource(
        Schema(f"policy_{single}", f"{alias}s", RULES[kind], standard=False, single=alias), f"{alias}s", qos.rules, _rules,
        create=None, update=ops.change_rule_in, delete=ops.drop_rule_in,
    )  # fmt: skip
    path, within = f"/v2.0/qos/{alias}s/{{id}}", {"kind": kind}
    PUBLISHED.append((f"/v2.0/qos/{alias}s", direct))

    async def show(ctx: RequestContext, id: str, query: Params) -> dict[str, Any]:
        return await direct.show(ctx, id, query, within)

    async def update(ctx: RequestContext, id: str, body: dict) -> dict[str, Any]:  # type: ignore[type-arg]
        return await direct.update(ctx, id, body, None, within)

    async def delete(ctx: RequestContext, id: str) -> None:
        await direct.delete(ctx, id, None, within)

    routes.get(path)(show)
    routes.put(path)(update)
    routes.delete(path)(delete)


for _kind in QosKind:
    _publish_rules(_kind)


def _parameters(kind: QosKind) -> list[dict[str, Any]]:
    most = {"start": 0, "end": MOST}
    if kind == QosKind.DSCP_MARKING:
        return [{"parameter_name": "dscp_mark", "parameter_type": "choices", "parameter_values": list(VALID_DSCP)}]
    if kind == QosKind.MINIMUM_BANDWIDTH:
        return [
            {"parameter_name": "min_kbps", "parameter_type": "range", "parameter_values": most},
            {"parameter_name": "direction", "parameter_type": "choices", "parameter_values": ["egress"]},
        ]
    return [
        {"parameter_name": "max_kbps", "parameter_type": "range", "parameter_values": most},
        {"parameter_name": "max_burst_kbps", "parameter_type": "range", "parameter_values": most},
        {"parameter_name": "direction", "parameter_type": "choices", "parameter_values": ["egress", "ingress"]},
    ]


@routes.get("/v2.0/qos/rule-types")
async def list_rule_types(ctx: RequestContext, query: Params) -> dict[str, Any]:
    if not ctx.allows("network", "get_rule_type", {}):
        return {"rule_types": []}
    asked = {name: a.boolean(query[name][-1], name) for name in ("all_rules", "all_supported") if name in query}
    if all(asked.get(name) for name in ("all_rules", "all_supported")):
        raise Invalid("Only one of 'all_rules' and 'all_supported' may be asked for.", field="all_rules")
    types = [*QosKind, *(UNKEPT if asked.get("all_rules") else ())]
    return {"rule_types": [{"type": kind} for kind in types if kind in query.get("type", types)]}


@routes.get("/v2.0/qos/rule-types/{rule_type}")
async def show_rule_type(ctx: RequestContext, rule_type: str) -> dict[str, Any]:
    authority.require(ctx, "get_rule_type", {})
    if not ctx.is_admin:
        raise Forbidden("Not authorized.", type="NotAuthorized")
    if rule_type not in list(QosKind):
        raise NotFound(f"QoS rule type {rule_type} could not be found.", type="QosRuleTypeNotFound")
    kind = QosKind(rule_type)
    return {"rule_type": {"type": kind, "drivers": [{"name": "ovn", "supported_parameters": _parameters(kind)}]}}
