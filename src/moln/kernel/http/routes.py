"""What a service is, and its operations as they are declared."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from msgspec import Struct, structs

from moln.kernel.context import RequestContext, Version
from moln.kernel.errors import Failure
from moln.kernel.http.bodies import ANY_VERSION, NEWEST, version

Params = dict[str, list[str]]  # a query, values in the order given
Handler = Callable[..., Awaitable[Any]]
FaultBody = Callable[[Failure, int, RequestContext | None], tuple[bytes, str]]


class Service(Struct, frozen=True, eq=False):
    """One API as its clients know it.

    name: our area. prefix: where it is mounted ("/compute"). header: its word in OpenStack-API-Version ("compute"), where it has
    microversions, from min_version to max_version. fault: a failure and its status code to (body, media type).
    project_in_path: operations answer below `/{project_id}` too. statuses: status codes that this service gives to a kind of failure.
    root: the versioned part that project ids follow ("/v2.1"). request_id_header: a second name of x-openstack-request-id.
    exact: below the root, a path with a slash at its end is another one (Cinder's and Glance's clients rely on 404 for an empty id).
    """

    name: str
    prefix: str
    fault: FaultBody
    header: str = ""
    legacy_header: str = ""
    min_version: Version = ANY_VERSION
    max_version: Version = ANY_VERSION
    project_in_path: bool = False
    root: str = ""
    statuses: dict[type[Failure], int] = {}
    request_id_header: str = ""
    exact: bool = False


class Whole(str):
    """An address with its escapes in it: a Location that is sent as it is."""


class Reply(Struct):
    """An answer that says more than its body. body: encoded as JSON unless bytes; stream: sent as it comes."""

    body: Any = None
    status: int | None = None
    headers: dict[str, str] = {}
    stream: AsyncIterator[bytes] | None = None
    media_type: str | None = None


class Route(Struct, frozen=True, eq=False):
    """One operation. path: below the service's prefix, variables by the handler's names."""

    service: Service
    method: str
    path: str
    handler: Handler
    status: int
    action: str = ""
    since: Version = ANY_VERSION
    until: Version = NEWEST
    public: bool = False
    variables: tuple[str, ...] = ()
    body: Any = None
    query: Any = None
    wants: frozenset[str] = frozenset()


class Routes:
    """The operations of one service; app.py hands them to build_app."""

    def __init__(self, service: Service):
        self.service = service
        self.all: list[Route] = []

    def route(self, method: str, path: str, *, status: int = 200, action: str = "", since: str = "", until: str = "",
              public: bool = False) -> Callable[[Handler], Handler]:  # fmt: skip
        """Declare an operation. The handler's parameters say what it takes: `ctx`, the path's variables by name, `body` (a Body,
        `dict` or `bytes`), `query` (a QueryParams or Params), `request` (Falcon's, for streams and headers).

        action: the key of the body that chooses it (POST …/action). public: no token needed.
        """

        def declare(handler: Handler) -> Handler:
            hints = typing.get_type_hints(handler)
            names = list(inspect.signature(handler).parameters)
            variables = tuple(re.findall(r"{(\w+)}", path))
            unknown = set(names) - {"ctx", "body", "query", "request", *variables}
            if unknown:
                raise TypeError(f"{handler.__name__}: what are {sorted(unknown)}?")
            self.all.append(Route(
                self.service, method, path, handler, status, action, version(since) if since else ANY_VERSION,
                version(until) if until else NEWEST, public, variables, hints.get("body"), hints.get("query"), frozenset(names),
            ))  # fmt: skip
            return handler

        return declare

    def alias(self, route: Route, path: str, *, until: Version) -> None:
        """The same operation at another path, no longer than `until`."""
        self.all.append(structs.replace(route, path=path, until=min(route.until, until)))

    def get(self, path: str, **options: Any) -> Callable[[Handler], Handler]:
        return self.route("GET", path, **options)

    def post(self, path: str, **options: Any) -> Callable[[Handler], Handler]:
        return self.route("POST", path, **options)

    def put(self, path: str, **options: Any) -> Callable[[Handler], Handler]:
        return self.route("PUT", path, **options)

    def patch(self, path: str, **options: Any) -> Callable[[Handler], Handler]:
        return self.route("PATCH", path, **options)

    def delete(self, path: str, **options: Any) -> Callable[[Handler], Handler]:
        return self.route("DELETE", path, **{"status": 204, **options})

    def head(self, path: str, **options: Any) -> Callable[[Handler], Handler]:
        return self.route("HEAD", path, **options)
