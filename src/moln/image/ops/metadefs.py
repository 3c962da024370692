"""What a caller may do with metadata definitions (metadefs api-ref). Everybody reads what is public; administrators write."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct

from moln.image.model.metadefs import Association, Definition, Namespace, Object, Property, ResourceType, Tag, What
from moln.image.ops.access import SERVICE
from moln.image.store import metadefs as store
from moln.kernel.context import RequestContext
from moln.kernel.db import Reader, Transaction
from moln.kernel.errors import Conflict, Forbidden, NotFound

Item = Object | Property | Tag | Association
WORDS = {What.OBJECT: "object", What.PROPERTY: "property", What.TAG: "tag", What.RESOURCE_TYPE: "resource type"}
ADD = {
    What.OBJECT: "add_metadef_object", What.PROPERTY: "add_metadef_property", What.TAG: "add_metadef_tag",
    What.RESOURCE_TYPE: "add_metadef_resource_type_association",
}  # fmt: skip
GET = {What.OBJECT: "get_metadef_object", What.PROPERTY: "get_metadef_property", What.TAG: "get_metadef_tag"}
LIST = {
    What.OBJECT: "get_metadef_objects", What.PROPERTY: "get_metadef_properties", What.TAG: "get_metadef_tags",
    What.RESOURCE_TYPE: "list_metadef_resource_types",
}  # fmt: skip
MODIFY = {What.OBJECT: "modify_metadef_object", What.PROPERTY: "modify_metadef_property", What.TAG: "modify_metadef_tag"}
DELETE = {
    What.OBJECT: "delete_metadef_object", What.PROPERTY: "remove_metadef_property", What.TAG: "delete_metadef_tag",
    What.RESOURCE_TYPE: "remove_metadef_resource_type_association",
}  # fmt: skip
DELETE_ALL = {What.OBJECT: (), What.PROPERTY: (), What.TAG: ("delete_metadef_tags",)}


class NamespaceSpec(Struct, frozen=True):
    """What a namespace is to be, with what it holds."""

    namespace: str
    display_name: str | None = None
    description: str | None = None
    visibility: str = "private"
    protected: bool = False
    owner: str | None = None
    items: Sequence[tuple[What, str, Item]] = ()


class Held(Struct, frozen=True):
    """A namespace with what it holds, by kind."""

    namespace: Namespace
    items: dict[What, list[Definition]]


def require(ctx: RequestContext, rule: str, namespace: Namespace | None = None) -> None:
    """Raises: Forbidden, in Glance's words."""
    known = {"project_id": namespace.project_id, "visibility": namespace.visibility} if namespace else {"project_id": ctx.project_id, "visibility": ""}
    if not ctx.allows(SERVICE, rule, known):
        raise Forbidden(f"You are not authorized to complete {rule} action.")


async def get(db: Reader, ctx: RequestContext, name: str) -> Namespace:
    """The namespace, if the caller may know of it. Raises: NotFound."""
    found = await store.find(db, name)
    known = found is not None and (ctx.is_admin or found.visibility == "public" or (ctx.project_id and found.project_id == ctx.project_id))
    if found is None or not known:
        raise NotFound(f"Namespace {name[:80]} not found")
    return found


async def index(
    ctx: RequestContext, where: Sequence[tuple[str, str, Any]], *, sort: Sequence[tuple[str, str]], marker: str | None, limit: int
) -> list[Held]:
    """One page, each with its resource types. Raises: Forbidden, Invalid."""
    require(ctx, "get_metadef_namespaces")
    require(ctx, "list_metadef_resource_types")
    if not ctx.is_admin:
        where = [*where, ("known_to", "eq", ctx.project_id or "")]
    found = await store.LISTING.page(ctx.db, where, sort=sort, marker=marker, limit=limit)
    return [Held(n, {What.RESOURCE_TYPE: await store.held(ctx.db, n.namespace, What.RESOURCE_TYPE)}) for n in found]


async def show(ctx: RequestContext, name: str) -> Held:
    """Raises: NotFound, Forbidden."""
    namespace = await get(ctx.db, ctx, name)
    if not ctx.allows(SERVICE, "get_metadef_namespace", {"project_id": namespace.project_id, "visibility": namespace.visibility}):
        raise NotFound(f"Namespace {name[:80]} not found")
    for what in What:
        require(ctx, LIST[what], namespace)
    return Held(namespace, {what: await store.held(ctx.db, name, what) for what in What})


