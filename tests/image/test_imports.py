"""Interoperable import, tasks and locations, as Glance's clients see them."""

# ruff: noqa: F811 (fixtures that come from importing.py are named by the tests)
from __future__ import annotations

import hashlib
from typing import Any

import pytest
from tests.image.importing import DATA, OCTETS, Client, alice, brought, cloud, made, shown, site, task_of  # noqa: F401 (fixtures)
from tests.image.web import WebSite, reply
from tests.wire.areas import AreaApi

pytestmark = pytest.mark.asyncio(loop_scope="module")


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
        image = await made(alice, container_format="ova")  # nobody looks into it: that would take most of the time
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
