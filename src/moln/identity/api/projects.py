"""/v3/projects and their tags"""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

from moln.identity.api import views
from moln.identity.api.bodies import Id, ShortName, convert, flag, one, switch, take
from moln.identity.api.service import base, routes
from moln.identity.model.projects import MAX_TAGS, Project, tags_match
from moln.identity.ops import domains
from moln.identity.ops import projects as ops
from moln.identity.ops.access import require
from moln.identity.store import projects as store
from moln.identity.store.projects import LISTING
from moln.kernel.context import RequestContext
from moln.kernel.errors import Invalid, NotFound
from moln.kernel.http import Params, Reply

Tag = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[^,/]*$")]
Tags = Annotated[list[Tag], Meta(max_length=MAX_TAGS)]


class _Project(Struct):
    name: ShortName | UnsetType = UNSET
    description: str | None | UnsetType = UNSET
    domain_id: Id | None | UnsetType = UNSET
    parent_id: Id | None | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET
    is_domain: bool | UnsetType = UNSET
    tags: Tags | UnsetType = UNSET
    options: dict[str, Any] | UnsetType = UNSET


class _NewProject(_Project, kw_only=True):
    name: ShortName


@routes.get("/v3/projects")
async def list_projects(ctx: RequestContext, query: Params) -> Any:
    about: dict[str, Any] = {"domain_id": ctx.domain_id} if ctx.domain_id else {}
    require(ctx, "identity:list_projects", **about)
    where = views.filters(
        is_domain=switch(query, "is_domain") or 0,
        domain_id=one(query, "domain_id"),
        name=one(query, "name"),
        enabled=switch(query, "enabled"),
        parent_id=one(query, "parent_id"),
    )
    if ctx.domain_id:
        where.append(("domain_id", "eq", ctx.domain_id))
    shown = await views.page(ctx, LISTING, "projects", views.project, query, where)
    tags = {name: one(query, name) for name in ("tags", "tags-any", "not-tags", "not-tags-any")}
    if any(tags.values()):
        shown["projects"] = [
            p for p in shown["projects"]
            if tags_match(p["tags"], every=tags["tags"], some=tags["tags-any"], not_every=tags["not-tags"],
                          not_some=tags["not-tags-any"])
        ]  # fmt: skip
    return shown


@routes.post("/v3/projects", status=201)
async def create_project(ctx: RequestContext, body: dict[str, Any]) -> Any:
    return {"project": views.project(ctx, await ops.create(ctx, take(body, "project", _NewProject)))}


@routes.get("/v3/projects/{project_id}")
async def show_project(ctx: RequestContext, project_id: str, query: Params) -> Any:
    project = await ops.get(ctx, project_id)
    shown = views.project(ctx, project)
    for what in ("parents", "subtree"):
        if flag(query, f"{what}_as_list") and flag(query, f"{what}_as_ids"):
            raise Invalid(f"Cannot use {what}_as_list and {what}_as_ids query params at the same time.")
    if flag(query, "parents_as_list") or flag(query, "parents_as_ids"):
        above = [p for p in await store.ancestors(ctx.db, project) if not p.is_domain]
        domain_ids = [project.domain_id] if project.domain_id else []
        ids = _nested([p.id for p in above] + domain_ids)
        shown["parents"] = _listed(ctx, above) if flag(query, "parents_as_list") else ids
    if flag(query, "subtree_as_list"):
        shown["subtree"] = _listed(ctx, await store.subtree(ctx.db, project_id))
    elif flag(query, "subtree_as_ids"):
        shown["subtree"] = _tree(await store.subtree(ctx.db, project_id), project_id)
    return {"project": shown}


def _listed(ctx: RequestContext, projects: list[Project]) -> list[Any]:
    return [{"project": views.project(ctx, p)} for p in projects]


def _nested(ids: list[str]) -> dict[str, Any] | None:
    return {ids[0]: _nested(ids[1:])} if ids else None


def _tree(below: list[Project], root: str) -> dict[str, Any] | None:
    return {p.id: _tree(below, p.id) for p in below if p.parent_id == root} or None


@routes.patch("/v3/projects/{project_id}")
async def update_project(ctx: RequestContext, project_id: str, body: dict[str, Any]) -> Any:
    return {"project": views.project(ctx, await ops.update(ctx, project_id, take(body, "project", _Project, project_id)))}


@routes.delete("/v3/projects/{project_id}")
async def delete_project(ctx: RequestContext, project_id: str) -> None:
    project = await ops.get(ctx, project_id, "identity:delete_project")
    if project.is_domain and not project.enabled:
        await domains.delete_as_project(ctx, project_id)
    else:
        await ops.delete(ctx, project_id)


def _tags(ctx: RequestContext, project: Project) -> Any:
    return {"tags": project.tags, "links": {"self": f"{base(ctx)}/projects/{project.id}/tags"}}


@routes.get("/v3/projects/{project_id}/tags")
async def list_tags(ctx: RequestContext, project_id: str) -> Any:
    return _tags(ctx, await ops.get(ctx, project_id, "identity:list_project_tags"))


@routes.put("/v3/projects/{project_id}/tags")
async def replace_tags(ctx: RequestContext, project_id: str, body: dict[str, Any]) -> Any:
    tags = convert(body.get("tags", []), Tags, "tags")
    if len(set(tags)) != len(tags):
        raise Invalid(f"{tags} has non-unique elements", field="tags")
    return _tags(ctx, await ops.set_tags(ctx, project_id, tags, "identity:update_project_tags"))


@routes.delete("/v3/projects/{project_id}/tags")
async def remove_tags(ctx: RequestContext, project_id: str) -> None:
    await ops.set_tags(ctx, project_id, [], "identity:delete_project_tags")


@routes.get("/v3/projects/{project_id}/tags/{tag}", status=204)
async def check_tag(ctx: RequestContext, project_id: str, tag: str) -> None:
    if tag not in (await ops.get(ctx, project_id, "identity:get_project_tag")).tags:
        raise NotFound(f"Could not find project tag: {tag}.")


@routes.put("/v3/projects/{project_id}/tags/{tag}", status=201)
async def add_tag(ctx: RequestContext, project_id: str, tag: str) -> Reply:
    project = await ops.get(ctx, project_id, "identity:create_project_tag")
    tags = [*project.tags, convert(tag, Tag, "tag")] if tag not in project.tags else project.tags
    await ops.set_tags(ctx, project_id, tags, "identity:create_project_tag")
    return Reply(headers={"Location": f"{base(ctx)}/projects/{project_id}/tags/{tag}"})


@routes.delete("/v3/projects/{project_id}/tags/{tag}")
async def remove_tag(ctx: RequestContext, project_id: str, tag: str) -> None:
    project = await ops.get(ctx, project_id, "identity:delete_project_tag")
    if tag not in project.tags:
        raise NotFound(f"Could not find project tag: {tag}.")
    await ops.set_tags(ctx, project_id, [t for t in project.tags if t != tag], "identity:delete_project_tag")
