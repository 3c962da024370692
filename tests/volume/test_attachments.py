"""Who holds a volume, and from where it is reached."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from tests.volume.asking import NOWHERE, Client, act, context, get, make, names, post
from tests.wire.areas import AreaApi

from moln.kernel.errors import BackendRefused
from moln.volume.drivers.base import Pool
from moln.volume.ops import for_compute
from moln.volume.ops.pools import pools_of


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


async def test_a_volume_is_reached_from_its_own_node_and_from_those_that_share_its_pool_or_that_it_is_lent_to(cinder: AreaApi, alice: Client) -> None:
    volume, cloud = await make(cinder, alice), cinder.cloud
    pools = pools_of(cloud)
    assert pools.seen["node-1"].shared == "simulated"
    pools.seen["node-2"] = pools.seen["node-1"]
    assert await for_compute.connection(cloud, volume["id"], "node-2") is not None
    assert for_compute.bound_to(cloud, "node-1") is None
    for node in pools.seen:
        pools.seen[node] = Pool(10, 10, True, lent=True)
    assert for_compute.bound_to(cloud, "node-1") is None and for_compute.reaches(cloud, "node-2", "node-1")
    assert for_compute.out_of_reach(cloud, frozenset({"node-1"})) == frozenset()
    with pytest.raises(BackendRefused, match="cannot be reached"):  # it is lent to servers, not to whoever asks
        await for_compute.connection(cloud, volume["id"], "node-2")
    for node in pools.seen:
        pools.seen[node] = Pool(10, 10, True)
    assert for_compute.out_of_reach(cloud, frozenset({"node-1"})) == {"node-2"}
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
