"""Which operations each path has: worked out once for a process, however many applications of the same routes it makes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, NamedTuple

from falcon.routing import CompiledRouter, map_http_methods, set_default_responders
from msgspec import Struct

from moln.kernel.http.routes import Route, Service

Found = tuple[object, dict[str, Any], dict[str, Any], str | None]


class Place(Struct, frozen=True, eq=False):
    """A path's operations, all of one service."""

    service: Service
    routes: list[Route]


class Table(NamedTuple):
    """services: by prefix. places: finds a path's Place."""

    services: dict[str, Service]
    places: CompiledRouter


@lru_cache(16)
def table(routes: tuple[Route, ...]) -> Table:
    """Raises ValueError, when two of them clash."""
    services: dict[str, Service] = {}
    places: dict[str, Place] = {}
    for route in routes:
        services[route.service.prefix] = route.service
        for path in _paths(route):
            places.setdefault(_template(path), Place(route.service, [])).routes.append(route)
    router = CompiledRouter()
    for template, place in places.items():
        router.add_route(template, place)
        if template != "/" and template.endswith("/"):
            router.add_route(template.rstrip("/"), place)
    return Table(services, router)


class Router(CompiledRouter):
    """An application's: the table's paths, then those that are added to it. make: the resource of a place, made when it is first asked for."""

    def __init__(self, places: CompiledRouter, make: Callable[[Place], object]):
        super().__init__()
        self._places = places
        self._make = make
        self._made: dict[str | None, tuple[object, dict[str, Any]]] = {}

    def find(self, uri: str, req: Any = None) -> Found | None:
        """(resource, responders by method, values of the path's variables, its template)"""
        found = self._places.find(uri, req)
        if found is None:
            return super().find(uri, req)
        place, _, values, template = found
        made = self._made.get(template)
        if made is None:
            resource = self._make(place)  # type: ignore[arg-type]
            responders = map_http_methods(resource)
            set_default_responders(responders, asgi=True)
            made = self._made[template] = resource, responders
        return *made, values, template


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


def _paths(route: Route) -> Iterable[str]:
    service = route.service
    full = service.prefix + route.path
    below_root = route.path.startswith(service.root + "/") and route.path != service.root + "/"
    if not service.project_in_path or not below_root or route.path.startswith(service.root + "/{project_id}"):
        return [full]
    return [full, f"{service.prefix}{service.root}/{{project_id}}{route.path[len(service.root) :]}"]
