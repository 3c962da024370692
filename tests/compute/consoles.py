"""A simulated cloud with one server, served on a real socket: consoles are opened with a real websocket client."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from tests.compute.world import World, world  # noqa: F401 (fixture)
from websockets.asyncio.client import ClientConnection, unix_connect

from moln.console.build import BuildError, ensure
from moln.kernel.http.serve import http_server


class Consoles:
    """world: the cloud. server: one that runs. socket: where its APIs are served."""

    def __init__(self, world: World, server: dict[str, Any], socket: Path):  # noqa: F811
        self.world = world
        self.server = server
        self.socket = socket

    async def url(self, protocol: str = "serial", type: str = "serial") -> str:
        body = {"remote_console": {"protocol": protocol, "type": type}}
        made = await self.world.call("POST", f"/servers/{self.server['id']}/remote-consoles", 200, body)
        assert made["remote_console"] | {"url": ""} == {"protocol": protocol, "type": type, "url": ""}
        return made["remote_console"]["url"]

    def connect(self, url: str, host: str = "127.0.0.1:5000", **options: Any) -> Any:
        """As noVNC and the page do: the stream that the page's address names. host: what the request says. Raises: InvalidStatus."""
        path = parse_qs(urlsplit(url).query, keep_blank_values=True)["path"][0]
        return unix_connect(str(self.socket), f"ws://{host}/{path}", subprotocols=["binary"], proxy=None, **options)  # type: ignore[list-item]


def token_of(url: str) -> str:
    return parse_qs(urlsplit(url).query)["path"][0].partition("token=")[2]


async def hear(ws: ClientConnection, wanted: bytes) -> bytes:
    """What comes until `wanted` does."""
    heard = b""
    async with asyncio.timeout(10):
        while wanted not in heard:
            heard += await ws.recv(decode=False)
    return heard


@pytest.fixture(scope="session")
def pages(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The libraries of the pages, which tests of consoles need."""
    try:
        ensure(tmp_path_factory.mktemp("console"))
    except BuildError as error:
        pytest.skip(f"no pages of consoles: {error}")


@pytest.fixture
async def consoles(pages: None, world: World, tmp_path: Path) -> AsyncIterator[Consoles]:  # noqa: F811
    server = await world.boot()
    socket = tmp_path / "api.sock"
    serving = http_server(world.api.app.asgi, websockets=True, uds=str(socket))
    task = asyncio.create_task(serving.serve())
    async with asyncio.timeout(10):
        while not serving.started:
            await asyncio.sleep(0.01)
    yield Consoles(world, server, socket)
    serving.should_exit = True
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(task, 15)
