"""Notifications where each controller has a nats-server: what is kept by three outlives any one of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import shutil
import ssl
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import httpx
import msgspec
import nats
import nats.errors
import pytest
from nats.js.api import StreamInfo
from tests import notified
from tests.compute.world import World
from tests.kernel.nats_server import NatsServer
from tests.kernel.test_notification_stream import Reader

from moln.host import recovering
from moln.kernel.controllers import clusters, tables
from moln.kernel.controllers.tables import Controller
from moln.kernel.errors import Failure, NotFound, Unavailable
from moln.kernel.link import subjects
from moln.kernel.notifications import addresses
from moln.local import admin_app
from moln.local_consumers import consumers_of

pytestmark = [pytest.mark.engines, pytest.mark.timeout(300, func_only=True)]
WAIT_S = 60.0
T = TypeVar("T")


class Servers:
    """Each names those that were there as `moln controller notifications on` was said, and as it joined."""

    def __init__(self, home: Path):
        self.home = home
        self._net = f"127.{random.randrange(64, 250)}.{random.randrange(250)}"
        self.each: dict[str, NatsServer] = {}

    def address(self, name: str) -> str:
        return f"{self._net}.{name[1:]}"

    def url(self, name: str) -> str:
        return f"tls://{self.address(name)}:4222"

    def add(self, name: str) -> NatsServer:
        home = self.home / f"of-{name}" if self.each else self.home
        if home != self.home:
            shutil.rmtree(home, ignore_errors=True)
            for folder in ("tls", "nats", "controllers"):
                shutil.copytree(self.home / folder, home / folder, ignore=shutil.ignore_patterns("consumers"))
        made = NatsServer(home, notifications=True)
        made.address, made.port, made.urls = self.address(name), 4222, (self.url(name),)
        made.routes = (name, [f"{self.address(each)}:6222" for each in dict.fromkeys((name, "c1", "c2", "c3", *self.each))])
        made.start()
        self.each[name] = made
        return made

    async def whole(self, world: World) -> list[str]:
        """Names of those that have all of the stream, once there are three."""
        async def has() -> list[str]:
            found = (await stream_info(world)).cluster
            current = [found.leader, *(peer.name for peer in found.replicas or () if peer.current)] if found and found.leader else []
            assert len(current) == 3, (found.leader, found.replicas)
            return sorted(current)

        return await until(has)


async def until(ask: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """What it answers, once it does."""
    async with asyncio.timeout(WAIT_S):
        while True:
            try:
                return await ask()
            except (AssertionError, Failure, nats.errors.Error, OSError):
                await asyncio.sleep(0.2)


class Follower(Reader):
    """Knows all servers, and goes on at another one."""

    async def connect(self) -> Follower:
        tls = ssl.create_default_context(cafile=str(self.folder / "ca"))
        tls.load_cert_chain(self.folder / "pem")
        self.client = await nats.connect(list(self.given.urls), tls=tls, user_credentials=str(self.folder / "creds"), inbox_prefix=self.given.inbox.encode(),
                                         max_reconnect_attempts=-1, reconnect_time_wait=0.2)  # fmt: skip
        return self

    async def read_until(self, wanted: list[dict[str, Any]], seen: dict[str, dict[str, Any]]) -> None:
        async with asyncio.timeout(WAIT_S):
            taking = await self.client.jetstream().pull_subscribe_bind(self.given.name, stream=self.given.stream)
            while not all(each["message_id"] in seen for each in wanted):
                try:
                    for message in await taking.fetch(100, timeout=2):
                        told = json.loads(message.data)
                        seen[told["message_id"]] = told
                        await message.ack()
                except (nats.errors.Error, OSError):
                    await asyncio.sleep(0.2)


@pytest.fixture
async def servers(tmp_path: Path) -> AsyncIterator[Servers]:
    made = Servers(tmp_path)
    (tmp_path / "controllers").mkdir()
    (tmp_path / clusters.FILE).write_text("nats\n")
    try:
        yield made
    finally:
        for each in made.each.values():
            each.stop()


@pytest.fixture
async def world(tmp_path: Path, furnished: Any, servers: Servers) -> AsyncIterator[World]:
    servers.add("c1")
    async with notified.cloud(tmp_path, "sqlite", furnished, (servers.url("c1"),), listen=servers.address("c1")) as made:
        yield made


async def join(world: World, servers: Servers, name: str) -> None:
    async def add(tx: Any) -> None:
        await tx.insert(tables.controllers, Controller(name, f"https://{servers.address(name)}:5000", "", 0))

    await world.cloud.db.write(add)
    servers.add(name)


async def told(world: World, name: str) -> list[dict[str, Any]]:
    """A network is made; what will be told of it."""
    await notified.forget(world)
    await world.neutron("POST", "/networks", {"network": {"name": name}})
    found = await notified.waiting(world)
    assert found
    return found


async def switch_on(world: World) -> httpx.Response:
    transport = httpx.ASGITransport(app=admin_app(world.api.app))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as asked:
        return await asked.put("/notifications")


async def test_it_takes_three_which_are_named_to_each(world: World, servers: Servers, tmp_path: Path) -> None:
    for name in ("c2", "c3"):
        refused = await switch_on(world)
        assert refused.status_code == 409 and f"there are {len(servers.each)}." in refused.text and "controller token" in refused.text
        await join(world, servers, name)
    assert (await switch_on(world)).status_code == 200
    assert addresses(tmp_path) == [servers.address(name) for name in ("c1", "c2", "c3")]


async def test_any_one_may_go_and_what_was_told_goes_on(world: World, servers: Servers, tmp_path: Path) -> None:
    notices = world.api.app.notices
    waiting = await told(world, "early")
    for name in ("c2", "c3"):
        with pytest.raises(Unavailable):
            await notices.carry()
        await join(world, servers, name)
    assert await notified.waiting(world) == waiting
    given = await until(lambda: consumers_of(world.api.app).admit("bill", 3600))
    assert set(given.urls) == {servers.url(name) for name in ("c1", "c2", "c3")}
    await until(notices.carry)
    assert await servers.whole(world) == ["c1", "c2", "c3"]
    bill, seen = await Follower(given, tmp_path / "b").connect(), dict[str, Any]()
    await bill.read_until(waiting, seen)
    for name in ("c1", "c2", "c3"):
        servers.each[name].stop()
        waiting, began = await told(world, f"without-{name}"), time.monotonic()
        await until(notices.carry)
        assert await notified.waiting(world) == []
        print(f"{name} died; JetStream took it after {time.monotonic() - began:.1f} s")
        await bill.read_until(waiting, seen)
        print(f"it was read after {time.monotonic() - began:.1f} s")
        servers.each[name].start()
        await servers.whole(world)
    # Two: they wait, and go out when one is back.
    servers.each["c1"].stop()
    servers.each["c2"].stop()
    waiting = await told(world, "without two")
    with pytest.raises(Unavailable):
        await notices.carry()
    assert await notified.waiting(world) == waiting
    servers.each["c2"].start()
    await until(notices.carry)
    await bill.read_until(waiting, seen)
    servers.each["c1"].start()
    await servers.whole(world)
    assert (await until(lambda: stream_info(world))).state.messages == len(seen), "each is there once"
    # A key is refused everywhere, by whichever server is told.
    servers.each["c1"].stop()
    await until(lambda: forgotten(world))
    for name in ("c2", "c3"):
        with pytest.raises((nats.errors.Error, OSError)):
            await Reader(msgspec.structs.replace(given, urls=(servers.url(name),)), tmp_path / name).connect()
    await bill.client.close()


async def forgotten(world: World) -> None:
    with contextlib.suppress(NotFound):
        await consumers_of(world.api.app).remove("bill")


async def stream_info(world: World) -> StreamInfo:
    return await (await world.api.app.notices.connected()).jetstream(timeout=5).stream_info(subjects.STREAM)


@pytest.mark.parametrize("another", ["c4", "c3"])
async def test_a_dead_one_is_forgotten_and_another_takes_its_place(world: World, servers: Servers, another: str) -> None:
    notices, controllers = world.api.app.notices, world.api.app.remote.controllers
    for name in ("c2", "c3"):
        await join(world, servers, name)
    notices._servers = 1  # as if it had been kept by one before
    await told(world, "one")
    await until(notices.carry)
    assert (await until(lambda: stream_info(world))).config.num_replicas == 1
    notices._servers = 3
    await notices.close()
    await servers.whole(world)
    servers.each["c3"].stop()
    await until(lambda: controllers.remove("c3"))
    await world.api.app.remote.expel("c3")  # asked again: an answer may be lost
    await told(world, "two")
    await until(notices.carry)
    await join(world, servers, another)
    assert await servers.whole(world) == sorted({"c1", "c2", another})
    servers.each["c2"].stop()
    waiting = await told(world, "three")
    await until(notices.carry)
    assert waiting and await notified.waiting(world) == []


async def test_two_are_lost_for_good_and_what_is_told_waits_for_two_others(world: World, servers: Servers, tmp_path: Path) -> None:
    notices, controllers = world.api.app.notices, world.api.app.remote.controllers
    for name in ("c2", "c3"):
        await join(world, servers, name)
    await told(world, "before")
    await until(notices.carry)
    await servers.whole(world)
    for name in ("c1", "c2", "c3"):
        servers.each[name].stop()
    for _ in range(2):  # it may have died of something in between
        recovering.set_aside(tmp_path, "jetstream.before")
    servers.each["c1"].start()
    for name in ("c2", "c3"):
        await controllers.remove(name, lost=True)
    waiting = await told(world, "alone")
    with pytest.raises(Unavailable):
        await notices.carry()
    for name in ("c4", "c5"):
        await join(world, servers, name)
    await until(notices.carry)
    assert waiting and await notified.waiting(world) == []
    assert await servers.whole(world) == ["c1", "c4", "c5"]
    assert (tmp_path / "nats-server/jetstream.before").is_dir()


async def test_where_no_server_keeps_any_a_controller_goes_all_the_same(world: World, servers: Servers) -> None:
    """They are on, and no server was begun anew since."""
    servers.each["c1"].stop()
    servers.each["c1"].notifications = False
    servers.each["c1"].start()
    await world.api.app.remote.expel("c3")
    servers.each["c1"].stop()
    with pytest.raises(Unavailable, match="server of c3 is gone"):
        await world.api.app.remote.expel("c3")
