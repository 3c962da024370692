"""/resource_providers, and their aggregates and traits."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from moln.kernel.context import RequestContext
from moln.kernel.errors import Invalid
from moln.kernel.http import Body, Params, Reply, since
from moln.kernel.http.bodies import decode
from moln.placement.api.routes import answer, as_uuid, check_query, member_of, query_uuid, resources, routes, traits
from moln.placement.model.providers import Provider
from moln.placement.ops import providers as ops
from moln.placement.ops.filters import ProviderFilter

Name = Annotated[str, Meta(max_length=200)]
Trait = Annotated[str, Meta(min_length=1, max_length=255)]


class ProviderCreate(Body):
    name: Name
    uuid: str | UnsetType = UNSET
    parent_provider_uuid: Annotated[str | None | UnsetType, since("1.14")] = UNSET


class ProviderUpdate(Body):
    name: Name
    parent_provider_uuid: Annotated[str | None | UnsetType, since("1.14")] = UNSET


class TraitsUpdate(Body):
    traits: list[Trait]
    resource_provider_generation: int


class AggregatesUpdate(Body):
    aggregates: list[str]
    resource_provider_generation: int


RELATIONS = (("inventories", (1, 0)), ("usages", (1, 0)), ("aggregates", (1, 1)), ("traits", (1, 6)), ("allocations", (1, 11)))
_strings = msgspec.json.Decoder(list[str])


def _url(id: str) -> str:
    return f"/placement/resource_providers/{id}"


def view(ctx: RequestContext, p: Provider) -> dict[str, Any]:
    url = _url(p.id)
    links = [{"rel": "self", "href": url}]
    links += [{"rel": rel, "href": f"{url}/{rel}"} for rel, first in RELATIONS if ctx.version >= first]
    shown: dict[str, Any] = {"uuid": p.id, "name": p.name, "generation": p.generation, "links": links}
    if ctx.version >= (1, 14):
        shown |= {"parent_provider_uuid": p.parent_id, "root_provider_uuid": p.root_id}
    return shown


KNOWN = {"name": (1, 0), "uuid": (1, 0), "member_of": (1, 3), "resources": (1, 4), "in_tree": (1, 14), "required": (1, 18)}


@routes.get("/resource_providers")
async def list_providers(ctx: RequestContext, query: Params) -> Reply:
    check_query(ctx, query, KNOWN)
    last = {name: values[-1] for name, values in query.items()}
    needed, forbidden = traits(ctx, query.get("required", []))
    aggregates, not_aggregates = member_of(ctx, query.get("member_of", []))
    found = await ops.search(ctx, ProviderFilter(
        id=query_uuid(query, "uuid"), name=last.get("name"), in_tree=query_uuid(query, "in_tree"),
        resources=resources(last["resources"]) if "resources" in last else {},
        required=needed, forbidden=forbidden, member_of=aggregates, forbidden_aggregates=not_aggregates,
    ))  # fmt: skip
    newest = max((p.updated_at for p in found), default=None)
    return answer(ctx, {"resource_providers": [view(ctx, p) for p in found]}, modified_us=newest)


@routes.post("/resource_providers")
async def create_provider(ctx: RequestContext, body: ProviderCreate) -> Reply:
    id = as_uuid(body.uuid, "uuid") if body.uuid else ctx.new_id()
    parent = body.parent_provider_uuid or None
    made = await ops.create(ctx, id=id, name=body.name, parent_id=as_uuid(parent, "parent_provider_uuid") if parent else None)
    if ctx.version < (1, 20):
        return answer(ctx, status=201, location=_url(id))
    return answer(ctx, view(ctx, made), location=_url(id), modified_us=made.updated_at)


@routes.get("/resource_providers/{uuid}")
async def show_provider(ctx: RequestContext, uuid: str) -> Reply:
    found = await ops.show(ctx, uuid)
    return answer(ctx, view(ctx, found), modified_us=found.updated_at)


@routes.put("/resource_providers/{uuid}")
async def update_provider(ctx: RequestContext, uuid: str, body: ProviderUpdate) -> Reply:
    parent = body.parent_provider_uuid or None
    changed = await ops.update(
        ctx, uuid, name=body.name, parent_id=as_uuid(parent, "parent_provider_uuid") if parent else None,
        set_parent=body.parent_provider_uuid is not UNSET, may_move=ctx.version >= (1, 37),
    )  # fmt: skip
    return answer(ctx, view(ctx, changed), modified_us=changed.updated_at)


@routes.delete("/resource_providers/{uuid}")
async def delete_provider(ctx: RequestContext, uuid: str) -> None:
    await ops.remove(ctx, uuid)


@routes.get("/resource_providers/{uuid}/traits", since="1.6")
async def list_provider_traits(ctx: RequestContext, uuid: str) -> Reply:
    found, held = await ops.traits(ctx, uuid)
    return answer(ctx, {"traits": held, "resource_provider_generation": found.generation})


@routes.put("/resource_providers/{uuid}/traits", since="1.6")
async def update_provider_traits(ctx: RequestContext, uuid: str, body: TraitsUpdate) -> Reply:
    found = await ops.set_traits(ctx, uuid, set(body.traits), body.resource_provider_generation)
    return answer(ctx, {"traits": sorted(set(body.traits)), "resource_provider_generation": found.generation})


@routes.delete("/resource_providers/{uuid}/traits", since="1.6")
async def delete_provider_traits(ctx: RequestContext, uuid: str) -> None:
    await ops.clear_traits(ctx, uuid)


def _aggregates(ctx: RequestContext, found: Provider, held: list[str]) -> Reply:
    body: dict[str, Any] = {"aggregates": held}
    if ctx.version >= (1, 19):
        body["resource_provider_generation"] = found.generation
    return answer(ctx, body)


def _unique(values: list[str]) -> list[str]:
    ids = [as_uuid(v, "aggregates") for v in values]
    if len(set(ids)) < len(ids):
        raise Invalid("JSON does not validate: aggregates has non-unique elements", field="aggregates")
    return ids


@routes.get("/resource_providers/{uuid}/aggregates", since="1.1")
async def list_aggregates(ctx: RequestContext, uuid: str) -> Reply:
    return _aggregates(ctx, *await ops.aggregates(ctx, uuid))


@routes.put("/resource_providers/{uuid}/aggregates", since="1.1")
async def update_aggregates(ctx: RequestContext, uuid: str, body: bytes) -> Reply:
    await ops.require(ctx, uuid, "aggregates:update")
    if ctx.version >= (1, 19):
        wish = AggregatesUpdate.parse(body)
        return _aggregates(ctx, *await ops.set_aggregates(ctx, uuid, _unique(wish.aggregates), wish.resource_provider_generation))
    return _aggregates(ctx, *await ops.set_aggregates(ctx, uuid, _unique(decode(_strings, body)), None))
