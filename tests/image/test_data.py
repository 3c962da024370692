"""The data of images: taken whole or not at all, within the quota, and removed."""

from __future__ import annotations

import asyncio
import hashlib
import time
from typing import Any

import pytest
from tests.image.asking import OCTETS, PATCH, Client, make
from tests.wire.areas import AreaApi, authenticate

from moln.image.ops.data import begin_in
from moln.image.ops.quotas import QUOTA
from moln.kernel.context import RequestContext


async def test_uploaded_data_is_hashed_and_comes_back(alice: Client) -> None:
    data = bytes(range(256)) * 5000
    image = await make(alice, data=data)
    assert (image["status"], image["size"], image["virtual_size"]) == ("active", len(data), len(data))
    assert image["checksum"] == hashlib.md5(data).hexdigest()
    assert (image["os_hash_algo"], image["os_hash_value"]) == ("sha512", hashlib.sha512(data).hexdigest())
    answer = await alice.get(image["file"])
    assert answer.content == data and answer.headers["Content-MD5"] == image["checksum"]
    assert answer.headers["Content-Length"] == str(len(data))
    head = await alice.head(image["file"])
    assert (head.status_code, head.content, head.headers["Content-Length"]) == (200, b"", str(len(data)))
    part = await alice.get(image["file"], headers={"Range": "bytes=1000-1009"})
    assert (part.status_code, part.content) == (206, data[1000:1010])
    assert part.headers["Content-Range"] == f"bytes 1000-1009/{len(data)}"
    assert (await alice.get(image["file"], headers={"Range": "bytes=-5"})).content == data[-5:]
    for bad in ("bytes=9999999-", "bytes=5-1", "lines=1-2", "bytes=-"):
        assert (await alice.get(image["file"], headers={"Range": bad})).status_code == 416


async def test_an_image_without_data_has_nothing_to_download(alice: Client) -> None:
    image = await make(alice)
    assert (await alice.get(image["file"])).status_code == 204


async def test_data_is_taken_once_and_never_replaced(alice: Client, admin: Client) -> None:
    image = await make(alice, data=b"first")
    for client in (alice, admin):
        answer = await client.put(image["file"], content=b"other", headers=OCTETS)
        assert answer.status_code == 409
    for path, value in (("/status", "queued"), ("/checksum", "0" * 32), ("/size", 1), ("/locations", []), ("/id", image["id"])):
        answer = await alice.patch(image["self"], json=[{"op": "replace", "path": path, "value": value}], headers=PATCH)
        assert answer.status_code == 403, path
    assert (await alice.get(image["file"])).content == b"first"


async def test_no_location_is_ever_taken(alice: Client, admin: Client) -> None:
    for url in ["file:///etc/passwd", "filesystem:///etc/passwd", "http://169.254.169.254/", "https://x/y"]:
        image = await make(alice)
        change = [{"op": "add", "path": "/locations/-", "value": {"url": url, "metadata": {}}}]
        for client in (alice, admin):
            assert (await client.patch(image["self"], json=change, headers=PATCH)).status_code in (400, 403)
            assert (await client.patch(image["self"], json=[{"op": "add", "path": "/stores", "value": "pool"}], headers=PATCH)).status_code == 403
            made = await client.post("/v2/images", json={"name": "x", "locations": [{"url": url, "metadata": {}}]})
            assert made.status_code == 403


async def test_content_that_is_not_what_it_claims_leaves_the_image_queued(glance: AreaApi, alice: Client) -> None:
    image = await make(alice, disk_format="qcow2")
    answer = await alice.put(image["file"], content=b"not a qcow2" * 100, headers=OCTETS)
    assert answer.status_code == 415
    assert "does not match" in answer.text
    assert (await alice.get(image["self"])).json()["status"] == "queued"
    await glance.settle()
    assert await glance.doctor() == []


async def test_an_image_must_have_its_formats_before_its_data(alice: Client) -> None:
    image = (await alice.post("/v2/images", json={"name": "x"})).json()
    answer = await alice.put(image["file"], content=b"x", headers=OCTETS)
    assert answer.status_code == 400 and "disk_format" in answer.text
    assert (await alice.put(image["file"], content=b"x", headers={"Content-Type": "text/plain"})).status_code == 415


async def test_files_that_are_gone_are_told_by_the_images_id(glance: AreaApi, alice: Client) -> None:
    image = await make(alice, data=b"x" * 1000)
    root = glance.cloud.areas["image"].root
    (base,), (data,) = (list((root / folder).iterdir()) for folder in ("base", "data"))
    base.unlink()
    assert [v.message for v in await glance.doctor()] == [f"The raw base {data.name} of image {image['id']} is missing."]
    data.unlink()
    assert [v.message for v in await glance.doctor()] == [f"The data {data.name} of image {image['id']} is missing."]


async def test_deleting_removes_the_data(glance: AreaApi, alice: Client) -> None:
    image = await make(alice, data=b"x" * 1000)
    assert (await alice.delete(image["self"])).status_code == 204
    assert (await alice.get(image["self"])).status_code == 404
    await glance.settle()
    held = await glance.cloud.areas["image"].inventory()
    assert (held.data, held.bases, held.arriving) == ([], [], [])
    again = await alice.post("/v2/images", json={"id": image["id"], "name": "again"})
    assert again.status_code == 409, "an id is never used twice"


async def test_an_image_deleted_while_it_uploads_is_gone_and_leaves_nothing(glance: AreaApi, alice: Client) -> None:
    image = await make(alice)

    async def body():  # type: ignore[no-untyped-def]
        yield b"x" * 1000
        assert (await alice.get(image["self"])).json()["status"] == "saving"
        assert (await alice.delete(image["self"])).status_code == 204
        yield b"y" * 1000

    answer = await alice.put(image["file"], content=body(), headers=OCTETS)
    assert answer.status_code == 410
    held = await glance.cloud.areas["image"].inventory()
    assert (held.data, held.bases, held.arriving) == ([], [], [])


