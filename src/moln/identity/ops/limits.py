"""Registered and unified limits. Those of compute, volume and network are the quotas that these services keep."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from moln.identity import settings
from moln.identity.model.limits import Limit, RegisteredLimit, driven, two_level_fault
from moln.identity.ops.access import missing, require
from moln.identity.store import catalog as catalog_store
from moln.identity.store import limits as store
from moln.identity.store import projects as project_store
from moln.identity.store.catalog import SERVICES
from moln.identity.store.holding import hold
from moln.identity.store.limits import LIMITS, REGISTERED
from moln.identity.store.projects import PROJECTS
from moln.kernel import quota, quota_trees
from moln.kernel.cloud import Cloud
from moln.kernel.context import RequestContext
from moln.kernel.db import Reader, Transaction
from moln.kernel.errors import Conflict, Forbidden, Invalid

EVERYBODY = quota.EVERYBODY  # the quota's name for who has no limit of their own


async def choose_model(cloud: Cloud) -> None:
    """Have quotas bind as the setting says: by each project's own, or by its domain's for all of them together as well."""
    strict = settings.of(cloud).limit_model == "strict_two_level"
    if strict:
        quota_trees.watch()
    if strict != await quota_trees.is_on(cloud.db):
        await cloud.db.write(quota_trees.switch_in, strict)


async def get_registered(ctx: RequestContext, id_: str, verb: str = "get") -> RegisteredLimit:
    """Raises: Forbidden, NotFound."""
    require(ctx, f"identity:{verb}_registered_limit")
    found = await store.find_registered(ctx.db, id_)
    if found is None:
        raise missing("registered limit", id_)
    return found


async def register(ctx: RequestContext, given: list[dict[str, Any]]) -> list[RegisteredLimit]:
    """All of them or none. Raises: Forbidden, Invalid, Conflict."""
    require(ctx, "identity:create_registered_limits")
    made = [RegisteredLimit(id=ctx.cloud.ids.hex(), **values) for values in given]
    await ctx.db.write(_register_in, made, ctx.settings.region)
    return made


async def _register_in(tx: Transaction, made: list[RegisteredLimit], region: str) -> None:
    for limit in made:
        await _check_place(tx, limit)
        if await store.registered_for(tx, limit.service_id, limit.resource_name, limit.region_id) is not None:
            raise Conflict("Conflict occurred attempting to store registered_limit - Duplicate entry.")
        await tx.insert(REGISTERED, limit)
        await drive_in(tx, limit, EVERYBODY, limit.default_limit, region)


async def _check_place(tx: Transaction, limit: RegisteredLimit | Limit) -> None:
    """Raises: Invalid, when its service or region is not there."""
    if not await hold(tx, SERVICES, limit.service_id):
        raise Invalid(f"Could not find service: {limit.service_id}.", field="service_id")
    if limit.region_id is not None and await catalog_store.find_region(tx, limit.region_id) is None:
        raise Invalid(f"Could not find region: {limit.region_id}.", field="region_id")


async def drive_in(tx: Transaction, limit: RegisteredLimit | Limit, project_id: str, value: int | None, region: str) -> None:
    """Make a limit the quota that it is about, if we keep that; value None: none any more."""
    service = await catalog_store.find_service(tx, limit.service_id)
    ours = driven(service.type, limit.resource_name) if service else None
    if ours is None or limit.region_id not in (None, region):
        return
    key = {"service": ours[0], "project_id": project_id, "resource": ours[1]}
    await tx.delete(quota.limits, **key)
    if value is not None:
        await tx.insert(quota.limits, key | {"limit": value})


async def update_registered(ctx: RequestContext, id_: str, values: dict[str, Any]) -> RegisteredLimit:
    """Raises: Forbidden, NotFound, Invalid, Conflict."""
    await get_registered(ctx, id_, "update")
    return await ctx.db.write(_update_registered_in, id_, values, ctx.settings.region)


async def _update_registered_in(tx: Transaction, id_: str, values: dict[str, Any], region: str) -> RegisteredLimit:
    old = await store.find_registered(tx, id_)
    if old is None:
        raise missing("registered limit", id_)
    new = replace(old, **values)
    moved = (old.service_id, old.resource_name, old.region_id) != (new.service_id, new.resource_name, new.region_id)
    if moved:
        await _refuse_used(tx, old)
        await _check_place(tx, new)
        if await store.registered_for(tx, new.service_id, new.resource_name, new.region_id) is not None:
            raise Conflict("Conflict occurred attempting to store registered_limit - Duplicate entry.")
        await drive_in(tx, old, EVERYBODY, None, region)
    if values:
        await tx.update(REGISTERED, values, id=id_)
    await drive_in(tx, new, EVERYBODY, new.default_limit, region)
    return new


async def _refuse_used(tx: Transaction, limit: RegisteredLimit) -> None:
    if await store.of_resource(tx, limit.service_id, limit.resource_name, limit.region_id):
        raise Forbidden(f"Unable to update or delete registered limit {limit.id} because there are project limits associated with it.")


async def delete_registered(ctx: RequestContext, id_: str) -> None:
    """Raises: Forbidden, NotFound."""
    await get_registered(ctx, id_, "delete")
    await ctx.db.write(_delete_registered_in, id_, ctx.settings.region)


async def _delete_registered_in(tx: Transaction, id_: str, region: str) -> None:
    found = await store.find_registered(tx, id_)
    if found is None:
        raise missing("registered limit", id_)
    await _refuse_used(tx, found)
    await tx.delete(REGISTERED, id=id_)
    await drive_in(tx, found, EVERYBODY, None, region)


async def visible(ctx: RequestContext, where: list[tuple[str, str, Any]]) -> list[Limit]:
    """Everybody's for the system, a domain's own and its projects', or the project's own. Raises: Forbidden."""
    require(ctx, "identity:list_limits")
    if ctx.system_scope is None and ctx.domain_id is None:
        if ctx.project_id is None:
            return []
        where = [*where, ("project_id", "eq", ctx.project_id)]
    found = await store.LISTING.page(ctx.db, where, limit=10_000)
    if ctx.system_scope is not None or ctx.domain_id is None:
        return found
    mine = {project.id for project in await project_store.in_domain(ctx.db, ctx.domain_id)}
    return [limit for limit in found if limit.project_id in mine or (limit.domain_id == ctx.domain_id and limit.project_id is None)]


async def get(ctx: RequestContext, id_: str, verb: str = "get") -> Limit:
    """Raises: Forbidden, NotFound."""
    found = await store.find(ctx.db, id_)
    require(ctx, f"identity:{verb}_limit", limit=await _target(ctx.db, found) if found else None)
    if found is None:
        raise missing("limit", id_)
    return found


async def _target(db: Reader, limit: Limit) -> dict[str, Any]:
    """A limit as the rules read it: with its project, or with its domain."""
    if limit.project_id is not None:
        project = await project_store.find(db, limit.project_id)
        return {"project_id": limit.project_id, "project": {"domain_id": project.domain_id if project else None}}
    return {"domain_id": limit.domain_id, "domain": {"id": limit.domain_id}}


async def create(ctx: RequestContext, given: list[dict[str, Any]]) -> list[Limit]:
    """All of them or none; each for a project or a domain. Raises: Forbidden, Invalid, NotFound, Conflict."""
    require(ctx, "identity:create_limits")
    made = [Limit(id=ctx.cloud.ids.hex(), **values) for values in given]
    for limit in made:
        if (limit.project_id is None) == (limit.domain_id is None):
            raise Invalid("A limit is for a project or for a domain.", field="project_id")
    await ctx.db.write(_create_in, made, ctx.settings.region, settings.of(ctx.cloud).limit_model)
    return made


async def _create_in(tx: Transaction, made: list[Limit], region: str, model: str) -> None:
    for limit in made:
        await _check_place(tx, limit)
        whose = limit.project_id or limit.domain_id or ""
        if not await hold(tx, PROJECTS, whose):
            raise missing("project" if limit.project_id else "domain", whose)
        others = await store.of_resource(tx, limit.service_id, limit.resource_name, limit.region_id)
        if await store.registered_for(tx, limit.service_id, limit.resource_name, limit.region_id) is None:
            raise Invalid(f"There is no registered limit of {limit.resource_name} for this service.", field="resource_name")
        if any((other.project_id, other.domain_id) == (limit.project_id, limit.domain_id) for other in others):
            raise Conflict("Conflict occurred attempting to store limit - Duplicate entry.")
        if model == "strict_two_level":
            await _check_levels(tx, limit, others)
        await tx.insert(LIMITS, limit)
        await drive_in(tx, limit, whose, limit.resource_limit, region)


async def _check_levels(tx: Transaction, limit: Limit, others: list[Limit]) -> None:
    """A domain's limit is at least that of each of its projects. Raises: Forbidden."""
    registered = await store.registered_for(tx, limit.service_id, limit.resource_name, limit.region_id)
    usual = registered.default_limit if registered else -1
    above: int | None = None
    below: list[int] = []
    if limit.project_id is not None:
        project = await project_store.find(tx, limit.project_id)
        mine = [other.resource_limit for other in others if project and other.domain_id == project.domain_id]
        above = mine[0] if mine else usual
    else:
        inside = {project.id for project in await project_store.in_domain(tx, limit.domain_id or "")}
        below = [other.resource_limit for other in others if other.project_id in inside]
    if fault := two_level_fault(limit.resource_limit, above, below):
        raise Forbidden(f"Unable to set the limit of {limit.resource_name}: {fault}")


