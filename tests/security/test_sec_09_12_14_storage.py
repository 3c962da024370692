"""SEC-09, -12, -14 (OSSA-2015-003/-020, 2015-019, 2023-003): quotas in a race, contents that never change, attachments that hold."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from tests.conftest import Api

from moln.image.ops.quotas import QUOTA

OCTETS = {"Content-Type": "application/octet-stream"}
PATCH = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
LATEST = {"OpenStack-API-Version": "volume 3.71"}
MOST_MIB = 4


@pytest.mark.parametrize("times", [96, pytest.param(1000, marks=[pytest.mark.slow, pytest.mark.timeout(900)])])
async def test_sec_09_deleting_while_uploading_stores_nothing_beyond_the_quota(api: Api, times: int) -> None:
    store = api.cloud.areas["image"]
    me = (await api.member.get("/identity/v3/auth/projects")).json()["projects"][0]["id"]
    await api.cloud.db.write(QUOTA.set_limits, me, {"image_size_total": MOST_MIB})

    async def race(number: int) -> None:
        body = {"name": "x", "disk_format": "raw", "container_format": "ova"}
        image = (await api.member.post("/image/v2/images", json=body)).json()

        async def data():  # type: ignore[no-untyped-def]
            for _ in range(4):
                yield bytes(1 << 18)
                await asyncio.sleep(0)

        upload = asyncio.create_task(api.member.put(f"/image{image['file']}", content=data(), headers=OCTETS))
        for _ in range(number % 17):
            await asyncio.sleep(0)
        while (await api.member.delete(f"/image/v2/images/{image['id']}")).status_code == 409:
            pass
        assert (await upload).status_code in (204, 404, 409, 410, 413)

    for first in range(0, times, 8):
        await asyncio.gather(*(race(first + i) for i in range(8)))
        used = (await QUOTA.used(api.cloud.db, me))["image_size_total"]
        assert 0 <= used <= MOST_MIB
        stored = sum(f.stat().st_size for name in ("data", "uploads") for f in (store.root / name).iterdir())
        assert stored <= (MOST_MIB << 20) + len((await store.inventory()).data) * (1 << 20), "what waits to be swept, at most"
        await api.settle()
    held = await store.inventory()
    assert (held.data, held.bases, held.arriving) == ([], [], [])
    assert (await QUOTA.used(api.cloud.db, me))["image_size_total"] == 0


async def test_sec_12_an_images_owner_cannot_swap_its_content(api: Api) -> None:
    body = {"name": "x", "disk_format": "raw", "container_format": "bare"}
    image = (await api.member.post("/image/v2/images", json=body)).json()
    path, file = f"/image/v2/images/{image['id']}", f"/image{image['file']}"
    assert (await api.member.put(file, content=b"first", headers=OCTETS)).status_code == 204
    before = (await api.member.get(path)).json()
    for name, value in {
        "status": "queued", "checksum": "0" * 32, "os_hash_value": "0", "os_hash_algo": "md5", "size": 0, "virtual_size": 0,
        "locations": [], "id": "x", "created_at": "2020-01-01T00:00:00Z", "direct_url": "x", "file": "x", "os_glance_failed_import": "x",
    }.items():  # fmt: skip
        for op in ("replace", "add", "remove"):
            change = [{"op": op, "path": f"/{name}", "value": value}]
            for client in (api.member, api.admin):
                assert (await client.patch(path, json=change, headers=PATCH)).status_code in (400, 403), (op, name)
    for action in ("deactivate", "reactivate"):
        assert (await api.member.post(f"{path}/actions/{action}")).status_code == 204
        assert (await api.member.put(file, content=b"other", headers=OCTETS)).status_code == 409
        for method in ("glance-direct", "web-download"):
            assert (await api.member.post(f"{path}/import", json={"method": {"name": method, "uri": "https://example.org/x"}})).status_code == 409
        assert (await api.member.post(f"{path}/locations", json={"url": "https://example.org/x"})).status_code == 409
        assert (await api.member.put(f"{path}/stage", content=b"other", headers=OCTETS)).status_code == 409
    assert (await api.member.delete(path)).status_code == 204
    again = await api.member.post("/image/v2/images", json=body | {"id": image["id"]})
    assert again.status_code == 409, "the id of a deleted image is never another's"
    assert before["checksum"] == "8b04d5e3775d298e78455efc5ca404d5"


async def test_sec_12_what_was_not_looked_into_never_becomes_what_boots(api: Api) -> None:
    """A container is kept unopened; its owner cannot call it a bare disk afterwards, nor another format."""
    from tests.security.test_sec_01_04_hostile_images import CANARY, qcow2

    body = {"name": "x", "disk_format": "qcow2", "container_format": "ova"}
    image = (await api.member.post("/image/v2/images", json=body)).json()
    path = f"/image/v2/images/{image['id']}"
    assert (await api.member.put(f"/image{image['file']}", content=qcow2(backing=CANARY), headers=OCTETS)).status_code == 204
    for name, value in (("container_format", "bare"), ("disk_format", "raw"), ("disk_format", "iso")):
        for op in ("replace", "add", "remove"):
            for client in (api.member, api.admin):
                answer = await client.patch(path, json=[{"op": op, "path": f"/{name}", "value": value}], headers=PATCH)
                assert answer.status_code in (400, 403), (op, name, answer.status_code)
    assert (await api.member.post("/volume/v3/volumes", json={"volume": {"size": 1, "imageRef": image["id"]}})).status_code == 400
    server = {"server": {"name": "s", "imageRef": image["id"], "flavorRef": "1", "networks": "none"}}
    refused = await api.member.post("/compute/v2.1/servers", json=server, headers={"OpenStack-API-Version": "compute 2.90"})
    assert refused.status_code == 400
    held = await api.cloud.areas["image"].inventory()
    assert held.bases == []


async def test_sec_14_a_user_cannot_take_a_volume_from_under_a_server(api: Api) -> None:
    server, volume = await server_with_volume(api)
    volume_path = f"/volume/v3/volumes/{volume}"
    shown = (await api.member.get(volume_path, headers=LATEST)).json()["volume"]
    assert shown["status"] == "in-use"
    (held,) = shown["attachments"]
    attachment = f"/volume/v3/attachments/{held['attachment_id']}"
    for client in (api.member, api.admin):
        assert (await client.delete(attachment, headers=LATEST)).status_code == 409
        complete = await client.post(f"{attachment}/action", json={"os-complete": None}, headers=LATEST)
        assert complete.status_code == 409
        assert (await client.delete(volume_path)).status_code == 400
        for action in ("os-detach", "os-force_detach", "os-terminate_connection", "os-begin_detaching", "os-attach"):
            answer = await client.post(f"{volume_path}/action", json={action: {}}, headers=LATEST)
            assert answer.status_code in (400, 403, 404, 409), action
        freed = await client.post(f"{volume_path}/action", json={"os-unreserve": {}}, headers=LATEST)
        assert freed.status_code == 202, "Cinder's answer where nothing is reserved; nothing changes, as the last lines say"
    for body in ({"volume_uuid": volume}, {"volume_uuid": volume, "instance_uuid": server}):
        assert (await api.member.post("/volume/v3/attachments", json={"attachment": body}, headers=LATEST)).status_code == 400
    after = (await api.member.get(volume_path, headers=LATEST)).json()["volume"]
    assert (after["status"], after["attachments"]) == ("in-use", [held])


async def server_with_volume(api: Api) -> tuple[str, str]:
    """Ids of a server and of a volume that it holds."""

    async def made(client: httpx.AsyncClient, path: str, key: str, **body: Any) -> dict[str, Any]:
        answer = await client.post(path, json={key: body}, headers={"OpenStack-API-Version": "compute 2.90"})
        assert answer.status_code < 300, answer.text
        found: dict[str, Any] = answer.json()[key]
        return found

    flavor = await made(api.admin, "/compute/v2.1/flavors", "flavor", name="tiny", ram=64, vcpus=1, disk=1)
    spec = {"name": "i", "disk_format": "raw", "container_format": "bare"}
    image = (await api.member.post("/image/v2/images", json=spec)).json()
    assert (await api.member.put(f"/image{image['file']}", content=b"x", headers=OCTETS)).status_code == 204
    server = await made(
        api.member, "/compute/v2.1/servers", "server", name="s", flavorRef=flavor["id"], imageRef=image["id"], networks="none"
    )
    volume = await made(api.member, "/volume/v3/volumes", "volume", size=1)
    await api.settle()
    await made(api.member, f"/compute/v2.1/servers/{server['id']}/os-volume_attachments", "volumeAttachment", volumeId=volume["id"])
    await api.settle()
    return server["id"], volume["id"]
