"""/flavors: sizes, their extra specs, and who may use private ones."""

from __future__ import annotations

import re
from typing import Annotated, Any

from msgspec import UNSET, Meta, UnsetType, field

from moln.compute.api.routes import routes
from moln.compute.api.shapes import PositiveSize, Size, Switch, check_query, links, more, switch
from moln.compute.model import extra_specs
from moln.compute.model.flavors import EXTRA_SPEC_KEY, Flavor
from moln.compute.ops import flavors as ops
from moln.identity.ops import projects
from moln.kernel.context import RequestContext
from moln.kernel.db.listing import Where
from moln.kernel.errors import Invalid, NotFound
from moln.kernel.http import Body, Paging, Params, Reply, since, until

SORT = {
    "created_at": "created_at", "description": "description", "ephemeral_gb": "ephemeral_gib", "flavorid": "id", "id": "rowid",
    "is_public": "is_public", "memory_mb": "ram_mib", "name": "name", "root_gb": "disk_gib", "rxtx_factor": "rxtx_factor",
    "swap": "swap_mib", "updated_at": "updated_at", "vcpus": "vcpus", "disabled": "rowid", "vcpu_weight": "rowid",
}  # fmt: skip
_ID = re.compile(r"^(?! )[a-zA-Z0-9. _-]{1,255}(?<! )$")
Description = Annotated[str, Meta(max_length=65535)] | None


class FlavorCreate(Body, root="flavor", lax=True):
    name: Annotated[str, Meta(min_length=1, max_length=255)]
    ram: PositiveSize
    vcpus: PositiveSize
    disk: Size
    id: str | int | float | None = None
    ephemeral: Size = field(name="OS-FLV-EXT-DATA:ephemeral", default=0)
    swap: Size = 0
    is_public: Switch = field(name="os-flavor-access:is_public", default=True)
    rxtx_factor: Annotated[Annotated[float, Meta(gt=0, le=3.40282e38)] | UnsetType, until("2.101")] = UNSET
    description: Annotated[Description | UnsetType, since("2.55")] = UNSET


class FlavorUpdate(Body, root="flavor"):
    description: Description


class Tenant(Body, root="addTenantAccess"):
    tenant: Annotated[str, Meta(min_length=1, max_length=255)]


class NoTenant(Body, root="removeTenantAccess"):
    tenant: Annotated[str, Meta(min_length=1, max_length=255)]


def view(ctx: RequestContext, flavor: Flavor) -> dict[str, Any]:
    """A flavor in full."""
    shown: dict[str, Any] = {
        "id": flavor.id, "name": flavor.name, "ram": flavor.ram_mib, "disk": flavor.disk_gib, "vcpus": flavor.vcpus,
        "swap": flavor.swap_mib or (0 if ctx.version >= (2, 75) else ""), "OS-FLV-EXT-DATA:ephemeral": flavor.ephemeral_gib,
        "os-flavor-access:is_public": flavor.is_public, "links": links(ctx, "flavors", flavor.id),
    }  # fmt: skip
    if ctx.version < (2, 102):
        shown |= {"OS-FLV-DISABLED:disabled": False, "rxtx_factor": float(flavor.rxtx_factor)}
    if ctx.version >= (2, 55):
        shown["description"] = flavor.description
    if ctx.version >= (2, 61) and ctx.allows("compute", f"{ops.SPECS}:index", {"project_id": ctx.project_id}):
        shown["extra_specs"] = flavor.extra_specs
    return shown


def _brief(ctx: RequestContext, flavor: Flavor) -> dict[str, Any]:
    shown = {"id": flavor.id, "name": flavor.name, "links": links(ctx, "flavors", flavor.id)}
    return shown | ({"description": flavor.description} if ctx.version >= (2, 55) else {})


def _whole(query: Params, name: str) -> int | None:
    text = query.get(name, [None])[-1]
    if text is None:
        return None
    if not re.fullmatch(r"-?[0-9]{1,12}", text):
        raise Invalid(f"Invalid {name} filter [{text[:64]}]", field=name)
    return int(text)


