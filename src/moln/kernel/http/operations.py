"""One operation of a path: what its handler takes from a request, and what its result becomes."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, quote

import falcon
import falcon.asgi
import msgspec

from moln.kernel import errors
from moln.kernel.context import RequestContext, Version
from moln.kernel.http.bodies import Body, QueryParams, View, decode
from moln.kernel.http.routes import Params, Reply, Route, Whole

BODY_BOUND = 1 << 20  # bytes of a JSON body, at most
QUERY_BOUND = 16 << 10  # bytes
URI = "/:=&?~#+!$,;'@()*[]"  # what an address may hold besides letters and digits: a Location often has what the caller chose
_encode = msgspec.json.Encoder().encode
any_json = msgspec.json.Decoder(Any)

STATUS_LINES: dict[int, str] = {
    code: getattr(falcon, f"HTTP_{code}") for code in range(100, 600) if hasattr(falcon, f"HTTP_{code}")
}


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


async def read_body(req: falcon.asgi.Request, bound: int = BODY_BOUND) -> bytes:
    """A small body, whole; the server sees to it that it arrives in time (serve.SLOWEST). Raises: TooLarge."""
    length = req.content_length
    if length is not None and length > bound:
        raise errors.TooLarge(f"The request body is larger than {bound} bytes.")
    raw: bytes = await req.stream.read(bound + 1)
    if len(raw) > bound:
        raise errors.TooLarge(f"The request body is larger than {bound} bytes.")
    return raw


class Operation:
    """A route made ready to be answered: what its handler takes, worked out once."""

    def __init__(self, route: Route):
        self.route = route
        self.handler, self.status, self.action = route.handler, STATUS_LINES[route.status], route.action
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
        found = decode(any_json, raw)
        if not isinstance(found, dict):
            raise errors.Invalid("Malformed request body: a JSON object is needed.")
        return found


def _apply(reply: Reply, resp: falcon.asgi.Response) -> None:
    if reply.status:
        resp.status = STATUS_LINES[reply.status]
    for name, value in reply.headers.items():
        if name == "Set-Cookie":
            resp.append_header(name, value)
        else:
            resp.set_header(name, quote(value, safe=URI) if name.lower() == "location" and type(value) is not Whole else value)
    if reply.media_type:
        resp.content_type = reply.media_type
    resp.stream = reply.stream


def _check_project(ctx: RequestContext, project_id: str) -> None:
    """A project id in the path must be the token's own (Cinder and Nova answer 400)."""
    if ctx.who is not None and project_id != ctx.project_id and not (ctx.project_id is None and ctx.is_admin):
        raise errors.Invalid(
            f"Malformed request URL: URL's project_id '{project_id[:64]}' doesn't match Context's project_id '{ctx.project_id}'"
        )
