"""The catalogue: which services there are, and where, for one caller."""

from __future__ import annotations

import msgspec

from moln.identity.model.catalog import CatalogEndpoint, CatalogEntry, Endpoint, fill, is_template
from moln.identity.ops import endpoint_groups
from moln.identity.ops.state import of
from moln.identity.store import catalog as store
from moln.identity.store import endpoint_groups as filter_store
from moln.kernel.context import RequestContext

CATALOGS = 2_000  # kept, at most; without templates in the endpoints there is one


async def entries(ctx: RequestContext, user_id: str, project_id: str | None) -> msgspec.Raw:
    """The enabled services with their enabled endpoints, addresses filled in: a list of CatalogEntry as JSON.

    A project that was given endpoints (OS-EP-FILTER) sees those only. Nearly all of a token's 4 to 6 KB is the catalogue, the same for everybody: encoded once, it is shared by all tokens.
    """
    state = of(ctx.cloud)
    for key in (("", None), (user_id, project_id)):
        known = state.catalogs.get(key) if ctx.cloud.db.feed.fresh else None
        if known is not None:
            return known
    generation = state.catalog_generation
    services = await store.enabled_services(ctx.db)
    endpoints = await store.enabled_endpoints(ctx.db)
    filtered = await filter_store.any_at_all(ctx.db)
    chosen = {e.id for e in await endpoint_groups.given(ctx.db, project_id)} if filtered and project_id else None
    by_service: dict[str, list[CatalogEndpoint]] = {}
    for endpoint in endpoints:
        if chosen and endpoint.id not in chosen:
            continue
        url = fill(endpoint.url, project_id=project_id, user_id=user_id)
        if url is not None:
            by_service.setdefault(endpoint.service_id, []).append(_entry(endpoint, url))
    if chosen:
        services = [s for s in services if s.id in by_service]
    made = msgspec.Raw(msgspec.json.encode([CatalogEntry(by_service.get(s.id, []), s.id, s.type, s.name) for s in services]))
    if generation == state.catalog_generation:
        shared = not filtered and not any(is_template(endpoint.url) for endpoint in endpoints)
        if len(state.catalogs) >= CATALOGS:
            state.catalogs.pop(next(iter(state.catalogs)))
        state.catalogs[("", None) if shared else (user_id, project_id)] = made
    return made


def _entry(endpoint: Endpoint, url: str) -> CatalogEndpoint:
    return CatalogEndpoint(endpoint.id, endpoint.interface, endpoint.region_id, url, endpoint.region_id)
