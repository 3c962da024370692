"""/v3/OS-EP-FILTER"""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

from moln.identity.api import views
from moln.identity.api.bodies import Name, one, take
from moln.identity.api.service import base, routes
from moln.identity.model.endpoint_groups import EndpointGroup
from moln.identity.ops import endpoint_groups as ops
from moln.identity.ops.access import require
from moln.identity.store.endpoint_groups import LISTING
from moln.kernel.context import RequestContext
from moln.kernel.http import Params

ROOT = "/v3/OS-EP-FILTER"
GROUPS = f"{ROOT}/endpoint_groups"
GROUP = GROUPS + "/{endpoint_group_id}"


class _Group(Struct):
    name: Name | UnsetType = UNSET
    description: Annotated[str, Meta(max_length=4096)] | None | UnsetType = UNSET
    filters: dict[str, Any] | UnsetType = UNSET


class _NewGroup(_Group, kw_only=True):
    name: Name
    filters: dict[str, Any]


def _view(ctx: RequestContext, of: EndpointGroup) -> dict[str, Any]:
    links = {"self": f"{base(ctx)}/OS-EP-FILTER/endpoint_groups/{of.id}"}
    return of.extra | {"id": of.id, "name": of.name, "description": of.description, "filters": of.filters, "links": links}


@routes.get(GROUPS)
async def list_endpoint_groups(ctx: RequestContext, query: Params) -> Any:
    require(ctx, "identity:list_endpoint_groups")
    return await views.page(ctx, LISTING, "endpoint_groups", _view, query, views.filters(name=one(query, "name")), "OS-EP-FILTER/endpoint_groups")


@routes.post(GROUPS, status=201)
async def create_endpoint_group(ctx: RequestContext, body: dict[str, Any]) -> Any:
    return {"endpoint_group": _view(ctx, await ops.create(ctx, take(body, "endpoint_group", _NewGroup)))}


@routes.get(GROUP)
async def show_endpoint_group(ctx: RequestContext, endpoint_group_id: str) -> Any:
    return {"endpoint_group": _view(ctx, await ops.get(ctx, endpoint_group_id))}


@routes.patch(GROUP)
async def update_endpoint_group(ctx: RequestContext, endpoint_group_id: str, body: dict[str, Any]) -> Any:
    values = take(body, "endpoint_group", _Group, endpoint_group_id)
    return {"endpoint_group": _view(ctx, await ops.update(ctx, endpoint_group_id, values))}


@routes.delete(GROUP)
async def delete_endpoint_group(ctx: RequestContext, endpoint_group_id: str) -> None:
    await ops.delete(ctx, endpoint_group_id)


@routes.get(GROUP + "/endpoints")
async def list_group_endpoints(ctx: RequestContext, endpoint_group_id: str) -> Any:
    shown = [views.endpoint(ctx, e) for e in await ops.endpoints_in(ctx, endpoint_group_id)]
    return views.collection(ctx, "endpoints", shown, f"OS-EP-FILTER/endpoint_groups/{endpoint_group_id}/endpoints")


@routes.get(GROUP + "/projects")
async def list_group_projects(ctx: RequestContext, endpoint_group_id: str) -> Any:
    shown = [views.project(ctx, p) for p in await ops.projects_in(ctx, endpoint_group_id)]
    return views.collection(ctx, "projects", shown, f"OS-EP-FILTER/endpoint_groups/{endpoint_group_id}/projects")


@routes.put(GROUP + "/projects/{project_id}", status=204)
async def add_group_to_project(ctx: RequestContext, endpoint_group_id: str, project_id: str) -> None:
    await ops.add_group(ctx, endpoint_group_id, project_id)


@routes.get(GROUP + "/projects/{project_id}")
async def show_group_in_project(ctx: RequestContext, endpoint_group_id: str, project_id: str) -> Any:
    return {"endpoint_group": _view(ctx, await ops.in_project(ctx, endpoint_group_id, project_id))}


@routes.delete(GROUP + "/projects/{project_id}")
async def remove_group_from_project(ctx: RequestContext, endpoint_group_id: str, project_id: str) -> None:
    await ops.remove_group(ctx, endpoint_group_id, project_id)


@routes.get(f"{ROOT}/endpoints/{{endpoint_id}}/projects")
async def list_endpoint_projects(ctx: RequestContext, endpoint_id: str) -> Any:
    shown = [views.project(ctx, p) for p in await ops.projects_with(ctx, endpoint_id)]
    return views.collection(ctx, "projects", shown, f"OS-EP-FILTER/endpoints/{endpoint_id}/projects")


@routes.get(f"{ROOT}/projects/{{project_id}}/endpoint_groups")
async def list_project_groups(ctx: RequestContext, project_id: str) -> Any:
    shown = [_view(ctx, g) for g in await ops.groups_of(ctx, project_id)]
    return views.collection(ctx, "endpoint_groups", shown, f"OS-EP-FILTER/projects/{project_id}/endpoint_groups")


@routes.get(f"{ROOT}/projects/{{project_id}}/endpoints")
async def list_project_endpoints(ctx: RequestContext, project_id: str) -> Any:
    shown = [views.endpoint(ctx, e) for e in await ops.endpoints_of(ctx, project_id)]
    return views.collection(ctx, "endpoints", shown, f"OS-EP-FILTER/projects/{project_id}/endpoints")


@routes.put(f"{ROOT}/projects/{{project_id}}/endpoints/{{endpoint_id}}", status=204)
async def add_endpoint_to_project(ctx: RequestContext, project_id: str, endpoint_id: str) -> None:
    await ops.add_endpoint(ctx, endpoint_id, project_id)


@routes.get(f"{ROOT}/projects/{{project_id}}/endpoints/{{endpoint_id}}", status=204)
async def check_endpoint_in_project(ctx: RequestContext, project_id: str, endpoint_id: str) -> None:
    await ops.check_endpoint(ctx, endpoint_id, project_id)


@routes.delete(f"{ROOT}/projects/{{project_id}}/endpoints/{{endpoint_id}}")
async def remove_endpoint_from_project(ctx: RequestContext, project_id: str, endpoint_id: str) -> None:
    await ops.remove_endpoint(ctx, endpoint_id, project_id)
