"""Backups as Cinder's clients see them."""

from __future__ import annotations

import base64
import json
import uuid
from typing import Any

import httpx
from tests.volume.asking import get, make, post
from tests.wire.areas import AreaApi

from moln.kernel.errors import BackendRefused
from moln.volume.drivers.base import Pool
from moln.volume.ops.pools import pools_of
from moln.volume.store import volumes

Client = httpx.AsyncClient


async def backup(api: AreaApi, client: Client, volume_id: str, **more: Any) -> dict[str, Any]:
    """A backup, settled."""
    made = await post(client, "/backups", "backup", volume_id=volume_id, **more)
    await api.settle()
    found: dict[str, Any] = await get(client, f"/backups/{made['id']}", "backup")
    return found


async def test_a_backup_is_creating_then_available_and_so_is_its_volume(cinder: AreaApi, alice: Client, bob: Client) -> None:
    volume = await make(cinder, alice)
    made = await post(alice, "/backups", "backup", volume_id=volume["id"], name="b", metadata={"k": "v"})
    assert (await get(alice, f"/volumes/{volume['id']}", "volume"))["status"] == "backing-up"
    assert (await get(alice, f"/backups/{made['id']}", "backup"))["status"] == "creating"
    await cinder.settle()
    found = await get(alice, f"/backups/{made['id']}", "backup")
    assert found["status"] == "available" and found["size"] == 1 and found["object_count"] == 1 and found["metadata"] == {"k": "v"}
    assert found["is_incremental"] is False and found["has_dependent_backups"] is False
    assert (await get(alice, f"/volumes/{volume['id']}", "volume"))["status"] == "available"
    assert [b["name"] for b in await get(alice, "/backups", "backups")] == ["b"]
    assert (await bob.get(f"/backups/{made['id']}")).status_code == 404
    quota = await get(alice, "/os-quota-sets/red", "quota_set", usage=True)
    assert quota["backups"]["in_use"] == 1 and quota["backup_gigabytes"]["in_use"] == 1


async def test_a_backup_comes_back_as_a_new_volume_after_its_own_is_gone(cinder: AreaApi, alice: Client) -> None:
    volume = await make(cinder, alice, metadata={"a": "b"})
    made = await backup(cinder, alice, volume["id"])
    await alice.delete(f"/volumes/{volume['id']}")
    await cinder.settle()
    restored = await post(alice, f"/backups/{made['id']}/restore", "restore")
    assert (await get(alice, f"/backups/{made['id']}", "backup"))["status"] == "restoring"
    assert (await alice.post(f"/backups/{made['id']}/restore", json={"restore": {}})).status_code == 400
    await cinder.settle()
    found = await get(alice, f"/volumes/{restored['volume_id']}", "volume")
    assert found["status"] == "available" and found["metadata"] == {"a": "b"} and found["size"] == 1
    assert found["name"] == restored["volume_name"] == f"restore_backup_{made['id']}"
    assert (await get(alice, f"/backups/{made['id']}", "backup"))["status"] == "available"
    named = await post(alice, "/volumes", "volume", backup_id=made["id"], size=2)
    await cinder.settle()
    assert (await get(alice, f"/volumes/{named['id']}", "volume"))["status"] == "available"


async def test_a_backup_comes_back_on_its_own_node_whoever_reaches_the_volume(cinder: AreaApi, alice: Client) -> None:
    volume = await make(cinder, alice)
    made = await backup(cinder, alice, volume["id"])
    row = await volumes.find(cinder.cloud.db, volume["id"])
    assert row is not None and row.host is not None
    seen = pools_of(cinder.cloud).seen
    seen["other"] = seen[row.host] = Pool(10, 10, True, shared="one")
    await cinder.cloud.db.write(volumes.save, row, host="other")
    answer = await alice.post(f"/backups/{made['id']}/restore", json={"restore": {"volume_id": volume["id"]}})
    assert answer.status_code == 400 and "another node" in answer.text


async def test_a_backup_comes_back_into_a_volume_that_is_there(cinder: AreaApi, alice: Client) -> None:
    volume = await make(cinder, alice)
    made = await backup(cinder, alice, volume["id"])
    await post(alice, f"/backups/{made['id']}/restore", "restore", volume_id=volume["id"])
    assert (await get(alice, f"/volumes/{volume['id']}", "volume"))["status"] == "restoring-backup"
    await cinder.settle()
    assert (await get(alice, f"/volumes/{volume['id']}", "volume"))["status"] == "available"
    cinder.pool.faults["restore_backup"] = [BackendRefused("The backup is damaged: chunk 0 is missing.")]
    await post(alice, f"/backups/{made['id']}/restore", "restore", volume_id=volume["id"])
    await cinder.settle()
    assert (await get(alice, f"/volumes/{volume['id']}", "volume"))["status"] == "error_restoring"
    assert (await get(alice, f"/backups/{made['id']}", "backup"))["status"] == "available"


async def test_a_backup_that_cannot_be_made_says_why_and_frees_its_volume(cinder: AreaApi, alice: Client) -> None:
    volume = await make(cinder, alice)
    cinder.pool.faults["ensure_backup"] = [BackendRefused("The pool is full.")]
    made = await backup(cinder, alice, volume["id"])
    assert made["status"] == "error" and made["fail_reason"] == "The pool is full."
    assert (await get(alice, f"/volumes/{volume['id']}", "volume"))["status"] == "available"
    assert (await alice.delete(f"/backups/{made['id']}")).status_code == 202
    await cinder.settle()
    assert (await alice.get(f"/backups/{made['id']}")).status_code == 404
    assert (await get(alice, "/os-quota-sets/red", "quota_set", usage=True))["backups"]["in_use"] == 0


