"""What old clients write into a path. A root from before microversions: the same operations at the oldest microversion, whatever the headers ask.

Nova's `/v2` is such a one (its guide, "Versions": v2.0 on the code of v2.1). Bodies are checked as strictly as below `/v2.1`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

ASGI = Callable[[dict[str, Any], Any, Any], Awaitable[None]]
VERSION_HEADERS = {b"openstack-api-version", b"x-openstack-nova-api-version"}
HIDDEN = VERSION_HEADERS | {b"vary"}


def legacy_root(app: ASGI, old: str, new: str) -> ASGI:
    """Answers what is below `old` as what is below `new`."""
    below = old + "/"

    def answer(scope: dict[str, Any], receive: Any, send: Any) -> Awaitable[None]:
        path = scope.get("path", "")
        if scope["type"] != "http" or not path.startswith(below) or path == below:
            return app(scope, receive, send)

        async def tell(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message = message | {"headers": [(k, v) for k, v in message["headers"] if k.lower() not in HIDDEN]}
            await send(message)

        headers = [(k, v) for k, v in scope["headers"] if k.lower() not in VERSION_HEADERS]
        found = scope | {"path": new + path[len(old) :], "headers": headers}
        return app(found, receive, tell)

    return answer


def without_json(app: ASGI, root: str) -> ASGI:
    """Below `root` a path may end in `.json`, which says nothing more (Neutron's own clients wrote it for years)."""

    def answer(scope: dict[str, Any], receive: Any, send: Any) -> Awaitable[None]:
        path = scope.get("path", "")
        if path.endswith(".json") and path.startswith(root) and "/tags/" not in path and scope["type"] == "http":
            scope = scope | {"path": path.removesuffix(".json")}
        return app(scope, receive, send)

    return answer
