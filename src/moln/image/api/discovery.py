"""What this Glance is: versions, schemas, import methods and stores."""

from __future__ import annotations

from typing import Any

from moln.image.api import schemas
from moln.image.api.faults import SERVICE
from moln.image.ops import imports, quotas
from moln.image.ops.cache import find_cache
from moln.image.ops.data import store_of
from moln.kernel.context import RequestContext
from moln.kernel.http import Routes

routes = Routes(SERVICE)
CURRENT = "2.17"
CACHING, CACHING_TOO = "2.18", ("2.16", "2.14")  # where there is a cache
SUPPORTED = (  # those of a Glance whose stores have names and that has none
    "2.15", "2.13", "2.12", "2.11", "2.10", "2.9", "2.8", "2.7", "2.6", "2.5", "2.4", "2.3", "2.2", "2.1", "2.0",
)  # fmt: skip


def versions(ctx: RequestContext) -> dict[str, Any]:
    href = f"{ctx.settings.public_url}{SERVICE.prefix}/v2/"
    newest, older = (CACHING, (CURRENT, *CACHING_TOO, *SUPPORTED)) if find_cache(ctx.cloud) else (CURRENT, SUPPORTED)
    older = sorted(older, key=lambda v: -int(v.partition(".")[2]))
    listed = [(newest, "CURRENT"), *((v, "SUPPORTED") for v in older)]
    return {"versions": [{"id": f"v{v}", "status": s, "links": [{"rel": "self", "href": href}]} for v, s in listed]}


@routes.get("/", public=True, status=300)
async def list_versions(ctx: RequestContext) -> dict[str, Any]:
    return versions(ctx)


@routes.get("/versions", public=True)
async def show_versions(ctx: RequestContext) -> dict[str, Any]:
    return versions(ctx)


@routes.get("/v2", public=True, status=300)
async def show_v2(ctx: RequestContext) -> dict[str, Any]:
    return versions(ctx)


@routes.get("/v2/schemas/image")
async def image_schema() -> dict[str, Any]:
    return schemas.IMAGE


@routes.get("/v2/schemas/images")
async def images_schema() -> dict[str, Any]:
    return schemas.collection("images", schemas.IMAGE)


@routes.get("/v2/schemas/member")
async def member_schema() -> dict[str, Any]:
    return schemas.MEMBER


@routes.get("/v2/schemas/members")
async def members_schema() -> dict[str, Any]:
    return schemas.collection("members", schemas.MEMBER)


@routes.get("/v2/schemas/task")
async def task_schema() -> dict[str, Any]:
    return schemas.TASK


@routes.get("/v2/schemas/tasks")
async def tasks_schema() -> dict[str, Any]:
    return schemas.collection("tasks", schemas.TASK_STUB)


@routes.get("/v2/info/import")
async def import_info(ctx: RequestContext) -> dict[str, Any]:
    return {"import-methods": {"description": "Import methods available.", "type": "array", "value": imports.methods(ctx)}}


@routes.get("/v2/info/stores")
async def stores_info(ctx: RequestContext) -> dict[str, Any]:
    return {"stores": list_stores(ctx)}


def list_stores(ctx: RequestContext) -> list[dict[str, Any]]:
    here = store_of(ctx.cloud)
    return [{"id": name} | ({"default": "true"} if name == here.default else {}) for name in here.names()]


@routes.get("/v2/info/stores/detail")
async def stores_detail(ctx: RequestContext) -> dict[str, Any]:
    ctx.require(SERVICE.name, "stores_info_detail")
    here = store_of(ctx.cloud)
    detail = [store | {"weight": 0} | here.about(store["id"]) for store in list_stores(ctx)]
    return {"stores": detail}


@routes.get("/v2/info/usage")
async def usage_info(ctx: RequestContext) -> dict[str, Any]:
    return {"usage": await quotas.usage(ctx)}
