"""A simulated cloud with what a server needs: an image, a network with a subnet, a flavor; and calls to its services."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from tests.conftest import Api


class World:
    """Calls are alice's, a member of project demo, but for those that only an administrator may make."""

    def __init__(self, api: Api):
        self.api = api
        self.cloud = api.cloud

    async def _send(self, client: httpx.AsyncClient, method: str, path: str, status: int | None, body: Any, headers: dict[str, str]) -> Any:
        answer = await client.request(method, path, json=body, headers=headers)
        assert status is None or answer.status_code == status, f"{method} {path}: {answer.status_code} {answer.text}"
        assert status is not None or answer.status_code < 300, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    async def call(self, method: str, path: str, status: int | None = None, body: Any = None, version: str = "2.100", *,
                   admin: bool = False) -> Any:  # fmt: skip
        client = self.api.admin if admin else self.api.member
        return await self._send(client, method, f"/compute/v2.1{path}", status, body, {"OpenStack-API-Version": f"compute {version}"})

    async def neutron(self, method: str, path: str, body: Any = None) -> Any:
        return await self._send(self.api.member, method, f"/network/v2.0{path}", None, body, {})

    async def cinder(self, method: str, path: str, body: Any = None) -> Any:
        return await self._send(self.api.member, method, f"/volume/v3{path}", None, body, {"OpenStack-API-Version": "volume 3.70"})

    async def settle(self) -> None:
        await self.api.settle()

    async def set_up(self) -> World:
        image = {"name": "cirros", "disk_format": "raw", "container_format": "bare", "visibility": "public"}
        made = await self._send(self.api.admin, "POST", "/image/v2/images", 201, image, {})
        self.image = made["id"]
        sent = await self.api.admin.put(
            f"/image/v2/images/{self.image}/file", content=b"\0" * 4096, headers={"Content-Type": "application/octet-stream"}
        )
        assert sent.status_code == 204, sent.text
        self.network = (await self.neutron("POST", "/networks", {"network": {"name": "net"}}))["network"]["id"]
        subnet = {"network_id": self.network, "cidr": "10.1.0.0/24", "ip_version": 4}
        self.subnet = (await self.neutron("POST", "/subnets", {"subnet": subnet}))["subnet"]["id"]
        self.small = await self.flavor("small")
        await self.settle()
        return self

    async def flavor(self, name: str, **more: Any) -> str:
        flavor = {"name": name, "vcpus": 1, "ram": 128, "disk": 1} | more
        return (await self.call("POST", "/flavors", 200, {"flavor": flavor}, admin=True))["flavor"]["id"]

    async def volume(self, size: int = 1) -> str:
        made = (await self.cinder("POST", "/volumes", {"volume": {"size": size}}))["volume"]["id"]
        await self.settle()
        return made

    async def create(self, status: int = 202, version: str = "2.100", **asked: Any) -> dict[str, Any]:
        """POST /servers; what was answered. A None leaves a field out."""
        server = {"name": "vm", "flavorRef": self.small, "imageRef": self.image, "networks": [{"uuid": self.network}]} | asked
        body = {"server": {k: v for k, v in server.items() if v is not None}}
        return await self.call("POST", "/servers", status, body, version)

    async def boot(self, **asked: Any) -> dict[str, Any]:
        """A server, when all work is done."""
        made = (await self.create(**asked))["server"]
        await self.settle()
        return await self.show(made)

    async def show(self, server: dict[str, Any], *, admin: bool = False, version: str = "2.100") -> dict[str, Any]:
        return (await self.call("GET", f"/servers/{server['id']}", 200, None, version, admin=admin))["server"]

    async def act(self, server: dict[str, Any], body: dict[str, Any], status: int = 202, *, admin: bool = False) -> Any:
        return await self.call("POST", f"/servers/{server['id']}/action", status, body, admin=admin)

    async def violations(self) -> list[str]:
        """What `moln doctor` would say."""
        found = []
        for area in self.api.app.areas:
            for invariant in area.invariants:
                found += [f"{invariant.name}: {v.message}" for v in await invariant.check(self.cloud)]
        return found

    async def guest_goes(self, server_id: str, power: str) -> None:
        """A guest changes its power by itself, and its node tells; until the row knows."""
        known = asyncio.Event()
        stop = self.cloud.db.feed.subscribe("servers", lambda keys: known.set() if server_id in keys else None)
        self.api.nodes["sim-1"].happen(server_id, power)
        await asyncio.wait_for(known.wait(), 10)
        stop()


@pytest.fixture
async def world(api: Api) -> AsyncIterator[World]:
    yield await World(api).set_up()


async def make_image(world: World, size: int = 4096, **more: Any) -> str:
    """A member's image of so many bytes. Its id."""
    body = {"name": "other", "disk_format": "raw", "container_format": "bare"} | more
    made = (await world.api.member.post("/image/v2/images", json=body)).json()["id"]
    sent = await world.api.member.put(
        f"/image/v2/images/{made}/file", content=b"\1" * size, headers={"Content-Type": "application/octet-stream"}
    )
    assert sent.status_code == 204, sent.text
    return str(made)
