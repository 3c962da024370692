"""Lists of images from what was rendered of each before (docs/adr/0040-rendered-images.md).

What is shown of an image is a function of its row, and each write of a row raises its generation: what was rendered of a generation is true
for as long as there are such rows, whoever wrote them. Nothing is ever made invalid; what is not asked for goes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

import msgspec

from moln.image.model.images import Image
from moln.image.ops import protections
from moln.image.ops.access import SERVICE
from moln.image.ops.images import Wanted, conditions, index
from moln.image.store import images as store
from moln.kernel.context import RequestContext

KEPT = 4096  # images, some 700 bytes each
AREA = "image-rendered"
Rendered = OrderedDict[str, tuple[int, msgspec.Raw]]


async def page(
    ctx: RequestContext, wanted: Wanted, render: Callable[[Image], bytes], *, sort: Sequence[tuple[str, str]], marker: str | None, limit: int
) -> list[tuple[str, msgspec.Raw]]:
    """Ids and renderings of one page of the images that the caller may know of. Raises: Forbidden, Invalid."""
    if protections.of(ctx):  # what is shown hangs on who asks
        found = await index(ctx, wanted, sort=sort, marker=marker, limit=limit)
        return [(image.id, msgspec.Raw(render(image))) for image in found]
    where = conditions(ctx, wanted)
    if where is None:
        return []
    rows = await store.WRITTEN.page(ctx.db, where, sort=sort, marker=marker, limit=limit)
    may = {whose: _may(ctx, *whose) for whose in {(row.project_id, row.visibility) for row in rows}}
    if not all(may.values()):
        rows = [row for row in rows if may[row.project_id, row.visibility]]
    known: Rendered = ctx.cloud.areas[AREA]
    held = [(row.id, got[1]) if (got := known.get(row.id)) and got[0] == row.generation else (row.id, None) for row in rows]
    missing = [id for id, raw in held if raw is None]
    if not missing:
        return held  # type: ignore[return-value]
    fresh = {image.id: (image.generation, msgspec.Raw(render(image))) for image in await store.several(ctx.db, missing)}
    known.update(fresh)
    while len(known) > KEPT:
        known.popitem(last=False)
    found = [(id, raw or fresh.get(id, (0, None))[1]) for id, raw in held]
    return [(id, raw) for id, raw in found if raw is not None]  # None: it went between the two looks


def _may(ctx: RequestContext, project_id: str | None, visibility: str) -> bool:
    """Whether the caller may see images of this owner and visibility: the policy's target has nothing else that differs."""
    target = {"project_id": project_id, "owner": project_id, "visibility": visibility, "member_id": ctx.project_id}
    return ctx.allows(SERVICE, "get_image", target)
