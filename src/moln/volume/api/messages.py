"""/v3/messages: why something ended in error (block-storage v3 api-ref, "Messages")."""

from __future__ import annotations

from typing import Any

from moln.kernel.clock import iso_micro
from moln.kernel.context import RequestContext
from moln.kernel.db import Transaction
from moln.kernel.errors import NotFound
from moln.kernel.http import Params, Routes
from moln.volume.api.bodies import filters, page
from moln.volume.api.faults import SERVICE
from moln.volume.api.views import links, next_links
from moln.volume.ops.access import require
from moln.volume.store import messages as store

routes = Routes(SERVICE)
SORT_KEYS = {k: k for k in ("id", "created_at", "request_id", "resource_type")} | {"resource_uuid": "resource_id"}
FILTERS = {"resource_uuid": "resource_id", "resource_type": "resource_type", "request_id": "request_id"}


def view(ctx: RequestContext, message: store.Message) -> dict[str, Any]:
    return {
        "id": message.id,
        "event_id": f"{message.resource_type}_000001",
        "user_message": message.text,
        "message_level": "ERROR",
        "created_at": iso_micro(message.created_at),
        "guaranteed_until": iso_micro(message.created_at + store.KEPT_US),
        "request_id": message.request_id,
        "resource_type": message.resource_type,
        "resource_uuid": message.resource_id,
        "links": links(ctx, "messages", message.id),
    }


async def get(ctx: RequestContext, message_id: str, rule: str) -> store.Message:
    """Raises: NotFound, Forbidden."""
    found = await store.find(ctx.db, message_id)
    if found is None or not (ctx.is_admin or found.project_id == ctx.project_id):
        raise NotFound(f"Message {message_id[:64]} could not be found.")
    require(ctx, rule, found)
    return found


@routes.get("/v3/messages", since="3.3")
async def list_messages(ctx: RequestContext, query: Params) -> dict[str, Any]:
    require(ctx, "message:get_all", {"project_id": ctx.project_id})
    asked = page(ctx, query, SORT_KEYS)
    found = []
    if asked.limit:
        where = filters(ctx, query, FILTERS)
        limit = asked.limit + asked.offset
        found = (await store.LISTING.page(ctx.db, where, sort=asked.sort, marker=asked.marker, limit=limit))[asked.offset :]
    return {"messages": [view(ctx, m) for m in found]} | next_links(ctx, query, asked, "messages", found, "messages_links")


@routes.get("/v3/messages/{message_id}", since="3.3")
async def show_message(ctx: RequestContext, message_id: str) -> dict[str, Any]:
    return {"message": view(ctx, await get(ctx, message_id, "message:get"))}


@routes.delete("/v3/messages/{message_id}", since="3.3")
async def delete_message(ctx: RequestContext, message_id: str) -> None:
    message = await get(ctx, message_id, "message:delete")

    async def remove(tx: Transaction) -> None:
        await store.remove(tx, message.id)

    await ctx.db.write(remove)
