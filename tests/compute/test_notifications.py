"""What others are told: of what committed, by OpenStack's names, in the transaction that changed it; nothing where nobody wants it."""

from __future__ import annotations

import base64
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests import notified
from tests.compute.world import World
from tests.notified import forget, types, waiting
from tests.security.test_sec_41_canaries import BLOB, DATA, PASS, PASSWORD, PROGRAM, SEED, plant

from moln.compute.drivers.fake import Fault
from moln.kernel.errors import Conflict
from moln.kernel.notifications import publisher, tables
from moln.network.model.networks import Network
from moln.network.store import rows


@pytest.fixture
async def world(tmp_path: Path, database: str, furnished: Any) -> AsyncIterator[World]:
    async with notified.cloud(tmp_path, database, furnished) as made:
        yield made


async def only(world: World, prefix: str) -> list[str]:
    return [name for name in await types(world) if name.startswith(prefix) and name != "instance.update"]


async def test_a_servers_life_is_told_in_novas_words(world: World) -> None:
    await world.set_up()
    await forget(world)
    server = await world.boot()
    assert await only(world, "instance") == ["instance.create.start", "instance.create.end"]
    told = {each["event_type"]: each for each in await waiting(world)}
    end = told["instance.create.end"]
    assert end["publisher_id"] == "nova-compute:sim-1" and end["priority"] == "INFO"
    payload = end["payload"]
    assert payload["nova_object.name"] == "InstanceActionPayload" and payload["nova_object.namespace"] == "moln"
    data = payload["nova_object.data"]
    assert (data["uuid"], data["state"], data["power_state"], data["host"]) == (server["id"], "active", "running", "sim-1")
    assert data["flavor"]["nova_object.data"]["memory_mb"] == 128 and data["ip_addresses"][0]["nova_object.data"]["address"].startswith("10.1.0.")
    assert told["instance.update"]["payload"]["nova_object.data"]["state_update"]["nova_object.data"]["old_state"] == "building"
    assert {"port.create.end", "port.update.end"} <= told.keys()
    for action, names in [({"os-stop": None}, ["power_off.start", "power_off.end"]), ({"os-start": None}, ["power_on.start", "power_on.end"]),
                          ({"reboot": {"type": "HARD"}}, ["reboot.start", "reboot.end"]), ({"lock": None}, ["lock"])]:  # fmt: skip
        await forget(world)
        await world.act(server, action)
        await world.settle()
        assert await only(world, "instance") == [f"instance.{name}" for name in names]
    await world.act(server, {"unlock": None})
    await forget(world)
    await world.call("DELETE", f"/servers/{server['id']}", 204)
    await world.settle()
    assert await only(world, "instance") == ["instance.delete.start", "instance.delete.end"]
    last = [each for each in await waiting(world) if each["event_type"] == "instance.delete.end"][0]
    assert last["payload"]["nova_object.data"]["state"] == "deleted" and "port.delete.end" in await types(world)


async def test_a_resize_and_what_fails_are_told(world: World) -> None:
    await world.set_up()
    server = await world.boot()
    large = await world.flavor("large", ram=256)
    await forget(world)
    await world.act(server, {"resize": {"flavorRef": large}})
    await world.settle()
    await world.act(server, {"confirmResize": None}, 204)
    await world.settle()
    assert await only(world, "instance") == [f"instance.{name}" for name in ("resize_prep.start", "resize_finish.end", "resize_confirm.start", "resize_confirm.end")]
    await forget(world)
    await world.call("DELETE", f"/servers/{server['id']}", 204)
    await world.settle()
    await forget(world)
    world.api.nodes["sim-1"].faults["ensure_server"] = [Fault("refused", "The hypervisor refused.", times=99)]
    await world.create()
    await world.settle()
    failed = [each for each in await waiting(world) if each["event_type"] == "instance.create.error"]
    assert len(failed) == 1 and failed[0]["priority"] == "ERROR" and failed[0]["payload"]["nova_object.data"]["fault"] is not None


