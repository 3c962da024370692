"""/v3/domains/{domain_id}/config and /v3/domains/config/…/default"""

from __future__ import annotations

from typing import Any

from moln.identity.api.service import routes
from moln.identity.ops import domain_configs as ops
from moln.kernel.context import RequestContext
from moln.kernel.http import Reply

PATH = "/v3/domains/{domain_id}/config"
GROUP = PATH + "/{group}"
OPTION = GROUP + "/{option}"


@routes.get("/v3/domains/config/default")
async def show_defaults(ctx: RequestContext) -> Any:
    return {"config": ops.default(ctx)}


@routes.get("/v3/domains/config/{group}/default")
async def show_default_group(ctx: RequestContext, group: str) -> Any:
    return {"config": ops.default(ctx, group)}


@routes.get("/v3/domains/config/{group}/{option}/default")
async def show_default_option(ctx: RequestContext, group: str, option: str) -> Any:
    return {"config": ops.default(ctx, group, option)}


@routes.put(PATH)
async def create_domain_config(ctx: RequestContext, domain_id: str, body: dict[str, Any]) -> Reply:
    config, fresh = await ops.put(ctx, domain_id, body.get("config"))
    return Reply({"config": config}, status=201 if fresh else 200)


@routes.get(PATH)
async def show_domain_config(ctx: RequestContext, domain_id: str) -> Any:
    return {"config": await ops.get(ctx, domain_id)}


@routes.patch(PATH)
async def update_domain_config(ctx: RequestContext, domain_id: str, body: dict[str, Any]) -> Any:
    return {"config": await ops.patch(ctx, domain_id, body.get("config"))}


@routes.delete(PATH)
async def delete_domain_config(ctx: RequestContext, domain_id: str) -> None:
    await ops.delete(ctx, domain_id)


@routes.get(GROUP)
async def show_domain_group(ctx: RequestContext, domain_id: str, group: str) -> Any:
    return {"config": await ops.get(ctx, domain_id, group)}


@routes.patch(GROUP)
async def update_domain_group(ctx: RequestContext, domain_id: str, group: str, body: dict[str, Any]) -> Any:
    return {"config": await ops.patch(ctx, domain_id, body.get("config"), group)}


@routes.delete(GROUP)
async def delete_domain_group(ctx: RequestContext, domain_id: str, group: str) -> None:
    await ops.delete(ctx, domain_id, group)


@routes.get(OPTION)
async def show_domain_option(ctx: RequestContext, domain_id: str, group: str, option: str) -> Any:
    return {"config": await ops.get(ctx, domain_id, group, option)}


@routes.patch(OPTION)
async def update_domain_option(ctx: RequestContext, domain_id: str, group: str, option: str, body: dict[str, Any]) -> Any:
    return {"config": await ops.patch(ctx, domain_id, body.get("config"), group, option)}


@routes.delete(OPTION)
async def delete_domain_option(ctx: RequestContext, domain_id: str, group: str, option: str) -> None:
    await ops.delete(ctx, domain_id, group, option)
