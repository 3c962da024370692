"""Imports that are cut off, held up or bounded, and several stores."""

# ruff: noqa: F811 (fixtures that come from importing.py are named by the tests)
from __future__ import annotations

import asyncio
import threading
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from tests.image.conftest import Settings
from tests.image.importing import DATA, OCTETS, Client, alice, brought, cloud, made, shown, site, task_of  # noqa: F401 (fixtures)
from tests.image.web import WebSite, reply
from tests.wire.areas import AreaApi, areas, authenticate

import moln.image.module as image_module
from moln.image.drivers.uploads import FileUpload
from moln.image.ops import data, imports
from moln.image.ops.quotas import QUOTA
from moln.image.settings import ImageSettings
from moln.image.work import tasks as work
from moln.kernel.context import RequestContext
from moln.kernel.errors import Unavailable
from moln.kernel.work import Work

pytestmark = pytest.mark.asyncio(loop_scope="module")


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


async def test_imported_images_bear_what_the_operator_says(tmp_path: Path) -> None:
    settings = Settings(simulate=True, image=ImageSettings(import_properties={"checked": "yes", "os_distro": "ours"}))
    async with areas(tmp_path, settings, [image_module.module(settings)]) as api:
        for token, expected in (("red/member", {"checked": "yes", "os_distro": "ours"}), ("admin/admin", {"os_distro": "debian"})):
            client = api.client(token, "/image")
            image = await made(client, container_format="ova", os_distro="debian")
            assert (await client.put(f"{image['self']}/stage", content=DATA, headers=OCTETS)).status_code == 204
            await brought(client, image, "glance-direct")
            await api.settle()
            after = await shown(client, image)
            assert {name: after[name] for name in ("checked", "os_distro") if name in after} == expected and after["status"] == "active"


async def test_a_method_that_is_not_offered_is_not_there(tmp_path: Path) -> None:
    settings = Settings(simulate=True, image=ImageSettings(import_methods=["web-download", "copy-image"]))
    async with areas(tmp_path, settings, [image_module.module(settings)]) as api:
        client = api.client("red/member", "/image")
        assert (await client.get("/v2/info/import")).json()["import-methods"]["value"] == ["web-download"]
        image = await made(client)
        assert (await client.put(f"{image['self']}/stage", content=DATA, headers=OCTETS)).status_code == 404
        await brought(client, image, "glance-direct", 400)
        await brought(client, image, "copy-image", 400)
