"""Volumes as Cinder's clients see them."""

from __future__ import annotations

import uuid
from typing import Any

import httpx
import pytest
from tests.wire.areas import AreaApi, authenticate

from moln.image.ops import images
from moln.kernel.context import RequestContext
from moln.kernel.errors import BackendRefused, BackendUnreachable
from moln.volume.drivers.base import Pool
from moln.volume.ops import for_compute, needed_images
from moln.volume.ops.pools import pools_of

Client = httpx.AsyncClient
NOWHERE = str(uuid.uuid4())


async def post(client: Client, path: str, key: str, status: int = 202, **body: Any) -> Any:
    answer = await client.post(path, json={key: body})
    assert answer.status_code == status, answer.text
    return answer.json()[key] if answer.content else None


async def get(client: Client, path: str, key: str | None = None, **query: Any) -> Any:
    answer = await client.get(path, params=query or None)
    assert answer.status_code == 200, answer.text
    return answer.json()[key] if key else answer.json()


async def make(api: AreaApi, client: Client, **body: Any) -> dict[str, Any]:
    """A volume, settled."""
    made = await post(client, "/volumes", "volume", **({"size": 1} | body))
    await api.settle()
    found: dict[str, Any] = await get(client, f"/volumes/{made['id']}", "volume")
    return found


async def act(client: Client, volume_id: str, action: str, body: Any = None, status: int = 202) -> None:
    answer = await client.post(f"/volumes/{volume_id}/action", json={action: body})
    assert answer.status_code == status, answer.text


async def names(client: Client, **query: Any) -> list[str]:
    return [v["name"] for v in await get(client, "/volumes", "volumes", **query)]


async def context(api: AreaApi, token: str = "red/member") -> RequestContext:
    return RequestContext(api.cloud, "req-test", await authenticate(api.cloud, token), (3, 71))


async def test_a_new_volume_is_creating_then_available(cinder: AreaApi, alice: Client) -> None:
    made = await post(alice, "/volumes", "volume", size=2, name=" data ", metadata={"a": "b"}, description="d")
    expected = {
        "status": "creating", "size": 2, "name": "data", "description": "d", "metadata": {"a": "b"}, "volume_type": "__DEFAULT__",
        "availability_zone": "nova", "bootable": "false", "encrypted": False, "multiattach": False, "attachments": [],
        "snapshot_id": None, "source_volid": None, "replication_status": None, "consistencygroup_id": None, "user_id": "user-of-red",
        "group_id": None, "shared_targets": False, "service_uuid": None, "consumes_quota": True,
    }  # fmt: skip
    assert expected.items() <= made.items()
    assert made["links"][0]["href"].endswith(f"/volume/v3/volumes/{made['id']}")
    assert "os-vol-host-attr:host" not in made
    await cinder.settle()
    assert (await get(alice, f"/volumes/{made['id']}", "volume"))["status"] == "available"
    assert (await get(alice, f"/red/volumes/{made['id']}", "volume"))["id"] == made["id"]
    assert (await alice.get(f"/blue/volumes/{made['id']}")).status_code == 400
    assert await cinder.doctor() == []


async def test_the_microversion_chooses_the_fields(cinder: AreaApi, alice: Client) -> None:
    volume = await make(cinder, alice)
    old = cinder.client("red/member", "/volume/v3")
    shown = await get(old, f"/volumes/{volume['id']}", "volume")
    assert not {"group_id", "shared_targets", "volume_type_id", "consumes_quota"} & shown.keys()
    ignored = await post(old, "/volumes", "volume", size=1, unheard_of=1)
    assert ignored["status"] == "creating"
    refused = await alice.post("/volumes", json={"volume": {"size": 1, "unheard_of": 1}})
    assert refused.status_code == 400 and "unheard_of" in refused.text
    assert (await old.get("/attachments")).status_code == 404


BAD_VOLUMES: list[dict[str, Any]] = [
    {}, {"size": 0}, {"size": -1}, {"size": "x"}, {"size": 1.5}, {"size": 2**40}, {"size": 10**30}, {"size": 1, "name": "x" * 256},
    {"size": 1, "name": 5}, {"size": 1, "metadata": {"": "x"}}, {"size": 1, "metadata": {"x": 1}}, {"size": 1, "metadata": []},
    {"size": 1, "availability_zone": "mars"}, {"size": 1, "snapshot_id": "x"}, {"size": 1, "multiattach": True},
    {"size": 1, "imageRef": "no such image"}, {"size": 1, "imageRef": NOWHERE}, {"size": 1, "backup_id": "x"},
    {"size": 1, "name": "nul\0"}, {"size": True}, {"size": 1, "source_volid": NOWHERE, "snapshot_id": NOWHERE},
    {"size": 1, "metadata": {str(i): "x" for i in range(129)}},
]  # fmt: skip


async def test_a_bad_volume_is_refused(cinder: AreaApi, alice: Client) -> None:
    for body in BAD_VOLUMES:
        answer = await alice.post("/volumes", json={"volume": body})
        assert answer.status_code == 400, (body, answer.text)
        assert answer.json()["badRequest"]["code"] == 400 and answer.json()["badRequest"]["message"]
    assert await names(alice) == []
    assert await cinder.doctor() == []


