"""/v2/images: the operations on images and their members (image api-ref v2)."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import falcon.asgi
import msgspec

from moln.image.api.bodies import to_changes, to_limit, to_sort, to_spec, to_wanted
from moln.image.api.faults import SERVICE
from moln.image.api.views import image_view, member_view
from moln.image.model.images import MEMBER_STATUSES, Image
from moln.image.ops import images as ops
from moln.image.ops import imports, members, rendering
from moln.image.ops.data import store_of
from moln.kernel.context import RequestContext
from moln.kernel.errors import Invalid
from moln.kernel.http import Params, Reply, Routes

routes = Routes(SERVICE)


@routes.post("/v2/images", status=201)
async def create_image(ctx: RequestContext, body: dict) -> Reply:  # type: ignore[type-arg]
    image = await ops.create(ctx, to_spec(body))
    headers = {"Location": f"{ctx.settings.public_url}{SERVICE.prefix}/v2/images/{image.id}"}
    if methods := imports.methods(ctx):
        headers["OpenStack-image-import-methods"] = ",".join(methods)
    headers["OpenStack-image-store-ids"] = ",".join(store_of(ctx.cloud).names())
    return Reply(image_view(image), headers=headers)


@routes.get("/v2/images")
async def list_images(ctx: RequestContext, query: Params) -> dict[str, Any]:
    limit = to_limit(query, ctx.settings.image.page)
    marker = query.get("marker", [None])[-1]
    found: list[tuple[str, msgspec.Raw]] = []
    if limit:
        found = await rendering.page(ctx, to_wanted(query), rendered, sort=to_sort(query), marker=marker, limit=limit)
    rest = [(k, v) for k, vs in query.items() if k != "marker" for v in vs]
    answer: dict[str, Any] = {
        "images": [raw for _, raw in found],
        "first": "/v2/images" + (f"?{urlencode(rest)}" if rest else ""),
        "schema": "/v2/schemas/images",
    }
    if found and len(found) == limit:
        answer["next"] = f"/v2/images?{urlencode([*rest, ('marker', found[-1][0])])}"
    return answer


def rendered(image: Image) -> bytes:
    return msgspec.json.encode(image_view(image))


@routes.get("/v2/images/{image_id}")
async def show_image(ctx: RequestContext, image_id: str) -> dict[str, Any]:
    return image_view(await ops.show(ctx, image_id))


@routes.patch("/v2/images/{image_id}")
async def update_image(ctx: RequestContext, image_id: str, body: bytes, request: falcon.asgi.Request) -> dict[str, Any]:
    return image_view(await ops.update(ctx, image_id, to_changes(body, request.content_type)))


@routes.delete("/v2/images/{image_id}")
async def delete_image(ctx: RequestContext, image_id: str) -> None:
    await ops.delete(ctx, image_id)


@routes.post("/v2/images/{image_id}/actions/deactivate", status=204)
async def deactivate_image(ctx: RequestContext, image_id: str) -> None:
    await ops.set_active(ctx, image_id, active=False)


@routes.post("/v2/images/{image_id}/actions/reactivate", status=204)
async def reactivate_image(ctx: RequestContext, image_id: str) -> None:
    await ops.set_active(ctx, image_id, active=True)


@routes.put("/v2/images/{image_id}/tags/{tag}", status=204)
async def add_tag(ctx: RequestContext, image_id: str, tag: str) -> None:
    if len(tag) > 255:
        raise Invalid("Provided object does not match schema 'image': the tag is too long.", field="tag")
    await ops.set_tag(ctx, image_id, tag, present=True)


@routes.delete("/v2/images/{image_id}/tags/{tag}")
async def delete_tag(ctx: RequestContext, image_id: str, tag: str) -> None:
    await ops.set_tag(ctx, image_id, tag, present=False)


@routes.post("/v2/images/{image_id}/members")
async def create_member(ctx: RequestContext, image_id: str, body: dict) -> dict[str, Any]:  # type: ignore[type-arg]
    member_id = body.get("member")
    if not isinstance(member_id, str) or not member_id or len(member_id) > 255:
        raise Invalid("Member can't be empty, and must be a string of at most 255 characters.", field="member")
    return member_view(await members.create(ctx, image_id, member_id))


@routes.get("/v2/images/{image_id}/members")
async def list_members(ctx: RequestContext, image_id: str) -> dict[str, Any]:
    found = await members.index(ctx, image_id)
    return {"members": [member_view(m) for m in found], "schema": "/v2/schemas/members"}


@routes.get("/v2/images/{image_id}/members/{member_id}")
async def show_member(ctx: RequestContext, image_id: str, member_id: str) -> dict[str, Any]:
    return member_view(await members.show(ctx, image_id, member_id))


@routes.put("/v2/images/{image_id}/members/{member_id}")
async def update_member(ctx: RequestContext, image_id: str, member_id: str, body: dict) -> dict[str, Any]:  # type: ignore[type-arg]
    status = body.get("status")
    if status not in MEMBER_STATUSES:
        raise Invalid(f'Status must be "pending", "accepted" or "rejected", not {str(status)[:40]!r}.', field="status")
    return member_view(await members.set_status(ctx, image_id, member_id, status))


@routes.delete("/v2/images/{image_id}/members/{member_id}")
async def delete_member(ctx: RequestContext, image_id: str, member_id: str) -> None:
    await members.delete(ctx, image_id, member_id)
