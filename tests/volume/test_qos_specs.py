"""QoS specs and the encryption of volume types; frozen hosts; what is said of a snapshot under way."""

from __future__ import annotations

import httpx
from tests.volume.asking import act, get, make, post
from tests.wire.areas import AreaApi

Client = httpx.AsyncClient


async def test_qos_specs_are_given_to_types_and_taken_away(cinder: AreaApi, admin: Client) -> None:
    made = await post(admin, "/qos-specs", "qos_specs", 200, name="fast", consumer="front-end", read_iops_sec="2000")
    assert made["specs"] == {"read_iops_sec": "2000"} and made["consumer"] == "front-end"
    kind = await post(admin, "/types", "volume_type", 200, name="disks")
    one = f"/qos-specs/{made['id']}"
    assert (await admin.get(f"{one}/associate", params={"vol_type_id": kind["id"]})).status_code == 202
    assert (await get(admin, f"/types/{kind['id']}", "volume_type"))["qos_specs_id"] == made["id"]
    assert [a["id"] for a in await get(admin, f"{one}/associations", "qos_associations")] == [kind["id"]]
    other = await post(admin, "/qos-specs", "qos_specs", 200, name="slow")
    refused = await admin.get(f"/qos-specs/{other['id']}/associate", params={"vol_type_id": kind["id"]})
    assert refused.status_code == 400
    assert (await admin.delete(one)).status_code == 400  # a type has it
    assert (await admin.get(f"{one}/disassociate", params={"vol_type_id": kind["id"]})).status_code == 202
    assert (await get(admin, f"/types/{kind['id']}", "volume_type"))["qos_specs_id"] is None
    await admin.get(f"{one}/associate", params={"vol_type_id": kind["id"]})
    assert (await admin.get(f"{one}/disassociate_all")).status_code == 202
    assert await get(admin, f"{one}/associations", "qos_associations") == []
    assert (await admin.delete(one)).status_code == 202 and (await admin.get(one)).status_code == 404


async def test_keys_of_qos_specs_come_and_go(cinder: AreaApi, admin: Client, alice: Client) -> None:
    made = await post(admin, "/qos-specs", "qos_specs", 200, name="fast")
    one = f"/qos-specs/{made['id']}"
    assert made["consumer"] == "back-end"
    assert (await admin.put(one, json={"qos_specs": {"a": "1", "consumer": "both"}})).json() == {"qos_specs": {"a": "1", "consumer": "both"}}
    assert (await admin.put(f"{one}/delete_keys", json={"keys": ["b"]})).status_code == 400
    assert (await admin.put(f"{one}/delete_keys", json={"keys": ["a"]})).status_code == 202
    assert await get(admin, one, "qos_specs") == {"id": made["id"], "name": "fast", "consumer": "both", "specs": {}}
    assert (await admin.post("/qos-specs", json={"qos_specs": {"name": "fast"}})).status_code == 409
    assert (await admin.post("/qos-specs", json={"qos_specs": {"name": "x", "consumer": "nobody"}})).status_code == 400
    assert (await alice.get("/qos-specs")).status_code == 403


async def test_whoever_opens_a_volume_is_told_its_front_end_limits(cinder: AreaApi, admin: Client) -> None:
    made = await post(admin, "/qos-specs", "qos_specs", 200, name="fast", consumer="both", read_iops_sec="2000")
    kind = await post(admin, "/types", "volume_type", 200, name="disks")
    await admin.get(f"/qos-specs/{made['id']}/associate", params={"vol_type_id": kind["id"]})
    volume = await make(cinder, admin, volume_type="disks")
    asked = {"volume_uuid": volume["id"], "instance_uuid": volume["id"], "connector": {"host": "node-1"}}
    held = await post(admin, "/attachments", "attachment", 200, **asked)
    assert held["connection_info"]["qos_specs"] == {"read_iops_sec": "2000"}