async def test_what_does_not_exist_is_404(alice: Client) -> None:
    for body in ({"snapshot_id": NOWHERE}, {"source_volid": NOWHERE}, {"size": 1, "volume_type": "none"}):
        answer = await alice.post("/volumes", json={"volume": body})
        assert answer.status_code == 404 and answer.json()["itemNotFound"]["code"] == 404
    for path in ("/volumes/x", "/snapshots/x", "/attachments/x", "/types/x", "/messages/x", "/volumes/x/metadata", "/backups/x", "/groups/x"):
        assert (await alice.get(path)).status_code == 404, path
    assert (await alice.delete("/volumes/x")).status_code == 404
    for body in ({"os-nothing": {}}, {}, []):
        assert (await alice.post("/volumes/x/action", json=body)).status_code in (400, 404)


async def test_projects_do_not_see_each_others_volumes(cinder: AreaApi, alice: Client, bob: Client, admin: Client) -> None:
    volume = await make(cinder, alice, name="mine")
    path = f"/volumes/{volume['id']}"
    assert await names(bob) == [] and await names(admin) == [] and await names(bob, all_tenants="1") == []
    assert await names(admin, all_tenants="1") == ["mine"] and await names(admin, project_id="red") == ["mine"]
    for request in (bob.get(path), bob.delete(path), bob.put(path, json={"volume": {"name": "x"}}), bob.get(f"{path}/metadata")):
        assert (await request).status_code == 404
    await act(bob, volume["id"], "os-extend", {"new_size": 5}, 404)
    assert (await get(admin, path, "volume"))["os-vol-host-attr:host"] == "node-1@pool#pool"
    reader = cinder.client("red/reader", "/volume/v3")
    assert (await reader.get(path)).status_code == 200
    assert (await reader.delete(path)).status_code == 403
    assert (await reader.post("/volumes", json={"volume": {"size": 1}})).status_code == 403
    await act(alice, volume["id"], "os-reset_status", {"status": "error"}, 403)


async def test_a_volume_is_updated_and_has_metadata(cinder: AreaApi, alice: Client) -> None:
    path = f"/volumes/{(await make(cinder, alice, metadata={'a': '1'}))['id']}"
    answer = await alice.put(path, json={"volume": {"name": "new", "description": None}})
    assert answer.json()["volume"]["name"] == "new"
    for bad in ({"size": 5}, {"name": 1}, {}):
        assert (await alice.put(path, json={"volume": bad})).status_code == 400
    assert (await alice.post(f"{path}/metadata", json={"metadata": {"b": "2"}})).json()["metadata"] == {"a": "1", "b": "2"}
    assert (await alice.put(f"{path}/metadata/a", json={"meta": {"a": "3"}})).json() == {"meta": {"a": "3"}}
    assert (await alice.put(f"{path}/metadata/a", json={"meta": {"b": "3"}})).status_code == 400
    assert await get(alice, f"{path}/metadata/a") == {"meta": {"a": "3"}}
    assert await names(alice, metadata="{'a': '3'}") == ["new"] and await names(alice, metadata="{'a': '1'}") == []
    assert (await alice.get("/volumes", params={"metadata": "nonsense"})).status_code == 400
    assert (await alice.put(f"{path}/metadata", json={"metadata": {"c": "4"}})).json()["metadata"] == {"c": "4"}
    assert (await alice.delete(f"{path}/metadata/c")).status_code == 200
    assert (await alice.delete(f"{path}/metadata/c")).status_code == 404


async def test_lists_are_filtered_sorted_and_paged(cinder: AreaApi, alice: Client) -> None:
    for name, size in (("a", 3), ("b", 1), ("ab", 2)):
        await make(cinder, alice, name=name, size=size)
    assert await names(alice) == ["ab", "b", "a"]
    assert await names(alice, sort="size:asc") == ["b", "ab", "a"] and await names(alice, sort_key="size", sort_dir="desc") == [
        "a",
        "ab",
        "b",
    ]
    assert await names(alice, name="a") == ["a"] and set(await names(alice, **{"name~": "a"})) == {"a", "ab"}
    assert await names(alice, status="error") == [] and len(await names(alice, bootable="false")) == 3
    assert await names(alice, size="2") == ["ab"] and len(await names(alice, created_at="gt:2020-01-01T00:00:00")) == 3
    page = await get(alice, "/volumes/detail", None, limit=2, sort="name", with_count="true")
    assert [v["name"] for v in page["volumes"]] == ["b", "ab"] and page["count"] == 3
    link = page["volumes_links"][0]["href"].partition("/volume/v3")[2]
    page = await get(alice, link)
    assert [v["name"] for v in page["volumes"]] == ["a"] and "volumes_links" not in page
    assert await names(alice, limit=1, offset=1) == ["b"] and await names(alice, limit=0) == []
    for bad in (
        {"limit": "x"}, {"limit": "-1"}, {"sort": "colour"}, {"sort": "name:up"}, {"colour": "red"}, {"offset": "-1"},
        {"bootable": "perhaps"}, {"created_at": "gt:soon"}, {"created_at": "about:2020"}, {"offset": str(10**17)},
    ):  # fmt: skip
        assert (await alice.get("/volumes", params=bad)).status_code == 400, bad
    assert (await alice.get("/volumes", params={"marker": NOWHERE})).status_code == 404, "Cinder looks it up"
    assert (await alice.get("/volumes/")).status_code == 404, "not the list: an empty id"
    summary = await get(alice, "/volumes/summary", "volume-summary")
    assert summary == {"total_size": 6, "total_count": 3, "metadata": {}}


