"""Snapshots, and volumes made of volumes, snapshots and images, as Cinder's clients see them."""

from __future__ import annotations

from tests.volume.asking import NOWHERE, Client, act, get, make, names, post
from tests.wire.areas import AreaApi

from moln.image.ops import images
from moln.volume.ops import needed_images


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


async def test_an_image_of_a_volume_that_goes_is_killed(cinder: AreaApi, alice: Client, admin: Client, glance: Client) -> None:
    for gone in (("os-force_delete", {}), ("os-reset_status", {"status": "available"})):
        volume = await make(cinder, alice)
        asked = {"os-volume_upload_image": {"image_name": "copy"}}
        told = (await alice.post(f"/volumes/{volume['id']}/action", json=asked)).json()["os-volume_upload_image"]
        await act(admin, volume["id"], *gone)
        await cinder.settle()
        assert (await glance.get(f"/v2/images/{told['image_id']}")).json()["status"] == "killed"
    assert await cinder.doctor() == []
