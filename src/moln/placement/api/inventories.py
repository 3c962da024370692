"""/resource_providers/{uuid}/inventories and /usages."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from moln.kernel.context import RequestContext
from moln.kernel.errors import MethodNotAllowed
from moln.kernel.http import Body, Reply
from moln.placement.api.routes import answer, routes
from moln.placement.model.names import NAME
from moln.placement.model.providers import MAX_INT, Amounts, Inventory
from moln.placement.ops import inventories as ops

ClassName = Annotated[str, Meta(pattern=NAME)]
Count = Annotated[int, Meta(ge=1, le=MAX_INT)]


class InventoryBody(Body):
    """What inventories have in common."""

    total: Count
    reserved: Annotated[int, Meta(ge=0, le=MAX_INT)] = 0
    min_unit: Count = 1
    max_unit: Count = MAX_INT
    step_size: Count = 1
    allocation_ratio: Annotated[float, Meta(le=3.40282e38)] = 1.0

    def amounts(self, ctx: RequestContext, provider_id: str, resource_class: str, verb: str = "update") -> Amounts:
        """Raises: Invalid, when nothing is left of it."""
        wanted = Amounts(total=self.total, reserved=self.reserved, min_unit=self.min_unit, max_unit=self.max_unit,
                         step_size=self.step_size, allocation_ratio=self.allocation_ratio)  # fmt: skip
        ops.check(provider_id, resource_class, wanted, reserved_may_be_total=ctx.version >= (1, 26), verb=verb)
        return wanted


class InventoryRecord(InventoryBody):
    resource_provider_generation: int | None = None


class InventoryCreate(InventoryBody):
    resource_class: ClassName
    resource_provider_generation: int | None = None


class InventoryUpdate(InventoryBody):
    resource_provider_generation: int


class InventoriesUpdate(Body):
    resource_provider_generation: int
    inventories: dict[ClassName, InventoryRecord]


def view(found: Inventory) -> dict[str, Any]:
    a = found.amounts
    return {"total": a.total, "reserved": a.reserved, "min_unit": a.min_unit, "max_unit": a.max_unit,
            "step_size": a.step_size, "allocation_ratio": a.allocation_ratio}  # fmt: skip


def _all(ctx: RequestContext, found: ops.Inventories) -> Reply:
    provider, held = found
    body = {"resource_provider_generation": provider.generation, "inventories": {i.resource_class: view(i) for i in held}}
    return answer(ctx, body, modified_us=max((i.updated_at for i in held), default=None))


@routes.get("/resource_providers/{uuid}/inventories")
async def list_inventories(ctx: RequestContext, uuid: str) -> Reply:
    return _all(ctx, await ops.of_provider(ctx, uuid))


@routes.put("/resource_providers/{uuid}/inventories")
async def update_inventories(ctx: RequestContext, uuid: str, body: InventoriesUpdate) -> Reply:
    wanted = {name: record.amounts(ctx, uuid, name) for name, record in body.inventories.items()}
    return _all(ctx, await ops.replace(ctx, uuid, wanted, body.resource_provider_generation))


@routes.post("/resource_providers/{uuid}/inventories")
async def create_inventory(ctx: RequestContext, uuid: str, body: InventoryCreate) -> Reply:
    name = body.resource_class
    provider, made = await ops.add(ctx, uuid, name, body.amounts(ctx, uuid, name, "create"))
    shown = view(made) | {"resource_provider_generation": provider.generation}
    where = f"/placement/resource_providers/{uuid}/inventories/{name}"
    return answer(ctx, shown, status=201, location=where, modified_us=made.updated_at)


@routes.delete("/resource_providers/{uuid}/inventories")
async def delete_inventories(ctx: RequestContext, uuid: str) -> None:
    if ctx.version < (1, 5):
        raise MethodNotAllowed("The method DELETE is not allowed for this resource.", ("GET", "PUT", "POST"))
    await ops.remove_all(ctx, uuid)


@routes.get("/resource_providers/{uuid}/inventories/{resource_class}")
async def show_inventory(ctx: RequestContext, uuid: str, resource_class: str) -> Reply:
    provider, found = await ops.show(ctx, uuid, resource_class)
    return answer(ctx, view(found) | {"resource_provider_generation": provider.generation}, modified_us=found.updated_at)


@routes.put("/resource_providers/{uuid}/inventories/{resource_class}")
async def update_inventory(ctx: RequestContext, uuid: str, resource_class: str, body: InventoryUpdate) -> Reply:
    amounts = body.amounts(ctx, uuid, resource_class)
    provider, found = await ops.change(ctx, uuid, resource_class, amounts, body.resource_provider_generation)
    return answer(ctx, view(found) | {"resource_provider_generation": provider.generation}, modified_us=found.updated_at)


@routes.delete("/resource_providers/{uuid}/inventories/{resource_class}")
async def delete_inventory(ctx: RequestContext, uuid: str, resource_class: str) -> None:
    await ops.remove(ctx, uuid, resource_class)


@routes.get("/resource_providers/{uuid}/usages")
async def show_provider_usages(ctx: RequestContext, uuid: str) -> Reply:
    provider, held = await ops.of_provider(ctx, uuid, "usages")
    return answer(ctx, {"resource_provider_generation": provider.generation, "usages": {i.resource_class: i.used for i in held}})
