"""Routes made into one Falcon application: who asks, at which microversion, with what body; answers and faults."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Any
from urllib.parse import parse_qs

import falcon
import falcon.asgi
import msgspec
from falcon import http_status_to_code

from moln.kernel import errors, log, metrics
from moln.kernel.cloud import Cloud
from moln.kernel.context import RequestContext, Version
from moln.kernel.errors import Failure
from moln.kernel.fairness import Place
from moln.kernel.http.bodies import ANY_VERSION, NEWEST, Body, QueryParams, View, decode
from moln.kernel.http.faults import keystone_body, status_of
from moln.kernel.http.routes import Params, Reply, Route, Service
from moln.kernel.http.serve import ARRIVED

BODY_BOUND = 1 << 20  # bytes of a JSON body, at most
QUERY_BOUND = 16 << 10
BODY_S = 30.0  # seconds for a JSON body to arrive
UNFORESEEN = "An unexpected error prevented the server from fulfilling your request."
REQUEST_S = 60.0  # seconds that an answer may take (uploads bound themselves)
_encode = msgspec.json.Encoder().encode
_any_json = msgspec.json.Decoder(Any)
_log = logging.getLogger("moln.http")


def parse_query(text: str) -> Params:
    """Raises: Invalid, for a query that is too long or not UTF-8."""
    if not text:
        return {}
    if len(text) > QUERY_BOUND:
        raise errors.Invalid("The query is too long.")
    try:
        params = parse_qs(text, keep_blank_values=True, max_num_fields=200, errors="strict")
    except (ValueError, UnicodeDecodeError):
        raise errors.Invalid("The query is not valid UTF-8, or has too many parameters.") from None
    if "%00" in text and any("\0" in v for vs in params.values() for v in vs):
        raise errors.Invalid("A NUL character is not allowed in the query.")
    return params


def negotiate(service: Service, header: str | None, legacy: str | None) -> Version:
    """The microversion asked for (api-ref, "Microversions"). Raises: Invalid, NotAcceptable."""
    asked = legacy
    for part in (header or "").split(","):
        word, _, number = part.strip().partition(" ")
        if word.lower() == service.header:
            asked = number.strip()
    if asked is None:
        return service.min_version
    if asked == "latest":
        return service.max_version
    major, dot, minor = asked.partition(".")
    if not (dot and major.isascii() and major.isdigit() and minor.isascii() and minor.isdigit() and len(asked) < 12):
        raise errors.Invalid(f"API Version String {asked[:40]} is of invalid format. Must be of format MajorNum.MinorNum.")
    found = (int(major), int(minor))
    if not service.min_version <= found <= service.max_version:
        low, high = (".".join(map(str, v)) for v in (service.min_version, service.max_version))
        raise errors.NotAcceptable(
            f"Version {asked} is not supported by the API. Minimum is {low} and maximum is {high}.")
    return found


class _Versions:
    """What one service's headers ask for, and the headers that say what was given; each combination worked out once."""

    KEPT = 512  # combinations, at most

    def __init__(self, service: Service):
        self._service = service
        self._legacy = service.legacy_header.lower().encode()
        self._asked: dict[tuple[bytes | None, bytes | None], Version] = {}
        self._given: dict[Version, dict[str, str]] = {}

    def asked(self, headers: dict[bytes, bytes]) -> Version:
        service = self._service
        if not service.header:
            return ANY_VERSION
        key = (headers.get(b"openstack-api-version"), headers.get(self._legacy))
        found = self._asked.get(key)
        if found is None:
            found = negotiate(service, *(None if text is None else text.decode("latin-1") for text in key))
            if len(self._asked) < self.KEPT:
                self._asked[key] = found
        return found

    def headers(self, version: Version) -> dict[str, str]:
        found = self._given.get(version)
        if found is None:
            found = {"x-content-type-options": "nosniff"}
            service = self._service
            if service.header:
                text = f"{version[0]}.{version[1]}"
                found["openstack-api-version"] = f"{service.header} {text}"
                found["vary"] = "OpenStack-API-Version"
                if service.legacy_header:
                    found[service.legacy_header.lower()] = text
                    found["vary"] += ", " + service.legacy_header
            self._given[version] = found
        return found


