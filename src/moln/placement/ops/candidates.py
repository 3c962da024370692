"""Allocation candidates for outside clients; our own boots do not come this way (compute/ops/scheduling.py)."""

from __future__ import annotations

from moln.kernel.context import RequestContext
from moln.kernel.db import Reader
from moln.placement.model.candidates import Candidate, Request, candidates
from moln.placement.model.index import Index
from moln.placement.ops.filters import check_names
from moln.placement.ops.landscapes import kept
from moln.placement.store.providers import Landscape


async def find(ctx: RequestContext, request: Request) -> tuple[list[Candidate], Landscape]:
    """The candidates, and the trees that they are of. Raises: Invalid, for unknown resource classes and traits."""
    ctx.require("placement", "placement:allocation_candidates:list")
    await check_request(ctx.db, request)
    return await kept(ctx.cloud).search(lambda index: _find(index, request))


def _find(index: Index, request: Request) -> tuple[list[Candidate], Landscape]:
    found = candidates(index.land, request, index.narrow(request), list(index.sharers))
    land = index.land
    roots = {land.providers[p].root_id: None for candidate in found for p in candidate.resources}
    ids = [member for root in roots for member in index.trees[root]]
    return found, Landscape(*({id: values[id] for id in ids} for values in (land.providers, land.inventories, land.traits, land.aggregates)))  # type: ignore[arg-type]


async def check_request(db: Reader, request: Request) -> None:
    """Raises: Invalid, for unknown resource classes and traits."""
    classes = {name for group in request.groups for name in group.resources}
    traits = {t for g in request.groups for want in g.required for t in want} | {t for g in request.groups for t in g.forbidden}
    await check_names(db, classes=classes, traits=traits | request.root_required | request.root_forbidden)
