"""The cache of what lies on other machines: filled when asked for, true to the digest, never larger than it may be; and its API."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from tests.image.asking import make
from tests.image.conftest import Settings
from tests.image.s3 import KEYS, Between, bucket_at
from tests.wire.areas import AreaApi, areas

import moln.image.module as image_module
from moln.image.drivers.cache import ImageCache
from moln.image.settings import ImageSettings, S3Store
from moln.image.work.cache import cache_queued
from moln.kernel.work import Work

pytestmark = pytest.mark.asyncio(loop_scope="module")
Client = httpx.AsyncClient
DATA = os.urandom(1 << 20) * 2


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cloud(server: Between, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[AreaApi]:
    home: Path = tmp_path_factory.mktemp("cached")
    s3 = S3Store(server.endpoint, bucket_at(f"http://{server.behind}").name, *KEYS, timeout_s=5)
    settings = Settings(simulate=True, image=ImageSettings(stores={"s3": s3}, default_store="s3"))
    async with areas(home, settings, [image_module.module(settings)]) as api:
        yield api


@pytest_asyncio.fixture(loop_scope="module")
async def admin(cloud: AreaApi, server: Between) -> AsyncIterator[Client]:
    client = cloud.client("admin/admin", "/image")
    yield client
    server.spoil = lambda handler: False
    for image in (await client.get("/v2/images", params={"limit": 100})).json()["images"]:
        await client.delete(image["self"])
    await cloud.settle()
    await client.post("/v2/cache/clean")
    assert (await client.get("/v2/cache")).json() == {"cached_images": [], "queued_images": []}
    assert (await cloud.cloud.areas["image"].inventory()).cached == []
    assert await cloud.doctor() == []


def cache_of(cloud: AreaApi) -> ImageCache:
    found: ImageCache = cloud.cloud.areas["image"].cache
    return found


async def work(cloud: AreaApi) -> None:
    await cache_queued(Work(cloud.cloud))


async def state(client: Client) -> tuple[list[str], list[str]]:
    found = (await client.get("/v2/cache")).json()
    return [image["image_id"] for image in found["cached_images"]], found["queued_images"]


def reads(server: Between) -> int:
    return sum(asked.startswith("GET") and "?" not in asked for asked in server.asked)


async def test_what_was_downloaded_once_comes_from_the_cache_afterwards(cloud: AreaApi, admin: Client, server: Between) -> None:
    image = await make(admin, data=DATA)
    assert (await admin.get(image["file"])).content == DATA
    assert await state(admin) == ([], [image["id"]])
    await work(cloud)
    server.asked.clear()
    for _ in range(2):
        assert (await admin.get(image["file"])).content == DATA
    assert reads(server) == 0
    (cached,) = (await admin.get("/v2/cache")).json()["cached_images"]
    assert cached["image_id"] == image["id"] and cached["size"] == len(DATA) and cached["checksum"] == image["checksum"]
    assert cached["hits"] in (0, 2) and cached["last_accessed"] >= cached["last_modified"] > 0
    server.spoil = lambda handler: handler.refuse(403, "AccessDenied")
    assert (await admin.get(image["file"])).content == DATA, "also while the server is away"


async def test_an_image_is_queued_and_taken_out_again(cloud: AreaApi, admin: Client) -> None:
    first, second, empty = await make(admin, data=DATA), await make(admin, data=b"x"), await make(admin)
    for image in (first, second, first):
        assert (await admin.put(f"/v2/cache/{image['id']}")).status_code == 202
    assert await state(admin) == ([], [first["id"], second["id"]])
    assert (await admin.delete(f"/v2/cache/{second['id']}")).status_code == 204
    await work(cloud)
    assert await state(admin) == ([first["id"]], [])
    assert (await admin.put(f"/v2/cache/{first['id']}")).status_code == 202
    assert (await state(admin))[1] == [], "it is there"
    assert (await admin.delete(f"/v2/cache/{first['id']}")).status_code == 204
    assert await state(admin) == ([], [])
    assert (await admin.put(f"/v2/cache/{empty['id']}")).status_code == 400
    for method in ("PUT", "DELETE"):
        assert (await admin.request(method, "/v2/cache/1a7f98b8-0000-4000-8000-5a3a1ea2e7f5")).status_code == 404


async def test_the_cache_and_its_queue_are_emptied(cloud: AreaApi, admin: Client) -> None:
    cached, queued = await make(admin, data=b"one"), await make(admin, data=b"two")

    async def fill() -> None:
        await admin.put(f"/v2/cache/{cached['id']}")
        await work(cloud)
        await admin.put(f"/v2/cache/{queued['id']}")
        assert await state(admin) == ([cached["id"]], [queued["id"]])

    for what, left in (("cache", ([], [queued["id"]])), ("queue", ([cached["id"]], [])), ("", ([], []))):
        await fill()
        answer = await admin.delete("/v2/cache", headers={"x-image-cache-clear-target": what} if what else {})
        assert answer.status_code == 204 and await state(admin) == left
        await admin.delete("/v2/cache")
    assert (await admin.delete("/v2/cache", headers={"x-image-cache-clear-target": "both"})).status_code == 400


async def test_the_longest_unread_goes_first_and_what_is_too_large_never_comes(
    cloud: AreaApi, admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_of(cloud), "most", 3 * len(DATA))
    images = [await make(admin, data=DATA[:-1] + bytes([n])) for n in range(4)]
    for image in images[:3]:
        await admin.put(f"/v2/cache/{image['id']}")
        await work(cloud)
    await admin.get(images[0]["file"])
    await admin.put(f"/v2/cache/{images[3]['id']}")
    await work(cloud)
    assert set((await state(admin))[0]) == {images[n]["id"] for n in (0, 2, 3)}
    monkeypatch.setattr(cache_of(cloud), "most", len(DATA) + 5)
    pruned = await admin.post("/v2/cache/prune")
    assert pruned.status_code == 200 and pruned.json() == {"total_files_pruned": 2, "total_bytes_pruned": 2 * len(DATA)}
    monkeypatch.setattr(cache_of(cloud), "most", len(DATA) - 1)
    await admin.delete("/v2/cache")
    await admin.put(f"/v2/cache/{images[0]['id']}")
    await work(cloud)
    assert await state(admin) == ([], [])


async def test_what_cannot_be_read_waits_and_what_is_not_true_is_not_kept(cloud: AreaApi, admin: Client, server: Between) -> None:
    image = await make(admin, data=DATA)
    await admin.put(f"/v2/cache/{image['id']}")
    server.spoil = lambda handler: handler.refuse(403, "AccessDenied")
    await work(cloud)
    assert await state(admin) == ([], [image["id"]])
    server.spoil = lambda handler: False
    here = cloud.cloud.areas["image"]
    (name,) = (await here.inventory()).stores["s3"]
    requests = here.remote["s3"].requests
    requests.ask("PUT", name, body=DATA[:-1] + b"!")
    await work(cloud)
    assert await state(admin) == ([], [])
    assert list(cache_of(cloud).data.iterdir()) == []


async def test_entries_of_images_that_are_gone_are_swept(cloud: AreaApi, admin: Client) -> None:
    image, gone = await make(admin, data=b"one"), await make(admin, data=b"two")
    await admin.put(f"/v2/cache/{image['id']}")
    await work(cloud)
    await admin.put(f"/v2/cache/{gone['id']}")
    for one in (image, gone):
        await admin.delete(one["self"])
    await cloud.settle()
    assert (await cloud.cloud.areas["image"].inventory()).cached == []
    assert await state(admin) == ([], [gone["id"]])
    assert (await admin.post("/v2/cache/clean")).status_code == 200
    assert await state(admin) == ([], [])


async def test_only_administrators_manage_it_and_each_controller_knows_its_own(cloud: AreaApi, admin: Client) -> None:
    image = await make(admin, data=b"one", visibility="public")
    member = cloud.client("red/member", "/image")
    asked: list[tuple[str, str]] = [
        ("GET", ""), ("DELETE", ""), ("PUT", f"/{image['id']}"), ("DELETE", f"/{image['id']}"), ("POST", "/clean"), ("POST", "/prune"),
        ("GET", f"/nodes/{image['id']}"),
    ]  # fmt: skip
    for method, path in asked:
        assert (await member.request(method, f"/v2/cache{path}")).status_code == 403, path
    assert (await admin.get(f"/v2/cache/nodes/{image['id']}")).status_code == 409
    versions: Any = (await admin.get("/versions")).json()["versions"]
    assert [(v["id"], v["status"]) for v in versions][:6] == [
        ("v2.18", "CURRENT"), ("v2.17", "SUPPORTED"), ("v2.16", "SUPPORTED"), ("v2.15", "SUPPORTED"), ("v2.14", "SUPPORTED"), ("v2.13", "SUPPORTED"),
    ]  # fmt: skip


async def test_a_cloud_of_folders_has_none(tmp_path: Path) -> None:
    settings = Settings(simulate=True, image=ImageSettings(stores={"archive": "archive"}))
    async with areas(tmp_path, settings, [image_module.module(settings)]) as api:
        client = api.client("admin/admin", "/image")
        image = await make(client, data=b"one")
        for method, path in (("GET", ""), ("DELETE", ""), ("PUT", f"/{image['id']}"), ("POST", "/clean"), ("POST", "/prune")):
            answer = await client.request(method, f"/v2/cache{path}")
            assert answer.status_code == 404 and "not supported at this site" in answer.text
        assert (await client.get("/versions")).json()["versions"][0]["id"] == "v2.17"
        assert not (tmp_path / "pool" / "images" / "cache").exists()
