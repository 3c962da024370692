"""The cache of images on this controller's disk (image api-ref, "Cache manage")."""

from __future__ import annotations

import asyncio
from typing import Any

from moln.image.drivers.cache import ImageCache
from moln.image.model.images import Image, ImageStatus, target
from moln.image.ops.access import SERVICE, missing
from moln.image.store import images as store
from moln.kernel.cloud import Cloud
from moln.kernel.context import RequestContext
from moln.kernel.errors import Conflict, Invalid, NotFound

TARGETS = ("", "cache", "queue")


def find_cache(cloud: Cloud) -> ImageCache | None:
    """The cache that module.py put there; None where there is nothing to cache."""
    found: ImageCache | None = cloud.areas["image"].cache
    return found


def cache_for(ctx: RequestContext, rule: str, image: Image | None = None) -> ImageCache:
    """Raises: Forbidden, NotFound."""
    ctx.require(SERVICE, rule, target(image) if image else {})
    found = find_cache(ctx.cloud)
    if found is None:
        raise NotFound("Caching via API is not supported at this site.")
    return found


async def state(ctx: RequestContext) -> dict[str, Any]:
    """What is cached, and what shall be. Raises: Forbidden, NotFound."""
    cache = cache_for(ctx, "cache_list")
    held, queued = await asyncio.to_thread(lambda: (cache.held(), cache.queued()))
    rows = {image.data_id: image for image in await store.with_data(ctx.db, [one.data_id for one in held])}
    cached = [
        {
            "image_id": rows[one.data_id].id, "hits": one.hits, "size": one.size, "last_accessed": one.last_accessed,
            "last_modified": one.last_modified, "checksum": rows[one.data_id].checksum,
        }
        for one in held if one.data_id in rows
    ]  # fmt: skip
    return {"cached_images": cached, "queued_images": queued}


async def queue(ctx: RequestContext, image_id: str) -> None:
    """The image shall be cached. Raises: NotFound, Forbidden, Invalid."""
    image = await store.find(ctx.db, image_id)
    if image is None:
        raise missing(image_id)
    cache = cache_for(ctx, "cache_image", image)
    if image.status is not ImageStatus.ACTIVE:
        raise Invalid("Only images with status active can be targeted for queueing")
    await want(cache, image)


async def want(cache: ImageCache, image: Image) -> None:
    """Unless it is there, or has no data."""
    if image.data_id and not cache.holds(image.data_id):
        await asyncio.to_thread(cache.enqueue, image.id)


async def forget(ctx: RequestContext, image_id: str) -> None:
    """Neither cached nor queued. Raises: NotFound, Forbidden."""
    image = await store.find(ctx.db, image_id)
    if image is None:
        raise missing(image_id)
    cache = cache_for(ctx, "cache_delete", image)
    await asyncio.to_thread(cache.dequeue, image_id)
    if image.data_id:
        await asyncio.to_thread(cache.forget, image.data_id)


async def clear(ctx: RequestContext, what: str) -> None:
    """Everything goes: of `cache`, of `queue`, or of both. Raises: Forbidden, NotFound, Invalid."""
    cache = cache_for(ctx, "cache_delete")
    if what not in TARGETS:
        raise Invalid("If provided 'x-image-cache-clear-target' must be 'cache', 'queue' or empty string.")

    def empty() -> None:
        if what != "cache":
            for image_id in cache.queued():
                cache.dequeue(image_id)
        if what != "queue":
            for one in cache.held():
                cache.forget(one.data_id)

    await asyncio.to_thread(empty)


async def clean(ctx: RequestContext) -> None:
    """Entries of images that are no more go, and what began to arrive and never came. Raises: Forbidden, NotFound."""
    cache = cache_for(ctx, "cache_clean")
    held, queued = await asyncio.to_thread(lambda: (cache.held(), cache.queued()))
    names = [one.data_id for one in held]
    for name in sorted(set(names) - await store.named(ctx.db, names)):
        await asyncio.to_thread(cache.forget, name)
    for image_id in queued:
        if await store.find(ctx.db, image_id) is None:
            await asyncio.to_thread(cache.dequeue, image_id)
    await asyncio.to_thread(cache.sweep)


async def prune(ctx: RequestContext) -> dict[str, int]:
    """No more than may be. Raises: Forbidden, NotFound."""
    gone, freed = await asyncio.to_thread(cache_for(ctx, "cache_prune").prune)
    return {"total_files_pruned": gone, "total_bytes_pruned": freed}


async def nodes(ctx: RequestContext, image_id: str) -> list[str]:
    """Each controller knows its own cache only, as Glance's do without its centralized driver. Raises: Forbidden, NotFound, Conflict."""
    cache_for(ctx, "list_cached_nodes")
    raise Conflict("Centralized caching is not enabled")
