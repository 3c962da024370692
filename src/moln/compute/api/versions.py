"""Compute's version documents, and its microversions: what each of them changed is noted where it is used."""

from __future__ import annotations

from typing import Any

from moln.kernel.context import RequestContext
from moln.kernel.errors import NotFound

MIN_VERSION = (2, 1)
MAX_VERSION = (2, 104)


def _text(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"


def _document(ctx: RequestContext) -> dict[str, Any]:
    return {
        "id": "v2.1", "status": "CURRENT", "version": _text(MAX_VERSION), "min_version": _text(MIN_VERSION),
        "updated": "2013-07-23T11:33:21Z",
        "links": [{"rel": "self", "href": f"{ctx.settings.public_url}/compute/v2.1/"}],
    }  # fmt: skip


def _legacy(ctx: RequestContext) -> dict[str, Any]:
    """v2.0: what v2.1 is, without microversions (kernel/http/legacy.py)."""
    return {
        "id": "v2.0", "status": "SUPPORTED", "version": "", "min_version": "", "updated": "2011-01-21T11:33:21Z",
        "links": [{"rel": "self", "href": f"{ctx.settings.public_url}/compute/v2/"}],
    }  # fmt: skip


async def list_versions(ctx: RequestContext) -> dict[str, Any]:
    """GET /."""
    return {"versions": [_legacy(ctx), _document(ctx)]}


async def show_legacy_version(ctx: RequestContext) -> dict[str, Any]:
    """GET /v2/."""
    return {"version": _whole(_legacy(ctx), "2")}


async def show_version_by_id(ctx: RequestContext, id: str) -> dict[str, Any]:
    """GET /v2.1/versions/{id}. Raises: NotFound."""
    if id != "v2.1":
        raise NotFound("The resource could not be found.")
    return await show_version(ctx)


async def show_version(ctx: RequestContext) -> dict[str, Any]:
    """GET /v2.1/."""
    return {"version": _whole(_document(ctx), "2.1")}


def _whole(document: dict[str, Any], version: str) -> dict[str, Any]:
    document["links"].append({"rel": "describedby", "type": "text/html", "href": "http://docs.openstack.org/"})
    document["media-types"] = [{"base": "application/json", "type": f"application/vnd.openstack.compute+json;version={version}"}]
    return document
