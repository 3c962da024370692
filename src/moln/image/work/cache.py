"""Caches the images that wait for it, on every controller by itself."""

from __future__ import annotations

import logging

from moln.image.drivers.cache import ImageCache, fill
from moln.image.model.images import HASH_ALGORITHM, ImageStatus
from moln.image.ops.cache import find_cache
from moln.image.store import images as store
from moln.kernel.errors import BackendRefused, NotFound, Unavailable
from moln.kernel.work import Periodic, Work

EVERY_S = 5.0
_log = logging.getLogger("moln.image")


async def cache_queued(work: Work) -> None:
    """What cannot be read now stays in the queue."""
    cache = find_cache(work.cloud)
    if cache is None:
        return
    here = work.cloud.areas["image"]
    for image_id in await here.run(cache.queued):
        try:
            await cache_one(work, cache, image_id)
        except Unavailable:
            continue
        except (BackendRefused, NotFound) as refused:
            _log.warning("image %s is not cached: %s %s", image_id, refused.message, refused.detail or "")
        await here.run(cache.dequeue, image_id)


async def cache_one(work: Work, cache: ImageCache, image_id: str) -> None:
    image = await store.find(work.db, image_id)
    if image is not None and image.status is ImageStatus.ACTIVE and image.data_id and image.size is not None:
        algorithm, digest = image.os_hash_algo or HASH_ALGORITHM, image.os_hash_value or ""
        await fill(work.cloud.areas["image"], cache, image.data_id, image.size, algorithm, digest)


IMAGE_CACHE = Periodic("image-cache", run=cache_queued, every_s=EVERY_S, everywhere=True)
