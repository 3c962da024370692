"""/v3/default-types, since 3.62 (block-storage v3 api-ref, "Default Volume Types")."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from moln.kernel.context import RequestContext
from moln.kernel.errors import Invalid
from moln.kernel.http import Routes
from moln.volume.api.bodies import parse
from moln.volume.api.faults import SERVICE
from moln.volume.ops import default_types as ops

routes = Routes(SERVICE)
ALL, ONE = "/v3/default-types", "/v3/default-types/{target_id}"


class DefaultType(Struct):
    volume_type: str


@routes.get(ALL, since="3.62")
async def list_default_types(ctx: RequestContext) -> dict[str, Any]:
    return {"default_types": await ops.index(ctx)}


@routes.get(ONE, since="3.62")
async def show_default_type(ctx: RequestContext, target_id: str) -> dict[str, Any]:
    return {"default_type": {"project_id": target_id, "volume_type_id": await ops.show(ctx, target_id)}}


@routes.put(ONE, since="3.62")
async def set_default_type(ctx: RequestContext, target_id: str, body: dict) -> dict[str, Any]:  # type: ignore[type-arg]
    asked = parse(ctx, body, "default_type", DefaultType, always=True)
    if not 0 < len(asked.volume_type) <= 255:
        raise Invalid("volume_type is a string of 1 to 255 characters.", field="volume_type")
    return {"default_type": {"project_id": target_id, "volume_type_id": await ops.set_for(ctx, target_id, asked.volume_type)}}


@routes.delete(ONE, status=204, since="3.62")
async def unset_default_type(ctx: RequestContext, target_id: str) -> None:
    await ops.unset(ctx, target_id)
