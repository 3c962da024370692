"""How things look on the wire, and lists of them with their links."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from msgspec.structs import replace

from moln.identity.api.service import base
from moln.identity.model.catalog import Endpoint, Region, Service
from moln.identity.model.projects import Project
from moln.identity.model.roles import Role
from moln.identity.model.users import Group, User
from moln.kernel.clock import iso_micro
from moln.kernel.context import RequestContext
from moln.kernel.db import Listing
from moln.kernel.http import Paging, Params, next_link

T = TypeVar("T")
MOST = 10_000  # in one page
View = dict[str, Any]


def project(ctx: RequestContext, of: Project) -> View:
    return of.extra | {
        "id": of.id,
        "name": of.name,
        "domain_id": of.domain_id,
        "description": of.description,
        "enabled": of.enabled,
        "parent_id": of.parent_id,
        "is_domain": of.is_domain,
        "tags": of.tags,
        "options": of.options,
        "links": _self(ctx, "projects", of.id),
    }


def domain(ctx: RequestContext, of: Project) -> View:
    return of.extra | {
        "id": of.id,
        "name": of.name,
        "description": of.description,
        "enabled": of.enabled,
        "tags": of.tags,
        "options": of.options,
        "links": _self(ctx, "domains", of.id),
    }


def user(ctx: RequestContext, of: User) -> View:
    return listed_user(ctx, replace(of, extra=dict(of.extra)))


def listed_user(ctx: RequestContext, of: User) -> View:
    """Of one that was read for this answer alone: its `extra` becomes the view, as there may be thousands of them."""
    shown: View = of.extra
    shown["id"] = of.id
    shown["name"] = of.name
    shown["domain_id"] = of.domain_id
    shown["enabled"] = of.enabled
    shown["password_expires_at"] = None
    shown["options"] = of.options
    shown["links"] = {"self": f"{ctx.cloud.settings.public_url}/identity/v3/users/{of.id}"}
    if of.password_expires_at is not None and of.expires_at is not None:
        shown["password_expires_at"] = iso_micro(of.expires_at)
    if of.default_project_id is not None:
        shown["default_project_id"] = of.default_project_id
    return shown


def group(ctx: RequestContext, of: Group) -> View:
    return of.extra | {
        "id": of.id,
        "name": of.name,
        "domain_id": of.domain_id,
        "description": of.description,
        "links": _self(ctx, "groups", of.id),
    }


def role(ctx: RequestContext, of: Role) -> View:
    return of.extra | {
        "id": of.id,
        "name": of.name,
        "domain_id": of.domain_id,
        "description": of.description,
        "options": of.options,
        "links": _self(ctx, "roles", of.id),
    }


def service(ctx: RequestContext, of: Service) -> View:
    shown = of.extra | {
        "id": of.id,
        "name": of.name,
        "type": of.type,
        "enabled": of.enabled,
        "links": _self(ctx, "services", of.id),
    }
    if of.description is not None:
        shown["description"] = of.description
    return shown


def endpoint(ctx: RequestContext, of: Endpoint) -> View:
    return of.extra | {
        "id": of.id,
        "interface": of.interface,
        "region_id": of.region_id,
        "region": of.region_id,
        "service_id": of.service_id,
        "url": of.url,
        "enabled": of.enabled,
        "links": _self(ctx, "endpoints", of.id),
    }


def region(ctx: RequestContext, of: Region) -> View:
    return of.extra | {
        "id": of.id,
        "description": of.description,
        "parent_region_id": of.parent_region_id,
        "links": _self(ctx, "regions", of.id),
    }


def _self(ctx: RequestContext, collection: str, id_: str) -> dict[str, str]:
    return {"self": f"{base(ctx)}/{collection}/{id_}"}


def collection(ctx: RequestContext, name: str, views: list[View], path: str, next_: str | None = None) -> View:
    """A list as Keystone wraps it. path: below /v3."""
    return {name: views, "links": {"next": next_, "self": f"{base(ctx)}/{path}", "previous": None}}


async def page(
    ctx: RequestContext,
    listing: Listing[T],
    name: str,
    view: Callable[[RequestContext, T], View],
    query: Params,
    where: list[tuple[str, str, Any]],
    path: str | None = None,
) -> View:
    """One page of a listing: all of it, unless the caller says `limit`. Raises: Invalid."""
    keys = frozenset({"id", "name", "type"} & set(listing.table.c.keys()))
    paging = Paging.of(query, keys=keys, max_limit=MOST, default_dir="asc")
    rows = await listing.page(ctx.db, where, sort=paging.sort, marker=paging.marker, limit=paging.limit)
    path = path or name
    further = None
    if len(rows) == paging.limit:
        further = next_link(f"{base(ctx)}/{path}", query, rows[-1].id, paging.limit)  # type: ignore[attr-defined]
    return collection(ctx, name, [view(ctx, row) for row in rows], path, further)


def filters(**given: Any) -> list[tuple[str, str, Any]]:
    """Equality conditions for those that are not None."""
    return [(name, "eq", value) for name, value in given.items() if value is not None]
