"""Images as Glance's clients see them."""

from __future__ import annotations

import asyncio
import hashlib
import time
from typing import Any

import httpx
import pytest
from tests.wire.areas import AreaApi, authenticate

from moln.image.ops.data import begin_in
from moln.image.ops.quotas import QUOTA
from moln.kernel.context import RequestContext

Client = httpx.AsyncClient
PATCH = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
OCTETS = {"Content-Type": "application/octet-stream"}


async def make(client: Client, name: str = "disk", data: bytes | None = None, **more: Any) -> dict[str, Any]:
    answer = await client.post("/v2/images", json={"name": name, "disk_format": "raw", "container_format": "bare"} | more)
    assert answer.status_code == 201, answer.text
    image: dict[str, Any] = answer.json()
    if data is not None:
        put = await client.put(f"/v2/images/{image['id']}/file", content=data, headers=OCTETS)
        assert put.status_code == 204, put.text
        image = (await client.get(f"/v2/images/{image['id']}")).json()
    return image


async def names(client: Client, **query: Any) -> list[str]:
    answer = await client.get("/v2/images", params=query)
    assert answer.status_code == 200, answer.text
    return [i["name"] for i in answer.json()["images"]]


async def test_a_new_image_looks_as_glances_does(alice: Client) -> None:
    image = await make(alice, min_disk=1, tags=["a", "b", "a"], hw_disk_bus="virtio")
    expected = {
        "name": "disk", "status": "queued", "visibility": "shared", "owner": "red", "protected": False, "os_hidden": False,
        "min_disk": 1, "min_ram": 0, "size": None, "virtual_size": None, "checksum": None, "os_hash_algo": None,
        "os_hash_value": None, "tags": ["a", "b"], "hw_disk_bus": "virtio", "schema": "/v2/schemas/image",
        "self": f"/v2/images/{image['id']}", "file": f"/v2/images/{image['id']}/file",
    }  # fmt: skip
    assert expected.items() <= image.items()
    assert image["created_at"].endswith("Z")


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


async def test_a_protected_image_cannot_be_deleted(alice: Client) -> None:
    image = await make(alice, protected=True)
    assert (await alice.delete(image["self"])).status_code == 403
    change = [{"op": "replace", "path": "/protected", "value": False}]
    assert (await alice.patch(image["self"], json=change, headers=PATCH)).status_code == 200
    assert (await alice.delete(image["self"])).status_code == 204


async def test_patch_adds_replaces_and_removes(alice: Client) -> None:
    image = await make(alice, colour="red")
    changes = [
        {"op": "replace", "path": "/name", "value": "new"},
        {"op": "add", "path": "/os~1type", "value": "linux"},
        {"op": "replace", "path": "/colour", "value": "blue"},
        {"op": "replace", "path": "/tags", "value": ["t", "t"]},
        {"op": "replace", "path": "/min_ram", "value": 5},
    ]
    answer = await alice.patch(image["self"], json=changes, headers=PATCH)
    assert answer.status_code == 200, answer.text
    after = answer.json()
    assert (after["name"], after["os/type"], after["colour"], after["tags"], after["min_ram"]) == ("new", "linux", "blue", ["t"], 5)
    answer = await alice.patch(image["self"], json=[{"op": "remove", "path": "/colour"}], headers=PATCH)
    assert "colour" not in answer.json()
    old = {"Content-Type": "application/openstack-images-v2.0-json-patch"}
    assert (await alice.patch(image["self"], json=[{"replace": "/name", "value": "old"}], headers=old)).json()["name"] == "old"


BAD_PATCHES: list[tuple[Any, int]] = [
    ([{"op": "remove", "path": "/absent"}], 409),
    ([{"op": "replace", "path": "/absent", "value": "x"}], 409),
    ([{"op": "remove", "path": "/name"}], 403),
    ([{"op": "replace", "path": "/owner", "value": "blue"}], 403),
    ([{"op": "replace", "path": "/visibility", "value": "public"}], 403),
    ([{"op": "replace", "path": "/visibility", "value": "everyone"}], 400),
    ([{"op": "replace", "path": "/min_ram", "value": -1}], 400),
    ([{"op": "replace", "path": "/min_ram", "value": 1 << 40}], 400),
    ([{"op": "replace", "path": "/protected", "value": "yes"}], 400),
    ([{"op": "add", "path": "/deep/er", "value": "x"}], 400),
    ([{"op": "add", "path": "nothing", "value": "x"}], 400),
    ([{"op": "add", "path": "/x", "value": 5}], 400),
    ([{"op": "add", "path": "/x"}], 400),
    ([{"op": "move", "path": "/x"}], 400),
    (["x"], 400),
    ({"op": "add"}, 400),
    ([{"op": "add", "path": "/os_glance_x", "value": "1"}], 403),
    ([{"op": "add", "path": "/" + "x" * 256, "value": "1"}], 400),
    ([{"op": "add", "path": f"/p{i}", "value": "1"} for i in range(129)], 413),
]


