"""How much a project may store. Nothing is bounded unless an operator says so (Glance without Keystone's limits)."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from moln.image.model.images import ARRIVING, Image, ImageStatus
from moln.image.store import images as store
from moln.kernel.context import RequestContext
from moln.kernel.db import Transaction
from moln.kernel.errors import OverQuota
from moln.kernel.quota import Quota

MIB = 1 << 20
QUOTA = Quota("image", {"image_count_total": -1, "image_size_total": -1, "image_stage_total": -1, "image_count_uploading": -1})
WORDS = {
    "image_count_total": "images", "image_size_total": "MiB of image data", "image_stage_total": "MiB of staged image data",
    "image_count_uploading": "images being uploaded or imported",
}  # fmt: skip


def mib(size: int) -> int:
    """Whole MiB that so many bytes take."""
    return -(-size // MIB)


async def charge(tx: Transaction, project_id: str | None, **amounts: int) -> None:
    """Take more; negative amounts give back. Raises: OverQuota."""
    if project_id is None or not amounts:
        return
    try:
        await QUOTA.charge(tx, project_id, **amounts)
    except OverQuota as over:
        limits = await QUOTA.limits(tx, project_id)
        which = ", ".join(f"{limits[name]} {WORDS[name]}" for name in over.resources)
        raise OverQuota(f"The project may store no more: it is bound to {which}.", resources=over.resources) from None


def taken(image: Image) -> dict[str, int]:
    """What an image counts for. What is staged counts as stored, too: it lies on the same disk. What a node brings is no upload."""
    arriving = image.status in ARRIVING and not image.from_node
    staged = arriving and (image.status is ImageStatus.UPLOADING or image.staged is not None)
    return {
        "image_count_total": 1, "image_size_total": image.charged_mib, "image_stage_total": image.charged_mib if staged else 0,
        "image_count_uploading": int(arriving),
    }  # fmt: skip


async def add(tx: Transaction, image: Image) -> None:
    """Charge for a new image. Raises: OverQuota."""
    await charge(tx, image.project_id, **{name: n for name, n in taken(image).items() if n})


async def drop(tx: Transaction, image: Image) -> None:
    """Give back what an image counted for."""
    await charge(tx, image.project_id, **{name: -n for name, n in taken(image).items() if n})


async def save(tx: Transaction, image: Image, **changes: Any) -> Image:
    """store.save, and charge for what the image counts for from here on. Raises: OverQuota, Conflict."""
    after = replace(image, **changes)
    if after.project_id != image.project_id:
        await add(tx, after)
        await drop(tx, image)
    else:
        old = taken(image)
        await charge(tx, image.project_id, **{name: n - old[name] for name, n in taken(after).items() if n != old[name]})
    return await store.save(tx, image, **changes)


async def free_bytes(ctx: RequestContext, image: Image) -> int | None:
    """What the image's data may grow to by its project's quota; None, when nothing bounds it."""
    if image.project_id is None:
        return None
    limit = (await QUOTA.limits(ctx.db, image.project_id))["image_size_total"]
    if limit < 0:
        return None
    used = (await QUOTA.used(ctx.db, image.project_id))["image_size_total"]
    return max(0, limit - used + image.charged_mib) * MIB


async def usage(ctx: RequestContext) -> dict[str, dict[str, int]]:
    """What is bounded, and how much of it the caller's project has (GET /v2/info/usage)."""
    if ctx.project_id is None:
        return {}
    limits, used = await QUOTA.limits(ctx.db, ctx.project_id), await QUOTA.used(ctx.db, ctx.project_id)
    return {name: {"limit": limit, "usage": used[name]} for name, limit in limits.items() if limit >= 0}
