"""GET /explain and /capacity: Moln's own. Both take what /allocation_candidates takes."""

from __future__ import annotations

from typing import Any

from msgspec import to_builtins

from moln.kernel.context import RequestContext
from moln.kernel.errors import Invalid
from moln.kernel.http import Params, Reply
from moln.placement.api.candidates import known, to_request
from moln.placement.api.routes import answer, as_uuid, check_query, routes
from moln.placement.model.capacity import Capacity
from moln.placement.model.explain import Lacking
from moln.placement.ops import explain as ops
from moln.placement.store.providers import Landscape

MOST_LOST = 16  # aggregates whose loss is asked for at once


@routes.get("/explain", since="1.10")
async def explain_candidates(ctx: RequestContext, query: Params) -> Reply:
    check_query(ctx, query, known(ctx))
    found = await ops.why(ctx, to_request(ctx, query))
    body: dict[str, Any] = {
        "candidates": found.candidates,
        "lacking": [_lacking(found.land, lacking) for lacking in found.lacking],
        "smallest_change": _lacking(found.land, found.change) if found.change else None,
        "most_at_once": found.most,
    }
    return answer(ctx, body)


def _lacking(land: Landscape, lacking: Lacking) -> dict[str, Any]:
    said = [to_builtins(o) | {"provider_name": land.providers[o.provider].name} for o in lacking.obstacles]
    return {"root_provider_uuid": lacking.root, "name": land.providers[lacking.root].name, "obstacles": said}


@routes.get("/capacity", since="1.10")
async def show_capacity(ctx: RequestContext, query: Params) -> Reply:
    """`without`: an aggregate whose loss is reckoned with; it may be said several times, each loss by itself."""
    check_query(ctx, query, known(ctx) | {"without": (1, 10)})
    asked = query.get("without", [])
    if len(asked) > MOST_LOST:
        raise Invalid(f"At most {MOST_LOST} losses are reckoned with at once.", field="without")
    without = [as_uuid(text, "without") for text in asked]
    land, now, after = await ops.how_many(ctx, to_request(ctx, {k: v for k, v in query.items() if k != "without"}), without)
    losses = [
        _capacity(land, rest) | {"aggregate": aggregate, "lost_providers": len(loss.roots), "lost_usages": loss.used, "free": loss.free}
        for aggregate, (rest, loss) in after.items()
    ]
    return answer(ctx, _capacity(land, now) | {"without": losses})


def _capacity(land: Landscape, found: Capacity) -> dict[str, Any]:
    providers = [{"uuid": root, "name": land.providers[root].name, "fits": count} for root, count in found.by_root.items()]
    return {"fits": found.fits, "exact": found.exact, "providers": providers}
