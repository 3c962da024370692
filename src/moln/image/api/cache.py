"""/v2/cache: what of stores on other machines is kept on this controller's disk."""

from __future__ import annotations

from typing import Any

import falcon.asgi

from moln.image.api.faults import SERVICE
from moln.image.ops import cache as ops
from moln.kernel.context import RequestContext
from moln.kernel.http import Routes

routes = Routes(SERVICE)


@routes.get("/v2/cache")
async def show_cache(ctx: RequestContext) -> dict[str, Any]:
    return await ops.state(ctx)


@routes.delete("/v2/cache", status=204)
async def clear_cache(ctx: RequestContext, request: falcon.asgi.Request) -> None:
    await ops.clear(ctx, (request.get_header("x-image-cache-clear-target") or "").lower())


@routes.put("/v2/cache/{image_id}", status=202)
async def queue_image(ctx: RequestContext, image_id: str) -> None:
    await ops.queue(ctx, image_id)


@routes.delete("/v2/cache/{image_id}", status=204)
async def delete_from_cache(ctx: RequestContext, image_id: str) -> None:
    await ops.forget(ctx, image_id)


@routes.post("/v2/cache/clean", status=200)
async def clean_cache(ctx: RequestContext) -> None:
    await ops.clean(ctx)


@routes.post("/v2/cache/prune", status=200)
async def prune_cache(ctx: RequestContext) -> dict[str, int]:
    return await ops.prune(ctx)


@routes.get("/v2/cache/nodes/{image_id}")
async def list_cached_nodes(ctx: RequestContext, image_id: str) -> list[str]:
    return await ops.nodes(ctx, image_id)
