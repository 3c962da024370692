"""GET /: the one major version (placement api-ref, "Versions")."""

from __future__ import annotations

from moln.kernel.context import RequestContext
from moln.kernel.http import Reply
from moln.placement.api.routes import answer, routes


@routes.get("/", public=True)
async def list_versions(ctx: RequestContext) -> Reply:
    version = {"id": "v1.0", "max_version": "1.39", "min_version": "1.0", "status": "CURRENT", "links": [{"rel": "self", "href": ""}]}
    return answer(ctx, {"versions": [version]})