class Endpoint:
    """Every operation of one path: Falcon's resource."""

    def __init__(self, cloud: Cloud, service: Service, routes: list[Route]):
        self.cloud = cloud
        self.service = service
        self.versions = _Versions(service)
        self.by_method: dict[str, list[Route]] = {}
        for route in routes:
            self.by_method.setdefault(route.method, []).append(route)
        if "GET" in self.by_method and "HEAD" not in self.by_method:
            self.by_method["HEAD"] = self.by_method["GET"]
        for method, found in self.by_method.items():
            setattr(self, f"on_{method.lower()}", self._responder(method, found))

    def _responder(self, method: str, routes: list[Route]) -> Callable[..., Awaitable[None]]:
        cloud, versions, requests = self.cloud, self.versions, self.cloud.requests
        template = self.service.prefix + routes[0].path
        answers = requests.of(self.service.name, template, method)
        monotonic = cloud.clock.monotonic
        audited = method not in ("GET", "HEAD")
        named = len(routes[0].variables)
        fairness, wants = cloud.fairness, routes[0].wants
        kind = "stream" if audited and "request" in wants and "body" not in wants and method != "DELETE" else "known"
        public = routes[0].public
        chosen_by_body = any(r.action for r in routes)
        operations = [Operation(route) for route in routes]

        async def respond(req: falcon.asgi.Request, resp: falcon.asgi.Response, **values: str) -> None:
            request_id = "req-" + cloud.ids.uuid()
            log.request_id.set(request_id)
            ctx: RequestContext | None = None
            operation: Operation | None = None
            place: Place | None = None
            began = monotonic()
            requests.running += 1
            try:
                if values and not all(values.values()):
                    raise errors.NotFound("The resource could not be found.")
                headers = req._asgi_headers  # Falcon's own look-up costs as much as the rest of this
                version = versions.asked(headers)
                who = None
                token = headers.get(b"x-auth-token")
                if token:
                    try:
                        who = await cloud.authenticate(cloud, token.decode("latin-1"))
                    except errors.Unauthorized:
                        if not public:
                            raise
                elif not public:
                    raise errors.Unauthorized("The request you have made requires authentication.")
                ctx = RequestContext(cloud, request_id, who, version, began + REQUEST_S)
                waited = began - req.scope.get(ARRIVED, began)
                if who is None:
                    place = fairness.enter("anonymous", req.remote_addr, began, waited)
                else:
                    place = fairness.enter(kind, who.project_id or who.user_id, began, waited)
                raw = await read_body(req) if chosen_by_body else None
                operation = _by_version(operations, version) if raw is None else _by_action(operations, raw, version)
                await operation.answer(ctx, req, resp, list(values.values()), raw)
                self._finish(resp, request_id, version)
            except Failure as failure:
                self._fail(failure, req, resp, ctx, request_id)
            except falcon.HTTPError:
                raise
            except Exception:
                _log.exception("an unforeseen error in %s %s", req.method, req.path)
                self._fail(Failure(UNFORESEEN), req, resp, ctx, request_id)
            finally:
                requests.running -= 1
                now = monotonic()
                if place is not None:
                    fairness.leave(place, now, now - began)
            status = resp.status_code
            metrics.note(answers, status, now - began)
            log.access(req.method, req.path, status, ctx.user_id if ctx else None, request_id)
            if audited and status != 429 and cloud.audit is not None:  # who is turned away has done nothing, and may come very often
                cloud.audit.note(
                    ctx, service=self.service.name, method=method, route=template, action=operation.action if operation else "", path=req.path,
                    ids=list(values.values())[len(values) - named :], address=req.remote_addr, status=status, answer=resp.data,
                    request_id=request_id,
                )  # fmt: skip

        return respond

    def _finish(self, resp: falcon.asgi.Response, request_id: str, version: Version) -> None:
        headers = resp._headers
        headers["x-openstack-request-id"] = request_id
        if self.service.request_id_header:
            headers[self.service.request_id_header] = request_id
        headers.setdefault("cache-control", "no-store")  # nearly every answer is one project's, some hold a secret
        headers.update(self.versions.headers(version))

    def _fail(self, failure: Failure, req: falcon.asgi.Request, resp: falcon.asgi.Response, ctx: RequestContext | None,
              request_id: str) -> None:  # fmt: skip
        status = status_of(failure, self.service.statuses)
        if failure.detail:
            _log.warning("%s: %s", failure.message, failure.detail)
        shape = keystone_body if status == 401 else self.service.fault
        resp.stream = None
        resp.data, resp.content_type = shape(failure, status, ctx)
        resp.status = str(status) if status not in _STATUS_LINES else _STATUS_LINES[status]
        if status == 401:
            resp.set_header("WWW-Authenticate", f'Keystone uri="{self.cloud.settings.public_url}/identity"')
        if isinstance(failure, errors.TooManyRequests):
            resp.set_header("Retry-After", str(failure.retry_after_s))
        if isinstance(failure, errors.MethodNotAllowed) and failure.allowed:
            resp.set_header("Allow", ", ".join(failure.allowed))
        self._finish(resp, request_id, ctx.version if ctx else self.service.min_version)


