"""Services, endpoints and regions: what the catalogue is made of."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from moln.identity.model.catalog import Endpoint, Region, Service, url_is_sound
from moln.identity.ops.access import missing, require
from moln.identity.ops.limits import forget_service_in as forget_limits_in
from moln.identity.ops.state import catalog_changed
from moln.identity.store import catalog as store
from moln.identity.store import endpoint_policies, limits
from moln.identity.store.catalog import ENDPOINTS, REGIONS, SERVICES
from moln.identity.store.endpoint_groups import BY_ENDPOINT
from moln.identity.store.holding import hold
from moln.kernel.context import RequestContext
from moln.kernel.db import Duplicate, Transaction
from moln.kernel.errors import Conflict, Forbidden, Invalid


async def get_service(ctx: RequestContext, service_id: str, verb: str = "get") -> Service:
    """Raises: Forbidden, NotFound."""
    require(ctx, f"identity:{verb}_service")
    service = await store.find_service(ctx.db, service_id)
    if service is None:
        raise missing("service", service_id)
    return service


async def create_service(ctx: RequestContext, values: dict[str, Any]) -> Service:
    """Raises: Forbidden."""
    require(ctx, "identity:create_service")
    service = Service(id=ctx.cloud.ids.hex(), **values)
    await ctx.db.write(add_in, service)
    return service


async def add_in(tx: Transaction, thing: Service | Endpoint | Region) -> None:
    """Add one part of the catalogue. Raises: Duplicate."""
    table = {Service: SERVICES, Endpoint: ENDPOINTS, Region: REGIONS}[type(thing)]
    await tx.insert(table, thing)
    catalog_changed(tx)


async def update_service(ctx: RequestContext, service_id: str, values: dict[str, Any]) -> Service:
    """Raises: Forbidden, NotFound."""
    old = await get_service(ctx, service_id, "update")
    if "extra" in values:
        values = values | {"extra": old.extra | values["extra"]}
    await ctx.db.write(_set_in, SERVICES, service_id, values)
    return replace(old, **values)


async def _set_in(tx: Transaction, table: Any, id_: str, values: dict[str, Any]) -> None:
    if values:
        await tx.update(table, values, id=id_)
        catalog_changed(tx)


async def delete_service(ctx: RequestContext, service_id: str) -> None:
    """Remove a service with its endpoints. Raises: Forbidden, NotFound."""
    await get_service(ctx, service_id, "delete")
    await ctx.db.write(_delete_service_in, service_id)


async def _delete_service_in(tx: Transaction, service_id: str) -> None:
    await hold(tx, SERVICES, service_id)
    for endpoint in await store.ENDPOINT_LISTING.page(tx, [("service_id", "eq", service_id)]):
        await _remove_endpoint_in(tx, endpoint.id)
    await endpoint_policies.forget(tx, service_id=service_id)
    await forget_limits_in(tx, service_id)
    await tx.delete(SERVICES, id=service_id)
    catalog_changed(tx)


async def get_endpoint(ctx: RequestContext, endpoint_id: str, verb: str = "get") -> Endpoint:
    """Raises: Forbidden, NotFound."""
    require(ctx, f"identity:{verb}_endpoint")
    endpoint = await store.find_endpoint(ctx.db, endpoint_id)
    if endpoint is None:
        raise missing("endpoint", endpoint_id)
    return endpoint


async def create_endpoint(ctx: RequestContext, values: dict[str, Any], region: str | None) -> Endpoint:
    """region: the old name of region_id; such a region is made where there is none. Raises: Forbidden, Invalid."""
    require(ctx, "identity:create_endpoint")
    if region and not values.get("region_id"):
        values = values | {"region_id": region}
    endpoint = Endpoint(id=ctx.cloud.ids.hex(), **values)
    await ctx.db.write(_create_endpoint_in, endpoint, region)
    return endpoint


async def _create_endpoint_in(tx: Transaction, endpoint: Endpoint, region: str | None) -> None:
    await _check_endpoint(tx, endpoint, region)
    await add_in(tx, endpoint)


async def _check_endpoint(tx: Transaction, endpoint: Endpoint, region: str | None) -> None:
    if not url_is_sound(endpoint.url):
        raise Invalid(f"Cannot create an endpoint with an invalid URL: {endpoint.url}.", field="url")
    if not await hold(tx, SERVICES, endpoint.service_id):
        raise Invalid(f"Could not find service: {endpoint.service_id}.", field="service_id")
    if endpoint.region_id is not None and await store.find_region(tx, endpoint.region_id) is None:
        if region != endpoint.region_id:
            raise Invalid(f"Could not find region: {endpoint.region_id}.", field="region_id")
        await tx.insert(REGIONS, Region(region), if_absent=True)


async def update_endpoint(ctx: RequestContext, endpoint_id: str, values: dict[str, Any], region: str | None) -> Endpoint:
    """Raises: Forbidden, NotFound, Invalid."""
    old = await get_endpoint(ctx, endpoint_id, "update")
    if region and not values.get("region_id"):
        values = values | {"region_id": region}
    if "extra" in values:
        values = values | {"extra": old.extra | values["extra"]}
    new = replace(old, **values)
    await ctx.db.write(_update_endpoint_in, new, values, region)
    return new


async def _update_endpoint_in(tx: Transaction, new: Endpoint, values: dict[str, Any], region: str | None) -> None:
    await _check_endpoint(tx, new, region)
    await _set_in(tx, ENDPOINTS, new.id, values)


async def move_in(tx: Transaction, endpoint_id: str, url: str) -> None:
    """Give an endpoint another address inside a caller's transaction."""
    await _set_in(tx, ENDPOINTS, endpoint_id, {"url": url})


