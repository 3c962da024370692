"""os-instance-actions: what was done to a server."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET, UnsetType

from moln.compute.api.routes import routes
from moln.compute.api.server_lists import moment
from moln.compute.api.server_views import host_id
from moln.compute.model.instance_actions import Event, InstanceAction
from moln.compute.ops import instance_actions
from moln.kernel.clock import iso_micro
from moln.kernel.context import RequestContext
from moln.kernel.db.listing import Where
from moln.kernel.errors import Invalid
from moln.kernel.http import Params, View, bounded_limit, next_link, since

PATH = "/v2.1/servers/{server_id}/os-instance-actions"
P = "os_compute_api:os-instance-actions"


class EventView(View):
    event: str
    start_time: str
    finish_time: str | None
    result: str | None
    traceback: str | None | UnsetType = UNSET
    host: Annotated[str | None | UnsetType, since("2.62")] = UNSET
    hostId: Annotated[str | UnsetType, since("2.62")] = UNSET
    details: Annotated[str | None | UnsetType, since("2.84")] = UNSET


class ActionView(View):
    action: str
    instance_uuid: str
    message: str | None
    project_id: str | None
    request_id: str
    start_time: str
    user_id: str | None
    updated_at: Annotated[str | None | UnsetType, since("2.58")] = UNSET
    events: list[EventView] | UnsetType = UNSET

    @classmethod
    def of(cls, a: InstanceAction) -> ActionView:
        return cls(
            action=a.action, instance_uuid=a.server_id, message=a.message, project_id=a.project_id, request_id=a.request_id,
            start_time=iso_micro(a.start_time), user_id=a.user_id, updated_at=iso_micro(a.updated_at),
        )  # fmt: skip


@routes.get(PATH)
async def list_actions(ctx: RequestContext, server_id: str, query: Params) -> dict[str, Any]:
    where: list[Where] = []
    limit, marker = 1000, None
    if ctx.at_least(2, 58):
        known = {"limit", "marker", "changes-since"} | ({"changes-before"} if ctx.at_least(2, 66) else set())
        if unknown := query.keys() - known:
            raise Invalid(f"Additional properties are not allowed ({min(unknown)[:64]!r} was unexpected)")
        limit, marker = bounded_limit(query.get("limit", [None])[-1]), query.get("marker", [None])[-1]
        if "changes-since" in query:
            where.append(("updated_at", "ge", moment(query["changes-since"][-1], "changes-since")))
        if "changes-before" in query:
            where.append(("updated_at", "le", moment(query["changes-before"][-1], "changes-before")))
    found = await instance_actions.index(ctx, server_id, where, marker=marker, limit=limit, deleted=ctx.at_least(2, 21))
    answer: dict[str, Any] = {"instanceActions": [ActionView.of(a).at(ctx.version) for a in found]}
    if ctx.at_least(2, 58) and found and len(found) >= limit and "limit" in query:
        href = next_link(f"{ctx.settings.public_url}/compute/v2.1/servers/{server_id}/os-instance-actions", query, found[-1].request_id)
        answer["links"] = [{"rel": "next", "href": href}]
    return answer


@routes.get(PATH + "/{request_id}")
async def show_action(ctx: RequestContext, server_id: str, request_id: str) -> dict[str, Any]:
    found = await instance_actions.show(ctx, server_id, request_id, deleted=ctx.at_least(2, 21))
    target = {"project_id": found.project_id, "user_id": found.user_id}
    full = ctx.allows("compute", f"{P}:events", target)
    view = ActionView.of(found)
    if full or ctx.at_least(2, 51):
        view.events = [_event(ctx, e, found.project_id or "", full=full) for e in found.events]
    return {"instanceAction": view.at(ctx.version)}


def _event(ctx: RequestContext, e: Event, project_id: str, *, full: bool) -> EventView:
    view = EventView(
        event=e.event, start_time=iso_micro(e.start_time), finish_time=iso_micro(e.finish_time) if e.finish_time else None, result=e.result,
        hostId=host_id(project_id, e.host) if e.host else "",
    )  # fmt: skip
    if full:
        view.traceback, view.host = None, e.host
        view.details = e.details if ctx.allows("compute", f"{P}:events:details") else UNSET
    return view
