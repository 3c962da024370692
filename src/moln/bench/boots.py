"""Boots asked for by several projects at once, followed until their servers are ACTIVE.

What becomes of them is read from the database, a query for all every tenth of a second: asking the APIs would be another load.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
from msgspec import Struct, field

from moln.bench.load import request
from moln.bench.machines import Cloud
from moln.bench.overload import TIMEOUT_S, Connection
from moln.bench.tenant import VERSION

LOOK_S = 0.1
STUCK_S = 300.0  # in which every server that was promised has to be what it will be
BATCH = 20  # servers of one request, where it is not measured
BUILDING = 400  # that are being built while a cloud is filled, at most
PASSWORD = "a-Secret-1"
LOST = (OSError, asyncio.IncompleteReadError, TimeoutError)
SEEN = "SELECT id, vm_state, launched_at FROM servers WHERE id = ANY($1::text[]) AND vm_state <> 'building'"


class Project(Struct):
    """One that may have any number of servers. body: asks for one."""

    token: str
    server: dict[str, object]

    def asks(self, count: int = 1) -> bytes:
        body = {"server": {**self.server, "min_count": count, "max_count": count}}
        return request("POST", "/compute/v2.1/servers", json.dumps(body).encode(), X_Auth_Token=self.token, OpenStack_API_Version=VERSION)


def projects(cloud: Cloud, count: int) -> list[Project]:
    """Each with a user of its own, a network and a subnet; one image and one flavor for all."""
    admin = cloud.admin()
    call = admin.call
    image = call("POST", "/image/v2/images", {"name": "bench", "disk_format": "raw", "container_format": "bare", "visibility": "public"})["id"]
    with tempfile.NamedTemporaryFile() as file:
        file.write(bytes(1 << 20))
        file.flush()
        admin.upload(f"/image/v2/images/{image}/file", Path(file.name))
    admin.wait(f"/image/v2/images/{image}", "image", lambda i: i["status"] == "active", 60)
    flavor = admin.make("flavor", "/compute/v2.1/flavors", "bench", {"vcpus": 1, "ram": 64, "disk": 1})["id"]
    member = call("GET", "/identity/v3/roles?name=member")["roles"][0]["id"]
    found = []
    for n in range(count):
        name = f"bench-{n}"
        project = call("POST", "/identity/v3/projects", {"project": {"name": name}})["project"]["id"]
        user = call("POST", "/identity/v3/users", {"user": {"name": name, "password": PASSWORD}})["user"]["id"]
        call("PUT", f"/identity/v3/projects/{project}/users/{user}/roles/{member}")
        call("PUT", f"/compute/v2.1/os-quota-sets/{project}", {"quota_set": {"instances": -1, "cores": -1, "ram": -1}})
        call("PUT", f"/network/v2.0/quotas/{project}", {"quota": {"port": -1}})
        client = cloud.client(name, PASSWORD, name)
        network = client.make("network", "/network/v2.0/networks", name, {})["id"]
        client.make("subnet", "/network/v2.0/subnets", name, {"network_id": network, "ip_version": 4, "cidr": "10.0.0.0/16"})
        server: dict[str, object] = {"name": "bench", "flavorRef": flavor, "imageRef": image, "networks": [{"uuid": network}]}
        found.append(Project(client._token, server))
    return found


class Outcome(Struct):
    """answers: by status, "cut" where there was none. promised: servers that were answered 202, and when each was asked for (s since 1970).
    active: when it became ACTIVE. other: states of those that became anything else.
    """

    answers: Counter[str] = field(default_factory=Counter)
    unsaid: int = 0
    promised: dict[str, float] = field(default_factory=dict)
    active: dict[str, float] = field(default_factory=dict)
    other: Counter[str] = field(default_factory=Counter)

    @property
    def per_s(self) -> float:
        """Servers that became ACTIVE in a second."""
        return len(self.active) / (max(self.active.values()) - min(self.promised.values())) if self.active else 0.0

    def quantile(self, part: float) -> float:
        """Seconds from the request to ACTIVE."""
        took = sorted(at - self.promised[id] for id, at in self.active.items())
        return took[int(len(took) * part)] if took else 0.0


class Boots:
    """Of one cloud. Use as `async with boots(…)`."""

    def __init__(self, cloud: Cloud, among: list[Project], database: asyncpg.Pool) -> None:
        self.cloud, self.among = cloud, among
        self._database = database
        self._tls = ssl.create_default_context(cafile=cloud.cacert)
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self.patience_s = STUCK_S
        self.outcome = Outcome()

    def connection(self, number: int) -> Connection:
        """To one controller, each in turn."""
        controllers = self.cloud.controllers
        return Connection(controllers[number % len(controllers)].port, self._tls)

    async def watch(self) -> None:
        """Tell whoever waits that its server is there, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            if not self._waiting:
                continue
            with contextlib.suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                for id, state, launched in await self._database.fetch(SEEN, list(self._waiting)):
                    if state == "active":
                        self.outcome.active[id] = launched / 1e6
                    else:
                        self.outcome.other[state] += 1
                    if not (future := self._waiting.pop(id)).done():
                        future.set_result(None)

    async def ask(self, connection: Connection, raw: bytes) -> str | None:
        """One server asked for: its id, if it was promised."""
        outcome, began = self.outcome, time.time()
        try:
            async with asyncio.timeout(TIMEOUT_S):
                status, head = await connection.ask(raw)
        except LOST as lost:
            outcome.answers["timeout" if isinstance(lost, TimeoutError) else "cut"] += 1
            connection.close()
            return None
        outcome.answers[status] += 1
        outcome.unsaid += status in ("429", "503") and b"\nretry-after: " not in head
        if status != "202":
            return None
        id: str = json.loads(connection.body)["server"]["id"]
        outcome.promised[id] = began
        self._waiting[id] = asyncio.get_running_loop().create_future()
        return id

    async def settled(self, id: str) -> None:
        if (future := self._waiting.get(id)) is not None:
            await asyncio.wait_for(asyncio.shield(future), self.patience_s)

    async def one_after_the_other(self, count: int, at_once: int) -> Outcome:
        """`count` boots, `at_once` of them under way: whoever has a server asks for the next."""
        self.outcome, numbers = Outcome(), iter(range(count))

        async def client(at: int) -> None:
            connection = self.connection(at)
            for number in numbers:
                if (id := await self.ask(connection, self.among[number % len(self.among)].asks())) is not None:
                    await self.settled(id)
            connection.close()

        await asyncio.gather(*(client(n) for n in range(at_once)))
        return self.outcome

    async def flood(self, rate: float, seconds: float, connections: int) -> Outcome:
        """`rate` boots a second fall due, whatever becomes of them; returns when all that were promised are there."""
        self.outcome, numbers, began = Outcome(), iter(range(int(rate * seconds))), time.monotonic()

        async def client(at: int) -> None:
            connection = self.connection(at)
            for number in numbers:
                if time.monotonic() > began + seconds:
                    break
                await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
                await self.ask(connection, self.among[number % len(self.among)].asks())
            connection.close()

        await asyncio.gather(*(client(n) for n in range(connections)))
        await asyncio.gather(*map(self.settled, list(self.outcome.promised)))
        return self.outcome

    async def steadily(self, rate: float, stop: asyncio.Event, clients: int = 8) -> Outcome:
        """About `rate` boots a second, whatever becomes of them, until `stop`; returns when all that were promised are there."""
        self.outcome = Outcome()

        async def client(at: int) -> None:
            connection = self.connection(at)
            while not stop.is_set():
                await self.ask(connection, self.among[len(self.outcome.promised) % len(self.among)].asks())
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(clients / rate):
                        await stop.wait()
            connection.close()

        await asyncio.gather(*(client(n) for n in range(clients)))
        await asyncio.gather(*map(self.settled, list(self.outcome.promised)))
        return self.outcome

    async def fill(self, count: int, limit_s: float = STUCK_S) -> tuple[int, float]:
        """So many servers, several with each request, until all are there, or as many as there can be in the time; and how many a second."""
        began, before, numbers = time.monotonic(), await self.count(), iter(range(count // BATCH))

        async def client(at: int) -> None:
            connection = self.connection(at)
            for number in numbers:
                await self._at_most(BUILDING)
                if time.monotonic() > began + limit_s:
                    break
                await connection.ask(self.among[number % len(self.among)].asks(BATCH))
            connection.close()

        await asyncio.gather(*(client(n) for n in range(8)))
        async with asyncio.timeout(STUCK_S):
            await self._at_most(0)
        made = await self.count("active") - before
        return made, made / (time.monotonic() - began)

    async def _at_most(self, building: int) -> None:
        """Until no more than these are being built."""
        while True:
            if await self.count("building") <= building:
                return
            await asyncio.sleep(LOOK_S)

    async def count(self, state: str = "") -> int:
        found: int = await self._database.fetchval("SELECT count(*) FROM servers WHERE $1 IN ('', vm_state)", state)
        return found

    async def missing(self) -> list[str]:
        """Servers that were promised and are not there."""
        rows = await self._database.fetch("SELECT id FROM servers")
        return sorted(self.outcome.promised.keys() - {row[0] for row in rows})


@contextlib.asynccontextmanager
async def boots(cloud: Cloud, among: list[Project]) -> AsyncIterator[Boots]:
    database = await asyncpg.create_pool(cloud.database_url, min_size=1, max_size=4, max_inactive_connection_lifetime=0)
    made = Boots(cloud, among, database)
    watching = asyncio.create_task(made.watch())
    try:
        yield made
    finally:
        watching.cancel()
        database.terminate()
