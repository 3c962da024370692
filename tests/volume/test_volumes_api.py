"""Volumes as Cinder's clients see them."""

from __future__ import annotations

from typing import Any

from tests.volume.asking import NOWHERE, Client, act, get, make, names, post
from tests.wire.areas import AreaApi

from moln.kernel.errors import BackendRefused, BackendUnreachable


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


async def test_a_volume_that_goes_while_it_grows_gives_back_all_its_quota(cinder: AreaApi, alice: Client, admin: Client) -> None:
    """Found by simulation seed 6: a server's last breath deletes its volume, whatever the volume was doing."""
    volume = await make(cinder, alice)
    await act(alice, volume["id"], "os-extend", {"new_size": 3})
    await act(admin, volume["id"], "os-force_delete", {})
    await cinder.settle()
    assert await names(alice) == [] and await cinder.doctor() == []


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