async def test_deleting_gives_everything_back(cinder: AreaApi, alice: Client) -> None:
    volume = await make(cinder, alice)
    assert (await alice.delete(f"/volumes/{volume['id']}")).status_code == 202
    assert (await get(alice, f"/volumes/{volume['id']}", "volume"))["status"] == "deleting"
    assert (await alice.delete(f"/volumes/{volume['id']}")).status_code == 202
    await cinder.settle()
    assert (await alice.get(f"/volumes/{volume['id']}")).status_code == 404
    assert cinder.pool.ids("volume") == []  # type: ignore[attr-defined]
    assert (await get(alice, "/limits", "limits"))["absolute"]["totalGigabytesUsed"] == 0
    assert await cinder.doctor() == []


async def test_quota_holds_for_volumes_gigabytes_and_snapshots(cinder: AreaApi, alice: Client, admin: Client) -> None:
    sets = "/os-quota-sets/red"
    quota = {"volumes": 2, "gigabytes": 5, "snapshots": 1, "per_volume_gigabytes": 4}
    assert (await alice.put(sets, json={"quota_set": quota})).status_code == 403
    assert (await admin.put(sets, json={"quota_set": quota})).json()["quota_set"]["volumes"] == 2
    for bad in ({"volumes": -2}, {"volumes": "x"}, {"colour": 1}, {"volumes": True}, {"volumes": 2**31}):
        assert (await admin.put(sets, json={"quota_set": bad})).status_code == 400, bad
    assert (await alice.post("/volumes", json={"volume": {"size": 5}})).status_code == 400, "per_volume_gigabytes"
    volume = await make(cinder, alice, size=3)
    over = await alice.post("/volumes", json={"volume": {"size": 3}})
    assert over.status_code == 413 and "gigabytes" in over.json()["overLimit"]["message"]
    await make(cinder, alice, size=1)
    assert (await alice.post("/volumes", json={"volume": {"size": 1}})).status_code == 413
    await act(alice, volume["id"], "os-extend", {"new_size": 4}, 202)
    await cinder.settle()
    assert (await alice.post("/snapshots", json={"snapshot": {"volume_id": volume["id"]}})).status_code == 413
    shown = await get(alice, sets, "quota_set", usage="true")
    assert shown["gigabytes"] == {"limit": 5, "in_use": 5, "reserved": 0} and shown["id"] == "red"
    assert (await admin.put(sets, json={"quota_set": {"volumes": 1}})).status_code == 400, "below what is used"
    assert await cinder.doctor() == []
    assert (await admin.delete(sets)).status_code == 200
    assert (await get(alice, sets, "quota_set"))["volumes"] == 10
    assert (await get(alice, f"{sets}/defaults", "quota_set"))["gigabytes"] == 1000
    assert (await alice.get("/os-quota-sets/blue")).status_code == 403
    classes = "/os-quota-class-sets/default"
    assert (await alice.get(classes)).status_code == 403 and (await admin.get("/os-quota-class-sets/x")).status_code == 404
    assert (await admin.put(classes, json={"quota_class_set": {"volumes": 3}})).json()["quota_class_set"]["volumes"] == 3
    assert (await get(alice, sets, "quota_set"))["volumes"] == 3


async def test_extending(cinder: AreaApi, alice: Client) -> None:
    volume = await make(cinder, alice)
    for bad in ({"new_size": 1}, {"new_size": 0}, {"new_size": "x"}, {}, None, {"new_size": 10**12}):
        await act(alice, volume["id"], "os-extend", bad, 400)
    await act(alice, volume["id"], "os-extend", {"new_size": "3"})
    assert (await get(alice, f"/volumes/{volume['id']}", "volume"))["status"] == "extending"
    await cinder.settle()
    shown = await get(alice, f"/volumes/{volume['id']}", "volume")
    assert (shown["status"], shown["size"]) == ("available", 3)
    assert cinder.pool.get("volume", volume["id"]) == 3  # type: ignore[attr-defined]
    cinder.pool.faults["extend_volume"] = [BackendRefused("The pool is full.")]  # type: ignore[attr-defined]
    await act(alice, volume["id"], "os-extend", {"new_size": 9})
    await cinder.settle()
    assert (await get(alice, f"/volumes/{volume['id']}", "volume"))["status"] == "error_extending"
    assert await cinder.doctor() == []


async def test_a_volume_that_cannot_be_made_ends_in_error_and_says_why(cinder: AreaApi, alice: Client, bob: Client) -> None:
    cinder.pool.faults["ensure_volume"] = [BackendUnreachable("lost"), BackendRefused("The pool is full.")]  # type: ignore[attr-defined]
    made = await post(alice, "/volumes", "volume", size=1)
    await cinder.settle()
    await cinder.settle()
    assert (await get(alice, f"/volumes/{made['id']}", "volume"))["status"] == "error"
    (message,) = await get(alice, "/messages", "messages")
    assert message["resource_uuid"] == made["id"] and message["user_message"] == "The pool is full."
    assert (await bob.get(f"/messages/{message['id']}")).status_code == 404
    assert (await alice.delete(f"/messages/{message['id']}")).status_code == 204
    assert (await alice.delete(f"/volumes/{made['id']}")).status_code == 202
    await cinder.settle()
    assert await cinder.doctor() == [] and await names(alice) == []


