"""/v3/domains"""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, Struct, UnsetType

from moln.identity.api import views
from moln.identity.api.bodies import ShortName, one, switch, take
from moln.identity.api.service import routes
from moln.identity.ops import domains as ops
from moln.identity.ops.access import require
from moln.identity.store.projects import LISTING
from moln.kernel.context import RequestContext
from moln.kernel.http import Params


class _Domain(Struct):
    name: ShortName | UnsetType = UNSET
    description: str | None | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET
    tags: list[str] | UnsetType = UNSET
    options: dict[str, Any] | UnsetType = UNSET


class _NewDomain(_Domain, kw_only=True):
    name: ShortName


@routes.get("/v3/domains")
async def list_domains(ctx: RequestContext, query: Params) -> Any:
    require(ctx, "identity:list_domains", domain={"id": ctx.domain_id} if ctx.domain_id else None)
    where = views.filters(is_domain=1, name=one(query, "name"), enabled=switch(query, "enabled"), id=ctx.domain_id)
    return await views.page(ctx, LISTING, "domains", views.domain, query, where)


@routes.post("/v3/domains", status=201)
async def create_domain(ctx: RequestContext, body: dict[str, Any]) -> Any:
    return {"domain": views.domain(ctx, await ops.create(ctx, take(body, "domain", _NewDomain)))}


@routes.get("/v3/domains/{domain_id}")
async def show_domain(ctx: RequestContext, domain_id: str) -> Any:
    return {"domain": views.domain(ctx, await ops.get(ctx, domain_id))}


@routes.patch("/v3/domains/{domain_id}")
async def update_domain(ctx: RequestContext, domain_id: str, body: dict[str, Any]) -> Any:
    return {"domain": views.domain(ctx, await ops.update(ctx, domain_id, take(body, "domain", _Domain, domain_id)))}


@routes.delete("/v3/domains/{domain_id}")
async def delete_domain(ctx: RequestContext, domain_id: str) -> None:
    await ops.delete(ctx, domain_id)
