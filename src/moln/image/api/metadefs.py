"""/v2/metadefs: namespaces and what they hold (metadefs api-ref)."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import falcon.asgi

from moln.image.api import metadef_bodies as bodies
from moln.image.api.bodies import to_limit
from moln.image.api.faults import SERVICE
from moln.image.api.metadef_bodies import AssociationBody, ObjectBody, TagBody, TagsBody, to
from moln.image.model.metadefs import What
from moln.image.ops import metadefs as ops
from moln.kernel.clock import iso
from moln.kernel.context import RequestContext
from moln.kernel.errors import NotFound
from moln.kernel.http import Params, Routes

routes = Routes(SERVICE)
ROOT = "/v2/metadefs/namespaces"
ONE = ROOT + "/{namespace_name}"


@routes.post(ROOT, status=201)
async def create_namespace(ctx: RequestContext, body: dict) -> dict[str, Any]:  # type: ignore[type-arg]
    return bodies.namespace_view(await ops.create(ctx, bodies.to_spec(body)))


@routes.get(ROOT)
async def list_namespaces(ctx: RequestContext, query: Params) -> dict[str, Any]:
    limit = to_limit(query, ctx.settings.image.page)
    last = {name: values[-1] for name, values in query.items()}
    where, sort = bodies.to_namespace_filters(last), bodies.to_sort(last, {"created_at", "updated_at", "namespace"})
    found = await ops.index(ctx, where, sort=sort, marker=last.get("marker"), limit=limit) if limit else []
    rest = [(name, value) for name, value in last.items() if name != "marker"]
    answer: dict[str, Any] = {
        "namespaces": [bodies.namespace_view(held) for held in found],
        "first": ROOT + (f"?{urlencode(rest)}" if rest else ""),
        "schema": "/v2/schemas/metadefs/namespaces",
    }
    if found and len(found) == limit:
        answer["next"] = f"{ROOT}?{urlencode([*rest, ('marker', found[-1].namespace.namespace)])}"
    return answer


@routes.get(ONE)
async def show_namespace(ctx: RequestContext, namespace_name: str, query: Params) -> dict[str, Any]:
    held = await ops.show(ctx, namespace_name)
    return bodies.namespace_view(held, query.get("resource_type", [None])[-1])


@routes.put(ONE)
async def update_namespace(ctx: RequestContext, namespace_name: str, body: dict) -> dict[str, Any]:  # type: ignore[type-arg]
    return bodies.namespace_view(await ops.update(ctx, namespace_name, bodies.to_spec(body)))


@routes.delete(ONE)
async def delete_namespace(ctx: RequestContext, namespace_name: str) -> None:
    await ops.delete(ctx, namespace_name)


@routes.post(ONE + "/objects", status=201)
async def create_object(ctx: RequestContext, namespace_name: str, body: dict) -> dict[str, Any]:  # type: ignore[type-arg]
    asked = to(ObjectBody, body)
    return bodies.object_view(await ops.add_item(ctx, namespace_name, What.OBJECT, asked.name, asked))


@routes.get(ONE + "/objects")
async def list_objects(ctx: RequestContext, namespace_name: str, query: Params) -> dict[str, Any]:
    found = bodies.page_of(await ops.list_items(ctx, namespace_name, What.OBJECT), query)
    return {"objects": [bodies.object_view(item) for item in found], "schema": "v2/schemas/metadefs/objects"}


@routes.delete(ONE + "/objects")
async def delete_objects(ctx: RequestContext, namespace_name: str) -> None:
    await ops.delete_items(ctx, namespace_name, What.OBJECT)


@routes.get(ONE + "/objects/{object_name}")
async def show_object(ctx: RequestContext, namespace_name: str, object_name: str) -> dict[str, Any]:
    return bodies.object_view(await ops.show_item(ctx, namespace_name, What.OBJECT, object_name))


@routes.put(ONE + "/objects/{object_name}")
async def update_object(ctx: RequestContext, namespace_name: str, object_name: str, body: dict) -> dict[str, Any]:  # type: ignore[type-arg]
    asked = to(ObjectBody, body)
    return bodies.object_view(await ops.update_item(ctx, namespace_name, What.OBJECT, object_name, asked.name, asked))


@routes.delete(ONE + "/objects/{object_name}")
async def delete_object(ctx: RequestContext, namespace_name: str, object_name: str) -> None:
    await ops.delete_item(ctx, namespace_name, What.OBJECT, object_name)


@routes.post(ONE + "/properties", status=201)
async def create_property(ctx: RequestContext, namespace_name: str, body: dict) -> dict[str, Any]:  # type: ignore[type-arg]
    name, asked = bodies.to_property(body)
    return bodies.property_view(await ops.add_item(ctx, namespace_name, What.PROPERTY, name, asked))


@routes.get(ONE + "/properties")
async def list_properties(ctx: RequestContext, namespace_name: str) -> dict[str, Any]:
    return {"properties": bodies.properties_view(await ops.list_items(ctx, namespace_name, What.PROPERTY))}


@routes.delete(ONE + "/properties")
async def delete_properties(ctx: RequestContext, namespace_name: str) -> None:
    await ops.delete_items(ctx, namespace_name, What.PROPERTY)


@routes.get(ONE + "/properties/{property_name}")
async def show_property(ctx: RequestContext, namespace_name: str, property_name: str, query: Params) -> dict[str, Any]:
    """With `resource_type` the name is as it is on resources of that type."""
    kind = query.get("resource_type", [""])[-1]
    if kind:
        prefix = await ops.prefix_of(ctx, namespace_name, kind)
        if not prefix or not property_name.startswith(prefix):
            raise NotFound(f"Property {property_name[:80]} does not start with the expected resource type association prefix of '{prefix}'.")
        property_name = property_name.removeprefix(prefix)
    return bodies.property_view(await ops.show_item(ctx, namespace_name, What.PROPERTY, property_name))


@routes.put(ONE + "/properties/{property_name}")
async def update_property(ctx: RequestContext, namespace_name: str, property_name: str, body: dict) -> dict[str, Any]:  # type: ignore[type-arg]
    name, asked = bodies.to_property(body)
    return bodies.property_view(await ops.update_item(ctx, namespace_name, What.PROPERTY, property_name, name, asked))


@routes.delete(ONE + "/properties/{property_name}")
async def delete_property(ctx: RequestContext, namespace_name: str, property_name: str) -> None:
    await ops.delete_item(ctx, namespace_name, What.PROPERTY, property_name)


@routes.post(ONE + "/tags", status=201)
async def create_tags(ctx: RequestContext, namespace_name: str, body: dict, request: falcon.asgi.Request) -> dict[str, Any]:  # type: ignore[type-arg]
    """They take the place of the namespace's tags, unless X-Openstack-Append says otherwise."""
    names = [tag.name for tag in to(TagsBody, body).tags]
    append = (request.get_header("X-Openstack-Append") or "").lower() in ("true", "1", "yes", "on", "t", "y")
    await ops.set_tags(ctx, namespace_name, names, append=append)
    return {"tags": [{"name": name} for name in names]}


