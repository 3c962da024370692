"""/v2.0/rbac-policies."""

from __future__ import annotations

from typing import Any

from moln.kernel.context import RequestContext
from moln.kernel.db import Reader
from moln.network.api import attributes as a
from moln.network.api import views
from moln.network.api.attributes import Attribute, Schema
from moln.network.api.resources import Resource, publish
from moln.network.api.service import routes
from moln.network.model.sharing import RbacPolicy
from moln.network.ops import authority, sharing
from moln.network.ops.common import invalid
from moln.network.store import rows


async def _views(db: Reader, ctx: RequestContext, things: list[RbacPolicy]) -> views.Found:
    return [
        (
            {
                **views.owned(p),
                "object_type": p.object_type,
                "object_id": p.object_id,
                "action": p.action,
                "target_tenant": p.target_project,
            },
            authority.of_project(p.project_id, id=p.id),
        )
        for p in things
    ]


def _object_type(value: Any, name: str) -> str:
    kind = str(value).lower().replace("-", "_")
    if kind not in sharing.TABLES:
        raise invalid(f"'{value}' is not a valid RBAC object type")
    return kind


def _target(value: Any, name: str) -> str:
    text: str = a.text()(value, name)
    if not text:
        raise a.bad_value(name, f"'{text}' is not a valid target project ID")
    return text


RBAC_POLICIES = Resource(
    Schema(
        "rbac_policy",
        "rbac_policies",
        [
            Attribute(name="object_type", field="object_type", post=True, required=True, parse=_object_type, filter="object_type", sort=True),
            Attribute(name="object_id", field="object_id", post=True, required=True, parse=a.uuid, filter="object_id", sort=True),
            Attribute(
                name="target_tenant", field="target_project", post=True, put=True, required=True, parse=_target, filter="target_project",
                sort=True,
            ),
            Attribute(name="action", field="action", post=True, required=True, parse=a.text(), filter="action", sort=True),
        ],
        standard=False,
    ),
    "rbac-policies",
    rows.rbac,
    _views,
    create=sharing.create_in,
    update=sharing.update_in,
    delete=sharing.delete_in,
)  # fmt: skip

publish(routes, RBAC_POLICIES)