async def test_an_answer_lost_on_the_way_makes_nothing_twice(cinder: AreaApi, alice: Client) -> None:
    cinder.pool.faults["ensure_volume"] = [BackendUnreachable("lost")]  # type: ignore[attr-defined]
    volume = await make(cinder, alice)
    assert volume["status"] == "creating"
    await cinder.settle()
    assert (await get(alice, f"/volumes/{volume['id']}", "volume"))["status"] == "available"
    assert cinder.pool.ids("volume") == [volume["id"]]  # type: ignore[attr-defined]


async def test_snapshots(cinder: AreaApi, alice: Client, bob: Client) -> None:
    volume = await make(cinder, alice, size=2)
    made = await post(alice, "/snapshots", "snapshot", volume_id=volume["id"], name="s", metadata={"k": "v"})
    assert (made["status"], made["size"], made["volume_id"], made["metadata"]) == ("creating", 2, volume["id"], {"k": "v"})
    assert "os-extended-snapshot-attributes:project_id" not in made
    await cinder.settle()
    path = f"/snapshots/{made['id']}"
    assert (await get(alice, path, "snapshot"))["os-extended-snapshot-attributes:project_id"] == "red"
    assert (await get(alice, path, "snapshot"))["status"] == "available"
    assert (await bob.get(path)).status_code == 404
    assert (await bob.post("/snapshots", json={"snapshot": {"volume_id": volume["id"]}})).status_code == 404
    assert (await alice.delete(f"/volumes/{volume['id']}")).status_code == 400, "it has snapshots"
    small = await alice.post("/volumes", json={"volume": {"size": 1, "snapshot_id": made["id"]}})
    assert small.status_code == 400
    copy = await make(cinder, alice, size=None, snapshot_id=made["id"])
    assert (copy["size"], copy["snapshot_id"], copy["status"]) == (2, made["id"], "available")
    assert [s["name"] for s in await get(alice, "/snapshots/detail", "snapshots", volume_id=volume["id"])] == ["s"]
    assert await get(alice, "/snapshots", "snapshots", name="other") == []
    assert (await alice.put(path, json={"snapshot": {"name": "t"}})).json()["snapshot"]["name"] == "t"
    assert (await alice.post(f"{path}/metadata", json={"metadata": {"l": "w"}})).json()["metadata"] == {"k": "v", "l": "w"}
    await act(alice, volume["id"], "revert", {"snapshot_id": NOWHERE}, 400)
    await act(alice, volume["id"], "revert", {"snapshot_id": made["id"]})
    await cinder.settle()
    assert (await get(alice, f"/volumes/{volume['id']}", "volume"))["status"] == "available"
    assert (await alice.delete(path)).status_code == 202
    await cinder.settle()
    assert (await alice.get(path)).status_code == 404
    assert await cinder.doctor() == []


async def test_cascade_takes_the_snapshots_along(cinder: AreaApi, alice: Client) -> None:
    volume = await make(cinder, alice)
    for _ in range(2):
        await post(alice, "/snapshots", "snapshot", volume_id=volume["id"])
    await cinder.settle()
    assert (await alice.delete(f"/volumes/{volume['id']}?cascade=true")).status_code == 202
    for _ in range(3):
        await cinder.settle()
    assert await names(alice) == [] and await get(alice, "/snapshots", "snapshots") == []
    assert cinder.pool.ids("snapshot") == []  # type: ignore[attr-defined]
    assert await cinder.doctor() == []


async def test_a_volume_of_a_volume(cinder: AreaApi, alice: Client) -> None:
    volume = await make(cinder, alice, size=2)
    assert (await alice.post("/volumes", json={"volume": {"size": 1, "source_volid": volume["id"]}})).status_code == 400
    copy = await make(cinder, alice, size=3, source_volid=volume["id"])
    assert (copy["size"], copy["source_volid"], copy["status"]) == (3, volume["id"], "available")


async def test_a_volume_of_an_image_boots_and_becomes_an_image_again(cinder: AreaApi, alice: Client, glance: Client) -> None:
    body = {"name": "os", "disk_format": "raw", "container_format": "bare", "min_disk": 2, "hw_disk_bus": "virtio"}
    image = (await glance.post("/v2/images", json=body)).json()
    refused = await alice.post("/volumes", json={"volume": {"size": 2, "imageRef": image["id"]}})
    assert refused.status_code == 400, "it has no data yet"
    octets = {"Content-Type": "application/octet-stream"}
    assert (await glance.put(image["file"], content=b"disk", headers=octets)).status_code == 204
    assert (await alice.post("/volumes", json={"volume": {"size": 1, "imageRef": image["id"]}})).status_code == 400
    assert (await alice.post("/volumes", json={"volume": {"imageRef": image["id"]}})).status_code == 400, "size is needed"
    volume = await make(cinder, alice, size=2, imageRef="os")
    assert (volume["status"], volume["bootable"]) == ("available", "true")
    stored = await images.find(cinder.cloud.db, image["id"])
    assert stored is not None and stored.data_id
    assert [await needed_images.on_host(cinder.cloud, host, stored.data_id) for host in ("node-1", "node-2")] == [True, False]
    assert not await needed_images.on_host(cinder.cloud, "node-1", image["id"]), "its data, not its id"
    metadata = volume["volume_image_metadata"]
    assert (metadata["image_id"], metadata["hw_disk_bus"], metadata["min_disk"]) == (image["id"], "virtio", "2")
    await act(alice, volume["id"], "os-volume_upload_image", {"image_name": "copy", "disk_format": "qcow2"}, 400)
    await act(alice, volume["id"], "os-volume_upload_image", {"image_name": "copy", "visibility": "public"}, 403)
    await act(alice, volume["id"], "os-volume_upload_image", {"image_name": "copy"})
    assert (await get(alice, f"/volumes/{volume['id']}", "volume"))["status"] == "uploading"
    await cinder.settle()
    assert (await get(alice, f"/volumes/{volume['id']}", "volume"))["status"] == "available"
    (copy,) = (await glance.get("/v2/images", params={"name": "copy"})).json()["images"]
    assert (copy["status"], copy["min_disk"], copy["visibility"], copy["hw_disk_bus"]) == ("active", 2, "private", "virtio")
    await act(alice, volume["id"], "os-set_bootable", {"bootable": False}, 200)
    assert (await get(alice, f"/volumes/{volume['id']}", "volume"))["bootable"] == "false"
    await act(alice, volume["id"], "os-set_image_metadata", {"metadata": {"x": "y"}}, 200)
    await act(alice, volume["id"], "os-unset_image_metadata", {"key": "x"}, 200)
    await act(alice, volume["id"], "os-unset_image_metadata", {"key": "x"}, 404)
    await cinder.settle()
    assert await cinder.doctor() == []


