"""Interoperable import, tasks, locations and several stores, as Glance's clients see them."""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from collections.abc import AsyncIterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from tests.image.conftest import Settings
from tests.image.web import WebSite, reply, serving
from tests.wire.areas import AreaApi, areas, authenticate

import moln.image.module as image_module
from moln.image.drivers.files import FileUpload
from moln.image.ops import data, imports
from moln.image.ops.quotas import QUOTA
from moln.image.settings import ImageSettings
from moln.image.work import tasks as work
from moln.kernel.context import RequestContext
from moln.kernel.errors import Unavailable
from moln.kernel.work import Work

Client = httpx.AsyncClient
OCTETS = {"Content-Type": "application/octet-stream"}
DATA = bytes(range(256)) * 40
pytestmark = pytest.mark.asyncio(loop_scope="module")


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


async def test_what_was_staged_becomes_the_image_at_its_import(cloud: AreaApi, alice: Client) -> None:
    answer = await alice.post("/v2/images", json={"name": "i"})
    assert answer.headers["OpenStack-image-import-methods"] == "glance-direct,web-download,copy-image,glance-download"
    assert answer.headers["OpenStack-image-store-ids"] == "pool,archive"
    image = await made(alice)
    await brought(alice, image, "glance-direct", 409)
    assert (await alice.put(f"{image['self']}/stage", content=DATA, headers=OCTETS)).status_code == 204
    staged = await shown(alice, image)
    assert (staged["status"], staged["size"], staged["checksum"]) == ("uploading", len(DATA), None)
    assert (await alice.put(f"{image['self']}/stage", content=DATA, headers=OCTETS)).status_code == 409
    assert (await alice.put(image["file"], content=DATA, headers=OCTETS)).status_code == 409
    answer = await brought(alice, image, "glance-direct")
    assert (await shown(alice, image))["os_glance_importing_to_stores"] == "pool"
    await brought(alice, image, "glance-direct", 409)
    await cloud.settle()
    after = await shown(alice, image)
    assert (after["status"], after["size"], after["os_hash_value"]) == ("active", len(DATA), hashlib.sha512(DATA).hexdigest())
    assert (after["stores"], after["os_glance_importing_to_stores"], after["os_glance_failed_import"]) == ("pool", "", "")
    assert "os_glance_import_task" not in after
    task = await task_of(alice, image)
    assert (task["status"], task["result"], task["request_id"]) == ("success", {"image_id": image["id"]}, answer.headers["x-openstack-request-id"])
    assert (task["type"], task["input"]["import_req"]["method"]["name"]) == ("api_image_import", "glance-direct")
    assert (await alice.get(image["file"])).content == DATA
    await brought(alice, image, "glance-direct", 409)


