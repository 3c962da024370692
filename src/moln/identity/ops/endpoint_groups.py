"""Endpoint groups and filters: which endpoints a project's catalogue has."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from moln.identity.model.catalog import Endpoint
from moln.identity.model.endpoint_groups import EndpointGroup, filter_fault
from moln.identity.model.projects import Project
from moln.identity.ops.access import missing, require
from moln.identity.ops.rows import change_in
from moln.identity.ops.state import catalog_changed
from moln.identity.store import catalog as catalog_store
from moln.identity.store import endpoint_groups as store
from moln.identity.store import projects as project_store
from moln.identity.store.catalog import ENDPOINT_LISTING, ENDPOINTS
from moln.identity.store.endpoint_groups import BY_ENDPOINT, BY_GROUP, GROUPS
from moln.identity.store.holding import hold
from moln.identity.store.projects import PROJECTS
from moln.kernel.context import RequestContext
from moln.kernel.db import Reader, Transaction
from moln.kernel.errors import Invalid, NotFound


async def get(ctx: RequestContext, group_id: str, rule: str = "identity:get_endpoint_group") -> EndpointGroup:
    """Raises: Forbidden, NotFound."""
    require(ctx, rule)
    found = await store.find(ctx.db, group_id)
    if found is None:
        raise missing("endpoint group", group_id)
    return found


def _sound(values: dict[str, Any]) -> dict[str, Any]:
    if fault := filter_fault(values.get("filters", {})):
        raise Invalid(f"Invalid input for field filters: {fault}.", field="filters")
    return values


async def create(ctx: RequestContext, values: dict[str, Any]) -> EndpointGroup:
    """Raises: Forbidden, Invalid."""
    require(ctx, "identity:create_endpoint_group")
    made = EndpointGroup(id=ctx.cloud.ids.hex(), **_sound(values))
    await ctx.db.write(_create_in, made)
    return made


async def _create_in(tx: Transaction, made: EndpointGroup) -> None:
    await tx.insert(GROUPS, made)


async def update(ctx: RequestContext, group_id: str, values: dict[str, Any]) -> EndpointGroup:
    """Raises: Forbidden, NotFound, Invalid."""
    old = await get(ctx, group_id, "identity:update_endpoint_group")
    values = _sound(values)
    if "extra" in values:
        values = values | {"extra": old.extra | values["extra"]}
    await ctx.db.write(_update_in, group_id, values)
    return replace(old, **values)


async def _update_in(tx: Transaction, group_id: str, values: dict[str, Any]) -> None:
    await change_in(tx, GROUPS, "endpoint group", values, id=group_id)
    catalog_changed(tx)


async def delete(ctx: RequestContext, group_id: str) -> None:
    """Raises: Forbidden, NotFound."""
    await get(ctx, group_id, "identity:delete_endpoint_group")
    await ctx.db.write(_delete_in, group_id)


async def _delete_in(tx: Transaction, group_id: str) -> None:
    await tx.delete(BY_GROUP, endpoint_group_id=group_id)
    await tx.delete(GROUPS, id=group_id)
    catalog_changed(tx)


async def endpoints_in(ctx: RequestContext, group_id: str) -> list[Endpoint]:
    """Raises: Forbidden, NotFound."""
    group = await get(ctx, group_id, "identity:list_endpoints_associated_with_endpoint_group")
    return [e for e in await ENDPOINT_LISTING.page(ctx.db, limit=10_000) if group.holds(e)]


async def projects_in(ctx: RequestContext, group_id: str) -> list[Project]:
    """Raises: Forbidden, NotFound."""
    await get(ctx, group_id, "identity:list_projects_associated_with_endpoint_group")
    return await _projects(ctx.db, await store.projects_of_group(ctx.db, group_id))


async def _projects(db: Reader, ids: list[str]) -> list[Project]:
    return [p for id_ in ids if (p := await project_store.find(db, id_)) is not None]


async def _project(ctx: RequestContext, project_id: str) -> Project:
    found = await project_store.find(ctx.db, project_id)
    if found is None:
        raise missing("project", project_id)
    return found


async def groups_of(ctx: RequestContext, project_id: str) -> list[EndpointGroup]:
    """Raises: Forbidden, NotFound."""
    require(ctx, "identity:list_endpoint_groups_for_project")
    await _project(ctx, project_id)
    return await store.groups_of(ctx.db, project_id)


async def in_project(ctx: RequestContext, group_id: str, project_id: str) -> EndpointGroup:
    """Raises: Forbidden, NotFound, when the project does not have the group."""
    group = await get(ctx, group_id, "identity:get_endpoint_group_in_project")
    await _project(ctx, project_id)
    if project_id not in await store.projects_of_group(ctx.db, group_id):
        raise NotFound("Endpoint Group Project Association not found")
    return group


async def add_group(ctx: RequestContext, group_id: str, project_id: str) -> None:
    """Raises: Forbidden, NotFound."""
    await get(ctx, group_id, "identity:add_endpoint_group_to_project")
    await _project(ctx, project_id)
    await ctx.db.write(_add_in, GROUPS, group_id, project_id)


async def _add_in(tx: Transaction, of: Any, id_: str, project_id: str) -> None:
    if not await hold(tx, of, id_):
        raise missing("endpoint group" if of is GROUPS else "endpoint", id_)
    if not await hold(tx, PROJECTS, project_id):
        raise missing("project", project_id)
    table, name = (BY_GROUP, "endpoint_group_id") if of is GROUPS else (BY_ENDPOINT, "endpoint_id")
    await tx.insert(table, {name: id_, "project_id": project_id}, if_absent=True)
    catalog_changed(tx)


async def remove_group(ctx: RequestContext, group_id: str, project_id: str) -> None:
    """Raises: Forbidden, NotFound."""
    await get(ctx, group_id, "identity:remove_endpoint_group_from_project")
    await _project(ctx, project_id)
    await ctx.db.write(_remove_in, BY_GROUP, {"endpoint_group_id": group_id, "project_id": project_id})


async def _remove_in(tx: Transaction, table: Any, row: dict[str, str]) -> None:
    if not await tx.delete(table, **row):
        raise NotFound("Endpoint Group Project Association not found" if table is BY_GROUP else "Endpoint not found in project")
    catalog_changed(tx)


async def _endpoint(ctx: RequestContext, endpoint_id: str, rule: str) -> Endpoint:
    require(ctx, rule)
    found = await catalog_store.find_endpoint(ctx.db, endpoint_id)
    if found is None:
        raise missing("endpoint", endpoint_id)
    return found


async def projects_with(ctx: RequestContext, endpoint_id: str) -> list[Project]:
    """Raises: Forbidden, NotFound."""
    await _endpoint(ctx, endpoint_id, "identity:list_projects_for_endpoint")
    return await _projects(ctx.db, await store.projects_of_endpoint(ctx.db, endpoint_id))


async def endpoints_of(ctx: RequestContext, project_id: str) -> list[Endpoint]:
    """Raises: Forbidden, NotFound."""
    require(ctx, "identity:list_endpoints_for_project")
    await _project(ctx, project_id)
    return await given(ctx.db, project_id)


async def given(db: Reader, project_id: str) -> list[Endpoint]:
    """The endpoints that a project was given, one by one and by groups; none at all means that nothing is left out."""
    found = {e.id: e for e in await store.endpoints_of(db, project_id)}
    groups = await store.groups_of(db, project_id)
    if groups:
        found |= {e.id: e for e in await ENDPOINT_LISTING.page(db, limit=10_000) if any(group.holds(e) for group in groups)}
    return list(found.values())


async def add_endpoint(ctx: RequestContext, endpoint_id: str, project_id: str) -> None:
    """Raises: Forbidden, NotFound."""
    await _endpoint(ctx, endpoint_id, "identity:add_endpoint_to_project")
    await _project(ctx, project_id)
    await ctx.db.write(_add_in, ENDPOINTS, endpoint_id, project_id)


async def check_endpoint(ctx: RequestContext, endpoint_id: str, project_id: str) -> None:
    """Raises: Forbidden, NotFound, when the project was not given the endpoint itself."""
    await _endpoint(ctx, endpoint_id, "identity:check_endpoint_in_project")
    await _project(ctx, project_id)
    if project_id not in await store.projects_of_endpoint(ctx.db, endpoint_id):
        raise NotFound(f"Endpoint {endpoint_id} not found in project {project_id}")


async def remove_endpoint(ctx: RequestContext, endpoint_id: str, project_id: str) -> None:
    """Raises: Forbidden, NotFound."""
    await _endpoint(ctx, endpoint_id, "identity:remove_endpoint_from_project")
    await _project(ctx, project_id)
    await ctx.db.write(_remove_in, BY_ENDPOINT, {"endpoint_id": endpoint_id, "project_id": project_id})