async def test_a_server_holds_its_volume_against_its_own_user(cinder: AreaApi, alice: Client, admin: Client) -> None:
    """OSSA-2023-003: only compute lets go of what a server uses."""
    volume, ctx = await make(cinder, alice), await context(cinder)
    db, server = cinder.cloud.db, str(uuid.uuid4())
    held = await db.write(for_compute.begin_attach_in, ctx, volume_id=volume["id"], server_id=server, device="/dev/vdb", host="node-1")
    path = f"/volumes/{volume['id']}"
    assert (await get(alice, path, "volume"))["status"] == "reserved"
    await db.write(for_compute.end_attach_in, ctx, held.id)
    shown = await get(alice, path, "volume")
    assert shown["status"] == "in-use"
    (entry,) = shown["attachments"]
    assert (entry["server_id"], entry["device"], entry["attachment_id"], entry["host_name"]) == (server, "/dev/vdb", held.id, None)
    for client in (alice, admin):
        answer = await client.delete(f"/attachments/{held.id}")
        assert answer.status_code == 409 and "in-use attachment" in answer.json()["conflictingRequest"]["message"]
        assert (await client.put(f"/attachments/{held.id}", json={"attachment": {"connector": {"host": "x"}}})).status_code in (400, 409)
        assert (await client.post(f"/attachments/{held.id}/action", json={"os-complete": {}})).status_code == 409
        assert (await client.delete(path)).status_code == 400
    await act(admin, volume["id"], "os-force_delete", {}, 400)
    again = await alice.post("/attachments", json={"attachment": {"volume_uuid": volume["id"], "instance_uuid": server}})
    assert again.status_code == 400
    snapshot = await post(alice, "/snapshots", "snapshot", volume_id=volume["id"])
    assert snapshot["status"] == "creating"
    await act(alice, volume["id"], "os-extend", {"new_size": 2})
    await cinder.settle()
    shown = await get(alice, path, "volume")
    assert (shown["status"], shown["size"]) == ("in-use", 2)
    connection = await for_compute.connection(cinder.cloud, volume["id"], "node-1")
    assert connection is not None and connection.format == "raw"
    await db.write(for_compute.begin_detach_in, ctx, held.id)
    assert (await get(alice, path, "volume"))["status"] == "detaching"
    await db.write(for_compute.abort_detach_in, ctx, held.id)
    assert (await get(alice, path, "volume"))["status"] == "in-use"
    await db.write(for_compute.begin_detach_in, ctx, held.id)
    for _ in range(2):
        await db.write(for_compute.end_detach_in, ctx, held.id)
    assert (await get(alice, path, "volume"))["status"] == "available"
    assert await cinder.doctor() == []


async def test_a_volume_may_be_promised_in_the_transaction_that_makes_it(cinder: AreaApi, alice: Client) -> None:
    ctx, db = await context(cinder), cinder.cloud.db
    server = str(uuid.uuid4())

    async def boot_in(tx: Any) -> tuple[str, str]:
        volume = await for_compute.create_volume_in(tx, ctx, project_id="red", size_gib=1)
        held = await for_compute.begin_attach_in(tx, ctx, volume_id=volume.id, server_id=server, device="/dev/vda", host="node-1")
        return volume.id, held.id

    volume_id, held_id = await db.write(boot_in)
    assert (await get(alice, f"/volumes/{volume_id}", "volume"))["status"] == "creating"
    assert await for_compute.connection(cinder.cloud, volume_id, "node-1") is None
    await cinder.settle()
    assert (await get(alice, f"/volumes/{volume_id}", "volume"))["status"] == "reserved"
    await db.write(for_compute.end_attach_in, ctx, held_id)
    assert (await get(alice, f"/volumes/{volume_id}", "volume"))["status"] == "in-use"

    async def removed_in(tx: Any) -> None:
        await for_compute.end_detach_in(tx, ctx, held_id)
        await for_compute.delete_volume_in(tx, ctx, volume_id)
        await for_compute.delete_volume_in(tx, ctx, volume_id)

    await db.write(removed_in)
    await cinder.settle()
    assert await names(alice) == [] and await cinder.doctor() == []