async def test_an_incremental_backup_needs_one_to_stand_on_which_then_stays(cinder: AreaApi, alice: Client) -> None:
    volume = await make(cinder, alice)
    none = await alice.post("/backups", json={"backup": {"volume_id": volume["id"], "incremental": True}})
    assert none.status_code == 400 and "incremental" in none.text
    first = await backup(cinder, alice, volume["id"])
    second = await backup(cinder, alice, volume["id"], incremental=True)
    assert second["is_incremental"] is True
    assert (await get(alice, f"/backups/{first['id']}", "backup"))["has_dependent_backups"] is True
    assert (await alice.delete(f"/backups/{first['id']}")).status_code == 400
    for one in (second, first):
        assert (await alice.delete(f"/backups/{one['id']}")).status_code == 202
        await cinder.settle()
    assert await get(alice, "/backups", "backups") == []
    assert (await cinder.pool.inventory()).backups == []


async def test_a_volume_in_use_is_backed_up_by_force_only(cinder: AreaApi, alice: Client, admin: Client) -> None:
    volume = await make(cinder, alice)
    held = await post(alice, "/attachments", "attachment", 200, volume_uuid=volume["id"], instance_uuid=str(uuid.uuid4()))
    assert (await admin.put(f"/attachments/{held['id']}", json={"attachment": {"connector": {"host": "node-1"}}})).status_code == 200
    assert (await admin.post(f"/attachments/{held['id']}/action", json={"os-complete": None})).status_code == 204
    refused = await alice.post("/backups", json={"backup": {"volume_id": volume["id"]}})
    assert refused.status_code == 400 and "force" in refused.text
    assert (await backup(cinder, alice, volume["id"], force=True))["status"] == "available"
    assert (await get(alice, f"/volumes/{volume['id']}", "volume"))["status"] == "in-use"


async def test_a_backup_of_a_snapshot_leaves_the_volume_alone(cinder: AreaApi, alice: Client) -> None:
    volume = await make(cinder, alice)
    snapshot = await post(alice, "/snapshots", "snapshot", volume_id=volume["id"])
    await cinder.settle()
    made = await post(alice, "/backups", "backup", volume_id=volume["id"], snapshot_id=snapshot["id"])
    assert (await get(alice, f"/volumes/{volume['id']}", "volume"))["status"] == "available"
    await cinder.settle()
    found = await get(alice, f"/backups/{made['id']}", "backup")
    assert found["status"] == "available" and found["snapshot_id"] == snapshot["id"]


async def test_a_record_is_exported_and_imported_and_the_data_goes_with_the_last(cinder: AreaApi, alice: Client, admin: Client) -> None:
    volume = await make(cinder, alice)
    made = await backup(cinder, alice, volume["id"])
    record = await get(admin, f"/backups/{made['id']}/export_record", "backup-record")
    twice = await admin.post("/backups/import_record", json={"backup-record": record})
    assert twice.status_code == 409
    inner = json.loads(base64.b64decode(record["backup_url"])) | {"id": str(uuid.uuid4())}
    url = base64.b64encode(json.dumps(inner).encode()).decode()
    answer = await admin.post("/backups/import_record", json={"backup-record": record | {"backup_url": url}})
    assert answer.status_code == 201
    await cinder.settle()
    assert (await get(admin, f"/backups/{inner['id']}", "backup"))["status"] == "available"
    assert (await alice.delete(f"/backups/{made['id']}")).status_code == 202
    await cinder.settle()
    assert (await cinder.pool.inventory()).backups == [made["id"]]
    assert (await admin.delete(f"/backups/{inner['id']}")).status_code == 202
    await cinder.settle()
    assert (await cinder.pool.inventory()).backups == []
    inner["id"], inner["object_id"] = str(uuid.uuid4()), str(uuid.uuid4())
    url = base64.b64encode(json.dumps(inner).encode()).decode()
    lost = await admin.post("/backups/import_record", json={"backup-record": record | {"backup_url": url}})
    assert lost.status_code == 201
    await cinder.settle()
    assert (await get(admin, f"/backups/{inner['id']}", "backup"))["status"] == "error"
    assert (await alice.get(f"/backups/{inner['id']}/export_record")).status_code == 403
    garbage = await admin.post("/backups/import_record", json={"backup-record": record | {"backup_url": "AAAA"}})
    assert garbage.status_code == 400


async def test_an_administrator_resets_and_forces(cinder: AreaApi, alice: Client, admin: Client) -> None:
    volume = await make(cinder, alice)
    made = await post(alice, "/backups", "backup", volume_id=volume["id"])
    one = f"/backups/{made['id']}"
    assert (await alice.delete(one)).status_code == 400  # it is being made
    assert (await admin.post(f"{one}/action", json={"os-reset_status": {"status": "creating"}})).status_code == 400
    assert (await admin.post(f"{one}/action", json={"os-reset_status": {"status": "error"}})).status_code == 202
    assert (await get(alice, one, "backup"))["status"] == "error"
    assert (await get(alice, f"/volumes/{volume['id']}", "volume"))["status"] == "available"
    assert (await alice.post(f"{one}/action", json={"os-force_delete": {}})).status_code == 403
    assert (await admin.post(f"{one}/action", json={"os-force_delete": {}})).status_code == 202
    await cinder.settle()
    assert (await alice.get(one)).status_code == 404
