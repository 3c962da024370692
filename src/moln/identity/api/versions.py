"""The version documents."""

from __future__ import annotations

from typing import Any

import falcon.asgi

from moln.identity.api import json_home
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
async def list_versions(ctx: RequestContext, request: falcon.asgi.Request) -> Reply:
    if wants_home(request):
        return home_of(prefix="/v3")
    return Reply({"versions": {"values": [_v3(ctx)]}}, headers={"Location": base(ctx) + "/"})


@routes.get("/v3", public=True)
async def show_version(ctx: RequestContext, request: falcon.asgi.Request) -> Any:
    return home_of() if wants_home(request) else {"version": _v3(ctx)}


def wants_home(request: falcon.asgi.Request) -> bool:
    return json_home.MEDIA_TYPE in (request.get_header("Accept") or "")


def home_of(prefix: str = "") -> Reply:
    """Where every resource is, below `prefix`."""
    paths = [route.path for route in routes.all if route.path.startswith("/v3/")]
    return Reply(json_home.home(paths, prefix), media_type=json_home.MEDIA_TYPE)
