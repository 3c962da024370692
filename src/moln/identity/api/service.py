"""Identity as its clients know it: at /identity, and at the root of the cloud for those who only know its address."""

from __future__ import annotations

from functools import cache

from msgspec.structs import replace

from moln.identity.api.faults import fault
from moln.kernel.context import RequestContext
from moln.kernel.http import Routes, Service

SERVICE = Service("identity", "/identity", fault=fault, root="/v3")
routes = Routes(SERVICE)


@cache
def at_root() -> Routes:
    """The same operations below no prefix: `/` and `/v3`. Once all of them are declared."""
    root = Routes(replace(SERVICE, prefix=""))
    root.all += [replace(route, service=root.service) for route in routes.all]
    return root


def base(ctx: RequestContext) -> str:
    """Where links start."""
    return f"{ctx.settings.public_url}/identity/v3"