async def test_a_bad_patch_changes_nothing(alice: Client) -> None:
    image = await make(alice)
    for changes, status in BAD_PATCHES:
        answer = await alice.patch(image["self"], json=changes, headers=PATCH)
        assert answer.status_code == status, (changes, answer.text)
        assert (await alice.get(image["self"])).json() == image


async def test_a_patch_of_another_type_is_refused(alice: Client) -> None:
    image = await make(alice)
    assert (await alice.patch(image["self"], json=[])).status_code == 415


BAD_IMAGES: list[tuple[Any, int]] = [
    ({"name": 5}, 400), ({"id": "x"}, 400), ({"disk_format": "floppy"}, 400), ({"container_format": 1}, 400),
    ({"tags": "x"}, 400), ({"tags": [1]}, 400), ({"visibility": "public"}, 403), ({"status": "active"}, 403),
    ({"owner": "blue"}, 403), ({"self": "x"}, 403), ({"name": "x" * 256}, 400), ({"x": {"y": 1}}, 400), ({"min_disk": True}, 400),
    ({"tags": [str(i) for i in range(129)]}, 413), ({"name": "nul\0"}, 400), ({"min_ram": 10**30}, 400), ([], 400),
]  # fmt: skip


async def test_a_bad_image_is_refused(alice: Client) -> None:
    for body, status in BAD_IMAGES:
        answer = await alice.post("/v2/images", json=body)
        assert answer.status_code == status, (body, answer.text)
        assert answer.headers["Content-Type"].startswith("text/html")
    assert await names(alice) == []


async def test_only_those_who_may_know_of_an_image_do(alice: Client, bob: Client, admin: Client) -> None:
    mine = await make(alice, "private", visibility="private", data=b"secret")
    common = await make(alice, "community", visibility="community", data=b"x")
    public = await make(admin, "public", visibility="public", data=b"x")
    assert await names(alice) == ["public", "community", "private"]
    assert await names(bob) == ["public"]
    assert await names(bob, visibility="community") == ["community"]
    assert await names(bob, visibility="all") == ["public", "community"]
    assert set(await names(admin, visibility="all")) == {"public", "community", "private"}
    for path in (mine["self"], mine["file"]):
        assert (await bob.get(path)).status_code == 404
    assert (await bob.delete(mine["self"])).status_code == 404
    assert (await bob.delete(common["self"])).status_code == 403
    assert (await bob.get(common["file"])).content == b"x"
    assert (await bob.patch(public["self"], json=[], headers=PATCH)).status_code == 200
    change = [{"op": "add", "path": "/x", "value": "y"}]
    assert (await bob.patch(public["self"], json=change, headers=PATCH)).status_code == 403
    assert (await bob.put(f"{public['self']}/tags/t")).status_code == 403


async def test_a_reader_reads_only(glance: AreaApi, alice: Client) -> None:
    reader = glance.client("red/reader", "/image")
    image = await make(alice, data=b"x")
    assert await names(reader) == ["disk"]
    assert (await reader.post("/v2/images", json={})).status_code == 403
    assert (await reader.delete(image["self"])).status_code == 403
    assert (await reader.get(image["file"])).status_code == 403, "download needs the role member"


async def test_sharing(alice: Client, bob: Client) -> None:
    image = await make(alice, data=b"x")
    members = f"{image['self']}/members"
    assert (await bob.get(image["self"])).status_code == 404
    made = await alice.post(members, json={"member": "blue"})
    assert made.status_code == 200 and made.json()["status"] == "pending"
    assert (await alice.post(members, json={"member": "blue"})).status_code == 409
    assert (await bob.get(image["self"])).status_code == 200
    assert await names(bob) == [] and await names(bob, member_status="pending") == ["disk"]
    assert (await alice.put(f"{members}/blue", json={"status": "accepted"})).status_code == 403, "only the member accepts"
    assert (await bob.put(f"{members}/blue", json={"status": "maybe"})).status_code == 400
    assert (await bob.put(f"{members}/blue", json={"status": "accepted"})).json()["status"] == "accepted"
    assert await names(bob) == ["disk"] and (await bob.get(image["file"])).content == b"x"
    assert [m["member_id"] for m in (await alice.get(members)).json()["members"]] == ["blue"]
    assert (await bob.delete(f"{members}/blue")).status_code == 403
    assert (await alice.delete(f"{members}/blue")).status_code == 204
    assert (await bob.get(image["self"])).status_code == 404
    private = await make(alice, visibility="private")
    assert (await alice.post(f"{private['self']}/members", json={"member": "blue"})).status_code == 403


