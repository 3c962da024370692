"""Projects: a tree below each domain."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from moln.identity.model.projects import MAX_DEPTH, MAX_TAGS, Project
from moln.identity.ops.access import immutable, missing, require
from moln.identity.ops.state import people_changed
from moln.identity.store import credentials, endpoint_groups, limits, oauth1, trusts
from moln.identity.store import projects as store
from moln.identity.store.holding import hold
from moln.identity.store.projects import PROJECTS
from moln.identity.store.roles import GRANTS
from moln.identity.store.users import USERS
from moln.kernel.context import RequestContext
from moln.kernel.db import Duplicate, Transaction
from moln.kernel.errors import Conflict, Forbidden, Invalid


async def get(ctx: RequestContext, project_id: str, rule: str = "identity:get_project") -> Project:
    """Raises: Forbidden, NotFound."""
    project = await store.find(ctx.db, project_id)
    require(ctx, rule, project=project)
    if project is None:
        raise missing("project", project_id)
    return project


async def create(ctx: RequestContext, values: dict[str, Any]) -> Project:
    """values: Project's fields; without a domain_id the caller's domain. Raises: Forbidden, Invalid, Conflict."""
    values = dict(values)
    if values.get("is_domain"):
        if values.get("parent_id") or values.get("domain_id"):
            raise Invalid("only root projects are allowed to act as domains.", field="parent_id")
        values["domain_id"] = values["parent_id"] = None
    elif not values.get("domain_id"):
        parent = await store.find(ctx.db, values["parent_id"]) if values.get("parent_id") else None
        values["domain_id"] = (parent.domain_id or parent.id) if parent else own_domain(ctx)
    if not values.get("parent_id") and not values.get("is_domain"):
        values["parent_id"] = values["domain_id"]
    values["description"] = values.get("description") or ""
    project = Project(**({"id": ctx.cloud.ids.hex()} | values))
    require(ctx, "identity:create_project", project=project)
    await ctx.db.write(create_in, project)
    return project


def own_domain(ctx: RequestContext) -> str:
    """The domain of a thing whose creator named none: the token's. Raises: Invalid, when it has none."""
    domain_id = ctx.domain_id or ctx.project_domain_id or (ctx.user_domain_id if ctx.system_scope is None else None)
    if domain_id is None:
        raise Invalid("You have tried to create a resource using the admin token. As this token is not within a domain you "
                      "must explicitly include a domain for this resource to belong to.", field="domain_id")  # fmt: skip
    return domain_id


async def create_in(tx: Transaction, project: Project) -> None:
    """Raises: Invalid, Conflict."""
    if not project.is_domain:
        await _check_place(tx, project)
    try:
        await tx.insert(PROJECTS, project)
    except Duplicate:
        raise _twin(project) from None


def _twin(project: Project) -> Conflict:
    if project.is_domain:
        why = f"it is not permitted to have two projects acting as domains with the same name: {project.name}"
    else:
        why = ("it is not permitted to have two projects with either the same name or same id in the same domain: name is "
               f"{project.name}, project id {project.id}")  # fmt: skip
    return Conflict(f"Conflict occurred attempting to store project - {why}.")


async def _check_place(tx: Transaction, project: Project) -> None:
    """The domain and the parent must be there, fit each other, be enabled and not too deep."""
    held = await hold(tx, PROJECTS, project.domain_id or "")
    if not held or await store.find_domain(tx, project.domain_id or "") is None:
        raise Invalid(f"Could not find domain: {project.domain_id}.", field="domain_id")
    held = await hold(tx, PROJECTS, project.parent_id or "")
    parent = await store.find(tx, project.parent_id or "")
    if not held or parent is None:
        raise Invalid(f"Could not find project: {project.parent_id}.", field="parent_id")
    if (parent.id if parent.is_domain else parent.domain_id) != project.domain_id:
        raise Invalid(f"Cannot create project, since it specifies its domain_id {project.domain_id}, but specifies a parent "
                      f"in a different domain ({parent.domain_id or parent.id}).", field="parent_id")  # fmt: skip
    above = [parent, *await store.ancestors(tx, parent)]
    if any(not p.enabled for p in above):
        raise Invalid(f"cannot create a project in a branch containing a disabled project: {project.id}", field="parent_id")
    if len(above) > MAX_DEPTH:
        raise Forbidden(f"Max hierarchy depth reached for {project.id} branch.")