def _is_public(query: Params) -> bool | None:
    """None: both kinds. Raises: Invalid."""
    text = query.get("is_public", ["true"])[-1].lower()
    if text == "none":
        return None
    if text not in ("true", "1", "t", "on", "y", "yes", "false", "0", "f", "off", "n", "no"):
        raise Invalid(f"Invalid is_public filter [{text[:64]}]", field="is_public")
    return switch(text) or text in ("t", "y")


async def _search(ctx: RequestContext, query: Params) -> tuple[list[Flavor], int]:
    known = {"limit", "marker", "is_public", "minRam", "minDisk", "sort_key", "sort_dir"}
    check_query(ctx, query, known | ({"name"} if ctx.version >= (2, 102) else set()))
    paging = Paging.of(query, keys=set(SORT), default=(("flavorid", "asc"),), default_dir="asc")
    where: list[Where] = []
    for name, column in (("minRam", "ram_mib"), ("minDisk", "disk_gib")):
        if (least := _whole(query, name)) is not None:
            where.append((column, "ge", least))
    if ctx.version >= (2, 102) and "name" in query:
        where.append(("name", "like", query["name"][-1]))
    sort = [(SORT[key], direction) for key, direction in paging.sort]
    found = await ops.search(
        ctx, is_public=_is_public(query) if ctx.is_admin else True, where=where, sort=sort, marker=paging.marker, limit=paging.limit
    )
    return found, paging.limit


async def _list(ctx: RequestContext, query: Params, collection: str, shape: Any) -> dict[str, Any]:
    found, limit = await _search(ctx, query)
    body: dict[str, Any] = {"flavors": [shape(ctx, f) for f in found]}
    if following := more(ctx, collection, query, [f.id for f in found], limit):
        body["flavors_links"] = following
    return body


@routes.get("/v2.1/flavors")
async def list_flavors(ctx: RequestContext, query: Params) -> dict[str, Any]:
    return await _list(ctx, query, "flavors", _brief)


@routes.get("/v2.1/flavors/detail")
async def list_flavors_detail(ctx: RequestContext, query: Params) -> dict[str, Any]:
    return await _list(ctx, query, "flavors/detail", view)


@routes.post("/v2.1/flavors")
async def create_flavor(ctx: RequestContext, body: FlavorCreate) -> dict[str, Any]:
    id = ctx.new_id() if body.id is None else str(body.id)
    if not _ID.match(id):
        raise Invalid(f"Invalid input for field/attribute id. Value: {id[:64]}. It may have letters, digits, '.', ' ', '_' and '-'.",
                      field="id")  # fmt: skip
    if body.name != body.name.strip() or not body.name.isprintable():
        raise Invalid(f"Invalid input for field/attribute name. Value: {body.name[:64]!r}. An invalid 'name' value was provided. The "
                      "name must be: printable characters. Can not start or end with whitespace.", field="name")  # fmt: skip
    made = await ops.create(ctx, Flavor(
        id, body.name, body.vcpus, body.ram, body.disk, body.ephemeral, body.swap, switch(body.is_public), body.description or None, {},
        str(float(body.rxtx_factor)) if body.rxtx_factor is not UNSET else "1.0", ctx.now_us,
    ))  # fmt: skip
    return {"flavor": view(ctx, made)}


@routes.get("/v2.1/flavors/{flavor_id}")
async def show_flavor(ctx: RequestContext, flavor_id: str, query: Params) -> dict[str, Any]:
    check_query(ctx, query, (), strict_since=(2, 102))
    return {"flavor": view(ctx, await ops.show(ctx, flavor_id))}


@routes.put("/v2.1/flavors/{flavor_id}", since="2.55")
async def update_flavor(ctx: RequestContext, flavor_id: str, body: FlavorUpdate) -> dict[str, Any]:
    return {"flavor": view(ctx, await ops.describe(ctx, flavor_id, body.description))}


@routes.delete("/v2.1/flavors/{flavor_id}", status=202)
async def delete_flavor(ctx: RequestContext, flavor_id: str) -> None:
    await ops.remove(ctx, flavor_id)


def _access(flavor_id: str, projects: list[str]) -> dict[str, Any]:
    return {"flavor_access": [{"flavor_id": flavor_id, "tenant_id": project} for project in projects]}


