"""Flavors: administrators make them, projects see the public ones and those they were given."""

from __future__ import annotations

from msgspec.structs import replace

from moln.compute.model.flavors import Flavor
from moln.compute.store import flavors as store
from moln.kernel.context import RequestContext
from moln.kernel.db import Duplicate, Reader, Transaction
from moln.kernel.db.listing import Where
from moln.kernel.errors import Conflict, NotFound

MANAGE = "os_compute_api:os-flavor-manage"
ACCESS = "os_compute_api:os-flavor-access"
SPECS = "os_compute_api:os-flavor-extra-specs"


async def for_boot(db: Reader, ctx: RequestContext, id: str) -> Flavor:
    """A flavor that the caller may use, with its extra specs. Raises: NotFound."""
    found = await _visible(db, ctx, id)
    return replace(found, extra_specs=(await store.specs(db, [found.id]))[found.id])


async def show(ctx: RequestContext, id: str) -> Flavor:
    """Raises: NotFound, for a private one of other projects too."""
    return await for_boot(ctx.db, ctx, id)


async def _visible(db: Reader, ctx: RequestContext, id: str) -> Flavor:
    found = await db.one(store.GET, id=id)
    private = found is not None and not found.is_public and not ctx.is_admin
    if found is None or (private and await db.one(store.HAS_ACCESS, id=id, project_id=ctx.project_id or "") is None):
        raise NotFound(f"Flavor {id} could not be found.")
    return found


async def search(ctx: RequestContext, *, is_public: bool | None, where: list[Where], sort: list[tuple[str, str]], marker: str | None,
                 limit: int | None) -> list[Flavor]:  # fmt: skip
    """A page. is_public: None for both kinds; only administrators see private ones that are not theirs. Raises: Invalid."""
    where = list(where)
    if not ctx.is_admin:
        where.append(("usable_by", "eq", ctx.project_id or ""))
    elif is_public is not None:
        where.append(("is_public", "eq", int(is_public)))
    found = await store.LIST.page(ctx.db, where, sort=sort, marker=marker, limit=limit)
    specs = await store.specs(ctx.db, [f.id for f in found])
    return [replace(f, extra_specs=specs[f.id]) for f in found]


async def create(ctx: RequestContext, flavor: Flavor) -> Flavor:
    """Raises: Conflict, when the id or the name is taken."""
    ctx.require("compute", f"{MANAGE}:create", {})
    return await ctx.db.write(_create_in, flavor)


async def _create_in(tx: Transaction, flavor: Flavor) -> Flavor:
    row = {f: getattr(flavor, f) for f in flavor.__struct_fields__ if f not in ("extra_specs", "rowid")}
    try:
        await tx.insert(store.flavors, row)
    except Duplicate as taken:
        if any(c.endswith(".id") for c in taken.columns):
            raise Conflict(f"Flavor with ID {flavor.id} already exists.") from None
        raise Conflict(f"Flavor with name {flavor.name} already exists.") from None
    return flavor


async def describe(ctx: RequestContext, id: str, description: str | None) -> Flavor:
    """Raises: NotFound."""
    ctx.require("compute", f"{MANAGE}:update", {})
    await ctx.db.write(_describe_in, id, description, ctx.now_us)
    return await show(ctx, id)


async def _describe_in(tx: Transaction, id: str, description: str | None, now: int) -> None:
    if not await tx.update(store.flavors, {"description": description, "updated_at": now}, id=id):
        raise NotFound(f"Flavor {id} could not be found.")


async def remove(ctx: RequestContext, id: str) -> None:
    """Servers keep what they were made with. Raises: NotFound."""
    ctx.require("compute", f"{MANAGE}:delete", {})
    await ctx.db.write(_remove_in, id)


async def _remove_in(tx: Transaction, id: str) -> None:
    if not await tx.delete(store.flavors, id=id):
        raise NotFound(f"Flavor {id} could not be found.")
    await tx.delete(store.extra_specs, flavor_id=id)
    await tx.delete(store.access, flavor_id=id)


async def specs(ctx: RequestContext, id: str, rule: str = "index") -> dict[str, str]:
    """Raises: NotFound."""
    ctx.require("compute", f"{SPECS}:{rule}", {"project_id": ctx.project_id})
    await _visible(ctx.db, ctx, id)
    return (await store.specs(ctx.db, [id]))[id]


async def set_specs(ctx: RequestContext, id: str, values: dict[str, str], rule: str = "create") -> None:
    """Add them, or change those there are. Raises: NotFound."""
    ctx.require("compute", f"{SPECS}:{rule}", {})
    await ctx.db.write(_set_specs_in, id, values)


async def _set_specs_in(tx: Transaction, id: str, values: dict[str, str]) -> None:
    if await tx.one(store.GET, id=id) is None:
        raise NotFound(f"Flavor {id} could not be found.")
    for key, value in values.items():
        if not await tx.insert(store.extra_specs, {"flavor_id": id, "key": key, "value": value}, if_absent=True):
            await tx.update(store.extra_specs, {"value": value}, flavor_id=id, key=key)


async def remove_spec(ctx: RequestContext, id: str, key: str) -> None:
    """Raises: NotFound."""
    ctx.require("compute", f"{SPECS}:delete", {})
    await ctx.db.write(_remove_spec_in, id, key)


async def _remove_spec_in(tx: Transaction, id: str, key: str) -> None:
    if await tx.one(store.GET, id=id) is None:
        raise NotFound(f"Flavor {id} could not be found.")
    if not await tx.delete(store.extra_specs, flavor_id=id, key=key):
        raise NotFound(f"Flavor {id} has no extra specs with key {key}.")


async def projects(ctx: RequestContext, id: str) -> list[str]:
    """Who may use a private flavor. Raises: NotFound, for a public one too."""
    ctx.require("compute", ACCESS, {})
    found = await _visible(ctx.db, ctx, id)
    if found.is_public:
        raise NotFound("Access list not available for public flavors.")
    return await ctx.db.all(store.PROJECTS, id=id)


async def give(ctx: RequestContext, id: str, project_id: str, *, public_refused: bool) -> list[str]:
    """Let a project use it. public_refused: since microversion 2.7. Raises: NotFound, Conflict."""
    ctx.require("compute", f"{ACCESS}:add_tenant_access", {})
    found = await _visible(ctx.db, ctx, id)
    if found.is_public and public_refused:
        raise Conflict("Can not add access to a public flavor.")
    return await ctx.db.write(_give_in, id, project_id)


async def _give_in(tx: Transaction, id: str, project_id: str) -> list[str]:
    if not await tx.insert(store.access, {"flavor_id": id, "project_id": project_id}, if_absent=True):
        raise Conflict(f"Flavor access already exists for flavor {id} and project {project_id} combination.")
    return await tx.all(store.PROJECTS, id=id)


async def take(ctx: RequestContext, id: str, project_id: str) -> list[str]:
    """Raises: NotFound."""
    ctx.require("compute", f"{ACCESS}:remove_tenant_access", {})
    await _visible(ctx.db, ctx, id)
    return await ctx.db.write(_take_in, id, project_id)


async def _take_in(tx: Transaction, id: str, project_id: str) -> list[str]:
    if not await tx.delete(store.access, flavor_id=id, project_id=project_id):
        raise NotFound(f"Flavor access not found for {id} / {project_id} combination.")
    return await tx.all(store.PROJECTS, id=id)
