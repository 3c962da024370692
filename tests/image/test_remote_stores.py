"""Glance with its data in an S3 bucket: uploads, ranges, imports, copies, and a server that is lost meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from tests.image.asking import OCTETS, make
from tests.image.conftest import Settings
from tests.image.s3 import KEYS, Between, bucket_at
from tests.wire.areas import AreaApi, areas

import moln.image.module as image_module
from moln.image.settings import ImageSettings, S3Store
from moln.kernel.errors import Invalid

pytestmark = pytest.mark.asyncio(loop_scope="module")
Client = httpx.AsyncClient
DATA = bytes(range(256)) * 40000  # two parts


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cloud(server: Between, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[AreaApi]:
    home: Path = tmp_path_factory.mktemp("remote")
    bucket = bucket_at(f"http://{server.behind}", "glance")
    s3 = S3Store(server.endpoint, bucket.name, *KEYS, prefix="moln/", timeout_s=5)
    settings = Settings(simulate=True, image=ImageSettings(stores={"s3": s3, "archive": "archive"}, default_store="s3"))
    async with areas(home, settings, [image_module.module(settings)]) as api:
        yield api


@pytest_asyncio.fixture(loop_scope="module")
async def alice(cloud: AreaApi, server: Between) -> AsyncIterator[Client]:
    server.spoil = lambda handler: False
    yield cloud.client("red/member", "/image")
    server.spoil = lambda handler: False
    await cloud.settle()
    assert await cloud.doctor() == []


async def held(cloud: AreaApi) -> dict[str, list[str]]:
    found: dict[str, list[str]] = (await cloud.cloud.areas["image"].inventory()).stores
    return found


async def test_an_upload_lies_in_the_bucket_and_its_base_in_the_pool(cloud: AreaApi, alice: Client) -> None:
    image = await make(alice, data=DATA)
    assert (image["status"], image["stores"]) == ("active", "s3")
    stores = await held(cloud)
    assert stores["pool"] == [] and len(stores["s3"]) == 1
    inventory = await cloud.cloud.areas["image"].inventory()
    assert inventory.bases == stores["s3"] and inventory.arriving == []
    assert (await alice.get(image["file"])).content == DATA
    part = await alice.get(image["file"], headers={"Range": "bytes=100-5000000"})
    assert part.status_code == 206 and part.content == DATA[100:5000001]
    assert (await alice.delete(image["self"])).status_code == 204
    await cloud.settle()
    assert await held(cloud) == {"pool": [], "archive": [], "s3": []}


async def test_stores_are_described_without_their_keys(cloud: AreaApi, alice: Client) -> None:
    admin = cloud.client("admin/admin", "/image")
    detail = (await admin.get("/v2/info/stores/detail")).json()["stores"]
    assert [(s["id"], s["type"]) for s in detail] == [("s3", "s3"), ("archive", "file"), ("pool", "file")]
    assert not any(key in str(detail) for key in KEYS)
    image = await make(alice, data=b"x")
    service = cloud.client("admin/service", "/image")
    locations = (await service.get(f"{image['self']}/locations")).json()
    assert locations[0]["url"].startswith("s3+http://") and locations[0]["metadata"] == {"store": "s3"}
    assert not any(key in str(locations) for key in KEYS)
    await alice.delete(image["self"])


async def test_copies_go_from_the_bucket_and_back(cloud: AreaApi, alice: Client) -> None:
    image = await make(alice, data=DATA)
    admin = cloud.client("admin/admin", "/image")

    async def copy(to: str) -> None:
        body: dict[str, Any] = {"method": {"name": "copy-image"}, "stores": [to]}
        assert (await admin.post(f"{image['self']}/import", json=body)).status_code == 202
        await cloud.settle()

    async def stores() -> list[str]:
        return sorted((await alice.get(image["self"])).json()["stores"].split(","))

    await copy("archive")
    assert await stores() == ["archive", "s3"]
    assert (await admin.delete(f"/v2/stores/s3/{image['id']}")).status_code == 204
    await cloud.settle()
    assert await stores() == ["archive"] and (await held(cloud))["s3"] == []
    await copy("s3")
    assert (await admin.delete(f"/v2/stores/archive/{image['id']}")).status_code == 204
    await cloud.settle()
    assert (await alice.get(image["file"])).content == DATA
    await alice.delete(image["self"])


async def test_what_was_staged_is_imported_into_every_store(cloud: AreaApi, alice: Client) -> None:
    image = await make(alice)
    assert (await alice.put(f"{image['self']}/stage", content=DATA, headers=OCTETS)).status_code == 204
    body = {"method": {"name": "glance-direct"}, "all_stores": True}
    assert (await alice.post(f"{image['self']}/import", json=body)).status_code == 202
    await cloud.settle()
    shown = (await alice.get(image["self"])).json()
    assert (shown["status"], sorted(shown["stores"].split(","))) == ("active", ["archive", "pool", "s3"])
    await alice.delete(image["self"])


async def test_a_lost_server_is_503_and_nothing_is_left_or_lost(
    cloud: AreaApi, alice: Client, server: Between, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moln.image.drivers.s3_requests.PAUSE_S", 0.001)
    there, new, gone = await make(alice, data=DATA), await make(alice), await make(alice, data=b"x")
    server.spoil = lambda handler: handler.refuse(503, "ServiceUnavailable")
    put = await alice.put(new["file"], content=DATA, headers=OCTETS)
    assert put.status_code == 503, put.text
    assert (await alice.get(new["self"])).json()["status"] == "queued"
    got = await alice.get(there["file"])
    assert got.status_code == 503 and "store" in got.text
    assert (await alice.delete(gone["self"])).status_code == 204
    await cloud.settle()
    assert (await cloud.cloud.areas["image"].inventory()).silent == ["s3"]
    assert [str(found) for found in await cloud.doctor()] and "s3 does not answer" in str(await cloud.doctor())
    other = await make(alice)
    named = await alice.put(other["file"], content=DATA, headers=OCTETS | {"X-Image-Meta-Store": "pool"})
    assert named.status_code == 204, "other stores do not mind"
    server.spoil = lambda handler: False
    assert (await alice.get(there["file"])).content == DATA
    assert (await alice.put(new["file"], content=DATA, headers=OCTETS)).status_code == 204
    for image in (there, new, other):
        await alice.delete(image["self"])
    await cloud.settle()
    assert await held(cloud) == {"pool": [], "archive": [], "s3": []}


@pytest.mark.parametrize("endpoint", ["store.example", "ftp://store", "http://", "http://a@b", "http://store/?x"])
async def test_settings_that_name_no_server_are_refused(tmp_path: Path, endpoint: str) -> None:
    with pytest.raises(Invalid, match="endpoint of the store s3"):
        image_module.backend_of(tmp_path, "s3", S3Store(endpoint, "b", *KEYS))