@routes.get(ONE + "/tags")
async def list_tags(ctx: RequestContext, namespace_name: str, query: Params) -> dict[str, Any]:
    found = bodies.page_of(await ops.list_items(ctx, namespace_name, What.TAG), query)
    return {"tags": [{"name": item.name} for item in found]}


@routes.delete(ONE + "/tags")
async def delete_tags(ctx: RequestContext, namespace_name: str) -> None:
    await ops.delete_items(ctx, namespace_name, What.TAG)


@routes.post(ONE + "/tags/{tag_name}", status=201)
async def create_tag(ctx: RequestContext, namespace_name: str, tag_name: str) -> dict[str, Any]:
    asked = to(TagBody, {"name": tag_name})
    return bodies.tag_view(await ops.add_item(ctx, namespace_name, What.TAG, asked.name, asked))


@routes.get(ONE + "/tags/{tag_name}")
async def show_tag(ctx: RequestContext, namespace_name: str, tag_name: str) -> dict[str, Any]:
    return bodies.tag_view(await ops.show_item(ctx, namespace_name, What.TAG, tag_name))


@routes.put(ONE + "/tags/{tag_name}")
async def update_tag(ctx: RequestContext, namespace_name: str, tag_name: str, body: dict) -> dict[str, Any]:  # type: ignore[type-arg]
    asked = to(TagBody, body)
    return bodies.tag_view(await ops.update_item(ctx, namespace_name, What.TAG, tag_name, asked.name, asked))


@routes.delete(ONE + "/tags/{tag_name}")
async def delete_tag(ctx: RequestContext, namespace_name: str, tag_name: str) -> None:
    await ops.delete_item(ctx, namespace_name, What.TAG, tag_name)


@routes.post(ONE + "/resource_types", status=201)
async def create_association(ctx: RequestContext, namespace_name: str, body: dict) -> dict[str, Any]:  # type: ignore[type-arg]
    asked = to(AssociationBody, body)
    return bodies.association_view(await ops.add_item(ctx, namespace_name, What.RESOURCE_TYPE, asked.name, asked))


@routes.get(ONE + "/resource_types")
async def list_associations(ctx: RequestContext, namespace_name: str) -> dict[str, Any]:
    found = await ops.list_items(ctx, namespace_name, What.RESOURCE_TYPE)
    return {"resource_type_associations": [bodies.association_view(item) for item in found]}


@routes.delete(ONE + "/resource_types/{name}")
async def delete_association(ctx: RequestContext, namespace_name: str, name: str) -> None:
    await ops.delete_item(ctx, namespace_name, What.RESOURCE_TYPE, name)


@routes.get("/v2/metadefs/resource_types")
async def list_resource_types(ctx: RequestContext) -> dict[str, Any]:
    found = await ops.resource_types(ctx)
    return {"resource_types": [{"name": t.name, "created_at": iso(t.created_at), "updated_at": iso(t.updated_at)} for t in found]}
