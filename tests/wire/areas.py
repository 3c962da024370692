"""One or two areas over HTTP, without identity: a token says by itself who its bearer is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from tests import databases

from moln.kernel.clock import Clock
from moln.kernel.cloud import Cloud
from moln.kernel.context import Identity
from moln.kernel.errors import Unauthorized
from moln.kernel.http import build_app
from moln.kernel.link import InProcessLinks, NodeLinks
from moln.kernel.module import Module, Violation
from moln.kernel.policy import Policy
from moln.kernel.work import Workers

POLICY = Policy.load()
IMPLIED = {"admin": "admin manager member reader", "manager": "manager member reader", "member": "member reader", "reader": "reader", "service": "service"}


async def authenticate(cloud: Cloud, token: str) -> Identity:
    """A token reads "<project>/<role>"."""
    project, slash, role = token.partition("/")
    if not slash:
        raise Unauthorized("The request you have made requires authentication.")
    return Identity(user_id=f"user-of-{project}", project_id=project, roles=frozenset(IMPLIED[role].split()))


class AreaApi:
    """Clients by token, and the areas' work done on demand."""

    def __init__(self, cloud: Cloud, modules: list[Module]):
        self.cloud = cloud
        self.modules = modules
        self.workers = Workers(cloud, [r for m in modules for r in m.reconcilers])
        self.asgi = build_app(cloud, [route for m in modules for routes in m.routes for route in routes.all])
        self.transport = httpx.ASGITransport(self.asgi, raise_app_exceptions=False)

    def client(self, token: str | None, base: str, **headers: str) -> httpx.AsyncClient:
        if token:
            headers["X-Auth-Token"] = token
        return httpx.AsyncClient(transport=self.transport, base_url=f"http://test{base}", headers=headers, timeout=60)

    async def settle(self) -> None:
        await self.workers.settle()

    async def doctor(self) -> list[Violation]:
        """Every invariant's violations."""
        return [v for m in self.modules for i in m.invariants for v in await i.check(self.cloud)]


@asynccontextmanager
async def areas(home: Path, settings: Any, modules: list[Module], links: NodeLinks | None = None) -> AsyncIterator[AreaApi]:
    clock = Clock()
    db = await databases.opened(home, clock)
    links = links or InProcessLinks(clock.now_us)
    cloud = Cloud(settings=settings, db=db, policy=POLICY, links=links, home=home, clock=clock)
    cloud.authenticate = authenticate
    for module in modules:
        if module.setup:
            await module.setup(cloud)
    yield AreaApi(cloud, modules)
    for module in reversed(modules):
        if module.close:
            await module.close(cloud)
    await db.close()
