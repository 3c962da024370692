"""/v2/images/{id}/import, its tasks and locations, and what lies in which store."""

from __future__ import annotations

from typing import Any

import falcon.asgi

from moln.image.api.faults import SERVICE
from moln.image.api.views import task_view
from moln.image.ops import imports as ops
from moln.image.ops.data import store_of
from moln.image.ops.imports import ImportRequest
from moln.kernel.context import RequestContext
from moln.kernel.errors import Invalid, NotFound
from moln.kernel.http import Routes

routes = Routes(SERVICE)


@routes.post("/v2/images/{image_id}/import", status=202)
async def import_image(ctx: RequestContext, image_id: str, body: dict, request: falcon.asgi.Request) -> None:  # type: ignore[type-arg]
    await ops.start(ctx, image_id, to_request(body, request.get_header("X-Image-Meta-Store")))


def to_request(body: dict[str, Any], header: str | None) -> ImportRequest:
    """The body of an import. Raises: Invalid."""
    method = body.get("method")
    if not isinstance(method, dict):
        raise Invalid("Import request requires a 'method' field.", field="method")
    if not isinstance(method.get("name"), str):
        raise Invalid("Import request requires a 'name' field.", field="name")
    for name in ("all_stores", "all_stores_must_succeed"):
        if not isinstance(body.get(name, True), bool):
            raise Invalid(f"'{name}' must be boolean value only", field=name)
    stores = body.get("stores", [])
    if not isinstance(stores, list) or not all(isinstance(name, str) for name in stores):
        raise Invalid("'stores' must be a list of store names", field="stores")
    named = stores or ([header] if header else [])
    return ImportRequest(
        method["name"], body, method.get("uri"), named, body.get("all_stores", False), body.get("all_stores_must_succeed", True)
    )


@routes.get("/v2/images/{image_id}/tasks")
async def list_image_tasks(ctx: RequestContext, image_id: str) -> dict[str, Any]:
    return {"tasks": [task_view(task) for task in await ops.of_image(ctx, image_id)]}


@routes.post("/v2/images/{image_id}/locations", status=202)
async def add_location(ctx: RequestContext, image_id: str, body: dict) -> None:  # type: ignore[type-arg]
    url, validation = body.get("url"), body.get("validation_data")
    if not isinstance(url, str):
        raise Invalid("'url' is a required property, and a string", field="url")
    if validation is not None and not isinstance(validation, dict):
        raise Invalid("'validation_data' must be an object", field="validation_data")
    await ops.add_location(ctx, image_id, url, validation)


@routes.get("/v2/images/{image_id}/locations")
async def list_locations(ctx: RequestContext, image_id: str) -> list[dict[str, Any]]:
    return await ops.locations(ctx, image_id)


@routes.delete("/v2/stores/{store_id}/{image_id}")
async def delete_from_store(ctx: RequestContext, store_id: str, image_id: str) -> None:
    if store_id not in store_of(ctx.cloud).names():
        raise NotFound(f"Unknown store: {store_id[:64]}.")
    await ops.drop_from_store(ctx, image_id, store_id)
