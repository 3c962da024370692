"""Groups of volumes, their types and their snapshots, as Cinder's clients see them."""

from __future__ import annotations

from typing import Any

import httpx
from tests.volume.asking import get, post
from tests.wire.areas import AreaApi

from moln.kernel.errors import BackendRefused

Client = httpx.AsyncClient


async def kinds(admin: Client) -> tuple[str, str]:
    """A group type and a volume type."""
    group_type = await post(admin, "/group_types", "group_type", name="plain", group_specs={"a": "b"})
    volume_type = await post(admin, "/types", "volume_type", 200, name="disks")
    return group_type["id"], volume_type["id"]


async def group(admin: Client, alice: Client, name: str = "g") -> dict[str, Any]:
    group_type, volume_type = await kinds(admin)
    made = await post(alice, "/groups", "group", name=name, group_type=group_type, volume_types=[volume_type])
    return await get(alice, f"/groups/{made['id']}", "group")


async def member(api: AreaApi, alice: Client, of: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A volume in the group, made."""
    made = await post(alice, "/volumes", "volume", size=1, group_id=of["id"], volume_type=of["volume_types"][0], **more)
    await api.settle()
    found: dict[str, Any] = await get(alice, f"/volumes/{made['id']}", "volume")
    return found


async def act(client: Client, path: str, action: str, expected: int = 202, **body: Any) -> httpx.Response:
    answer = await client.post(f"{path}/action", json={action: body})
    assert answer.status_code == expected, answer.text
    return answer


async def test_a_group_is_available_at_once_and_shows_its_kind(cinder: AreaApi, alice: Client, admin: Client, bob: Client) -> None:
    made = await group(admin, alice)
    assert made["status"] == "available" and made["name"] == "g" and made["availability_zone"] == "nova"
    assert [g["id"] for g in await get(alice, "/groups", "groups")] == [made["id"]]
    assert (await get(alice, "/groups/detail", "groups"))[0]["volume_types"] == made["volume_types"]
    assert (await bob.get(f"/groups/{made['id']}")).status_code == 404
    assert (await alice.get(f"/groups/{made['id']}", headers={"OpenStack-API-Version": "volume 3.12"})).status_code == 404


async def test_volumes_are_born_into_a_group_join_it_and_leave_it(cinder: AreaApi, alice: Client, admin: Client) -> None:
    made = await group(admin, alice)
    volume = await member(cinder, alice, made)
    assert volume["group_id"] == made["id"] and volume["status"] == "available"
    assert (await get(alice, f"/groups/{made['id']}", "group", list_volume=True))["volumes"] == [volume["id"]]
    put = {"group": {"name": "new", "remove_volumes": volume["id"]}}
    assert (await alice.put(f"/groups/{made['id']}", json=put)).status_code == 202
    assert (await get(alice, f"/groups/{made['id']}", "group"))["name"] == "new"
    assert (await get(alice, f"/volumes/{volume['id']}", "volume"))["group_id"] is None
    assert (await alice.put(f"/groups/{made['id']}", json={"group": {"add_volumes": volume["id"]}})).status_code == 202
    assert (await get(alice, f"/volumes/{volume['id']}", "volume"))["group_id"] == made["id"]
    twice = await alice.put(f"/groups/{made['id']}", json={"group": {"add_volumes": volume["id"]}})
    assert twice.status_code == 400 and "in a group already" in twice.text
    assert (await alice.delete(f"/volumes/{volume['id']}")).status_code == 400  # it belongs to a group


async def test_a_volume_of_another_type_or_none_is_refused(cinder: AreaApi, alice: Client, admin: Client) -> None:
    made = await group(admin, alice)
    for more in ({}, {"volume_type": "__DEFAULT__"}):
        answer = await alice.post("/volumes", json={"volume": {"size": 1, "group_id": made["id"], **more}})
        assert answer.status_code == 400 and "volume_type" in answer.text
    loose = await post(alice, "/volumes", "volume", size=1)
    await cinder.settle()
    answer = await alice.put(f"/groups/{made['id']}", json={"group": {"add_volumes": loose["id"]}})
    assert answer.status_code == 400 and "volume type" in answer.text


async def test_a_group_goes_with_its_volumes_only_when_told(cinder: AreaApi, alice: Client, admin: Client) -> None:
    made = await group(admin, alice)
    volume = await member(cinder, alice, made)
    await act(alice, f"/groups/{made['id']}", "delete", 400)
    await act(alice, f"/groups/{made['id']}", "delete", **{"delete-volumes": True})
    assert (await get(alice, f"/groups/{made['id']}", "group"))["status"] == "deleting"
    await cinder.settle()
    assert (await alice.get(f"/groups/{made['id']}")).status_code == 404
    assert (await alice.get(f"/volumes/{volume['id']}")).status_code == 404
    quota = await get(admin, "/os-quota-sets/red", "quota_set", usage=True)
    assert quota["groups"]["in_use"] == 0 and quota["volumes"]["in_use"] == 0


async def test_a_snapshot_of_a_group_keeps_each_volume_and_makes_another_group(cinder: AreaApi, alice: Client, admin: Client) -> None:
    made = await group(admin, alice)
    volume = await member(cinder, alice, made, name="data")
    taken = await post(alice, "/group_snapshots", "group_snapshot", group_id=made["id"], name="now")
    await cinder.settle()
    assert (await get(alice, f"/group_snapshots/{taken['id']}", "group_snapshot"))["status"] == "available"
    (part,) = await get(alice, "/snapshots/detail", "snapshots")
    assert part["volume_id"] == volume["id"] and part["group_snapshot_id"] == taken["id"]
    assert (await alice.delete(f"/snapshots/{part['id']}")).status_code == 400
    await act(alice, f"/groups/{made['id']}", "delete", 400, **{"delete-volumes": True})  # it has a snapshot
    answer = await act(alice, "/groups", "create-from-src", group_snapshot_id=taken["id"], name="copy")
    copy = answer.json()["group"]
    await cinder.settle()
    assert (await get(alice, f"/groups/{copy['id']}", "group"))["status"] == "available"
    (copied,) = await get(alice, "/volumes/detail", "volumes", group_id=copy["id"])
    assert copied["snapshot_id"] == part["id"] and copied["status"] == "available"
    assert (await alice.delete(f"/group_snapshots/{taken['id']}")).status_code == 202
    await cinder.settle()
    assert await get(alice, "/group_snapshots", "group_snapshots") == [] and await get(alice, "/snapshots", "snapshots") == []


async def test_a_copy_of_a_group_whose_volume_cannot_be_made_is_in_error(cinder: AreaApi, alice: Client, admin: Client) -> None:
    made = await group(admin, alice)
    await member(cinder, alice, made)
    cinder.pool.faults["ensure_volume"] = [BackendRefused("The pool is full.")]
    copy = (await act(alice, "/groups", "create-from-src", source_group_id=made["id"])).json()["group"]
    assert (await get(alice, f"/groups/{copy['id']}", "group"))["status"] == "creating"
    await cinder.settle()
    assert (await get(alice, f"/groups/{copy['id']}", "group"))["status"] == "error"
    await act(alice, f"/groups/{copy['id']}", "delete", **{"delete-volumes": True})
    await cinder.settle()
    assert (await alice.get(f"/groups/{copy['id']}")).status_code == 404


async def test_what_an_administrator_says_of_a_group_stays(cinder: AreaApi, alice: Client, admin: Client) -> None:
    made = await group(admin, alice)
    for status in ("creating", "error", "available"):
        await act(admin, f"/groups/{made['id']}", "reset_status", status=status)
        await cinder.settle()
        assert (await get(alice, f"/groups/{made['id']}", "group"))["status"] == status
    await act(admin, f"/groups/{made['id']}", "reset_status", 400, status="purple")
    await act(alice, f"/groups/{made['id']}", "reset_status", 403, status="error")


async def test_group_types_and_their_specs(cinder: AreaApi, alice: Client, admin: Client) -> None:
    made = await group(admin, alice)
    kind = f"/group_types/{made['group_type']}"
    assert "group_specs" not in await get(alice, kind, "group_type")
    assert (await alice.post("/group_types", json={"group_type": {"name": "mine"}})).status_code == 403
    assert (await admin.post("/group_types", json={"group_type": {"name": "plain"}})).status_code == 409
    assert (await admin.post(f"{kind}/group_specs", json={"group_specs": {"c": "d"}})).status_code == 202
    assert (await admin.put(f"{kind}/group_specs/c", json={"c": "e"})).json() == {"c": "e"}
    assert await get(admin, f"{kind}/group_specs", "group_specs") == {"a": "b", "c": "e"}
    assert (await admin.delete(f"{kind}/group_specs/c")).status_code == 202
    assert (await admin.get(f"{kind}/group_specs/c")).status_code == 404
    assert (await admin.delete(kind)).status_code == 400  # a group has it
    hidden = await post(admin, "/group_types", "group_type", name="hidden", is_public=False)
    assert (await alice.get(f"/group_types/{hidden['id']}")).status_code == 404
    assert [t["name"] for t in await get(alice, "/group_types", "group_types")] == ["plain"]


async def test_a_group_type_that_asks_for_one_moment_makes_no_groups(cinder: AreaApi, alice: Client, admin: Client) -> None:
    _, volume_type = await kinds(admin)
    strict = await post(admin, "/group_types", "group_type", name="s", group_specs={"consistent_group_snapshot_enabled": "<is> True"})
    answer = await alice.post("/groups", json={"group": {"group_type": strict["id"], "volume_types": [volume_type]}})
    assert answer.status_code == 400 and "moment" in answer.text