async def delete_endpoint(ctx: RequestContext, endpoint_id: str) -> None:
    """Raises: Forbidden, NotFound."""
    await get_endpoint(ctx, endpoint_id, "delete")
    await ctx.db.write(_delete_endpoint_in, endpoint_id)


async def _delete_endpoint_in(tx: Transaction, endpoint_id: str) -> None:
    await _remove_endpoint_in(tx, endpoint_id)
    catalog_changed(tx)


async def _remove_endpoint_in(tx: Transaction, endpoint_id: str) -> None:
    """Remove an endpoint from the projects that were given it and from policies, too."""
    await hold(tx, ENDPOINTS, endpoint_id)
    await tx.delete(BY_ENDPOINT, endpoint_id=endpoint_id)
    await endpoint_policies.forget(tx, endpoint_id=endpoint_id)
    await tx.delete(ENDPOINTS, id=endpoint_id)


async def get_region(ctx: RequestContext, region_id: str, verb: str = "get") -> Region:
    """Raises: Forbidden, NotFound."""
    require(ctx, f"identity:{verb}_region")
    region = await store.find_region(ctx.db, region_id)
    if region is None:
        raise missing("region", region_id)
    return region


async def create_region(ctx: RequestContext, values: dict[str, Any]) -> Region:
    """Raises: Forbidden, Conflict, NotFound."""
    require(ctx, "identity:create_region")
    region = Region(**({"id": ctx.cloud.ids.hex()} | {k: v for k, v in values.items() if v is not None and v != ""}))
    await ctx.db.write(_create_region_in, region)
    return region


async def _create_region_in(tx: Transaction, region: Region) -> None:
    if region.parent_region_id and await store.find_region(tx, region.parent_region_id) is None:
        raise missing("region", region.parent_region_id)
    try:
        await add_in(tx, region)
    except Duplicate:
        raise Conflict(
            f"Conflict occurred attempting to store region - Duplicate ID, {region.id}."
        ) from None


async def update_region(ctx: RequestContext, region_id: str, values: dict[str, Any]) -> Region:
    """Raises: Forbidden, NotFound, Invalid."""
    old = await get_region(ctx, region_id, "update")
    if "description" in values:
        values = values | {"description": values["description"] or ""}
    if "extra" in values:
        values = values | {"extra": old.extra | values["extra"]}
    await ctx.db.write(_update_region_in, region_id, values)
    return replace(old, **values)


async def _update_region_in(tx: Transaction, region_id: str, values: dict[str, Any]) -> None:
    above, seen = values.get("parent_region_id"), {region_id}
    while above is not None:
        if above in seen:
            raise Invalid(f"The specified parent region {values['parent_region_id']} would create a circular region hierarchy.")
        seen.add(above)
        parent = await store.find_region(tx, above)
        if parent is None:
            raise missing("region", above)
        above = parent.parent_region_id
    await _set_in(tx, REGIONS, region_id, values)


async def delete_region(ctx: RequestContext, region_id: str) -> None:
    """Raises: Forbidden, NotFound, when it or a region inside has endpoints."""
    await get_region(ctx, region_id, "delete")
    await ctx.db.write(_delete_region_in, region_id)


async def _delete_region_in(tx: Transaction, region_id: str) -> None:
    inside = [region_id]
    for id_ in inside:
        if await store.ENDPOINT_LISTING.page(tx, [("region_id", "eq", id_)], limit=1):
            raise Forbidden(f"Unable to delete region {region_id} because it or its child regions have associated endpoints.")
        inside += [r.id for r in await store.REGION_LISTING.page(tx, [("parent_region_id", "eq", id_)], limit=1000)]
    for id_ in inside:
        await endpoint_policies.forget(tx, region_id=id_)
        await limits.forget_region(tx, id_)
        await tx.delete(REGIONS, id=id_)
    catalog_changed(tx)
