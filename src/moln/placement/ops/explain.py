"""Questions that OpenStack's Placement does not answer: why nothing fits, and how much would."""

from __future__ import annotations

from msgspec import Struct

from moln.kernel.context import RequestContext
from moln.kernel.db import Reader
from moln.placement.model.candidates import Request, candidates
from moln.placement.model.capacity import Capacity, Loss, capacity, lose
from moln.placement.model.explain import Lacking, explain, least_ask, smallest_change
from moln.placement.ops.candidates import check_request
from moln.placement.store.providers import Landscape, landscape

SHOWN = 100  # trees that are explained unless another limit is asked for
RULE = "placement:allocation_candidates:list"


class Explanation(Struct, frozen=True):
    """candidates: how many ways there are (WAYS of each tree at most). lacking: nearest first."""

    land: Landscape
    candidates: int
    lacking: list[Lacking]
    change: Lacking | None
    most: dict[str, int] | None


async def why(ctx: RequestContext, request: Request) -> Explanation:
    """Raises: Forbidden, Invalid."""
    ctx.require("placement", RULE)
    return await ctx.db.read(_why, request)


async def _why(db: Reader, request: Request) -> Explanation:
    await check_request(db, request)
    land = await landscape(db)
    ways = len(candidates(land, request))
    lacking = explain(land, request)
    change = smallest_change(land, request, lacking) if not ways else None
    return Explanation(land, ways, lacking[: request.limit or SHOWN], change, least_ask(land, request))


async def how_many(ctx: RequestContext, request: Request, without: list[str]) -> tuple[Landscape, Capacity, dict[str, tuple[Capacity, Loss]]]:
    """How often the request fits now, and after the loss of each aggregate. Raises: Forbidden, Invalid."""
    ctx.require("placement", RULE)
    return await ctx.db.read(_how_many, request, without)


async def _how_many(db: Reader, request: Request, without: list[str]) -> tuple[Landscape, Capacity, dict[str, tuple[Capacity, Loss]]]:
    await check_request(db, request)
    land = await landscape(db)
    after = {}
    for aggregate in without:
        rest, loss = lose(land, aggregate)
        after[aggregate] = capacity(rest, request), loss
    return land, capacity(land, request), after
