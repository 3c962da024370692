"""Keystone alone over HTTP, on a real database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from msgspec import field
from tests import databases

import moln.identity.module as identity
from moln.identity.settings import IdentitySettings
from moln.kernel import config
from moln.kernel.clock import Clock
from moln.kernel.cloud import Cloud
from moln.kernel.http import build_app
from moln.kernel.link import InProcessLinks
from moln.kernel.policy import Policy

DEFAULT = {"id": "default"}


class Settings(config.Settings, frozen=True):
    identity: IdentitySettings = field(default_factory=IdentitySettings)


class SettableClock(Clock):
    """Real time, moved on by what a test says."""

    ahead_us = 0

    def now_us(self) -> int:
        return super().now_us() + self.ahead_us


def password_auth(name: str, password: str, scope: Any = None) -> dict[str, Any]:
    who = {"methods": ["password"], "password": {"user": {"name": name, "domain": DEFAULT, "password": password}}}
    return {"auth": {"identity": who} | ({"scope": scope} if scope is not None else {})}


def token_auth(token: str, scope: Any = None) -> dict[str, Any]:
    return {"auth": {"identity": {"methods": ["token"], "token": {"id": token}}} | ({"scope": scope} if scope is not None else {})}


def on_project(name: str) -> dict[str, Any]:
    return {"project": {"name": name, "domain": DEFAULT}}


class Keystone:
    """Identity over HTTP: `admin` speaks as the administrator."""

    def __init__(self, cloud: Cloud, transport: httpx.ASGITransport):
        self.cloud = cloud
        self.clock: SettableClock = cloud.clock  # type: ignore[assignment]
        self._transport = transport
        self.anonymous = self.client()
        self.admin = self.anonymous
        self.expected_violations: list[Any] = []
        self.password = (cloud.home / "admin.password").read_text().strip()

    def client(self, token: str | None = None) -> httpx.AsyncClient:
        headers = {"X-Auth-Token": token} if token else {}
        return httpx.AsyncClient(transport=self._transport, base_url="http://moln/identity", headers=headers)

    async def ask(self, body: dict[str, Any], query: str = "") -> httpx.Response:
        return await self.anonymous.post(f"/v3/auth/tokens{query}", json=body)

    async def token(self, name: str, password: str, scope: Any = None) -> str:
        answer = await self.ask(password_auth(name, password, scope))
        assert answer.status_code == 201, answer.text
        return answer.headers["X-Subject-Token"]

    async def make(self, kind: str, **values: Any) -> dict[str, Any]:
        """POST /v3/<kind>s as the administrator."""
        answer = await self.admin.post(f"/v3/{kind}s", json={kind: values})
        assert answer.status_code == 201, answer.text
        return answer.json()[kind]

    async def role_id(self, name: str) -> str:
        return (await self.admin.get("/v3/roles", params={"name": name})).json()["roles"][0]["id"]

    async def grant(self, user_id: str, role: str, on: str) -> None:
        """on: "projects/<id>", "domains/<id>" or "system"."""
        answer = await self.admin.put(f"/v3/{on}/users/{user_id}/roles/{await self.role_id(role)}")
        assert answer.status_code == 204, answer.text

    async def works(self, token: str) -> bool:
        """Whether a request with the token is let in."""
        status = (await self.client(token).get("/v3/auth/projects")).status_code
        assert status in (200, 401)
        return status == 200


class Someone:
    """A user `alice` with a role on project `red`, and their token for it."""

    def __init__(self, user: dict[str, Any], project: dict[str, Any], token: str):
        self.id, self.project_id, self.token = user["id"], project["id"], token
        self.name, self.password = user["name"], "correct horse"


@asynccontextmanager
async def keystone_at(home: Path, **identity_settings: Any) -> AsyncIterator[Keystone]:
    """Identity alone on a database in `home`, its invariants checked at the end."""
    settings = Settings(public_url="http://cloud.example:5000", identity=IdentitySettings(**identity_settings))
    clock = SettableClock()
    db = await databases.opened(home, clock)
    links = InProcessLinks(clock.now_us)
    cloud = Cloud(settings=settings, db=db, policy=Policy.load(), links=links, home=home, clock=clock)
    module = identity.module(settings)
    assert module.setup and module.close
    await module.setup(cloud)
    asgi = build_app(cloud, [route for routes in module.routes for route in routes.all])
    keystone = Keystone(cloud, httpx.ASGITransport(asgi, raise_app_exceptions=False))
    keystone.admin = keystone.client(await keystone.token("admin", keystone.password, on_project("admin")))
    yield keystone
    assert [v for invariant in module.invariants for v in await invariant.check(cloud)] == keystone.expected_violations
    await module.close(cloud)
    await db.close()


@pytest.fixture
async def keystone(tmp_path: Path, database: str) -> AsyncIterator[Keystone]:
    async with keystone_at(tmp_path) as keystone:
        yield keystone


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Keystone]:
    """One for all tests of a module, which must not stand in each other's way."""
    async with keystone_at(tmp_path_factory.mktemp("keystone")) as keystone:
        yield keystone


async def somebody(keystone: Keystone, name: str, project: str, role: str = "member") -> Someone:
    """A new user with a role on a new project, and a token for it."""
    user = await keystone.make("user", name=name, password="correct horse")
    made = await keystone.make("project", name=project)
    await keystone.grant(user["id"], role, f"projects/{made['id']}")
    return Someone(user, made, await keystone.token(name, "correct horse", on_project(project)))


@pytest.fixture
async def alice(keystone: Keystone) -> Someone:
    return await somebody(keystone, "alice", "red")