async def test_attachments_of_others_than_compute(cinder: AreaApi, alice: Client, bob: Client, admin: Client) -> None:
    volume = await make(cinder, alice)
    body = {"attachment": {"volume_uuid": volume["id"], "instance_uuid": str(uuid.uuid4()), "mode": "ro"}}
    assert (await bob.post("/attachments", json=body)).status_code == 404
    made = (await alice.post("/attachments", json=body)).json()["attachment"]
    assert (made["status"], made["attach_mode"], made["connection_info"], made["attached_at"]) == ("reserved", "ro", {}, "")
    path = f"/attachments/{made['id']}"
    assert (await bob.get(path)).status_code == 404 and (await bob.delete(path)).status_code == 404
    connector = {"attachment": {"connector": {"host": "node-1", "mountpoint": "/dev/vdz"}}}
    assert (await alice.put(path, json=connector)).status_code == 400, "users learn no paths of nodes"
    info = (await admin.put(path, json=connector)).json()["attachment"]["connection_info"]
    assert info["driver_volume_type"] == "local"
    assert (await alice.post(f"{path}/action", json={"os-complete": {}})).status_code == 204
    assert (await get(alice, f"/volumes/{volume['id']}", "volume"))["status"] == "in-use"
    assert len(await get(alice, "/attachments/detail", "attachments", volume_id=volume["id"])) == 1
    for bad in ({}, {"volume_uuid": "x"}, {"volume_uuid": volume["id"], "mode": "wx"}, {"volume_uuid": volume["id"], "connector": 5}):
        assert (await alice.post("/attachments", json={"attachment": bad})).status_code == 400, bad
    assert (await alice.delete(path)).json() == {"attachments": []}
    assert (await get(alice, f"/volumes/{volume['id']}", "volume"))["status"] == "available"


async def test_types(cinder: AreaApi, alice: Client, admin: Client) -> None:
    (only,) = await get(alice, "/types", "volume_types")
    assert only["name"] == "__DEFAULT__" and (await get(alice, "/types/default", "volume_type"))["id"] == only["id"]
    assert (await alice.post("/types", json={"volume_type": {"name": "x"}})).status_code == 403
    body = {"name": "gold", "extra_specs": {"volume_backend_name": "pool"}, "os-volume-type-access:is_public": False}
    gold = await post(admin, "/types", "volume_type", 200, **body)
    assert gold["extra_specs"] == {"volume_backend_name": "pool"} and gold["os-volume-type-access:is_public"] is False
    assert (await admin.post("/types", json={"volume_type": body})).status_code == 409
    path = f"/types/{gold['id']}"
    assert (await alice.get(path)).status_code == 404 and len(await get(alice, "/types", "volume_types")) == 1
    assert (await alice.post("/volumes", json={"volume": {"size": 1, "volume_type": "gold"}})).status_code == 404
    grant = {"addProjectAccess": {"project": "red"}}
    assert (await admin.post(f"{path}/action", json=grant)).status_code == 202
    assert (await admin.post(f"{path}/action", json=grant)).status_code == 409
    assert await get(admin, f"{path}/os-volume-type-access", "volume_type_access") == [{"volume_type_id": gold["id"], "project_id": "red"}]
    assert (await get(alice, path, "volume_type"))["extra_specs"] == {}, "backends are the administrators' business"
    volume = await make(cinder, alice, volume_type="gold")
    assert (volume["volume_type"], volume["volume_type_id"], volume["status"]) == ("gold", gold["id"], "available")
    assert (await admin.delete(path)).status_code == 400, "in use"
    assert (await admin.post(f"{path}/extra_specs", json={"extra_specs": {"volume_backend_name": "tape"}})).status_code == 200
    nowhere = await make(cinder, alice, volume_type="gold")
    assert nowhere["status"] == "error", "no pool is called so"
    why = await get(alice, "/messages", "messages")
    assert "volume_backend_name=tape" in [m["user_message"] for m in why if m["resource_uuid"] == nowhere["id"]][0]
    assert (await alice.delete(f"/volumes/{nowhere['id']}")).status_code == 202
    await cinder.settle()
    assert (await admin.delete(f"{path}/extra_specs/volume_backend_name")).status_code == 202
    assert (await admin.put(f"{path}/extra_specs/a", json={"a": "b"})).json() == {"a": "b"}
    assert (await admin.put(f"{path}/extra_specs/a", json={"c": "b"})).status_code == 400
    assert (await admin.put(path, json={"volume_type": {"description": "d"}})).json()["volume_type"]["description"] == "d"
    assert (await admin.post(f"{path}/action", json={"removeProjectAccess": {"project": "red"}})).status_code == 202
    await alice.delete(f"/volumes/{volume['id']}")
    await cinder.settle()
    assert (await admin.delete(path)).status_code == 202
    assert (await admin.delete(f"/types/{only['id']}")).status_code == 400
    assert (await admin.post("/types", json={"volume_type": {"name": " "}})).status_code == 400


async def test_an_administrator_resets_what_is_stuck(cinder: AreaApi, alice: Client, admin: Client) -> None:
    volume = await make(cinder, alice)
    await act(admin, volume["id"], "os-reset_status", {"status": "nonsense"}, 400)
    await act(admin, volume["id"], "os-reset_status", {"status": "error", "attach_status": "detached"})
    assert (await get(alice, f"/volumes/{volume['id']}", "volume"))["status"] == "error"
    await act(alice, volume["id"], "os-force_delete", {}, 403)
    await act(admin, volume["id"], "os-force_delete", {})
    await cinder.settle()
    assert await names(alice) == [] and await cinder.doctor() == []


