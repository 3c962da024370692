"""POST /reshaper."""

from __future__ import annotations

from moln.kernel.context import RequestContext
from moln.kernel.errors import Invalid
from moln.kernel.http import Body
from moln.placement.api.allocations import Allocations, assignment
from moln.placement.api.inventories import InventoriesUpdate
from moln.placement.api.routes import as_uuid, routes
from moln.placement.ops import reshape as ops


class Reshape(Body):
    inventories: dict[str, InventoriesUpdate]
    allocations: dict[str, Allocations]


@routes.post("/reshaper", status=204, since="1.30")
async def reshape(ctx: RequestContext, body: Reshape) -> None:
    if not body.inventories:
        raise Invalid("JSON does not validate: {} does not have enough properties", field="inventories")
    shapes: ops.Shapes = {}
    for text, shape in body.inventories.items():
        id = as_uuid(text, "inventories")
        shapes[id] = (shape.resource_provider_generation, {n: r.amounts(ctx, id, n) for n, r in shape.inventories.items()})
    await ops.reshape(ctx, shapes, [assignment(ctx, id, wish) for id, wish in body.allocations.items()])
