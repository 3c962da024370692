"""/v2.0/default-security-group-rules and /v2.0/security-groups-default-statefulness."""

from __future__ import annotations

from typing import Any

from msgspec import structs

from moln.kernel.context import RequestContext
from moln.kernel.db import Reader
from moln.network.api import attributes as a
from moln.network.api import views
from moln.network.api.attributes import Attribute, Given, Schema
from moln.network.api.resources import Resource, publish
from moln.network.api.security_groups import MATCHES
from moln.network.api.service import routes
from moln.network.model.security_groups import PARENT, DefaultRule, Statefulness
from moln.network.ops import authority
from moln.network.ops import default_rules as ops
from moln.network.store.default_rules import default_rules, statefulness

SHOWN = (
    "id", "description", "direction", "ethertype", "protocol", "port_range_min", "port_range_max", "remote_ip_prefix", "remote_group_id",
    "remote_address_group_id", "used_in_default_sg", "used_in_non_default_sg",
)  # fmt: skip


async def _rules(db: Reader, ctx: RequestContext, things: list[DefaultRule]) -> views.Found:
    return [({name: getattr(r, name) for name in SHOWN}, authority.of_project("", id=r.id)) for r in things]


def _remote(value: Any, name: str) -> str | None:
    return PARENT if value == PARENT else a.optional(a.uuid)(value, name)


def _used(name: str, default: bool) -> Attribute:
    return Attribute(name=name, field=name, post=True, default=default, parse=a.boolean, filter=a.truths(name))


DEFAULT_RULES = Resource(
    Schema(
        "default_security_group_rule",
        "default_security_group_rules",
        [
            *(structs.replace(m, parse=_remote) if m.name == "remote_group_id" else m for m in MATCHES),
            _used("used_in_default_sg", False),
            _used("used_in_non_default_sg", True),
            Attribute(name="description", field="description", post=True, default="", parse=a.text_or_none(), filter="description"),
        ],
        standard=False,
    ),
    "default-security-group-rules",
    default_rules,
    _rules,
    create=ops.create_in,
    update=None,
    delete=ops.delete_in,
)
publish(routes, DEFAULT_RULES)


async def _statefulness(db: Reader, ctx: RequestContext, things: list[Statefulness]) -> views.Found:
    return [
        ({"id": s.id, "project_id": s.project_id or None, "stateful": s.stateful}, authority.of_project(s.project_id, id=s.id)) for s in things
    ]


class _Schema(Schema):
    """`"project_id": null` is the whole cloud."""

    def post(self, ctx: RequestContext, body: dict[str, Any]) -> Given:
        given = super().post(ctx, body)
        return structs.replace(given, project_id="") if body.get("project_id", ctx) is None else given


STATEFULNESS = Resource(
    _Schema(
        "security_groups_default_statefulness",
        "security_groups_default_statefulness",
        [Attribute(name="stateful", field="stateful", post=True, put=True, default=True, parse=a.boolean, filter=a.truths("stateful"))],
        standard=False,
    ),
    "security-groups-default-statefulness",
    statefulness,
    _statefulness,
    create=ops.create_statefulness_in,
    update=ops.update_statefulness_in,
    delete=ops.delete_statefulness_in,
)
publish(routes, STATEFULNESS)