_STATUS_LINES: dict[int, str] = {
    code: getattr(falcon, f"HTTP_{code}") for code in range(100, 600) if hasattr(falcon, f"HTTP_{code}")
}


def _by_version(operations: list[Operation], version: Version) -> Operation:
    for operation in operations:
        if operation.since <= version <= operation.until:
            return operation
    raise errors.NotFound("The resource could not be found.")


def _by_action(operations: list[Operation], raw: bytes, version: Version) -> Operation:
    keys = decode(_any_json, raw)
    if not isinstance(keys, dict) or not keys:
        raise errors.Invalid("Malformed request body: an object with one action is needed.")
    for operation in operations:
        if operation.action in keys and operation.since <= version <= operation.until:
            if len(keys) > 1:
                extra = next(k for k in keys if k != operation.action)
                raise errors.Invalid(f"Additional properties are not allowed ({extra[:64]!r} was unexpected)", field=extra)
            return operation
    name = next(iter(keys))
    if any(operation.action == name for operation in operations):
        raise errors.NotFound(f"This microversion has no action {name[:64]}")
    raise errors.Invalid(f"There is no such action: {name[:64]}")


async def read_body(req: falcon.asgi.Request, bound: int = BODY_BOUND) -> bytes:
    """A small body, whole. Raises: TooLarge; Invalid, when it does not arrive in time."""
    length = req.content_length
    if length is not None and length > bound:
        raise errors.TooLarge(f"The request body is larger than {bound} bytes.")
    try:
        async with asyncio.timeout(BODY_S):
            raw: bytes = await req.stream.read(bound + 1)
    except TimeoutError:
        raise errors.Invalid("The request body did not arrive in time.") from None
    if len(raw) > bound:
        raise errors.TooLarge(f"The request body is larger than {bound} bytes.")
    return raw


class Operation:
    """A route made ready to be answered: what its handler takes, worked out once."""

    def __init__(self, route: Route):
        self.route = route
        self.handler, self.status, self.action = route.handler, _STATUS_LINES[route.status], route.action
        self.since, self.until = route.since, route.until
        self.project_in_path, self.count = route.service.project_in_path, len(route.variables)
        self.takes = [(at, name) for at, name in enumerate(route.variables) if name in route.wants]
        self.ctx, self.request, self.query, self.body = (name in route.wants for name in ("ctx", "request", "query", "body"))
        self.query_shape = route.query if isinstance(route.query, type) and issubclass(route.query, QueryParams) else None
        self.body_shape = route.body if isinstance(route.body, type) and issubclass(route.body, Body) else None

    async def answer(self, ctx: RequestContext, req: falcon.asgi.Request, resp: falcon.asgi.Response, values: list[str],
                     raw: bytes | None) -> None:  # fmt: skip
        """values: the path's variables, a project's id before them where the path has one. raw: the body, if it was read already."""
        if self.project_in_path and len(values) > self.count:
            _check_project(ctx, values.pop(0))
        arguments: dict[str, Any] = {}
        for at, name in self.takes:
            value = values[at]
            if "\0" in value:
                raise errors.NotFound("The resource could not be found.")
            arguments[name] = value
        if self.ctx:
            arguments["ctx"] = ctx
        if self.request:
            arguments["request"] = req
        if self.query:
            params = parse_query(req.query_string)
            arguments["query"] = params if self.query_shape is None else self.query_shape.parse(params, ctx.version)
        if self.body:
            arguments["body"] = self._body(await read_body(req) if raw is None else raw, ctx.version)
        result = await self.handler(**arguments)
        resp.status = self.status
        if type(result) is Reply:
            _apply(result, resp)
            if resp.stream is not None:
                return
            result = result.body
        if type(result) is bytes:
            resp.data = result
        elif result is not None:
            resp.data = _encode(result.at(ctx.version) if isinstance(result, View) else result)

    def _body(self, raw: bytes, version: Version) -> Any:
        if self.body_shape is not None:
            return self.body_shape.parse(raw, version)
        if self.route.body is bytes:
            return raw
        found = decode(_any_json, raw)
        if not isinstance(found, dict):
            raise errors.Invalid("Malformed request body: a JSON object is needed.")
        return found


