"""The version documents."""

from __future__ import annotations

from typing import Any

from moln.identity.api.service import base, routes
from moln.kernel.context import RequestContext
from moln.kernel.http import Reply


def _v3(ctx: RequestContext) -> dict[str, Any]:
    return {
        "id": "v3.14",
        "status": "stable",
        "updated": "2020-04-07T00:00:00Z",
        "links": [{"rel": "self", "href": base(ctx) + "/"}],
        "media-types": [{"base": "application/json", "type": "application/vnd.openstack.identity-v3+json"}],
    }


@routes.get("/", public=True, status=300)
async def list_versions(ctx: RequestContext) -> Reply:
    return Reply({"versions": {"values": [_v3(ctx)]}}, headers={"Location": base(ctx) + "/"})


@routes.get("/v3", public=True)
async def show_version(ctx: RequestContext) -> Any:
    return {"version": _v3(ctx)}
