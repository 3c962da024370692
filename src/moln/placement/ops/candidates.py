"""Allocation candidates for outside clients; our own boots do not come this way (compute/ops/scheduling.py)."""

from __future__ import annotations

from moln.kernel.context import RequestContext
from moln.kernel.db import Reader
from moln.placement.model.candidates import Candidate, Request, candidates
from moln.placement.ops.filters import check_names
from moln.placement.store.providers import Landscape, landscape


async def find(ctx: RequestContext, request: Request) -> tuple[list[Candidate], Landscape]:
    """Raises: Invalid, for unknown resource classes and traits."""
    ctx.require("placement", "placement:allocation_candidates:list")
    return await ctx.db.read(_find, request)


async def _find(db: Reader, request: Request) -> tuple[list[Candidate], Landscape]:
    await check_request(db, request)
    land = await landscape(db)
    return candidates(land, request), land


async def check_request(db: Reader, request: Request) -> None:
    """Raises: Invalid, for unknown resource classes and traits."""
    classes = {name for group in request.groups for name in group.resources}
    traits = {t for g in request.groups for want in g.required for t in want} | {t for g in request.groups for t in g.forbidden}
    await check_names(db, classes=classes, traits=traits | request.root_required | request.root_forbidden)