async def update(ctx: RequestContext, id_: str, values: dict[str, Any]) -> Limit:
    """Raises: Forbidden, NotFound."""
    await get(ctx, id_, "update")
    return await ctx.db.write(_update_in, id_, values, ctx.settings.region, settings.of(ctx.cloud).limit_model)


async def _update_in(tx: Transaction, id_: str, values: dict[str, Any], region: str, model: str) -> Limit:
    old = await store.find(tx, id_)
    if old is None:
        raise missing("limit", id_)
    new = replace(old, **values)
    if model == "strict_two_level":
        others = await store.of_resource(tx, old.service_id, old.resource_name, old.region_id)
        await _check_levels(tx, new, [other for other in others if other.id != id_])
    if values:
        await tx.update(LIMITS, values, id=id_)
    await drive_in(tx, new, new.project_id or new.domain_id or "", new.resource_limit, region)
    return new


async def delete(ctx: RequestContext, id_: str) -> None:
    """Raises: Forbidden, NotFound."""
    await get(ctx, id_, "delete")
    await ctx.db.write(_delete_in, id_, ctx.settings.region)


async def _delete_in(tx: Transaction, id_: str, region: str) -> None:
    found = await store.find(tx, id_)
    if found is None:
        raise missing("limit", id_)
    await tx.delete(LIMITS, id=id_)
    await drive_in(tx, found, found.project_id or found.domain_id or "", None, region)


async def forget_service_in(tx: Transaction, service_id: str) -> None:
    """Remove a service's limits, and the quotas that they were."""
    region = ""
    for limit in await store.LISTING.page(tx, [("service_id", "eq", service_id)]):
        await drive_in(tx, limit, limit.project_id or limit.domain_id or "", None, limit.region_id or region)
    for registered in await store.REGISTERED_LISTING.page(tx, [("service_id", "eq", service_id)]):
        await drive_in(tx, registered, EVERYBODY, None, registered.region_id or region)
    await store.forget_service(tx, service_id)
