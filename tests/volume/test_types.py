"""Volume types, and what administrators do to pools and to what is stuck."""

from __future__ import annotations

from tests.volume.asking import Client, act, get, make, names, post
from tests.wire.areas import AreaApi


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


async def test_an_administrator_resets_what_is_stuck(cinder: AreaApi, alice: Client, admin: Client) -> None:
    volume = await make(cinder, alice)
    await act(admin, volume["id"], "os-reset_status", {"status": "nonsense"}, 400)
    await act(admin, volume["id"], "os-reset_status", {"status": "error", "attach_status": "detached"})
    assert (await get(alice, f"/volumes/{volume['id']}", "volume"))["status"] == "error"
    await act(alice, volume["id"], "os-force_delete", {}, 403)
    await act(admin, volume["id"], "os-force_delete", {})
    await cinder.settle()
    assert await names(alice) == [] and await cinder.doctor() == []


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