def _apply(reply: Reply, resp: falcon.asgi.Response) -> None:
    if reply.status:
        resp.status = _STATUS_LINES[reply.status]
    for name, value in reply.headers.items():
        resp.set_header(name, value)
    if reply.media_type:
        resp.content_type = reply.media_type
    resp.stream = reply.stream


def _check_project(ctx: RequestContext, project_id: str) -> None:
    """A project id in the path must be the token's own (Cinder and Nova answer 400)."""
    if ctx.who is not None and project_id != ctx.project_id and not (ctx.project_id is None and ctx.is_admin):
        raise errors.Invalid(
            f"Malformed request URL: URL's project_id '{project_id[:64]}' doesn't match Context's project_id '{ctx.project_id}'"
        )


def _template(path: str) -> str:
    """The path with its variables numbered: real templates disagree on names, Falcon insists on one."""
    out, n = [], 0
    for part in path.split("/"):
        if "{" in part:
            before, _, rest = part.partition("{")
            out.append(f"{before}{{v{n}}}{rest.partition('}')[2]}")
            n += 1
        else:
            out.append(part)
    return "/".join(out)


class _Nowhere:
    """What answers below a service's prefix where no route does."""

    def __init__(self, endpoint: Endpoint):
        self._endpoint = endpoint

    async def __call__(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, ws: Any = None, **_: Any) -> None:
        if ws is not None:
            return
        self._endpoint._fail(errors.NotFound("The resource could not be found."), req, resp, None, "req-" + self._endpoint.cloud.ids.uuid())


def build_app(cloud: Cloud, routes: Iterable[Route]) -> falcon.asgi.App[Any, Any]:
    """The ASGI application of these operations. Raises ValueError, when two of them clash."""
    app = falcon.asgi.App()
    app.req_options.strip_url_path_trailing_slash = True
    app.resp_options.default_media_type = falcon.MEDIA_JSON
    paths: dict[str, list[Route]] = {}
    services: dict[str, Service] = {}
    for route in routes:
        services[route.service.prefix] = route.service
        for path in _paths(route):
            paths.setdefault(_template(path), []).append(route)
    endpoints: dict[str, Endpoint] = {}
    for template, found in paths.items():
        endpoints[template] = endpoint = Endpoint(cloud, found[0].service, found)
        app.add_route(template, endpoint)
        if template != "/" and template.endswith("/"):
            app.add_route(template.rstrip("/"), endpoint)
    bare: dict[str, Endpoint] = {prefix: Endpoint(cloud, service, []) for prefix, service in services.items()}
    for prefix, endpoint in sorted(bare.items(), key=lambda item: len(item[0])):
        app.add_sink(_Nowhere(endpoint), prefix=prefix or "/")  # type: ignore[arg-type]

    async def http_error(req: falcon.asgi.Request, resp: falcon.asgi.Response, error: falcon.HTTPError, params: Any,
                         ws: Any = None) -> None:  # fmt: skip
        if ws is not None:  # a path that has no websocket: refused before its handshake
            await ws.close()
            return
        status = http_status_to_code(error.status)
        endpoint = next((e for p, e in sorted(bare.items(), key=lambda i: -len(i[0])) if req.path.startswith(p)), None)
        if endpoint is None:
            resp.status, resp.data = error.status, _encode({"error": {"code": status, "message": error.title or ""}})
            return
        failure: Failure = errors.NotFound("The resource could not be found.")
        if status == 405:
            allowed = tuple(dict(error.headers or {}).get("Allow", "").split(", "))
            failure = errors.MethodNotAllowed("The method is not allowed for this resource.", allowed)
        elif status != 404:
            failure = errors.Invalid(error.description or error.title or "Bad request.")
        endpoint._fail(failure, req, resp, None, "req-" + cloud.ids.uuid())

    app.add_error_handler(falcon.HTTPError, http_error)
    return app


def _paths(route: Route) -> list[str]:
    service = route.service
    full = service.prefix + route.path
    below_root = route.path.startswith(service.root + "/") and route.path != service.root + "/"
    if not service.project_in_path or not below_root or route.path.startswith(service.root + "/{project_id}"):
        return [full]
    return [full, f"{service.prefix}{service.root}/{{project_id}}{route.path[len(service.root):]}"]


__all__ = ["BODY_BOUND", "NEWEST", "Endpoint", "build_app", "negotiate", "parse_query", "read_body"]