async def update(ctx: RequestContext, project_id: str, values: dict[str, Any]) -> Project:
    """Raises: Forbidden, NotFound, Invalid, Conflict."""
    await get(ctx, project_id, "identity:update_project")
    return await ctx.db.write(update_in, project_id, values)


async def update_in(tx: Transaction, project_id: str, values: dict[str, Any]) -> Project:
    old = await store.find(tx, project_id)
    if old is None:
        raise missing("project", project_id)
    if old.immutable and set(values) != {"options"}:
        raise immutable("project", project_id)
    for name in ("parent_id", "is_domain", "domain_id"):
        if name in values and values[name] != getattr(old, name):
            raise Invalid(f"Update of `{name}` is not allowed.", field=name)
    if "description" in values:
        values = values | {"description": values["description"] or ""}
    if "extra" in values:
        values = values | {"extra": old.extra | values["extra"]}
    new = replace(old, **values)
    if new.enabled and not old.enabled and any(not p.enabled for p in await store.ancestors(tx, old)):
        raise Forbidden(f"Cannot enable project {project_id} since it has disabled parents")
    closes = old.enabled and not new.enabled and not old.is_domain
    if closes and any(p.enabled for p in await store.subtree(tx, project_id)):
        raise Forbidden(f"Cannot disable project {project_id} since its subtree contains enabled projects.")
    try:
        await tx.update(PROJECTS, values, id=project_id)
    except Duplicate:
        raise _twin(new) from None
    if (old.name, old.enabled) != (new.name, new.enabled):
        people_changed(tx)
    return new


async def delete(ctx: RequestContext, project_id: str) -> None:
    """Raises: Forbidden, NotFound, when it has projects below."""
    await get(ctx, project_id, "identity:delete_project")
    await ctx.db.write(_delete_in, project_id)


async def _delete_in(tx: Transaction, project_id: str) -> None:
    await hold(tx, PROJECTS, project_id)
    project = await store.find(tx, project_id)
    if project is None:
        raise missing("project", project_id)
    if project.immutable:
        raise immutable("project", project_id, "delete")
    if project.is_domain:
        raise Invalid("cannot delete an enabled project acting as a domain. Please disable the project "
                      f"{project_id} first." if project.enabled else "A domain is deleted as a domain.")  # fmt: skip
    if await store.children(tx, project_id):
        raise Forbidden(f"Cannot delete the project {project_id} since it is not a leaf in the hierarchy. Use the cascade "
                        "option if you want to delete a whole subtree.")  # fmt: skip
    await remove_in(tx, project_id)
    people_changed(tx)


async def remove_in(tx: Transaction, project_id: str) -> None:
    """Remove a project with what points at it."""
    await tx.delete(GRANTS, target_id=project_id)
    await credentials.forget_project(tx, project_id)
    await trusts.forget(tx, "project_id", project_id)
    await oauth1.forget(tx, project_id=project_id)
    await endpoint_groups.forget_project(tx, project_id)
    await limits.forget_project(tx, project_id)
    await tx.update(USERS, {"default_project_id": None}, default_project_id=project_id)
    await tx.delete(PROJECTS, id=project_id)


async def set_tags(ctx: RequestContext, project_id: str, tags: list[str], rule: str) -> Project:
    """Raises: Forbidden, NotFound, Invalid."""
    await get(ctx, project_id, rule)
    if len(tags) > MAX_TAGS:
        raise Invalid(f"A project has at most {MAX_TAGS} tags.", field="tags")
    return await ctx.db.write(update_in, project_id, {"tags": tags})
