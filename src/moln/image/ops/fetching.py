"""From where images may be fetched."""

from __future__ import annotations

from typing import Any

from moln.image.drivers.web import Web
from moln.kernel.cloud import Cloud
from moln.kernel.context import RequestContext
from moln.kernel.errors import Invalid

URL_BOUND = 4096


def web_of(cloud: Cloud) -> Web:
    """The downloader that module.py put there."""
    found: Web = cloud.areas["image-web"]
    return found


def check_address(ctx: RequestContext, url: Any, field: str) -> str:
    """An address that may be asked for. Raises: Invalid, the field named: what is allowed is judged again when it is connected to."""
    if not isinstance(url, str) or not url or len(url) > URL_BOUND:
        raise Invalid(f"'{field}' must be an http or https address.", field=field)
    if why := web_of(ctx.cloud).allowed.problem(url):
        raise Invalid(f"URI for web-download does not pass filtering: {url[:200]} ({why}).", field=field)
    return url
