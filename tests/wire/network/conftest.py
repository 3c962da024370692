"""Neutron alone over HTTP: a real database, the fake engine with one node."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec import field
from tests.wire.areas import AreaApi, areas

import moln.network.module as network
from moln.kernel import config
from moln.network.model.topology import Chassis
from moln.network.settings import NetworkSettings


class Settings(config.Settings, frozen=True):
    network: NetworkSettings = field(default_factory=NetworkSettings)


class Client:
    """One caller. Each verb answers the inner object and insists on the status."""

    def __init__(self, http: httpx.AsyncClient):
        self.http = http

    async def call(self, method: str, path: str, status: int, body: Any = None, **options: Any) -> Any:
        answer = await self.http.request(method, f"/network/v2.0{path}", json=body, **options)
        assert answer.status_code == status, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    async def make(self, collection: str, /, **fields: Any) -> Any:
        """Create one thing; `router__external` is `router:external`."""
        single = singular(collection)
        named = {key.replace("__", ":"): value for key, value in fields.items()}
        return (await self.call("POST", f"/{collection}", 201, {single: named}))[single]

    async def refused(self, status: int, collection: str, id: str | None = None, /, **fields: Any) -> Any:
        """Create (or update) in vain; the NeutronError."""
        named = {singular(collection): {key.replace("__", ":"): value for key, value in fields.items()}}
        method, path = ("PUT", f"/{collection}/{id}") if id else ("POST", f"/{collection}")
        return (await self.call(method, path, status, named))["NeutronError"]

    async def change(self, collection: str, id: str, /, **fields: Any) -> Any:
        single = singular(collection)
        named = {key.replace("__", ":"): value for key, value in fields.items()}
        return (await self.call("PUT", f"/{collection}/{id}", 200, {single: named}))[single]

    async def show(self, collection: str, id: str, **query: Any) -> Any:
        return (await self.call("GET", f"/{collection}/{id}", 200, params=query))[singular(collection)]

    async def list(self, collection: str, /, **query: Any) -> Any:
        named = {key.replace("__", ":"): value for key, value in query.items()}
        return (await self.call("GET", f"/{collection}", 200, params=named))[collection.rpartition("/")[2].replace("-", "_")]

    async def remove(self, collection: str, id: str, status: int = 204) -> Any:
        answer = await self.call("DELETE", f"/{collection}/{id}", status)
        return answer["NeutronError"] if answer else None


def singular(collection: str) -> str:
    name = collection.rpartition("/")[2].replace("-", "_")
    return name.removesuffix("ies") + "y" if name.endswith("ies") else name.removesuffix("s")


@pytest.fixture
async def neutron(tmp_path: Path, database: str) -> AsyncIterator[AreaApi]:
    settings = Settings(simulate=True, network=NetworkSettings(physical_networks=("public", "rack2")))
    async with areas(tmp_path, settings, [network.module(settings)]) as api:
        node = Chassis(name="node-1", hostname="node-1", physical_networks=("public",))
        api.cloud.areas["network"].driver.add_chassis(node)
        yield api
        await api.settle()
        assert [v.message for v in await api.doctor()] == [], "every test leaves a sound cloud"


@pytest.fixture
def alice(neutron: AreaApi) -> Client:
    return Client(neutron.client("red/member", ""))


@pytest.fixture
def bob(neutron: AreaApi) -> Client:
    return Client(neutron.client("blue/member", ""))


@pytest.fixture
def admin(neutron: AreaApi) -> Client:
    return Client(neutron.client("cloud/admin", ""))


class Outside:
    """An external network with one subnet."""

    def __init__(self, network: Any, subnet: Any):
        self.network, self.subnet = network, subnet


@pytest.fixture
async def outside(admin: Client) -> Outside:
    net = await admin.make(
        "networks", name="public", router__external=True, provider__network_type="flat", provider__physical_network="public"
    )
    subnet = await admin.make("subnets", network_id=net["id"], ip_version=4, cidr="203.0.113.0/24", enable_dhcp=False)
    return Outside(net, subnet)


class Inside:
    """A project's network, subnet and router with a gateway."""

    def __init__(self, network: Any, subnet: Any, router: Any):
        self.network, self.subnet, self.router = network, subnet, router


@pytest.fixture
async def inside(alice: Client, outside: Outside) -> Inside:
    net = await alice.make("networks", name="private")
    subnet = await alice.make("subnets", network_id=net["id"], ip_version=4, cidr="10.0.0.0/24", name="private-v4")
    router = await alice.make("routers", name="r", external_gateway_info={"network_id": outside.network["id"]})
    await alice.call("PUT", f"/routers/{router['id']}/add_router_interface", 200, {"subnet_id": subnet["id"]})
    return Inside(net, subnet, router)