async def test_a_deactivated_image_is_not_handed_out(alice: Client, admin: Client) -> None:
    image = await make(alice, data=b"x")
    assert (await alice.post(f"{image['self']}/actions/deactivate")).status_code == 204
    assert (await alice.get(image["self"])).json()["status"] == "deactivated"
    assert (await alice.get(image["file"])).status_code == 403
    assert (await admin.get(image["file"])).content == b"x"
    assert (await alice.post(f"{image['self']}/actions/reactivate")).status_code == 204
    assert (await alice.get(image["file"])).content == b"x"
    queued = await make(alice)
    assert (await alice.post(f"{queued['self']}/actions/deactivate")).status_code == 403


async def test_tags(alice: Client) -> None:
    image = await make(alice)
    for _ in range(2):
        assert (await alice.put(f"{image['self']}/tags/gold")).status_code == 204
    assert (await alice.get(image["self"])).json()["tags"] == ["gold"]
    assert await names(alice, tag="gold") == ["disk"] and await names(alice, tag="iron") == []
    assert (await alice.delete(f"{image['self']}/tags/gold")).status_code == 204
    assert (await alice.delete(f"{image['self']}/tags/gold")).status_code == 404


async def test_lists_are_filtered(alice: Client) -> None:
    await make(alice, "a", data=b"x" * 10, os_type="linux", tags=["one", "two"])
    await make(alice, "b", data=b"x" * 20, os_type="bsd", tags=["one"], protected=True)
    await make(alice, "c,d", os_hidden=True)
    assert await names(alice, sort="name:asc") == ["a", "b"]
    assert await names(alice, os_hidden="true") == ["c,d"]
    assert await names(alice, name="a") == ["a"] and await names(alice, name='in:a,"c,d"', os_hidden="true") == ["c,d"]
    assert await names(alice, name="in:a,b", sort="name") == ["b", "a"]
    assert await names(alice, status="queued") == [] and len(await names(alice, status="in:active,queued")) == 2
    assert await names(alice, size_min="15") == ["b"] and await names(alice, size_max="15") == ["a"]
    assert await names(alice, os_type="bsd") == ["b"] and await names(alice, os_type="bsd", tag="two") == []
    assert await names(alice, protected="true") == ["b"]
    assert len(await names(alice, owner="red")) == 2 and await names(alice, owner="blue") == []
    assert len(await names(alice, created_at="gt:2020-01-01T00:00:00Z")) == 2
    assert await names(alice, created_at="lt:2020-01-01T00:00:00") == []
    for bad in (
        {"size_min": "x"}, {"sort": "colour"}, {"sort": "name:up"}, {"sort_key": "name", "sort": "name"}, {"limit": "-1"}, {"limit": "x"},
        {"marker": "x"}, {"visibility": "x"}, {"protected": "x"}, {"os_hidden": "x"}, {"created_at": "x"}, {"name": "gt:a"},
        {"name": 'in:"a'}, {"changes-since": "2020"}, {"member_status": "x"},
    ):  # fmt: skip
        assert (await alice.get("/v2/images", params=bad)).status_code == 400, bad


async def test_pages_follow_each_other(alice: Client) -> None:
    for name in "abcde":
        await make(alice, name, tags=["x"])
    seen: list[str] = []
    link = "/v2/images?limit=2&sort_key=name&sort_dir=asc&tag=x"
    while link:
        page = (await alice.get(link)).json()
        seen += [i["name"] for i in page["images"]]
        assert page["first"].startswith("/v2/images?limit=2")
        link = page.get("next")
    assert seen == list("abcde")
    assert (await alice.get("/v2/images?limit=0")).json()["images"] == []


async def test_discovery(glance: AreaApi, alice: Client) -> None:
    anyone = glance.client(None, "/image")
    for path, status in (("/", 300), ("/versions", 200), ("/v2", 300), ("/v2/", 300)):
        answer = await anyone.get(path)
        assert answer.status_code == status
        assert answer.json()["versions"][0]["status"] == "CURRENT"
    assert (await anyone.get("/v2/images")).status_code == 401
    for name in ("image", "images", "member", "members"):
        assert (await alice.get(f"/v2/schemas/{name}")).json()["name"] == name
    assert (await alice.get("/v2/info/import")).json()["import-methods"]["value"] == ["glance-direct", "web-download", "glance-download"]
    assert (await alice.get("/v2/info/stores")).json() == {"stores": [{"id": "pool", "default": "true"}]}
    answer = await alice.get("/v2/images/nothing")
    assert answer.status_code == 404 and "No image found with ID nothing" in answer.text
    evil = await alice.get("/v2/images/<script>")
    assert "<script>" not in evil.text


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
