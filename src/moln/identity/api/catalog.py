"""/v3/services, /v3/endpoints and /v3/regions"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from moln.identity.api import views
from moln.identity.api.bodies import Name, one, take
from moln.identity.api.service import routes
from moln.identity.ops import services as ops
from moln.identity.ops.access import require
from moln.identity.store.catalog import ENDPOINT_LISTING, REGION_LISTING, SERVICE_LISTING
from moln.kernel.context import RequestContext
from moln.kernel.http import Params

Url = Annotated[str, Meta(max_length=2048, pattern=r"^[a-zA-Z0-9+.-]+:.+")]
RegionId = Annotated[str, Meta(max_length=255)]


class _Service(Struct):
    type: Name | UnsetType = UNSET
    name: Name | UnsetType = UNSET
    description: str | None | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET


class _NewService(_Service, kw_only=True):
    type: Name


class _Endpoint(Struct):
    interface: Literal["public", "internal", "admin"] | UnsetType = UNSET
    service_id: str | UnsetType = UNSET
    url: Url | UnsetType = UNSET
    region_id: str | None | UnsetType = UNSET
    region: str | None | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET


class _NewEndpoint(_Endpoint, kw_only=True):
    interface: Literal["public", "internal", "admin"]
    service_id: str
    url: Url


class _Region(Struct):
    description: str | None | UnsetType = UNSET
    parent_region_id: RegionId | None | UnsetType = UNSET


class _NewRegion(_Region):
    id: RegionId | None | UnsetType = UNSET


@routes.get("/v3/services")
async def list_services(ctx: RequestContext, query: Params) -> Any:
    require(ctx, "identity:list_services")
    where = views.filters(type=one(query, "type"), name=one(query, "name"))
    return await views.page(ctx, SERVICE_LISTING, "services", views.service, query, where)


@routes.post("/v3/services", status=201)
async def create_service(ctx: RequestContext, body: dict[str, Any]) -> Any:
    return {"service": views.service(ctx, await ops.create_service(ctx, take(body, "service", _NewService)))}


@routes.get("/v3/services/{service_id}")
async def show_service(ctx: RequestContext, service_id: str) -> Any:
    return {"service": views.service(ctx, await ops.get_service(ctx, service_id))}


@routes.patch("/v3/services/{service_id}")
async def update_service(ctx: RequestContext, service_id: str, body: dict[str, Any]) -> Any:
    values = take(body, "service", _Service, service_id)
    return {"service": views.service(ctx, await ops.update_service(ctx, service_id, values))}


@routes.delete("/v3/services/{service_id}")
async def delete_service(ctx: RequestContext, service_id: str) -> None:
    await ops.delete_service(ctx, service_id)


@routes.get("/v3/endpoints")
async def list_endpoints(ctx: RequestContext, query: Params) -> Any:
    require(ctx, "identity:list_endpoints")
    where = views.filters(
        interface=one(query, "interface"), service_id=one(query, "service_id"), region_id=one(query, "region_id")
    )
    return await views.page(ctx, ENDPOINT_LISTING, "endpoints", views.endpoint, query, where)


@routes.post("/v3/endpoints", status=201)
async def create_endpoint(ctx: RequestContext, body: dict[str, Any]) -> Any:
    values = take(body, "endpoint", _NewEndpoint)
    region = values.pop("region", None)
    return {"endpoint": views.endpoint(ctx, await ops.create_endpoint(ctx, values, region))}


@routes.get("/v3/endpoints/{endpoint_id}")
async def show_endpoint(ctx: RequestContext, endpoint_id: str) -> Any:
    return {"endpoint": views.endpoint(ctx, await ops.get_endpoint(ctx, endpoint_id))}


@routes.patch("/v3/endpoints/{endpoint_id}")
async def update_endpoint(ctx: RequestContext, endpoint_id: str, body: dict[str, Any]) -> Any:
    values = take(body, "endpoint", _Endpoint, endpoint_id)
    region = values.pop("region", None)
    return {"endpoint": views.endpoint(ctx, await ops.update_endpoint(ctx, endpoint_id, values, region))}


@routes.delete("/v3/endpoints/{endpoint_id}")
async def delete_endpoint(ctx: RequestContext, endpoint_id: str) -> None:
    await ops.delete_endpoint(ctx, endpoint_id)


@routes.get("/v3/regions")
async def list_regions(ctx: RequestContext, query: Params) -> Any:
    require(ctx, "identity:list_regions")
    where = views.filters(parent_region_id=one(query, "parent_region_id"))
    return await views.page(ctx, REGION_LISTING, "regions", views.region, query, where)


@routes.post("/v3/regions", status=201)
async def create_region(ctx: RequestContext, body: dict[str, Any]) -> Any:
    return {"region": views.region(ctx, await ops.create_region(ctx, take(body, "region", _NewRegion)))}


@routes.put("/v3/regions/{region_id}", status=201)
async def create_region_named(ctx: RequestContext, region_id: str, body: dict[str, Any]) -> Any:
    values = take(body, "region", _NewRegion) | {"id": region_id}
    return {"region": views.region(ctx, await ops.create_region(ctx, values))}


@routes.get("/v3/regions/{region_id}")
async def show_region(ctx: RequestContext, region_id: str) -> Any:
    return {"region": views.region(ctx, await ops.get_region(ctx, region_id))}


@routes.patch("/v3/regions/{region_id}")
async def update_region(ctx: RequestContext, region_id: str, body: dict[str, Any]) -> Any:
    return {"region": views.region(ctx, await ops.update_region(ctx, region_id, take(body, "region", _Region, region_id)))}


@routes.delete("/v3/regions/{region_id}")
async def delete_region(ctx: RequestContext, region_id: str) -> None:
    await ops.delete_region(ctx, region_id)
