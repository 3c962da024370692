"""POST /os-server-external-events: for services beside the cloud, and for administrators."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, UnsetType

from moln.compute.api.routes import routes
from moln.compute.api.server_bodies import given, is_uuid
from moln.compute.ops import external_events as ops
from moln.kernel.context import RequestContext
from moln.kernel.errors import Invalid
from moln.kernel.http import Body, Reply

NAMES = {  # and the microversion since which each is known
    "network-changed": (2, 1), "network-vif-plugged": (2, 1), "network-vif-unplugged": (2, 1), "network-vif-deleted": (2, 1),
    "volume-extended": (2, 51), "power-update": (2, 76), "accelerator-request-bound": (2, 82), "volume-reimaged": (2, 93),
}  # fmt: skip


class EventItem(Body):
    server_uuid: str
    name: str
    status: Literal["failed", "completed", "in-progress"] = "completed"
    tag: Annotated[str, Meta(max_length=255)] | UnsetType = UNSET


class Events(Body):
    events: Annotated[list[EventItem], Meta(max_length=1000)]


@routes.post("/v2.1/os-server-external-events")
async def tell_events(ctx: RequestContext, body: Events) -> Reply:
    ctx.require("compute", ops.RULE, {})
    for item in body.events:
        if ctx.version < NAMES.get(item.name, (9, 9)):
            names = sorted(n for n, first in NAMES.items() if first <= ctx.version)
            raise Invalid(
                f"Invalid input for field/attribute name. Value: {item.name[:64]}. {item.name[:64]!r} is not one of {names}", field="name"
            )
        if not is_uuid(item.server_uuid):
            raise Invalid(
                f"Invalid input for field/attribute server_uuid. Value: {item.server_uuid[:64]}. It is not a 'uuid'.", field="server_uuid"
            )
    codes = await ops.tell(ctx, [ops.Event(e.name, e.server_uuid.lower(), given(e.tag)) for e in body.events])
    told = [_view(item, code) for item, code in zip(body.events, codes, strict=True)]
    return Reply({"events": told}, status=200 if set(codes) == {200} else 207)


def _view(item: EventItem, code: int) -> dict[str, Any]:
    view: dict[str, Any] = {"name": item.name, "server_uuid": item.server_uuid, "code": code}
    view["status"] = item.status if code == 200 else "failed"
    return view if item.tag is UNSET else view | {"tag": item.tag}