async def create(ctx: RequestContext, spec: NamespaceSpec) -> Held:
    """A namespace with all that is said to be in it, or nothing. Raises: Forbidden, Conflict."""
    require(ctx, "add_metadef_namespace")
    for what in {what for what, _, _ in spec.items}:
        require(ctx, ADD[what])
    return await ctx.db.write(create_in, ctx, spec)


async def create_in(tx: Transaction, ctx: RequestContext, spec: NamespaceSpec) -> Held:
    now = ctx.now_us
    owner = spec.owner if spec.owner is not None else ctx.project_id
    made = Namespace(spec.namespace, spec.display_name, spec.description, spec.visibility, spec.protected, owner, now, now)
    if not await store.add(tx, made):
        raise Conflict(f"The metadata definition namespace={spec.namespace} already exists.")
    items: dict[What, list[Definition]] = {}
    for what, name, item in spec.items:
        items.setdefault(what, []).append(await put_in(tx, ctx, spec.namespace, what, name, item))
    return Held(made, items)


async def bootstrap_in(tx: Transaction, ctx: RequestContext, specs: Sequence[NamespaceSpec], types: Sequence[str]) -> None:
    """The catalogue that a cloud begins with; once there are resource types it is its operators' to change."""
    if await store.resource_types(tx):
        return
    for name in types:
        await store.add_type(tx, ResourceType(name, ctx.now_us, ctx.now_us))
    for spec in specs:
        await create_in(tx, ctx, spec)


async def update(ctx: RequestContext, name: str, spec: NamespaceSpec) -> Held:
    """Raises: NotFound, Forbidden, Conflict."""
    return Held(await ctx.db.write(update_in, ctx, name, spec), {})


async def update_in(tx: Transaction, ctx: RequestContext, name: str, spec: NamespaceSpec) -> Namespace:
    old = await get(tx, ctx, name)
    require(ctx, "modify_metadef_namespace", old)
    owner = spec.owner if spec.owner is not None else ctx.project_id
    new = Namespace(
        spec.namespace, spec.display_name, spec.description, spec.visibility, spec.protected, owner, old.created_at, ctx.now_us
    )
    if spec.namespace != name and await store.find(tx, spec.namespace):
        raise Conflict(f"The metadata definition namespace={spec.namespace} already exists.")
    await store.save(tx, name, new)
    return new


async def delete(ctx: RequestContext, name: str) -> None:
    """With all that it holds. Raises: NotFound, Forbidden."""
    await ctx.db.write(delete_in, ctx, name)


async def delete_in(tx: Transaction, ctx: RequestContext, name: str) -> None:
    namespace = await get(tx, ctx, name)
    require(ctx, "delete_metadef_namespace", namespace)
    check_unprotected(namespace)
    await store.remove(tx, name)


def check_unprotected(namespace: Namespace) -> None:
    """Raises: Forbidden."""
    if namespace.protected:
        raise Forbidden(f"Metadata definition namespace {namespace.namespace} is protected and cannot be deleted.")


async def put_in(tx: Transaction, ctx: RequestContext, namespace: str, what: What, name: str, item: Item) -> Definition:
    """Add one definition. Raises: Conflict."""
    made = Definition(namespace, what, name, msgspec.to_builtins(item), ctx.now_us, ctx.now_us)
    if not await store.add_item(tx, made):
        raise Conflict(f"A metadata definition {WORDS[what]} with name={name} already exists in namespace={namespace}.")
    return made


async def add_item(ctx: RequestContext, namespace: str, what: What, name: str, item: Item) -> Definition:
    """Raises: NotFound, Forbidden, Conflict."""
    return await ctx.db.write(add_item_in, ctx, namespace, what, name, item)


async def add_item_in(tx: Transaction, ctx: RequestContext, namespace: str, what: What, name: str, item: Item) -> Definition:
    require(ctx, ADD[what], await get(tx, ctx, namespace))
    return await put_in(tx, ctx, namespace, what, name, item)


