"""A simulated cloud that tells others of its changes, with or without a NATS that takes them."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from tests import databases
from tests.compute.world import World
from tests.conftest import Api

from moln.app import compose, load_settings
from moln.kernel.notifications import MARK, tables
from moln.simulation import simulated_links, start_nodes

AWAY = ("tls://127.0.0.1:9",)


@contextlib.asynccontextmanager
async def cloud(home: Path, database: str, furnished: tuple[Path, dict[str, str]], urls: tuple[str, ...] = AWAY, **more: Any) -> AsyncIterator[World]:
    """Without its image and network. Work waits for `settle`."""
    if database == "sqlite":
        shutil.copytree(furnished[0], home, dirs_exist_ok=True)
    (home / MARK).parent.mkdir(mode=0o700, exist_ok=True)
    (home / MARK).touch()
    link = {"nats": list(urls), "controller": "c1"}
    settings = load_settings(home, simulate=True, tls=True, link=link, database_url=await databases.url(home), **more)
    app = compose(home, settings, simulated_links)
    await app.set_up()
    api = Api(app, home)
    api.nodes = await start_nodes(app.cloud, 1)
    if database == "sqlite":
        api.admin, api.member = api.client(furnished[1]["admin"]), api.client(furnished[1]["member"])
    else:
        await api.sign_in()
        api.member = await api.add_user("alice", project="demo")
    try:
        yield World(api)
    finally:
        await app.stop()


async def waiting(world: World) -> list[dict[str, Any]]:
    """What is still to be published, oldest first."""
    return [json.loads(each.body) for each in await world.cloud.db.all(tables.NEXT)]


async def types(world: World) -> list[str]:
    return [told["event_type"] for told in await waiting(world)]


async def forget(world: World) -> None:
    async def clear(tx: Any) -> None:
        await tx.run(tables.OLDEST, most=10_000)

    await world.cloud.db.write(clear)


@contextlib.asynccontextmanager
async def controller(home: Path, name: str, url: str, urls: tuple[str, ...]) -> AsyncIterator[Api]:
    """One of several on a database, at work."""
    (home / MARK).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    (home / MARK).touch()
    link = {"nats": list(urls), "controller": name}
    app = compose(home, load_settings(home, simulate=True, tls=True, link=link, database_url=url), simulated_links)
    await app.start()
    try:
        api = Api(app, home)
        await api.sign_in()
        yield api
    finally:
        await app.stop()