async def test_a_stage_whose_process_died_is_forgotten_and_one_that_came_is_not(cloud: AreaApi, alice: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    half, whole = await made(alice), await made(alice)
    assert (await alice.put(f"{whole['self']}/stage", content=DATA, headers=OCTETS)).status_code == 204
    ctx = RequestContext(cloud.cloud, "", await authenticate(cloud.cloud, "red/member"))
    data_id = ctx.new_id()
    await cloud.cloud.db.write(imports.stage_in, ctx, half["id"], data_id, 0)
    await (await cloud.cloud.areas["image"].begin(data_id, most=100)).write(b"half")
    monkeypatch.setattr(cloud.cloud.clock, "now_us", lambda: time.time_ns() // 1000 + 10**9)
    await cloud.settle()
    assert [(await shown(alice, image))["status"] for image in (half, whole)] == ["queued", "uploading"]
    await brought(alice, whole, "glance-direct")


async def test_what_is_staged_and_on_its_way_is_bounded(cloud: AreaApi, site: WebSite) -> None:
    client = cloud.client("green/member", "/image")
    bounds = {"image_stage_total": 2, "image_count_uploading": 2, "image_size_total": 9}
    await cloud.cloud.db.write(QUOTA.set_limits, "green", bounds)

    async def used() -> dict[str, int]:
        found = (await client.get("/v2/info/usage")).json()["usage"]
        return {name: found[name]["usage"] for name in bounds}

    mib, images = bytes(1 << 20), [await made(client) for _ in range(4)]
    for image, content, status in ((images[0], mib, 204), (images[1], mib * 2, 413), (images[1], mib, 204), (images[2], b"", 413)):
        assert (await client.put(f"{image['self']}/stage", content=content, headers=OCTETS)).status_code == status
    assert await used() == {"image_stage_total": 2, "image_count_uploading": 2, "image_size_total": 2}
    assert (await client.put(images[2]["file"], content=b"x", headers=OCTETS)).status_code == 413
    await brought(client, images[3], "web-download", 413, uri=site.put("/disk", DATA))
    await brought(client, images[0], "glance-direct")
    assert (await used())["image_stage_total"] == 2, "until it is imported"
    await cloud.settle()
    assert await used() == {"image_stage_total": 1, "image_count_uploading": 1, "image_size_total": 2}
    await brought(client, images[3], "web-download", uri=site.url + "/absent")
    assert (await used())["image_count_uploading"] == 2
    await cloud.settle()
    assert (await used())["image_count_uploading"] == 1
    for image in images:
        assert (await client.delete(image["self"])).status_code == 204
    assert await used() == dict.fromkeys(bounds, 0)
    await cloud.settle()
    assert await cloud.doctor() == []


async def test_staged_data_that_is_not_what_it_claims_fails_the_import_and_goes(cloud: AreaApi, alice: Client) -> None:
    image = await made(alice, disk_format="qcow2")
    assert (await alice.put(f"{image['self']}/stage", content=DATA, headers=OCTETS)).status_code == 204
    await brought(alice, image, "glance-direct")
    await cloud.settle()
    after = await shown(alice, image)
    assert (after["status"], after["size"], after["os_glance_failed_import"]) == ("queued", None, "pool")
    task = await task_of(alice, image)
    assert task["status"] == "failure" and "does not match" in task["message"] and task["expires_at"]
    await cloud.settle()
    assert (await cloud.cloud.areas["image"].inventory()).arriving == []


async def test_an_image_is_fetched_from_the_web_through_redirects(cloud: AreaApi, alice: Client, site: WebSite) -> None:
    site.put("/disk", DATA)
    site.redirect("/there", "/disk")
    image = await made(alice)
    await brought(alice, image, "web-download", uri=site.redirect("/here", f"{site.url}/there"))
    assert (await shown(alice, image))["status"] == "importing"
    await cloud.settle()
    after = await shown(alice, image)
    assert (after["status"], after["size"], after["checksum"]) == ("active", len(DATA), hashlib.md5(DATA).hexdigest())
    await brought(alice, image, "web-download", 409, uri=f"{site.url}/disk")


@pytest.mark.parametrize("uri", [
    "file:///etc/passwd", "ftp://example.org/x", "http://169.254.169.254/latest", "http://127.0.0.1/x", "http://[::1]/x", "http://10.0.0.1/x",
    "http://[::ffff:127.0.0.1]/x", "http://u:p@example.org/x", "http://example.org:22/x", "http:///x", "", "http://[", "http://a b/",
])  # fmt: skip
async def test_an_address_that_may_not_be_asked_is_refused_at_once(alice: Client, uri: str) -> None:
    image = await made(alice)
    await brought(alice, image, "web-download", 400, uri=uri)
    assert (await shown(alice, image))["status"] == "queued"
    assert (await alice.post(f"{image['self']}/locations", json={"url": uri})).status_code == 400


async def test_a_download_that_fails_leaves_the_image_queued_and_nothing_else(cloud: AreaApi, alice: Client, site: WebSite) -> None:
    site.pages["/short"] = lambda asked: reply(asked, b"x" * 1000, length=5000)
    site.pages["/loop"] = lambda asked: reply(asked, b"", 302, Location="/loop")
    site.put("/disk", DATA)
    inwards = ["http://169.254.169.254/latest", "http://127.0.0.1:1/x", "http://[::ffff:10.0.0.1]/", "file:///etc/passwd", "http://localhost/"]
    addresses = [f"{site.url}/short", f"{site.url}/loop", f"{site.url}/absent"]
    addresses += [site.redirect(f"/in{n}", to) for n, to in enumerate(inwards)]
    for uri in addresses:
        image = await made(alice)
        await brought(alice, image, "web-download", uri=uri)
        await cloud.settle()
        after, task = await shown(alice, image), await task_of(alice, image)
        assert (after["status"], after["os_glance_failed_import"], task["status"]) == ("queued", "pool", "failure"), uri
        assert task["message"] and "passwd" not in task["message"], uri
        await brought(alice, image, "web-download", uri=f"{site.url}/disk")
        await cloud.settle()
        assert (await shown(alice, image))["status"] == "active"
    await cloud.settle()
    assert (await cloud.cloud.areas["image"].inventory()).arriving == []


async def test_a_server_that_holds_a_download_up_is_left(cloud: AreaApi, alice: Client, site: WebSite, monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()

    def stuck(asked: BaseHTTPRequestHandler) -> None:
        reply(asked, b"x" * 100, length=5000)
        over.wait(60)

    site.pages["/stuck"] = stuck
    for constants, path, said in (
        ({"STALL_S": 0.2}, "/stuck", "in time"), ({"GRACE_S": -1.0, "SLOWEST": 1 << 60}, "/large", "too slowly")
    ):  # fmt: skip
        site.put("/large", DATA * 300)
        image = await made(alice)
        await brought(alice, image, "web-download", uri=site.url + path)
        with monkeypatch.context() as patch:
            for name, value in constants.items():
                patch.setattr(f"moln.image.drivers.web.{name}", value)
            await cloud.settle()
        assert said in (await task_of(alice, image))["message"]
        assert (await shown(alice, image))["status"] == "queued"
    over.set()


async def test_an_image_deleted_while_it_is_imported_is_gone_and_leaves_nothing(cloud: AreaApi, alice: Client, site: WebSite) -> None:
    for method in ("glance-direct", "web-download"):
        image = await made(alice)
        if method == "glance-direct":
            await alice.put(f"{image['self']}/stage", content=DATA, headers=OCTETS)
        await brought(alice, image, method, uri=site.put("/disk", DATA))
        assert (await alice.delete(image["self"])).status_code == 204
        await cloud.settle()
        assert (await cloud.cloud.areas["image"].inventory()).arriving == []


async def test_who_may_import_and_see_its_tasks(cloud: AreaApi, alice: Client, site: WebSite) -> None:
    bob = cloud.client("blue/member", "/image")
    admin = cloud.client("admin/admin", "/image")
    image = await made(alice, visibility="community")
    await brought(bob, image, "web-download", 403, uri=site.put("/disk", DATA))
    await brought(alice, image, "copy-image", 409)
    await brought(alice, image, "carrier-pigeon", 400)
    await brought(alice, image, "web-download", uri=site.url + "/disk")
    await cloud.settle()
    assert (await bob.get(f"{image['self']}/tasks")).json() == {"tasks": []}
    await brought(alice, image, "copy-image", 403, more={"stores": ["archive"]})
    task = await task_of(alice, image)
    assert (await alice.get(f"/v2/tasks/{task['id']}")).status_code == 403
    assert (await admin.get(f"/v2/tasks/{task['id']}")).json()["input"]["image_id"] == image["id"]
    listed = (await admin.get("/v2/tasks", params={"status": "success", "limit": 1, "sort_key": "created_at"})).json()
    assert len(listed["tasks"]) == 1 and "marker=" in listed["next"] and "input" not in listed["tasks"][0]
    assert (await admin.get(listed["next"])).status_code == 200
    assert (await admin.get("/v2/tasks?status=odd")).status_code == 400
    assert (await admin.get("/v2/tasks?type=export")).status_code == 400
    refused = await admin.delete(f"/v2/tasks/{task['id']}")
    assert (refused.status_code, refused.headers["Allow"]) == (405, "GET")
    for name in ("task", "tasks"):
        assert (await alice.get(f"/v2/schemas/{name}")).json()["name"] == name


async def test_the_task_import_makes_an_image(cloud: AreaApi, alice: Client, site: WebSite) -> None:
    admin = cloud.client("admin/admin", "/image")
    properties = {"name": "by task", "disk_format": "raw", "container_format": "bare", "visibility": "public"}
    asked = {"import_from": site.put("/disk", DATA), "import_from_format": "raw", "image_properties": properties}
    assert (await alice.post("/v2/tasks", json={"type": "import", "input": asked})).status_code == 403
    for wrong in ({}, {"type": "export", "input": {}}, {"type": "import", "input": {}}, {"type": "import", "input": asked | {"import_from": "file:///x"}}):
        assert (await admin.post("/v2/tasks", json=wrong)).status_code == 400
    answer = await admin.post("/v2/tasks", json={"type": "import", "input": asked})
    assert answer.status_code == 201 and answer.json()["status"] == "pending"
    lost = (await admin.post("/v2/tasks", json={"type": "import", "input": asked | {"import_from": site.url + "/absent"}})).json()
    await cloud.settle()
    task = (await admin.get(f"/v2/tasks/{answer.json()['id']}")).json()
    assert task["status"] == "success"
    image = (await alice.get(f"/v2/images/{task['result']['image_id']}")).json()
    assert (image["name"], image["status"], image["owner"]) == ("by task", "active", "admin")
    failed = (await admin.get(f"/v2/tasks/{lost['id']}")).json()
    assert failed["status"] == "failure" and "404" in failed["message"]
    assert (await admin.get(f"/v2/images/{failed['image_id']}")).status_code == 404


async def test_a_location_is_fetched_hashed_and_kept(cloud: AreaApi, alice: Client, site: WebSite) -> None:
    service = cloud.client("svc/service", "/image")
    url = site.put("/disk", DATA)
    image = await made(alice)
    sha256 = hashlib.sha256(DATA).hexdigest()
    for wrong in ({"os_hash_algo": "sha512", "os_hash_value": sha256}, {"os_hash_value": sha256}, {"os_hash_algo": "md4", "os_hash_value": "x"}, {"os_hash_algo": ["x"]}):
        assert (await alice.post(f"{image['self']}/locations", json={"url": url, "validation_data": wrong})).status_code == 400
    assert (await alice.post(f"{image['self']}/locations", json={})).status_code == 400
    body = {"url": url, "validation_data": {"os_hash_algo": "sha256", "os_hash_value": "0" * 64}}
    assert (await alice.post(f"{image['self']}/locations", json=body)).status_code == 202
    await cloud.settle()
    assert ((await shown(alice, image))["status"], (await task_of(alice, image))["status"]) == ("queued", "failure")
    body["validation_data"] = {"os_hash_algo": "sha256", "os_hash_value": sha256}
    assert (await alice.post(f"{image['self']}/locations", json=body)).status_code == 202
    await cloud.settle()
    after = await shown(alice, image)
    assert (after["status"], after["os_hash_algo"], after["os_hash_value"]) == ("active", "sha256", sha256)
    assert (await alice.post(f"{image['self']}/locations", json=body)).status_code == 409
    assert (await alice.get(f"{image['self']}/locations")).status_code == 403
    told = (await service.get(f"{image['self']}/locations")).json()
    assert [(place["metadata"], place["url"][:8]) for place in told] == [({"store": "pool"}, "file:///")]
    assert (await service.get("/v2/images/absent/locations")).status_code == 404


async def test_an_image_is_taken_over_from_one_that_may_be_read(cloud: AreaApi, alice: Client, site: WebSite) -> None:
    bob = cloud.client("blue/member", "/image")
    source = await made(bob, visibility="community", hw_machine_type="q35", os_distro="debian", colour="red")
    secret = await made(bob, visibility="private")
    for image in (source, secret):
        assert (await bob.put(image["file"], content=DATA, headers=OCTETS)).status_code == 204
    region = {"glance_region": cloud.cloud.settings.region}
    target = await made(alice, disk_format="iso", container_format="ovf", os_distro="windows", speed="88")
    await brought(alice, target, "glance-download", 400, **region)
    await brought(alice, target, "glance-download", 400, glance_image_id=source["id"])
    refused = await brought(alice, target, "glance-download", 400, glance_image_id="foo", **region)
    assert "image id does not look like a UUID" in refused.text
    for wrong in ({"glance_image_id": secret["id"], **region}, {"glance_image_id": source["id"], "glance_region": "elsewhere"}):
        image = await made(alice)
        await brought(alice, image, "glance-download", **wrong)
        await cloud.settle()
        assert ((await shown(alice, image))["status"], (await task_of(alice, image))["status"]) == ("queued", "failure")
    await brought(alice, target, "glance-download", glance_image_id=source["id"], **region)
    await cloud.settle()
    after = await shown(alice, target)
    expected = {"status": "active", "disk_format": "raw", "container_format": "bare", "os_distro": "debian", "hw_machine_type": "q35", "speed": "88"}
    assert expected.items() <= after.items() and "colour" not in after
    assert (await bob.delete(source["self"])).status_code == 204
    assert (await alice.get(target["file"])).content == DATA


async def test_data_lies_in_the_stores_that_are_asked_for(cloud: AreaApi, alice: Client) -> None:
    admin = cloud.client("admin/admin", "/image")
    assert (await alice.get("/v2/info/stores")).json() == {"stores": [{"id": "pool", "default": "true"}, {"id": "archive"}]}
    assert (await alice.get("/v2/info/stores/detail")).status_code == 403
    assert (await admin.get("/v2/info/stores/detail")).json()["stores"][1]["properties"]["data_dir"].endswith("/archive")
    image = await made(alice)
    assert (await alice.put(image["file"], content=DATA, headers=OCTETS | {"X-Image-Meta-Store": "attic"})).status_code == 400
    assert (await alice.put(image["file"], content=DATA, headers=OCTETS | {"X-Image-Meta-Store": "archive"})).status_code == 204
    assert (await shown(alice, image))["stores"] == "archive"
    assert (await alice.get(image["file"])).content == DATA
    held = (await cloud.cloud.areas["image"].inventory()).stores
    assert len(held["archive"]) == 1
    await brought(admin, image, "copy-image", 409, more={"stores": ["attic"]})
    await brought(admin, image, "copy-image", 400, more={"stores": ["archive"]})
    await brought(admin, image, "copy-image", 400, more={"stores": ["pool"], "all_stores": True})
    await brought(admin, image, "copy-image", more={"all_stores": True})
    await cloud.settle()
    assert (await shown(alice, image))["stores"] == "archive,pool"
    await brought(admin, image, "copy-image", more={"all_stores": True})
    assert (await alice.delete(f"/v2/stores/archive/{image['id']}")).status_code == 403
    assert (await admin.delete(f"/v2/stores/attic/{image['id']}")).status_code == 404
    assert (await admin.delete(f"/v2/stores/archive/{image['id']}")).status_code == 204
    assert (await admin.delete(f"/v2/stores/archive/{image['id']}")).status_code == 404
    await cloud.settle()
    assert (await cloud.cloud.areas["image"].inventory()).stores["archive"] == []
    assert (await admin.delete(f"/v2/stores/pool/{image['id']}")).status_code == 403
    assert (await alice.get(image["file"])).content == DATA


async def test_a_store_that_cannot_take_it_fails_the_import_or_is_named(cloud: AreaApi, alice: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    here = cloud.cloud.areas["image"]

    async def broken(data_id: str, store: str) -> None:
        raise Unavailable("The image store failed.")

    monkeypatch.setattr(here, "copy", broken)
    admin = cloud.client("admin/admin", "/image")
    image = await made(alice)
    await alice.put(f"{image['self']}/stage", content=DATA, headers=OCTETS)
    await brought(alice, image, "glance-direct", more={"all_stores": True, "all_stores_must_succeed": False})
    await cloud.settle()
    after, task = await shown(alice, image), await task_of(alice, image)
    assert (after["status"], after["stores"], after["os_glance_failed_import"], task["status"]) == ("active", "pool", "archive", "success")
    assert "archive" in task["message"]
    await brought(admin, image, "copy-image", more={"stores": ["archive"]})
    await cloud.settle()
    after = await shown(alice, image)
    assert (after["status"], after["os_glance_failed_import"]) == ("active", "archive")
    assert "os_glance_import_task" not in after


async def test_a_client_who_leaves_at_the_commit_leaves_the_data(cloud: AreaApi, alice: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    image = await made(alice)
    real = cloud.cloud.db.write

    async def write(fn: Any, *args: Any, **kwargs: Any) -> Any:
        found = await real(fn, *args, **kwargs)
        if fn is data.finish_in:
            uploading.cancel()
        return found

    monkeypatch.setattr(cloud.cloud.db, "write", write)
    uploading = asyncio.create_task(alice.put(image["file"], content=DATA, headers=OCTETS))
    with pytest.raises(asyncio.CancelledError):
        await uploading
    assert (await shown(alice, image))["status"] == "active"
    assert (await alice.get(image["file"])).content == DATA


async def test_an_import_whose_process_died_is_done_by_the_next(cloud: AreaApi, alice: Client, site: WebSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed at every write and every step of the store in turn: the next process ends it all the same."""
    here, db = cloud.cloud.areas["image"], cloud.cloud.db

    class Died(BaseException):
        pass

    async def nothing(upload: FileUpload) -> None:
        upload.close()

    for method in ("glance-direct", "web-download"):
        for point in range(1, 16):
            image = await made(alice, container_format="ova")  # nobody looks into it: that would take most of the time
            if method == "glance-direct":
                await alice.put(f"{image['self']}/stage", content=DATA, headers=OCTETS)
            await brought(alice, image, method, uri=site.put("/disk", DATA), more={"all_stores": True, "all_stores_must_succeed": False})
            left = point

            def dying(fn: Any) -> Any:
                async def call(*args: Any, **kwargs: Any) -> Any:
                    nonlocal left
                    left -= 1
                    if left == 0:
                        raise Died
                    found = await fn(*args, **kwargs)
                    left -= 1
                    if left == 0:
                        raise Died
                    return found

                return call

            with monkeypatch.context() as patch:
                patch.setattr(FileUpload, "abandon", nothing)  # the dead clean nothing up
                patch.setattr(db, "write", dying(db.write))
                patch.setattr(here, "copy", dying(here.copy))
                patch.setattr(here, "adopt", dying(here.adopt))
                for task in await work.find(db, 0):
                    try:
                        await work.settle(Work(cloud.cloud), task)
                    except Died:
                        break
            await cloud.settle()
            after = await shown(alice, image)
            assert (after["status"], after["stores"]) == ("active", "archive,pool"), (method, point)
            assert (await task_of(alice, image))["status"] == "success"
            assert (await alice.delete(image["self"])).status_code == 204
            if left > 0:
                break
        else:
            raise AssertionError("there are more points than were tried")


async def test_a_name_that_resolves_inwards_is_not_connected_to(cloud: AreaApi, alice: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """SEC-11: whatever a name server says, what is connected to is what was judged; an answer is asked for once."""
    import socket

    asked = []

    def resolve(host: str, port: int, **_: Any) -> list[Any]:
        asked.append(host)
        addresses = ["127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::a00:1", "2002:7f00:1::", "fe80::1%lo", "0.0.0.0", "224.0.0.1"]
        return [(socket.AF_INET6 if ":" in a else socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, port)) for a in addresses]

    monkeypatch.setattr("moln.image.drivers.web.socket.getaddrinfo", resolve)
    image = await made(alice)
    await brought(alice, image, "web-download", uri="https://rebound.example.org/disk")
    await cloud.settle()
    task = await task_of(alice, image)
    assert (task["status"], asked) == ("failure", ["rebound.example.org"])
    assert "not allowed" in task["message"]


async def test_a_method_that_is_not_offered_is_not_there(tmp_path: Path) -> None:
    settings = Settings(simulate=True, image=ImageSettings(import_methods=["web-download", "copy-image"]))
    async with areas(tmp_path, settings, [image_module.module(settings)]) as api:
        client = api.client("red/member", "/image")
        assert (await client.get("/v2/info/import")).json()["import-methods"]["value"] == ["web-download"]
        image = await made(client)
        assert (await client.put(f"{image['self']}/stage", content=DATA, headers=OCTETS)).status_code == 404
        await brought(client, image, "glance-direct", 400)
        await brought(client, image, "copy-image", 400)
