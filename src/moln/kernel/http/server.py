"""Routes made into one Falcon application: who asks, at which microversion, with what body; answers and faults."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import falcon
import falcon.asgi
import msgspec
from falcon import http_status_to_code

from moln.kernel import errors, log, metrics
from moln.kernel.audit import Audit
from moln.kernel.cloud import Cloud
from moln.kernel.context import Identity, RequestContext, Version
from moln.kernel.errors import Failure
from moln.kernel.fairness import Place
from moln.kernel.http.access import authenticate_late, bearer, check_access, check_bound
from moln.kernel.http.bodies import decode
from moln.kernel.http.faults import keystone_body, status_of
from moln.kernel.http.headers import response_type, security_headers
from moln.kernel.http.operations import STATUS_LINES, Operation, any_json, read_body
from moln.kernel.http.routes import Route, Service
from moln.kernel.http.routing import Router, table
from moln.kernel.http.serve import ARRIVED
from moln.kernel.http.versions import Versions
from moln.kernel.tracing import Tracer

UNFORESEEN = "An unexpected error prevented the server from fulfilling your request."
REQUEST_S = 60.0  # seconds that an answer may take (uploads bound themselves)
_encode = msgspec.json.Encoder().encode
_log = logging.getLogger("moln.http")


class Endpoint:
    """Every operation of one path: Falcon's resource."""

    def __init__(self, cloud: Cloud, service: Service, routes: list[Route]):
        self.cloud = cloud
        self.service = service
        self.versions = Versions(service)
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
        note = self._noting(method, template, len(routes[0].variables))
        fairness, wants = cloud.fairness, routes[0].wants
        kind = "stream" if audited and "request" in wants and "body" not in wants and method != "DELETE" else "known"
        public = routes[0].public
        root = self.service.root + "/"
        exact = self.service.exact and routes[0].path.startswith(root) and routes[0].path != root
        chosen_by_body = any(r.action for r in routes)
        operations = [Operation(route) for route in routes]

        async def respond(req: falcon.asgi.Request, resp: falcon.asgi.Response, **values: str) -> None:
            request_id = "req-" + cloud.ids.uuid()
            log.request_id.set(request_id)
            ctx: RequestContext | None = None
            operation: Operation | None = None
            place: Place | None = None
            client = req.scope.get("client")
            address = client[0] if client else "127.0.0.1"
            began = monotonic()
            requests.running += 1
            try:
                if (values and not all(values.values())) or (exact and req.scope["path"].endswith("/")):
                    raise errors.NotFound("The resource could not be found.")
                headers = req._asgi_headers  # Falcon's own look-up costs as much as the rest of this
                version = versions.asked(headers)
                who = await self._who(req, headers, public)
                ctx = RequestContext(cloud, request_id, who, version, began + REQUEST_S)
                waited = began - req.scope.get(ARRIVED, began)
                if audited:
                    waited = max(waited, cloud.db.wait_s())  # who is let in waits for that
                whose = ("anonymous", address) if who is None else (kind, who.project_id or who.user_id)
                place = fairness.enter(*whose, began, waited)
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
                note(cloud.audit, ctx, operation, req, resp, list(values.values()), address, request_id)

        return respond if cloud.tracer is None else self._traced(cloud.tracer, method, template, respond)

    def _noting(self, method: str, template: str, named: int) -> Callable[..., None]:
        """What writes a request that may change something into the audit log. named: how many of the path's last variables the route names."""

        def note(
            audit: Audit, ctx: RequestContext | None, operation: Operation | None, req: falcon.asgi.Request, resp: falcon.asgi.Response,
            values: list[str], address: str, request_id: str,
        ) -> None:  # fmt: skip
            audit.note(
                ctx, service=self.service.name, method=method, route=template, action=operation.action if operation else "", path=req.path,
                ids=values[len(values) - named :], address=address, status=resp.status_code, answer=resp.data, request_id=request_id,
            )  # fmt: skip

        return note

    async def _who(self, req: falcon.asgi.Request, headers: dict[bytes, bytes], public: bool) -> Identity | None:
        """Who a request's token proves; None: nobody, where that is enough. Raises: Unauthorized."""
        token = headers.get(b"x-auth-token") or bearer(headers)
        if not token:
            if public:
                return None
            raise errors.Unauthorized("The request you have made requires authentication.")
        try:
            who = await self.cloud.authenticate(self.cloud, token.decode("latin-1"))
        except errors.Unauthorized:
            late = await authenticate_late(self.cloud, token, headers.get(b"x-service-token"))
            if late is None and not public:
                raise
            if late is not None and late.bound_to is not None:
                check_bound(late, req)
            return late
        if who.bound_to is not None:
            check_bound(who, req)
        if who.access_rules is not None:
            await check_access(self.cloud, self.service, who, req)
        return who

    def _traced(self, tracer: Tracer, method: str, template: str, respond: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
        """The responder within a span; without a tracer there is none of this to pay for."""

        async def traced(req: falcon.asgi.Request, resp: falcon.asgi.Response, **values: str) -> None:
            with tracer.request(method, template, self.service.name, req._asgi_headers) as span:
                await respond(req, resp, **values)
                tracer.answered(span, resp.status_code, resp._headers.get("x-openstack-request-id", ""))

        return traced

    def _finish(self, resp: falcon.asgi.Response, request_id: str, version: Version) -> None:
        headers = resp._headers
        headers["x-openstack-request-id"] = request_id
        if self.service.request_id_header:
            headers[self.service.request_id_header] = request_id
        headers.update(self.versions.headers(version))

    def _fail(self, failure: Failure, req: falcon.asgi.Request, resp: falcon.asgi.Response, ctx: RequestContext | None,
              request_id: str) -> None:  # fmt: skip
        status = status_of(failure, self.service.statuses)
        if failure.detail:
            _log.warning("%s: %s", failure.message, failure.detail)
        shape = keystone_body if status == 401 else self.service.fault
        resp.stream = None
        resp.data, resp.content_type = shape(failure, status, ctx)
        resp.status = str(status) if status not in STATUS_LINES else STATUS_LINES[status]
        if status == 401:
            resp.set_header("WWW-Authenticate", f'Keystone uri="{self.cloud.settings.public_url}/identity"')
        if isinstance(failure, errors.TooManyRequests | errors.Unavailable) and status in (429, 503):
            resp.set_header("Retry-After", str(failure.retry_after_s))
        if isinstance(failure, errors.MethodNotAllowed) and failure.allowed:
            resp.set_header("Allow", ", ".join(failure.allowed))
        self._finish(resp, request_id, ctx.version if ctx else self.service.min_version)


def _by_version(operations: list[Operation], version: Version) -> Operation:
    for operation in operations:
        if operation.since <= version <= operation.until:
            return operation
    raise errors.NotFound("The resource could not be found.")


def _by_action(operations: list[Operation], raw: bytes, version: Version) -> Operation:
    keys = decode(any_json, raw)
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
    found = table(tuple(routes))
    router = Router(found.places, lambda place: Endpoint(cloud, place.service, place.routes))
    app: falcon.asgi.App[Any, Any] = falcon.asgi.App(response_type=response_type(security_headers(cloud.settings)), router=router)
    app._standard_response_type = True  # our responses render as Falcon's own: it need not ask each of them to
    app.req_options.strip_url_path_trailing_slash = True
    app.resp_options.default_media_type = falcon.MEDIA_JSON
    bare: dict[str, Endpoint] = {prefix: Endpoint(cloud, service, []) for prefix, service in found.services.items()}
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
        if status == 405 and not (endpoint.service.exact and req.scope["path"].endswith("/")):
            allowed = tuple(dict(error.headers or {}).get("Allow", "").split(", "))
            failure = errors.MethodNotAllowed("The method is not allowed for this resource.", allowed)
        elif status not in (404, 405):
            failure = errors.Invalid(error.description or error.title or "Bad request.")
        endpoint._fail(failure, req, resp, None, "req-" + cloud.ids.uuid())

    app.add_error_handler(falcon.HTTPError, http_error)
    return app