async def set_tags(ctx: RequestContext, namespace: str, names: Sequence[str], *, append: bool) -> None:
    """The namespace's tags are these, or these and those that were there. Raises: NotFound, Forbidden, Conflict."""
    await ctx.db.write(set_tags_in, ctx, namespace, names, append=append)


async def set_tags_in(tx: Transaction, ctx: RequestContext, namespace: str, names: Sequence[str], *, append: bool) -> None:
    require(ctx, "add_metadef_tags", await get(tx, ctx, namespace))
    if not append:
        await store.remove_items(tx, namespace, What.TAG)
    for name in names:
        await put_in(tx, ctx, namespace, What.TAG, name, Tag(name))


async def list_items(ctx: RequestContext, namespace: str, what: What) -> list[Definition]:
    """Raises: NotFound, Forbidden."""
    require(ctx, LIST[what], await get(ctx.db, ctx, namespace))
    return await store.held(ctx.db, namespace, what)


async def show_item(ctx: RequestContext, namespace: str, what: What, name: str) -> Definition:
    """Raises: NotFound, Forbidden."""
    require(ctx, GET[what], await get(ctx.db, ctx, namespace))
    return await get_item(ctx.db, namespace, what, name)


async def get_item(db: Reader, namespace: str, what: What, name: str) -> Definition:
    """Raises: NotFound."""
    found = await store.find_item(db, namespace, what, name)
    if found is None:
        raise NotFound(f"The metadata definition {WORDS[what]} with name={name[:80]} was not found in namespace={namespace}.")
    return found


async def update_item(ctx: RequestContext, namespace: str, what: What, old: str, name: str, item: Item) -> Definition:
    """Raises: NotFound, Forbidden, Conflict."""
    return await ctx.db.write(update_item_in, ctx, namespace, what, old, name, item)


async def update_item_in(tx: Transaction, ctx: RequestContext, namespace: str, what: What, old: str, name: str, item: Item) -> Definition:
    require(ctx, MODIFY[what], await get(tx, ctx, namespace))
    found = await get_item(tx, namespace, what, old)
    made = Definition(namespace, what, name, msgspec.to_builtins(item), found.created_at, ctx.now_us)
    if name != old and await store.find_item(tx, namespace, what, name):
        raise Conflict(f"A metadata definition {WORDS[what]} with name={name} already exists in namespace={namespace}.")
    await store.save_item(tx, old, made)
    return made


async def delete_item(ctx: RequestContext, namespace: str, what: What, name: str) -> None:
    """Raises: NotFound, Forbidden."""
    await ctx.db.write(delete_item_in, ctx, namespace, what, name)


async def delete_item_in(tx: Transaction, ctx: RequestContext, namespace: str, what: What, name: str) -> None:
    found = await get(tx, ctx, namespace)
    require(ctx, DELETE[what], found)
    check_unprotected(found)
    await get_item(tx, namespace, what, name)
    await store.remove_items(tx, namespace, what, name)


async def delete_items(ctx: RequestContext, namespace: str, what: What) -> None:
    """All of a kind. Raises: NotFound, Forbidden."""
    await ctx.db.write(delete_items_in, ctx, namespace, what)


async def delete_items_in(tx: Transaction, ctx: RequestContext, namespace: str, what: What) -> None:
    found = await get(tx, ctx, namespace)
    for rule in ("delete_metadef_namespace", *DELETE_ALL[what]):
        require(ctx, rule, found)
    check_unprotected(found)
    await store.remove_items(tx, namespace, what)


async def resource_types(ctx: RequestContext) -> list[ResourceType]:
    """Raises: Forbidden."""
    require(ctx, "list_metadef_resource_types")
    return await store.resource_types(ctx.db)


async def prefix_of(ctx: RequestContext, namespace: str, resource_type: str) -> str:
    """What the namespace's properties begin with on this resource type. Raises: NotFound, Forbidden."""
    require(ctx, "get_metadef_resource_type", await get(ctx.db, ctx, namespace))
    found = await get_item(ctx.db, namespace, What.RESOURCE_TYPE, resource_type)
    return str(found.body.get("prefix", ""))


__all__ = ["Held", "NamespaceSpec", "create", "delete", "index", "show", "update"]