@pytest.mark.parametrize("headers", [[], [(b"content-length", b"5000")]])
async def test_an_upload_that_breaks_off_leaves_the_image_queued_and_no_file(
    glance: AreaApi, alice: Client, headers: list[tuple[bytes, bytes]]
) -> None:
    image = await make(alice)
    events = [{"type": "http.request", "body": b"x" * 1000, "more_body": True}, {"type": "http.disconnect"}]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return events.pop(0)

    async def send(event: Any) -> None:
        sent.append(event)

    headers = [*headers, (b"x-auth-token", b"red/member"), (b"content-type", b"application/octet-stream"), (b"host", b"test")]
    scope = {
        "type": "http", "method": "PUT", "path": f"/image{image['file']}", "raw_path": b"", "query_string": b"", "headers": headers,
        "http_version": "1.1", "asgi": {"version": "3.0"}, "scheme": "http", "server": ("test", 80), "client": ("test", 1),
    }  # fmt: skip
    await glance.asgi(scope, receive, send)  # type: ignore[arg-type]
    assert sent[0]["status"] == 400
    assert (await alice.get(image["self"])).json()["status"] == "queued"
    held = await glance.cloud.areas["image"].inventory()
    assert (held.data, held.bases, held.arriving) == ([], [], [])
    assert (await alice.put(image["file"], content=b"x", headers=OCTETS)).status_code == 204, "it may be tried again"


async def test_an_upload_whose_process_died_is_forgotten(glance: AreaApi, alice: Client) -> None:
    image = await make(alice)
    store, cloud = glance.cloud.areas["image"], glance.cloud
    ctx = RequestContext(cloud, "", await authenticate(cloud, "red/member"))
    await cloud.db.write(begin_in, ctx, image["id"], "00000000-0000-4000-8000-000000000000")
    await (await store.begin("00000000-0000-4000-8000-000000000000", most=100)).write(b"half")
    await glance.settle()
    assert (await alice.get(image["self"])).json()["status"] == "saving"
    cloud.clock.now_us = lambda: time.time_ns() // 1000 + 10**9  # type: ignore[method-assign]
    await glance.settle()
    assert (await alice.get(image["self"])).json()["status"] == "queued"
    cloud.clock.monotonic = lambda: time.monotonic() + 10**6
    await glance.settle()
    assert (await store.inventory()).arriving == []


async def test_a_project_stores_no_more_than_its_quota(glance: AreaApi, alice: Client, bob: Client, admin: Client) -> None:
    """OSSA-2015-003: neither by uploading at once, nor by deleting while uploading."""
    db = glance.cloud.db
    await db.write(QUOTA.set_limits, "red", {"image_size_total": 3, "image_count_total": 4})
    mib = 1 << 20
    image = await make(alice, data=bytes(2 * mib))
    other = await make(alice)
    for announced in (True, False):
        content: Any = bytes(2 * mib)

        async def unannounced():  # type: ignore[no-untyped-def]
            yield bytes(2 * mib)

        answer = await alice.put(other["file"], content=content if announced else unannounced(), headers=OCTETS)
        assert answer.status_code == 413 and "3 MiB" in answer.text
        assert (await alice.get(other["self"])).json()["status"] == "queued"
    usage = (await alice.get("/v2/info/usage")).json()["usage"]
    assert usage["image_size_total"] == {"limit": 3, "usage": 2}
    for _ in range(2):
        await make(alice)
    assert (await alice.post("/v2/images", json={"name": "fifth"})).status_code == 413
    assert (await alice.delete(image["self"])).status_code == 204
    assert (await alice.put(other["file"], content=bytes(3 * mib), headers=OCTETS)).status_code == 204
    change = [{"op": "replace", "path": "/owner", "value": "blue"}]
    assert (await admin.patch(other["self"], json=change, headers=PATCH)).status_code == 200
    assert (await alice.get("/v2/info/usage")).json()["usage"]["image_size_total"]["usage"] == 0
    await glance.settle()
    assert await glance.doctor() == []


async def test_uploads_and_deletes_that_race_leak_nothing(glance: AreaApi, alice: Client) -> None:
    """OSSA-2015-020, many times over."""
    await glance.cloud.db.write(QUOTA.set_limits, "red", {"image_size_total": 10, "image_count_total": 20})

    async def once(number: int) -> None:
        made = await alice.post("/v2/images", json={"name": "x", "disk_format": "raw", "container_format": "ova"})
        if made.status_code == 413:
            return
        image = made.json()

        async def body():  # type: ignore[no-untyped-def]
            for _ in range(number % 4 + 1):
                yield bytes(1 << 18)
                await asyncio.sleep(0)

        upload = asyncio.create_task(alice.put(image["file"], content=body(), headers=OCTETS))
        for _ in range(number % 7):
            await asyncio.sleep(0)
        deleted = await alice.delete(image["self"])
        assert deleted.status_code in (204, 409), deleted.text
        assert (await upload).status_code in (204, 404, 409, 410, 413)
        if deleted.status_code == 409:
            assert (await alice.delete(image["self"])).status_code == 204

    for batch in range(12):
        await asyncio.gather(*(once(batch * 8 + i) for i in range(8)))
    await glance.settle()
    held = await glance.cloud.areas["image"].inventory()
    assert (held.data, held.bases, held.arriving) == ([], [], [])
    assert await glance.doctor() == []
