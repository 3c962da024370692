"""What tests of imports share: a Glance with two stores for a whole module, and a web site that may be asked.

A module that takes the fixtures runs in one loop: `pytestmark = pytest.mark.asyncio(loop_scope="module")`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from tests.image.conftest import Settings
from tests.image.web import WebSite, serving
from tests.wire.areas import AreaApi, areas

import moln.image.module as image_module
from moln.image.settings import ImageSettings

Client = httpx.AsyncClient
OCTETS = {"Content-Type": "application/octet-stream"}
DATA = bytes(range(256)) * 40


@pytest.fixture(scope="module")
def site() -> Any:
    with serving() as found:
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cloud(site: WebSite, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[AreaApi]:
    """Two stores, and a web site that may be asked."""
    home: Path = tmp_path_factory.mktemp("imports")
    settings = Settings(simulate=True, image=ImageSettings(stores={"archive": "archive"}, import_allow=[f"127.0.0.1:{site.port}"]))
    async with areas(home, settings, [image_module.module(settings)]) as api:
        yield api


@pytest_asyncio.fixture(loop_scope="module")
async def alice(cloud: AreaApi) -> AsyncIterator[Client]:
    yield cloud.client("red/member", "/image")
    await cloud.settle()
    assert await cloud.doctor() == []


async def made(client: Client, **more: Any) -> dict[str, Any]:
    answer = await client.post("/v2/images", json={"name": "i", "disk_format": "raw", "container_format": "bare"} | more)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def shown(client: Client, image: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = (await client.get(image["self"])).json()
    return found


async def brought(client: Client, image: dict[str, Any], method: str, status: int = 202, *, more: Any = None, **params: Any) -> httpx.Response:
    body = {"method": {"name": method} | params} | (more or {})
    answer = await client.post(f"{image['self']}/import", json=body)
    assert answer.status_code == status, answer.text
    return answer


async def task_of(client: Client, image: dict[str, Any]) -> dict[str, Any]:
    tasks = (await client.get(f"{image['self']}/tasks")).json()["tasks"]
    assert len(tasks) == 1
    found: dict[str, Any] = tasks[0]
    return found
