"""/allocations, /resource_providers/{uuid}/allocations and /usages."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

from moln.kernel.context import RequestContext
from moln.kernel.errors import Invalid
from moln.kernel.http import Body, Params, Reply, since
from moln.placement.api.routes import answer, as_uuid, check_query, routes
from moln.placement.model.allocations import Wanted
from moln.placement.model.names import NAME
from moln.placement.ops import allocations as ops

ClassName = Annotated[str, Meta(pattern=NAME)]
Amounts = Annotated[dict[ClassName, Annotated[int, Meta(ge=1)]], Meta(min_length=1)]
Owner = Annotated[str, Meta(min_length=1, max_length=255)]
ConsumerType = Annotated[str, Meta(pattern=NAME, min_length=1, max_length=255)]
Suffix = Annotated[str, Meta(pattern="^([a-zA-Z0-9_-]{1,64})?$")]


class ProviderRef(Struct, forbid_unknown_fields=True):
    uuid: str


class ListedResources(Struct, forbid_unknown_fields=True):
    resource_provider: ProviderRef
    resources: Amounts


class ProviderResources(Struct, forbid_unknown_fields=True):
    resources: Amounts
    generation: int | UnsetType = UNSET


class AllocationsByList(Body):
    """Before 1.12."""

    allocations: Annotated[list[ListedResources], Meta(min_length=1)]
    project_id: Annotated[Owner | UnsetType, since("1.8")] = UNSET
    user_id: Annotated[Owner | UnsetType, since("1.8")] = UNSET


class Allocations(Body):
    """Since 1.12."""

    allocations: dict[str, ProviderResources]
    project_id: Owner
    user_id: Owner
    consumer_generation: Annotated[int | None | UnsetType, since("1.28")] = UNSET
    mappings: Annotated[dict[Suffix, Annotated[list[str], Meta(min_length=1)]] | UnsetType, since("1.34")] = UNSET
    consumer_type: Annotated[ConsumerType | UnsetType, since("1.38")] = UNSET


class AllocationsByConsumer(Body, root="consumers"):
    """POST: by consumer id; the kernel takes it as the value of one key, so the handler wraps it."""

    consumers: dict[str, Allocations] = {}


def assignment(ctx: RequestContext, consumer_id: str, body: Allocations) -> ops.Assignment:
    for name, first in (("consumer_generation", (1, 28)), ("consumer_type", (1, 38))):
        if ctx.version >= first and getattr(body, name) is UNSET:
            raise Invalid(f"JSON does not validate: '{name}' is a required property", field=name)
    wanted: Wanted = {as_uuid(p, "allocations"): r.resources for p, r in body.allocations.items()}
    checked = ctx.version >= (1, 28)
    return ops.Assignment(
        as_uuid(consumer_id, "Malformed consumer_uuid"), wanted, body.project_id, body.user_id,
        generation=body.consumer_generation if checked else None,  # type: ignore[arg-type]
        checked=checked, consumer_type=body.consumer_type or None,
    )  # fmt: skip


@routes.get("/allocations/{consumer_uuid}")
async def list_allocations(ctx: RequestContext, consumer_uuid: str) -> Reply:
    consumer, held, providers = await ops.of_consumer(ctx, consumer_uuid)
    by_provider: dict[str, Any] = {}
    for line in held:
        shown = by_provider.setdefault(line.provider_id, {"resources": {}, "generation": providers[line.provider_id].generation})
        shown["resources"][line.resource_class] = line.used
    body: dict[str, Any] = {"allocations": by_provider}
    if consumer is not None and held:
        if ctx.version >= (1, 12):
            body |= {"project_id": consumer.project_id, "user_id": consumer.user_id}
        if ctx.version >= (1, 28):
            body["consumer_generation"] = consumer.generation
        if ctx.version >= (1, 38):
            body["consumer_type"] = consumer.consumer_type
    return answer(ctx, body, modified_us=max((line.created_at for line in held), default=None))


@routes.put("/allocations/{consumer_uuid}", status=204, until="1.11")
async def update_allocations_by_list(ctx: RequestContext, consumer_uuid: str, body: AllocationsByList) -> None:
    owner = {}
    if ctx.version >= (1, 8):
        for name in ("project_id", "user_id"):
            if getattr(body, name) is UNSET:
                raise Invalid(f"JSON does not validate: '{name}' is a required property", field=name)
            owner[name] = getattr(body, name)
    wanted: Wanted = {as_uuid(a.resource_provider.uuid, "resource_provider"): a.resources for a in body.allocations}
    await ops.assign(ctx, [ops.Assignment(as_uuid(consumer_uuid, "Malformed consumer_uuid"), wanted, **owner)])


@routes.put("/allocations/{consumer_uuid}", status=204, since="1.12")
async def update_allocations(ctx: RequestContext, consumer_uuid: str, body: Allocations) -> None:
    if not body.allocations and ctx.version < (1, 28):
        raise Invalid("JSON does not validate: {} does not have enough properties", field="allocations")
    await ops.assign(ctx, [assignment(ctx, consumer_uuid, body)])


@routes.post("/allocations", status=204, since="1.13")
async def manage_allocations(ctx: RequestContext, body: bytes) -> None:
    consumers = AllocationsByConsumer.parse(b'{"consumers":{"consumers":' + (body or b"null") + b"}}", ctx.version).consumers
    if not consumers:
        raise Invalid("JSON does not validate: {} does not have enough properties")
    await ops.assign(ctx, [assignment(ctx, id, wish) for id, wish in consumers.items()], rule="manage")


@routes.delete("/allocations/{consumer_uuid}")
async def delete_allocations(ctx: RequestContext, consumer_uuid: str) -> None:
    await ops.remove(ctx, consumer_uuid)


@routes.get("/resource_providers/{uuid}/allocations")
async def list_provider_allocations(ctx: RequestContext, uuid: str) -> Reply:
    provider, held = await ops.of_provider(ctx, uuid)
    by_consumer: dict[str, Any] = {}
    for line in held:
        shown = by_consumer.setdefault(line.consumer_id, {"resources": {}})
        shown["resources"][line.resource_class] = line.used
        if ctx.version >= (1, 28):
            shown["consumer_generation"] = line.consumer_generation
    return answer(ctx, {"allocations": by_consumer, "resource_provider_generation": provider.generation})


@routes.get("/usages", since="1.9")
async def show_usages(ctx: RequestContext, query: Params) -> Reply:
    check_query(ctx, query, {"project_id": (1, 9), "user_id": (1, 9), "consumer_type": (1, 38)})
    project_id, user_id = query.get("project_id", [""])[-1], query.get("user_id", [None])[-1]
    if not project_id:
        raise Invalid("Invalid query string parameters: 'project_id' is a required property", field="project_id")
    if len(project_id) > 255 or (user_id is not None and not 1 <= len(user_id) <= 255):
        raise Invalid("Invalid query string parameters: an id has 1 to 255 characters", field="user_id")
    used, counts = await ops.usages(ctx, project_id, user_id)
    if ctx.version < (1, 38):
        total: dict[str, int] = {}
        for u in used:
            total[u.resource_class] = total.get(u.resource_class, 0) + u.used
        return answer(ctx, {"usages": total})
    kind = query.get("consumer_type", [None])[-1]
    by_type: dict[str, dict[str, int]] = {}
    for count in counts:
        name = "all" if kind == "all" else count.consumer_type
        by_type.setdefault(name, {"consumer_count": 0})["consumer_count"] += count.count
    for u in used:
        shown = by_type["all" if kind == "all" else u.consumer_type]
        shown[u.resource_class] = shown.get(u.resource_class, 0) + u.used
    return answer(ctx, {"usages": {k: v for k, v in by_type.items() if kind in (None, "all", k)}})