async def test_a_volume_that_goes_while_it_grows_gives_back_all_its_quota(cinder: AreaApi, alice: Client, admin: Client) -> None:
    """Found by simulation seed 6: a server's last breath deletes its volume, whatever the volume was doing."""
    volume = await make(cinder, alice)
    await act(alice, volume["id"], "os-extend", {"new_size": 3})
    await act(admin, volume["id"], "os-force_delete", {})
    await cinder.settle()
    assert await names(alice) == [] and await cinder.doctor() == []


async def test_an_image_of_a_volume_that_goes_is_killed(cinder: AreaApi, alice: Client, admin: Client, glance: Client) -> None:
    for gone in (("os-force_delete", {}), ("os-reset_status", {"status": "available"})):
        volume = await make(cinder, alice)
        asked = {"os-volume_upload_image": {"image_name": "copy"}}
        told = (await alice.post(f"/volumes/{volume['id']}/action", json=asked)).json()["os-volume_upload_image"]
        await act(admin, volume["id"], *gone)
        await cinder.settle()
        assert (await glance.get(f"/v2/images/{told['image_id']}")).json()["status"] == "killed"
    assert await cinder.doctor() == []


async def test_discovery_and_services(cinder: AreaApi, alice: Client, admin: Client) -> None:
    anyone = cinder.client(None, "/volume")
    assert (await anyone.get("/")).status_code == 300
    (version,) = (await anyone.get("/v3/")).json()["versions"]
    assert (version["version"], version["min_version"], version["status"]) == ("3.71", "3.0", "CURRENT")
    answer = await alice.get("/volumes")
    assert answer.headers["OpenStack-API-Version"] == "volume 3.71"
    wrong = cinder.client("red/member", "/volume/v3", **{"OpenStack-API-Version": "volume 3.99"})
    assert (await wrong.get("/volumes")).status_code == 406
    assert (await alice.get("/os-services")).status_code == 403
    services = await get(admin, "/os-services", "services")
    assert {(s["binary"], s["host"], s["state"]) for s in services} == {
        ("cinder-scheduler", "controller", "up"), ("cinder-volume", "node-1@pool", "up"), ("cinder-backup", "node-1", "up"),
    }  # fmt: skip
    assert await get(alice, "/os-availability-zone") == {"availabilityZoneInfo": [{"zoneName": "nova", "zoneState": {"available": True}}]}
    (pool,) = await get(admin, "/scheduler-stats/get_pools", "pools", detail="true")
    assert pool["name"] == "node-1@pool#pool" and pool["capabilities"]["free_capacity_gb"] > 0
    assert any(e["alias"] == "os-quota-sets" for e in await get(alice, "/extensions", "extensions"))
    limits = (await get(alice, "/limits", "limits"))["absolute"]
    assert limits["maxTotalVolumes"] == 10 and limits["totalVolumesUsed"] == 0


async def test_no_body_however_odd_breaks_anything(cinder: AreaApi, alice: Client, admin: Client) -> None:
    volume = await make(cinder, alice)
    odd: list[Any] = [None, [], "x", 5, {}, {"volume": None}, {"volume": []}, {"volume": {"size": {}}}, {"snapshot": {"volume_id": 5}}]
    paths = [
        ("POST", "/volumes"), ("PUT", f"/volumes/{volume['id']}"), ("POST", "/snapshots"), ("POST", "/attachments"), ("POST", "/types"),
        ("POST", f"/volumes/{volume['id']}/action"), ("PUT", "/os-quota-sets/red"), ("POST", f"/volumes/{volume['id']}/metadata"),
        ("PUT", f"/volumes/{volume['id']}/metadata/x"), ("PUT", f"/types/{volume['volume_type_id']}"),
    ]  # fmt: skip
    for method, path in paths:
        for body in odd:
            answer = await admin.request(method, path, json=body)
            assert answer.status_code in (400, 404), (method, path, body, answer.text)
        assert (await admin.request(method, path, content=b"{")).status_code == 400
    for action in ("os-extend", "revert", "os-set_bootable", "os-update_readonly_flag", "os-reset_status", "os-volume_upload_image",
                   "os-set_image_metadata", "os-unset_image_metadata"):  # fmt: skip
        for inner in (None, [], 5, {}, {"x": 1}, {"new_size": None}, {"bootable": "perhaps"}, {"readonly": None}, {"metadata": 5}):
            answer = await admin.post(f"/volumes/{volume['id']}/action", json={action: inner})
            assert answer.status_code == 400, (action, inner, answer.text)


async def test_a_volume_is_reached_from_its_own_node_and_from_those_that_share_its_pool(cinder: AreaApi, alice: Client) -> None:
    volume, cloud = await make(cinder, alice), cinder.cloud
    pools = pools_of(cloud)
    assert pools.seen["node-1"].shared == "simulated"
    pools.seen["node-2"] = pools.seen["node-1"]
    assert await for_compute.connection(cloud, volume["id"], "node-2") is not None
    assert for_compute.bound_to(cloud, "node-1") is None
    for node in pools.seen:
        pools.seen[node] = Pool(10, 10, True)
    assert for_compute.bound_to(cloud, "node-1") == "node-1"
    with pytest.raises(BackendRefused, match="cannot be reached"):
        await for_compute.connection(cloud, volume["id"], "node-2")
    assert await for_compute.connection(cloud, volume["id"], "node-1") is not None


