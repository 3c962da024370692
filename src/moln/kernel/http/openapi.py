"""The description of an API in OpenAPI 3.1, from the same declarations and types that answer it. Pure: routes in, a document out."""

from __future__ import annotations

import re
import typing
from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Struct

from moln.kernel.context import Version
from moln.kernel.http.bodies import ANY_VERSION, NEWEST, Body, QueryParams
from moln.kernel.http.routes import Reply, Route, Service
from moln.kernel.http.schemas import ANYTHING, Described, Given, Schemas, any_of

KEYSTONE_FAULT = {"error": {"code": int, "message": str, "title": str}}
NOTHING = Described()
OBJECT = {"type": "object"}
JSON = "application/json"


def document(routes: Iterable[Route], described: dict[str, Described], *, server: str = "", release: str = "") -> dict[str, Any]:
    """described: by the area's name. server: where the API is. Raises ValueError, when a description is of no operation."""
    by_path: dict[str, dict[str, list[Route]]] = {}
    for route in routes:
        full = route.service.prefix + route.path
        if full != "/":
            full = full.rstrip("/")
        key = re.sub("{[^}]*}", "{}", full)  # whatever each calls its variables, it is one path
        by_path.setdefault(key, {}).setdefault(route.method, []).append(route)
    _check(by_path, described)
    writer = _Writer(described, [route for methods in by_path.values() for found in methods.values() for route in found])
    paths: dict[str, Any] = {}
    for methods in by_path.values():
        first = next(iter(methods.values()))[0]
        path = (first.service.prefix + first.path).rstrip("/") or "/"
        variables = re.findall("{([^}]*)}", path)
        paths[path] = {
            **({"parameters": [_path_parameter(name) for name in variables]} if variables else {}),
            **{method.lower(): writer.operation(path, method, found) for method, found in methods.items()},
        }
    return {
        "openapi": "3.1.0",
        "info": {"title": "Moln", "version": release or "0", "description": "OpenStack's APIs as this cloud serves them."},
        **({"servers": [{"url": server}]} if server else {}),
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": writer.schemas.components,
            "responses": writer.faults,
            "parameters": writer.parameters,
            "securitySchemes": {"token": {"type": "apiKey", "in": "header", "name": "X-Auth-Token"}},
        },
        "security": [{"token": []}],
    }


def _check(by_path: dict[str, dict[str, list[Route]]], described: dict[str, Described]) -> None:
    known: dict[str, set[str]] = {}
    for methods in by_path.values():
        for found in methods.values():
            for route in found:
                known.setdefault(route.service.name, set()).update((_key(route), _key(route, action=False)))
    for area, said in described.items():
        if strange := {*said.answers, *said.bodies, *said.queries, *said.headers} - known.get(area, set()):
            raise ValueError(f"{area} describes what it does not have: {sorted(strange)}")


def _key(route: Route, *, action: bool = True) -> str:
    return f"{route.method} {route.path}" + (f"#{route.action}" if action and route.action else "")


def _path_parameter(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}


def _text(version: Version) -> str:
    return f"{version[0]}.{version[1]}"


def _interval(route: Route) -> dict[str, Any]:
    """From which microversion to which the operation is there, as OpenStack's own descriptions say it."""
    said: dict[str, Any] = {}
    if route.since != ANY_VERSION:
        said["min-ver"] = _text(route.since)
    if route.until != NEWEST:
        said["max-ver"] = _text(route.until)
    if route.action:
        said["action-name"] = route.action
    return {"x-openstack": said} if said else {}