@routes.get("/v2.1/flavors/{flavor_id}/os-flavor-access")
async def list_flavor_access(ctx: RequestContext, flavor_id: str) -> dict[str, Any]:
    return _access(flavor_id, await ops.projects(ctx, flavor_id))


async def check_project(ctx: RequestContext, project_id: str) -> None:
    """Raises: Invalid, unless identity knows the project."""
    try:
        await projects.get(ctx.cloud.system_context(ctx.request_id), project_id)
    except NotFound:
        raise Invalid(f"Project ID {project_id} is not a valid project.") from None


@routes.post("/v2.1/flavors/{flavor_id}/action", action="addTenantAccess")
async def add_tenant_access(ctx: RequestContext, flavor_id: str, body: Tenant) -> dict[str, Any]:
    ctx.require("compute", f"{ops.ACCESS}:add_tenant_access", {})
    await check_project(ctx, body.tenant)
    return _access(flavor_id, await ops.give(ctx, flavor_id, body.tenant, public_refused=ctx.version >= (2, 7)))


@routes.post("/v2.1/flavors/{flavor_id}/action", action="removeTenantAccess")
async def remove_tenant_access(ctx: RequestContext, flavor_id: str, body: NoTenant) -> dict[str, Any]:
    return _access(flavor_id, await ops.take(ctx, flavor_id, body.tenant))


@routes.get("/v2.1/flavors/{flavor_id}/os-extra_specs")
async def list_extra_specs(ctx: RequestContext, flavor_id: str) -> dict[str, Any]:
    return {"extra_specs": await ops.specs(ctx, flavor_id)}


def _specs(ctx: RequestContext, body: dict[str, Any]) -> dict[str, str]:
    """Raises: Invalid, for a key or value that cannot be one, and since 2.86 for what a known key cannot be."""
    found = {}
    for key, value in body.items():
        if not EXTRA_SPEC_KEY.match(key):
            raise Invalid(f"Additional properties are not allowed ({key[:64]!r} was unexpected)", field=key)
        if isinstance(value, bool) or not isinstance(value, str | int | float) or len(str(value)) > 255:
            raise Invalid(f"Invalid input for field/attribute {key}. The value must be a number or a string of at most 255 characters.",
                          field=key)  # fmt: skip
        found[key] = str(value)
        if ctx.version >= (2, 86):
            extra_specs.check(key, found[key])
    return found


@routes.post("/v2.1/flavors/{flavor_id}/os-extra_specs")
async def create_extra_specs(ctx: RequestContext, flavor_id: str, body: dict) -> dict[str, Any]:  # type: ignore[type-arg]
    if set(body) != {"extra_specs"} or not isinstance(body["extra_specs"], dict):
        raise Invalid("'extra_specs' is a required property, and the only one", field="extra_specs")
    await ops.set_specs(ctx, flavor_id, _specs(ctx, body["extra_specs"]))
    return body


@routes.get("/v2.1/flavors/{flavor_id}/os-extra_specs/{key}")
async def show_extra_spec(ctx: RequestContext, flavor_id: str, key: str) -> dict[str, Any]:
    found = await ops.specs(ctx, flavor_id, "show")
    if key not in found:
        raise NotFound(f"Flavor {flavor_id} has no extra specs with key {key}.")
    return {key: found[key]}


@routes.put("/v2.1/flavors/{flavor_id}/os-extra_specs/{key}")
async def update_extra_spec(ctx: RequestContext, flavor_id: str, key: str, body: dict) -> dict[str, Any]:  # type: ignore[type-arg]
    if len(body) != 1:
        raise Invalid("The body must have one extra spec.")
    wanted = _specs(ctx, body)
    if key not in wanted:
        raise Invalid("Request body and URI mismatch", field=key)
    await ops.set_specs(ctx, flavor_id, wanted, "update")
    return body


@routes.delete("/v2.1/flavors/{flavor_id}/os-extra_specs/{key}", status=200)
async def delete_extra_spec(ctx: RequestContext, flavor_id: str, key: str) -> Reply:
    await ops.remove_spec(ctx, flavor_id, key)
    return Reply()