async def test_a_type_with_encryption_makes_no_volumes(cinder: AreaApi, admin: Client, alice: Client) -> None:
    kind = await post(admin, "/types", "volume_type", 200, name="secret")
    path = f"/types/{kind['id']}/encryption"
    given = {"provider": "luks", "control_location": "front-end", "cipher": "aes-xts-plain64", "key_size": 256}
    assert await get(admin, path) == {}
    made = await post(admin, path, "encryption", 200, **given)
    assert {k: made[k] for k in given} == given
    assert (await admin.post(path, json={"encryption": given})).status_code == 400
    assert await get(admin, f"{path}/cipher") == {"cipher": "aes-xts-plain64"}
    put = await admin.put(f"{path}/{made['encryption_id']}", json={"encryption": {"key_size": 128}})
    assert put.json() == {"encryption": {"key_size": 128}} and (await get(admin, path))["key_size"] == 128
    refused = await alice.post("/volumes", json={"volume": {"size": 1, "volume_type": "secret"}})
    assert refused.status_code == 400 and "keys" in refused.text
    assert (await admin.delete(f"{path}/{made['encryption_id']}")).status_code == 202
    assert (await make(cinder, alice, volume_type="secret"))["status"] == "available"
    in_use = await admin.post(path, json={"encryption": given})
    assert in_use.status_code == 400 and "in use" in in_use.text
    assert (await alice.get(path)).status_code == 403


async def test_what_lies_on_a_frozen_host_neither_grows_nor_goes(cinder: AreaApi, admin: Client, alice: Client) -> None:
    volume = await make(cinder, alice)
    assert (await admin.put("/os-services/freeze", json={"host": "node-9@pool"})).status_code == 400
    assert (await admin.put("/os-services/freeze", json={"host": "node-1@pool"})).status_code == 202
    (service,) = await get(admin, "/os-services", "services", binary="cinder-volume")
    assert service["frozen"] is True and service["status"] == "disabled"
    await act(alice, volume["id"], "os-extend", {"new_size": 2}, 400)
    assert (await alice.delete(f"/volumes/{volume['id']}")).status_code == 400
    assert (await admin.put("/os-services/thaw", json={"host": "node-1@pool"})).status_code == 202
    await act(alice, volume["id"], "os-extend", {"new_size": 2})
    await cinder.settle()
    assert (await alice.delete(f"/volumes/{volume['id']}")).status_code == 202


async def test_a_snapshot_under_way_takes_what_is_said_of_it(cinder: AreaApi, admin: Client, alice: Client) -> None:
    volume = await make(cinder, alice)
    made = await post(alice, "/snapshots", "snapshot", volume_id=volume["id"])
    path = f"/snapshots/{made['id']}/action"
    said = await admin.post(path, json={"os-update_snapshot_status": {"status": "error", "progress": "80%"}})
    assert said.status_code == 202
    shown = await get(admin, f"/snapshots/{made['id']}", "snapshot")
    assert shown["status"] == "error" and shown["os-extended-snapshot-attributes:progress"] == "80%"
    again = await admin.post(path, json={"os-update_snapshot_status": {"status": "available"}})
    assert again.status_code == 400
    wrong = await admin.post(path, json={"os-update_snapshot_status": {"status": "error", "progress": "many"}})
    assert wrong.status_code == 400 and "progress" in wrong.text


async def test_a_project_has_its_own_default_type(cinder: AreaApi, admin: Client, alice: Client, bob: Client) -> None:
    kind = await post(admin, "/types", "volume_type", 200, name="fast")
    assert (await admin.get("/default-types/red")).status_code == 404
    put = await admin.put("/default-types/red", json={"default_type": {"volume_type": "fast"}})
    assert put.status_code == 200 and put.json()["default_type"] == {"project_id": "red", "volume_type_id": kind["id"]}
    assert (await make(cinder, alice))["volume_type"] == "fast" and (await make(cinder, bob))["volume_type"] == "__DEFAULT__"
    assert (await get(alice, "/types/default", "volume_type"))["name"] == "fast"
    assert [d["project_id"] for d in await get(admin, "/default-types", "default_types")] == ["red"]
    assert (await admin.delete(f"/types/{kind['id']}")).status_code == 400
    assert (await admin.delete("/default-types/red")).status_code == 204
    assert (await make(cinder, alice))["volume_type"] == "__DEFAULT__"
    assert (await alice.put("/default-types/red", json={"default_type": {"volume_type": "fast"}})).status_code == 403
    assert (await admin.put("/default-types/red", json={"default_type": {"volume_type": "none"}})).status_code == 404
