"""SEC-19, -34: ways in that this cloud does not have. When one of these fails, something was added, and its row in
docs/security.md needs the test that it asks for.
"""

from __future__ import annotations

from tests.compute.world import World, world  # noqa: F401 (a fixture)

PROVIDER = {"provider": "luks", "cipher": "aes-xts-plain64", "key_size": 256, "control_location": "front-end"}


async def test_sec_19_what_should_be_encrypted_is_never_kept_in_the_clear(world: World) -> None:  # noqa: F811
    """OSSA-2018-001: no node has keys, so a type with encryption makes no volume, however one asks for it."""
    admin, member = world.api.admin, world.api.member
    latest = {"OpenStack-API-Version": "volume 3.70"}
    plain = await world.volume()
    made = (await admin.post("/volume/v3/types", json={"volume_type": {"name": "secret"}})).json()["volume_type"]["id"]
    assert (await admin.post(f"/volume/v3/types/{made}/encryption", json={"encryption": PROVIDER})).status_code == 200
    snapshot = (await member.post("/volume/v3/snapshots", json={"snapshot": {"volume_id": plain}})).json()["snapshot"]["id"]
    await world.settle()
    for source in ({}, {"imageRef": world.image}, {"snapshot_id": snapshot}, {"source_volid": plain}):
        answer = await member.post("/volume/v3/volumes", json={"volume": {"size": 1, "volume_type": "secret"} | source}, headers=latest)
        assert answer.status_code == 400, (source, answer.status_code, answer.text)
    for client in (member, admin):
        for policy in ("never", "on-demand"):
            body = {"os-retype": {"new_type": "secret", "migration_policy": policy}}
            answer = await client.post(f"/volume/v3/volumes/{plain}/action", json=body, headers=latest)
            assert answer.status_code in (400, 403, 404), (policy, answer.status_code, answer.text)
    mapping = {"source_type": "image", "uuid": world.image, "destination_type": "volume", "volume_size": 1, "boot_index": 0, "volume_type": "secret"}
    await world.create(400, networks="none", imageRef=None, block_device_mapping_v2=[mapping])
    await world.settle()
    shown = (await member.get(f"/volume/v3/volumes/{plain}", headers=latest)).json()["volume"]
    assert shown["encrypted"] is False and shown["volume_type"] != "secret"
    used = (await admin.post("/volume/v3/types", json={"volume_type": {"name": "used"}})).json()["volume_type"]["id"]
    assert (await member.post("/volume/v3/volumes", json={"volume": {"size": 1, "volume_type": "used"}}, headers=latest)).status_code == 202
    late = await admin.post(f"/volume/v3/types/{used}/encryption", json={"encryption": PROVIDER})
    assert late.status_code == 400, "what is there already would be called encrypted, and is not"


async def test_sec_34_there_are_no_shares(world: World) -> None:  # noqa: F811
    for path in ("/share/v2", "/share/v2/shares", "/share/v2/share-networks", "/shared-file-system/v2/shares"):
        assert (await world.api.admin.get(path)).status_code == 404
    catalog = (await world.api.admin.get("/identity/v3/auth/catalog")).json()["catalog"]
    assert not [service for service in catalog if service["type"].startswith("share")]
