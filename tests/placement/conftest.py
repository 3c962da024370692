"""Placement over HTTP on a real SQLite file; the token's text says who asks."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from moln.kernel.cloud import Cloud
from moln.kernel.context import Identity
from moln.kernel.http import build_app
from moln.placement.module import module

WHO = {
    "admin": Identity(user_id="admin", project_id="admins", roles=frozenset({"admin", "member", "reader"})),
    "service": Identity(user_id="nova", project_id="services", roles=frozenset({"service"})),
    "member": Identity(user_id="alice", project_id="demo", roles=frozenset({"member", "reader"})),
}


class Placement:
    """A client at one microversion."""

    def __init__(self, cloud: Cloud, http: httpx.AsyncClient):
        self.cloud = cloud
        self._http = http

    async def __call__(self, method: str, path: str, json: Any = None, *, at: str = "1.39", who: str = "admin") -> httpx.Response:
        headers = {"X-Auth-Token": who, "OpenStack-API-Version": f"placement {at}"}
        return await self._http.request(method, f"/placement{path}", json=json, headers=headers)

    async def violations(self) -> list[str]:
        return [v.message for i in module(None).invariants for v in await i.check(self.cloud)]


@pytest.fixture
async def placement(cloud: Cloud) -> Placement:
    async def authenticate(cloud: Cloud, token: str) -> Identity:
        return WHO[token]

    cloud.authenticate = authenticate
    app = build_app(cloud, [r for routes in module(None).routes for r in routes.all])
    return Placement(cloud, httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:5000"))