async def test_volumes_images_networks_and_users_are_told_in_their_services_words(world: World) -> None:
    await world.set_up()
    names = await types(world)
    assert [n for n in names if n.startswith("image")] == ["image.create", "image.prepare", "image.upload", "image.activate"]
    assert {"network.create.end", "subnet.create.end"} <= set(names)
    server = await world.boot()
    await forget(world)
    volume = await world.volume()
    assert await only(world, "volume") == ["volume.create.start", "volume.create.end"]
    await world.call("POST", f"/servers/{server['id']}/os-volume_attachments", 200, {"volumeAttachment": {"volumeId": volume}})
    await world.settle()
    await world.call("DELETE", f"/servers/{server['id']}/os-volume_attachments/{volume}", 202)
    await world.settle()
    await world.cinder("DELETE", f"/volumes/{volume}")
    await world.settle()
    named = await only(world, "volume")
    assert named[2:] == [f"volume.{n}" for n in ("attach.end", "detach.start", "detach.end", "delete.start", "delete.end")], named
    assert [n for n in await only(world, "instance") if "volume" in n] == [f"instance.volume_{n}" for n in ("attach.start", "attach.end", "detach.start", "detach.end")]
    await forget(world)
    await world.neutron("PUT", f"/networks/{world.network}", {"network": {"name": "other"}})
    router = (await world.neutron("POST", "/routers", {"router": {"name": "r"}}))["router"]["id"]
    await world.neutron("DELETE", f"/routers/{router}")
    assert await types(world) == ["network.update.end", "router.create.end", "router.delete.end"]
    await forget(world)
    admin = world.api.admin
    user = (await admin.post("/identity/v3/users", json={"user": {"name": "u"}})).json()["user"]["id"]
    await admin.patch(f"/identity/v3/users/{user}", json={"user": {"description": "d"}})
    await admin.delete(f"/identity/v3/users/{user}")
    project = (await admin.post("/identity/v3/projects", json={"project": {"name": "p"}})).json()["project"]["id"]
    await admin.delete(f"/identity/v3/projects/{project}")
    assert await types(world) == ["identity.user.created", "identity.user.updated", "identity.user.deleted", "identity.project.created", "identity.project.deleted"]


async def test_what_does_not_commit_is_not_told(world: World) -> None:
    network = Network(id="11111111-1111-4111-8111-111111111111", project_id="p")

    async def half(tx: Any) -> None:
        await rows.networks.add(tx, network)
        raise Conflict("no")

    async def gone(tx: Any) -> None:
        await rows.networks.add(tx, network)
        await rows.networks.remove(tx, network.id)

    await forget(world)
    with pytest.raises(Conflict):
        await world.cloud.db.write(half)
    await world.cloud.db.write(gone)
    assert await types(world) == []


async def test_no_secret_is_told(world: World) -> None:
    """SEC-41: whatever is planted in the cloud, nothing of it goes out."""
    await world.set_up()
    await plant(world)
    told = "\n".join(str(each) for each in await waiting(world))
    assert "instance.create.end" in told and "identity.user.created" in told
    for secret in (PASSWORD, PROGRAM, PASS, DATA, BLOB, SEED, base64.b64encode(DATA.encode()).decode(), "c4nary", "$argon2"):
        assert secret not in told, secret


async def test_while_nats_is_away_they_wait_up_to_a_bound_and_the_oldest_go(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    notices = world.api.app.notices
    await forget(world)
    for n in range(5):
        await world.neutron("POST", "/networks", {"network": {"name": f"n{n}"}})
    made = len([n for n in await types(world) if n == "network.create.end"])
    await world.settle()  # asks a NATS that is not there
    assert made == 5 and len(await types(world)) >= 5 and "NATS" in world.api.app.remote.links.trouble or notices.trouble
    found = {v.message.split(",")[0] for i in notices.invariants for v in await i.check(world.cloud)}
    assert len(found) == 1 and "notifications wait" in found.pop()
    monkeypatch.setattr(publisher, "BOUND", 2)
    kept = (await waiting(world))[-2:]
    beyond = len(await waiting(world)) - 2
    await notices.periodic.run(world.api.app.workers._work)
    assert await waiting(world) == kept
    counted = {f.name: f.samples[0][1] for f in await notices.measure(world.cloud)}
    assert counted["moln_notifications_dropped_total"] == beyond and counted["moln_notifications_waiting"] == 2
    found = [v.message for v in await notices.invariants[1].check(world.cloud)]
    assert len(found) == 1 and "were dropped" in found[0]


async def test_where_nobody_wants_them_nothing_is_written(api: Any) -> None:
    before = {name for name in sys.modules if name.startswith("moln.kernel.notifications.")}
    assert api.app.notices is None and type(api.cloud.db).__name__ != "NotifiedDatabase"
    assert (await api.member.post("/network/v2.0/networks", json={"network": {"name": "n"}})).status_code == 201
    assert await api.cloud.db.one(tables.ANY) is None
    assert {name for name in sys.modules if name.startswith("moln.kernel.notifications.")} == before
