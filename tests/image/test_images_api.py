"""Images as Glance's clients see them."""

from __future__ import annotations

from typing import Any

from tests.image.asking import PATCH, Client, make, names
from tests.wire.areas import AreaApi


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