class _Writer:
    """Writes operations; the types of all of them are known before the first, so that each is one component."""

    def __init__(self, described: dict[str, Described], routes: list[Route]):
        self.described = described
        self.services: dict[str, Service] = {route.service.name: route.service for route in routes}
        shapes: list[Any] = [KEYSTONE_FAULT]
        for said in [*described.values(), NOTHING]:
            shapes += [said.error, *said.answers.values(), *said.bodies.values()]
        for route in routes:
            shapes += [self._body_shape(route), self._answer_shape(route)]
            if _is(route.query, QueryParams):
                shapes.append(route.query)
        self.schemas = Schemas(shapes)
        self.faults = {"unauthorized": self._fault(KEYSTONE_FAULT, JSON, "No valid token came with it.")}
        self.parameters: dict[str, Any] = {}
        for name, service in self.services.items():
            said = described.get(name, NOTHING)
            self.faults[f"{name}-failure"] = self._fault(said.error, said.error_type, f"A failure, as {name} says it.")
            if service.header:
                self.parameters[f"{name}-microversion"] = {
                    "name": "OpenStack-API-Version", "in": "header",
                    "description": f"A microversion from {_text(service.min_version)} (without the header) to {_text(service.max_version)}.",
                    "schema": {"type": "string", "pattern": rf"^{service.header} (latest|\d+\.\d+)$"},
                    "x-openstack": {"min-ver": _text(service.min_version), "max-ver": _text(service.max_version)},
                }  # fmt: skip

    def _fault(self, shape: Any, media_type: str, what: str) -> dict[str, Any]:
        return {"description": what, "content": {media_type: {"schema": self.schemas.of(shape)}}}

    def _said(self, route: Route, of: str) -> Any:
        """What the area says of an operation; its key may leave the action out."""
        said = getattr(self.described.get(route.service.name, NOTHING), of)
        return said.get(_key(route), said.get(_key(route, action=False), ...))

    def _body_shape(self, route: Route) -> Any:
        if _is(route.body, Body):
            return route.body
        said = self._said(route, "bodies")
        if said is not ...:
            return said
        return {f"{route.action}": Any} if route.action else dict if route.body is not bytes else Any

    def _answer_shape(self, route: Route) -> Any:
        said = self._said(route, "answers")
        if said is not ...:
            return said
        hint = typing.get_type_hints(route.handler).get("return", Any)
        if hint is type(None):
            return {route.status: None}
        return {route.status: Any} if hint is Reply or hint is Any else {route.status: hint}

    def operation(self, path: str, method: str, routes: list[Route]) -> dict[str, Any]:
        """One method of one path: its routes differ by action or by microversion."""
        first = routes[0]
        summary = (first.handler.__doc__ or first.handler.__name__.strip("_").replace("_", " ").capitalize() + ".").strip().partition("\n")[0]
        body = self._request_body(routes)
        return {
            "operationId": re.sub(r"[^\w.-]+", "_", f"{first.service.name} {method.lower()} {path}").strip("_"),
            "tags": [first.service.name],
            "summary": "Do one of several actions; the body says which." if first.action else summary,
            "parameters": self._parameters(routes),
            **({"requestBody": body} if body else {}),
            "responses": self._responses(routes),
            **({"security": [{}, {"token": []}]} if all(route.public for route in routes) else {}),
            **(_interval(first) if len(routes) == 1 else {}),
        }

    def _parameters(self, routes: list[Route]) -> list[dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for route in routes:
            if _is(route.query, QueryParams):
                schema = self.schemas.of(route.query)
                properties = self.schemas.components[schema["$ref"].rpartition("/")[2]].get("properties", {})
                found |= {name: {"name": name, "in": "query", "schema": inner} for name, inner in properties.items()}
            elif route.query is not None:
                names = self._said(route, "queries")
                found |= {name: {"name": name, "in": "query", "schema": {"type": "string"}} for name in sorted(names if names is not ... else ())}
            names = self._said(route, "headers")
            found |= {name: {"name": name, "in": "header", "schema": {"type": "string"}} for name in (names if names is not ... else ())}
        name = routes[0].service.name
        return [*([{"$ref": f"#/components/parameters/{name}-microversion"}] if routes[0].service.header else []), *found.values()]

    def _request_body(self, routes: list[Route]) -> dict[str, Any]:
        content: dict[str, list[dict[str, Any]]] = {}
        for route in routes:
            if route.body is None and not route.action:
                if "request" not in route.wants or self._said(route, "bodies") is ...:
                    continue
            shape = self._body_shape(route)
            by_type = shape if isinstance(shape, dict) and any("/" in str(key) for key in shape) else {JSON: shape}
            for media_type, inner in by_type.items():
                content.setdefault(media_type, []).append({**self.schemas.of(inner), **_interval(route)} if route.action else self.schemas.of(inner))
        kind = {media_type: {"schema": any_of(schemas)} for media_type, schemas in content.items()}
        return {"required": True, "content": kind} if kind else {}

    def _responses(self, routes: list[Route]) -> dict[str, Any]:
        by_status: dict[int, list[Any]] = {}
        for route in routes:
            shape = self._answer_shape(route)
            numbered = shape if isinstance(shape, dict) and shape and all(isinstance(key, int) for key in shape) else {route.status: shape}
            for status, inner in numbered.items():
                by_status.setdefault(status, []).append(inner)
        found: dict[str, Any] = {}
        for status, shapes in sorted(by_status.items()):
            found[str(status)] = {"description": "Done."}
            if None in shapes:  # OpenAPI has no word for a body that only some of the actions answer with
                continue
            content: dict[str, list[dict[str, Any]]] = {}
            for shape in shapes:
                by_type = shape if isinstance(shape, dict) and any("/" in str(key) for key in shape) else {JSON: shape}
                for media_type, inner in by_type.items():
                    content.setdefault(media_type, []).append(self.schemas.of(inner))
            if content:
                found[str(status)]["content"] = {kind: {"schema": any_of(schemas)} for kind, schemas in content.items()}
        name = routes[0].service.name
        found.setdefault("401", {"$ref": "#/components/responses/unauthorized"})
        for status_range in ("4XX", "501", "503"):
            found[status_range] = {"$ref": f"#/components/responses/{name}-failure"}
        return found


def _is(hint: Any, base: type[Struct]) -> bool:
    return isinstance(hint, type) and issubclass(hint, base)


def render(routes: Iterable[Route], described: dict[str, Described], *, server: str = "", release: str = "") -> bytes:
    """The document as JSON."""
    return msgspec.json.encode(document(routes, described, server=server, release=release))


__all__ = ["ANYTHING", "Described", "Given", "document", "render"]
