"""/v3/attachments (block-storage v3 api-ref, "Attachments")."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from moln.kernel.context import RequestContext
from moln.kernel.errors import Invalid
from moln.kernel.http import Params, Routes
from moln.volume.api.bodies import filters, page, parse, uuid_or_none
from moln.volume.api.faults import SERVICE
from moln.volume.api.views import attachment_view
from moln.volume.ops import attachments as ops

routes = Routes(SERVICE)
SORT_KEYS = {k: k for k in ("id", "status", "volume_id", "created_at", "attached_at")} | {
    "instance_uuid": "server_id",
    "attach_status": "status",
}
FILTERS = {"volume_id": "volume_id", "status": "status", "attach_status": "status", "instance_id": "server_id"}


class AttachmentCreate(Struct, kw_only=True):
    """`attachment` of POST /attachments; mode exists since 3.54."""

    volume_uuid: str
    instance_uuid: str | None = None
    connector: Any = None
    mode: str | None = None


class AttachmentUpdate(Struct):
    connector: dict[str, Any]


@routes.post("/v3/attachments", since="3.27")
async def create_attachment(ctx: RequestContext, body: dict) -> dict[str, Any]:  # type: ignore[type-arg]
    asked = parse(ctx, body, "attachment", AttachmentCreate, always=True)
    if asked.mode is not None and not ctx.at_least(3, 54):
        raise Invalid("Additional properties are not allowed ('mode' was unexpected)", field="mode")
    if asked.mode not in (None, "rw", "ro"):
        raise Invalid(f"Invalid input for field/attribute mode. Value: {asked.mode[:40]}. It is rw or ro.", field="mode")
    if asked.connector is not None and not isinstance(asked.connector, dict):
        raise Invalid("Invalid input for field/attribute connector. It is an object.", field="connector")
    volume_id = uuid_or_none(asked.volume_uuid, "volume_uuid")
    if volume_id is None:
        raise Invalid("Invalid input for field/attribute volume_uuid. It is not a 'uuid'.", field="volume_uuid")
    server_id = uuid_or_none(asked.instance_uuid, "instance_uuid")
    made = await ops.create(ctx, volume_id, server_id, asked.connector, asked.mode or "rw")
    return {"attachment": attachment_view(made)}


@routes.get("/v3/attachments", since="3.27")
async def list_attachments(ctx: RequestContext, query: Params) -> dict[str, Any]:
    return await listed(ctx, query, detail=False)


@routes.get("/v3/attachments/detail", since="3.27")
async def list_attachments_detail(ctx: RequestContext, query: Params) -> dict[str, Any]:
    return await listed(ctx, query, detail=True)


async def listed(ctx: RequestContext, query: Params, *, detail: bool) -> dict[str, Any]:
    where, asked = filters(ctx, query, FILTERS), page(ctx, query, SORT_KEYS)
    found = []
    if asked.limit:
        found = await ops.index(ctx, where, sort=asked.sort, marker=asked.marker, limit=asked.limit + asked.offset)
    return {"attachments": [attachment_view(a, detail=detail) for a in found[asked.offset :]]}


@routes.get("/v3/attachments/{attachment_id}", since="3.27")
async def show_attachment(ctx: RequestContext, attachment_id: str) -> dict[str, Any]:
    return {"attachment": attachment_view(await ops.show(ctx, attachment_id))}


@routes.put("/v3/attachments/{attachment_id}", since="3.27")
async def update_attachment(ctx: RequestContext, attachment_id: str, body: dict) -> dict[str, Any]:  # type: ignore[type-arg]
    asked = parse(ctx, body, "attachment", AttachmentUpdate, always=True)
    if not asked.connector:
        raise Invalid("Invalid input for field/attribute connector. It must not be empty.", field="connector")
    return {"attachment": attachment_view(await ops.update(ctx, attachment_id, asked.connector))}


@routes.delete("/v3/attachments/{attachment_id}", status=200, since="3.27")
async def delete_attachment(ctx: RequestContext, attachment_id: str) -> dict[str, Any]:
    return {"attachments": [attachment_view(a, detail=False) for a in await ops.delete(ctx, attachment_id)]}


@routes.post("/v3/attachments/{attachment_id}/action", action="os-complete", status=204, since="3.44")
async def complete_attachment(ctx: RequestContext, attachment_id: str) -> None:
    await ops.complete(ctx, attachment_id)
