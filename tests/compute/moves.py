"""Several simulated hosts, and what tests of moves between them ask."""

from __future__ import annotations

from typing import Any

import pytest
from tests.compute.world import World, world

from moln.compute.drivers.fake import FakeCompute
from moln.compute.ops import hosts
from moln.compute.store import servers as store
from moln.placement.module import module
from moln.simulation import start_nodes

__all__ = ["Hosts", "three", "two", "world"]


class Hosts(World):
    """A world with hosts that know one another."""

    async def add_hosts(self, count: int) -> Hosts:
        self.api.nodes = await start_nodes(self.cloud, count)
        return self

    def node(self, name: str) -> FakeCompute:
        found: FakeCompute = self.api.nodes[name]
        return found

    async def host_of(self, server: dict[str, Any]) -> str:
        found: str = (await self.show(server, admin=True))["OS-EXT-SRV-ATTR:host"]
        return found

    def other(self, host: str) -> str:
        return next(name for name in sorted(self.api.nodes) if name != host)

    async def move(self, server: dict[str, Any], action: str, status: int = 202, version: str = "2.100", **body: Any) -> Any:
        return await self.call("POST", f"/servers/{server['id']}/action", status, {action: body or (None if action == "migrate" else {})}, version, admin=True)

    async def live(self, server: dict[str, Any], status: int = 202, version: str = "2.100", **body: Any) -> Any:
        asked = {"host": None, "block_migration": "auto"} | body
        return await self.call("POST", f"/servers/{server['id']}/action", status, {"os-migrateLive": asked}, version, admin=True)

    async def records(self) -> list[tuple[str, str, str, str]]:
        """(type, status, from, to) of each move, the newest first."""
        found = (await self.call("GET", "/os-migrations", admin=True))["migrations"]
        return [(m["migration_type"], m["status"], m["source_compute"], m["dest_compute"]) for m in found]

    async def record(self) -> dict[str, Any]:
        found: dict[str, Any] = (await self.call("GET", "/os-migrations", admin=True))["migrations"][0]
        return found

    async def holds(self, consumer: str) -> dict[str, dict[str, int]]:
        """What a consumer of placement holds, by host."""
        headers = {"OpenStack-API-Version": "placement 1.39"}
        answer = (await self.api.admin.get(f"/placement/allocations/{consumer}", headers=headers)).json()
        names = {h.id: h.name for h in hosts.table(self.cloud).hosts.values()}
        return {names[id]: a["resources"] for id, a in answer["allocations"].items()}

    async def sound(self) -> bool:
        """Nothing is broken, nothing left over."""
        found = await self.violations() + [v.message for i in module(None).invariants for v in await i.check(self.cloud)]  # type: ignore[arg-type]
        assert found == []
        return True

    async def actions(self, server: dict[str, Any]) -> list[tuple[str, str | None]]:
        found = (await self.call("GET", f"/servers/{server['id']}/os-instance-actions", admin=True))["instanceActions"]
        return [(a["action"], a["message"]) for a in found]

    async def ports_on(self, server: dict[str, Any]) -> set[str]:
        answer = (await self.api.admin.get(f"/network/v2.0/ports?device_id={server['id']}")).json()
        return {p["binding:host_id"] for p in answer["ports"]}

    async def lose(self, host: str, *, fenced: bool = True) -> None:
        """The node is gone; fenced: an administrator says that nothing runs there."""
        await self.cloud.links.leave(host)  # type: ignore[attr-defined]
        if fenced:
            await self.force_down(host)

    async def force_down(self, host: str, down: bool = True) -> None:
        services = (await self.call("GET", f"/os-services?host={host}", admin=True))["services"]
        await self.call("PUT", f"/os-services/{services[0]['id']}", 200, {"forced_down": down}, admin=True)
        await hosts.catch_up(self.cloud)

    async def row(self, server: dict[str, Any]) -> Any:
        return await store.get(self.cloud.db, server["id"])

    def has(self, host: str, server: dict[str, Any]) -> bool:
        return server["id"] in self.node(host).kept.servers


async def _hosts(world: World, count: int) -> Hosts:
    made = Hosts(world.api)
    made.__dict__.update(world.__dict__)
    return await made.add_hosts(count)


@pytest.fixture
async def two(world: World) -> Hosts:
    return await _hosts(world, 2)


@pytest.fixture
async def three(world: World) -> Hosts:
    return await _hosts(world, 3)
