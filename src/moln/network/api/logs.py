"""/v2.0/log: what nodes log of the network's packets."""

from __future__ import annotations

from typing import Any

from moln.kernel.context import RequestContext
from moln.kernel.db import Reader
from moln.network.api import attributes as a
from moln.network.api import views
from moln.network.api.attributes import NAME, Attribute, Schema
from moln.network.api.resources import Resource, publish
from moln.network.api.service import routes
from moln.network.model.logs import SECURITY_GROUP, NetworkLog
from moln.network.ops import authority
from moln.network.ops import logs as ops
from moln.network.store.logs import logs


async def _views(db: Reader, ctx: RequestContext, things: list[NetworkLog]) -> views.Found:
    names = ("name", "enabled", "event", "resource_type", "resource_id", "target_id")
    return [
        ({**views.standard(log), **{name: getattr(log, name) for name in names}}, authority.of_project(log.project_id, id=log.id))
        for log in things
    ]


def _event(value: Any, name: str) -> str:
    return str(a.one_of("ACCEPT", "DROP", "ALL")(value.upper() if isinstance(value, str) else value, name))


LOGS = Resource(
    Schema(
        "log",
        "logs",
        [
            NAME,
            Attribute(name="enabled", field="enabled", post=True, put=True, default=True, parse=a.boolean, filter=a.truths("enabled"), sort=True),
            Attribute(name="event", field="event", post=True, default="ALL", parse=_event, filter="event", sort=True),
            Attribute(
                name="resource_type", field="resource_type", post=True, required=True, parse=a.text(), filter="resource_type", sort=True
            ),
            Attribute(
                name="resource_id", field="resource_id", post=True, default=None, parse=a.optional(a.uuid), filter="resource_id", sort=True
            ),
            Attribute(name="target_id", field="target_id", post=True, default=None, parse=a.optional(a.uuid), filter="target_id", sort=True),
        ],
    ),
    "log/logs",
    logs,
    _views,
    create=ops.create_in,
    update=ops.update_in,
    delete=ops.delete_in,
)  # fmt: skip
publish(routes, LOGS)


@routes.get("/v2.0/log/loggable-resources")
async def list_loggable_resources(ctx: RequestContext) -> dict[str, Any]:
    allowed = ctx.allows("network", "get_loggable_resource", authority.of_project(ctx.project_id or ""))
    return {"loggable_resources": [{"type": SECURITY_GROUP}] if allowed else []}