async def test_others_than_compute_mark_a_volume_as_theirs(cinder: AreaApi, alice: Client, admin: Client) -> None:
    volume = await make(cinder, alice)
    path = f"/volumes/{volume['id']}"

    async def status() -> str:
        return str((await get(alice, path, "volume"))["status"])

    await act(alice, volume["id"], "os-reserve")
    assert await status() == "attaching"
    await act(alice, volume["id"], "os-unreserve")
    assert await status() == "available"
    await act(alice, volume["id"], "os-attach", {"instance_uuid": NOWHERE, "mountpoint": "/dev/vdb"})
    shown = await get(alice, path, "volume")
    assert shown["status"] == "in-use" and [a["device"] for a in shown["attachments"]] == ["/dev/vdb"]
    assert (await alice.delete(path)).status_code == 400
    await act(alice, volume["id"], "os-begin_detaching")
    assert await status() == "detaching"
    await act(alice, volume["id"], "os-roll_detaching")
    assert await status() == "in-use"
    await act(admin, volume["id"], "os-reset_status", {"status": "error"})
    await act(alice, volume["id"], "os-force_detach", {"attachment_id": shown["attachments"][0]["attachment_id"]}, 403)
    await act(admin, volume["id"], "os-force_detach", {"attachment_id": shown["attachments"][0]["attachment_id"]})
    assert await status() == "available"
    await act(alice, volume["id"], "os-attach", {"host_name": "elsewhere", "mountpoint": "/dev/vdb"})
    await act(alice, volume["id"], "os-detach", {})
    assert await status() == "available"
    await act(alice, volume["id"], "os-attach", {"mountpoint": "/dev/vdb"}, 400)


async def test_a_volume_goes_to_whoever_has_the_key(cinder: AreaApi, alice: Client, bob: Client) -> None:
    volume = await make(cinder, alice, size=2)
    await post(alice, "/snapshots", "snapshot", volume_id=volume["id"])
    await cinder.settle()
    old = await alice.post("/os-volume-transfer", json={"transfer": {"volume_id": volume["id"]}})
    assert old.status_code == 400, "before 3.55 snapshots stay behind"
    offer = await post(alice, "/volume-transfers", "transfer", volume_id=volume["id"], name="a gift")
    assert (await get(alice, f"/volumes/{volume['id']}", "volume"))["status"] == "awaiting-transfer"
    assert (await alice.delete(f"/volumes/{volume['id']}")).status_code == 400
    path = f"/volume-transfers/{offer['id']}"
    assert (await bob.get(path)).status_code == 404 and "auth_key" not in await get(alice, path, "transfer")
    assert (await bob.post(f"{path}/accept", json={"accept": {"auth_key": "wrong"}})).status_code == 400
    taken = await bob.post(f"{path}/accept", json={"accept": {"auth_key": offer["auth_key"]}})
    assert taken.status_code == 202 and taken.json()["transfer"]["volume_id"] == volume["id"]
    assert (await alice.get(f"/volumes/{volume['id']}")).status_code == 404
    assert (await get(bob, f"/volumes/{volume['id']}", "volume"))["status"] == "available"
    assert len(await get(bob, "/snapshots", "snapshots")) == 1 and await get(alice, "/snapshots", "snapshots") == []
    limits = [(await get(client, "/limits", "limits"))["absolute"] for client in (alice, bob)]
    assert [(n["totalVolumesUsed"], n["totalSnapshotsUsed"], n["totalGigabytesUsed"]) for n in limits] == [(0, 0, 0), (1, 1, 4)]
    offer = await post(bob, "/volume-transfers", "transfer", volume_id=volume["id"])
    assert (await bob.delete(f"/volume-transfers/{offer['id']}")).status_code == 202
    assert (await get(bob, f"/volumes/{volume['id']}", "volume"))["status"] == "available"


async def test_a_volume_changes_its_type(cinder: AreaApi, alice: Client, admin: Client) -> None:
    await post(admin, "/types", "volume_type", 200, name="silver")
    volume = await make(cinder, alice)
    await act(alice, volume["id"], "os-retype", {"new_type": "silver"})
    assert (await get(alice, f"/volumes/{volume['id']}", "volume"))["volume_type"] == "silver"
    await act(alice, volume["id"], "os-retype", {"new_type": "silver"}, 400)
    await act(alice, volume["id"], "os-retype", {"new_type": "silver", "migration_policy": "always"}, 400)


async def test_a_closed_pool_gets_no_new_volumes(cinder: AreaApi, alice: Client, admin: Client) -> None:
    host = next(s["host"] for s in await get(admin, "/os-services", "services") if s["binary"] == "cinder-volume")
    body = {"host": host, "binary": "cinder-volume", "disabled_reason": "tired"}
    assert (await alice.put("/os-services/disable-log-reason", json=body)).status_code == 403
    assert (await admin.put("/os-services/disable-log-reason", json=body)).status_code == 200
    shown = next(s for s in await get(admin, "/os-services", "services") if s["host"] == host)
    assert (shown["status"], shown["disabled_reason"]) == ("disabled", "tired")
    made = await post(alice, "/volumes", "volume", size=1)
    assert (await get(admin, f"/volumes/{made['id']}", "volume"))["os-vol-host-attr:host"] is None
    assert (await admin.put("/os-services/enable", json={"host": host, "binary": "cinder-volume"})).status_code == 200
    assert (await admin.put("/os-services/enable", json={"host": "nowhere@pool", "binary": "cinder-volume"})).status_code == 404
    usage = (await admin.get(f"/os-hosts/{host}")).json()["host"]
    assert usage[0]["resource"]["project"] == "(total)"
