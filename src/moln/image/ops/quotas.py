"""How much a project may store. Nothing is bounded unless an operator says so (Glance without Keystone's limits)."""

from __future__ import annotations

from moln.image.model.images import Image
from moln.kernel.context import RequestContext
from moln.kernel.db import Transaction
from moln.kernel.errors import OverQuota
from moln.kernel.quota import Quota

MIB = 1 << 20
QUOTA = Quota("image", {"image_count_total": -1, "image_size_total": -1})
WORDS = {"image_count_total": "images", "image_size_total": "MiB of image data"}


def mib(size: int) -> int:
    """Whole MiB that so many bytes take."""
    return -(-size // MIB)


async def charge(tx: Transaction, project_id: str | None, **amounts: int) -> None:
    """Take more; negative amounts give back. Raises: OverQuota."""
    if project_id is None:
        return
    try:
        await QUOTA.charge(tx, project_id, **amounts)
    except OverQuota as over:
        limits = await QUOTA.limits(tx, project_id)
        which = ", ".join(f"{limits[name]} {WORDS[name]}" for name in over.resources)
        raise OverQuota(f"The project may store no more: it is bound to {which}.", resources=over.resources) from None


async def move(tx: Transaction, image: Image, project_id: str | None) -> None:
    """The image is another project's from here on. Raises: OverQuota."""
    await charge(tx, project_id, image_count_total=1, image_size_total=image.charged_mib)
    await charge(tx, image.project_id, image_count_total=-1, image_size_total=-image.charged_mib)


async def usage(ctx: RequestContext) -> dict[str, dict[str, int]]:
    """What is bounded, and how much of it the caller's project has (GET /v2/info/usage)."""
    if ctx.project_id is None:
        return {}
    limits, used = await QUOTA.limits(ctx.db, ctx.project_id), await QUOTA.used(ctx.db, ctx.project_id)
    return {name: {"limit": limit, "usage": used[name]} for name, limit in limits.items() if limit >= 0}
