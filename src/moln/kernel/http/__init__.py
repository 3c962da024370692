"""Routes, bodies, views, microversions, paging and faults over Falcon's ASGI."""

from moln.kernel.http.bodies import Body, QueryParams, View, since, until
from moln.kernel.http.paging import Paging, bounded_limit, next_link
from moln.kernel.http.routes import Params, Reply, Route, Routes, Service
from moln.kernel.http.server import build_app

__all__ = [
    "Body", "Paging", "Params", "QueryParams", "Reply", "Route", "Routes", "Service", "View", "bounded_limit", "build_app",
    "next_link", "since", "until",
]
