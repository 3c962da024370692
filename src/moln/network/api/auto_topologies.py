"""/v2.0/auto-allocated-topology."""

from __future__ import annotations

from typing import Any

from moln.kernel.context import RequestContext
from moln.kernel.http.routes import Params
from moln.network.api.service import routes
from moln.network.ops import auto_topologies as ops
from moln.network.ops.common import bad


def _project(ctx: RequestContext, project_id: str) -> str:
    return (ctx.project_id or "") if project_id == "None" else project_id  # how clients without a project's id ask


@routes.get("/v2.0/auto-allocated-topology/{project_id}")
async def show(ctx: RequestContext, project_id: str, query: Params) -> dict[str, Any]:
    project, fields = _project(ctx, project_id), query.get("fields", [])
    if "dry-run" in fields:
        await ops.check(ctx.db, ctx, project)
        return {"auto_allocated_topology": {"id": "dry-run=pass", "project_id": project, "tenant_id": project}}
    if fields:
        raise bad("auto_allocate", "Unrecognized field")
    network_id = await ctx.db.write(ops.get_in, ctx, project)
    return {"auto_allocated_topology": {"id": network_id, "project_id": project, "tenant_id": project}}


@routes.delete("/v2.0/auto-allocated-topology/{project_id}")
async def delete(ctx: RequestContext, project_id: str) -> None:
    await ctx.db.write(ops.delete_in, ctx, _project(ctx, project_id))
