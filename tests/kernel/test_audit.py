"""The audit log: who did what, in CADF's names, bounded, and without a secret."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from moln.kernel.audit import FILES, Audit
from moln.kernel.clock import Clock, Ids

FOLDER = "log/audit"


def events(api: Any, name: str = "audit.log") -> list[dict[str, Any]]:
    file = api.cloud.home / FOLDER / name
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def said(audit: Audit, **more: Any) -> None:
    about: dict[str, Any] = {"service": "compute", "method": "DELETE", "route": "/compute/v2.1/servers/{server_id}", "action": "",
             "path": "/compute/v2.1/servers/x", "ids": ["x"], "address": "127.0.0.1", "status": 401, "answer": None, "request_id": "r"}  # fmt: skip
    audit.note(None, **(about | more))


async def test_what_was_made_and_by_whom_is_one_line(api) -> None:
    made = await api.member.post("/volume/v3/volumes", json={"volume": {"size": 1, "name": "mine"}})
    assert made.status_code == 202, made.text
    event = events(api)[-1]
    who = (await api.member.get("/identity/v3/auth/tokens", headers={"X-Subject-Token": api.member.headers["X-Auth-Token"]})).json()["token"]
    assert event["typeURI"] == "http://schemas.dmtf.org/cloud/audit/1.0/event" and event["eventType"] == "activity"
    assert (event["action"], event["outcome"]) == ("create", "success")
    assert event["target"] == {"typeURI": "service/volume/volumes", "id": made.json()["volume"]["id"]}
    assert event["initiator"]["id"] == who["user"]["id"] and event["initiator"]["project_id"] == who["project"]["id"]
    assert event["initiator"]["credential"]["audit_id"] == who["audit_ids"][0]
    assert event["reason"] == {"reasonType": "HTTP", "reasonCode": "202"}
    assert event["request_id"] == made.headers["x-openstack-request-id"]


async def test_reads_are_not_written(api) -> None:
    before = len(events(api))
    await api.member.get("/volume/v3/volumes")
    await api.member.head("/identity/v3/auth/tokens", headers={"X-Subject-Token": api.member.headers["X-Auth-Token"]})
    assert len(events(api)) == before


async def test_a_refusal_is_a_failure_with_its_target(api) -> None:
    project = (await api.member.get("/identity/v3/auth/projects")).json()["projects"][0]["id"]
    await api.member.delete("/identity/v3/users/somebody")
    await api.member.delete(f"/volume/v3/{project}/volumes/no-such")
    users, volumes = events(api)[-2:]
    assert (users["action"], users["outcome"], users["reason"]["reasonCode"]) == ("delete", "failure", "403")
    assert users["target"] == {"typeURI": "service/identity/users", "id": "somebody"}
    assert (volumes["outcome"], volumes["target"]["id"]) == ("failure", "no-such")


async def test_an_action_is_named(api) -> None:
    await api.member.post("/compute/v2.1/servers/no-such/action", json={"os-stop": None})
    event = events(api)[-1]
    assert (event["action"], event["target"]) == ("update/os-stop", {"typeURI": "service/compute/servers", "id": "no-such"})


async def test_signing_in_tells_who_and_failing_to_goes_elsewhere(api) -> None:
    before = len(events(api))
    token = await api.token("alice", "a-Secret-1", "demo")
    user = (await api.client(token).get("/identity/v3/auth/tokens", headers={"X-Subject-Token": token})).json()["token"]["user"]["id"]
    event = events(api)[-1]
    assert (event["action"], event["outcome"], event["initiator"]["id"]) == ("authenticate", "success", user)
    with pytest.raises(AssertionError):
        await api.token("alice", "wrong", "demo")
    await api.anonymous.post("/volume/v3/volumes", json={"volume": {"size": 1}})
    assert len(events(api)) == before + 1
    failed, unknown = events(api, "audit-refused.log")[-2:]
    assert (failed["action"], failed["reason"]["reasonCode"], failed["initiator"]["id"]) == ("authenticate", "401", "unknown")
    assert unknown["target"]["typeURI"] == "service/volume/volumes"


async def test_no_secret_is_ever_written(api) -> None:
    """Canaries where secrets go: bodies, headers, queries, and in answers."""
    canary = "Canary-77f1-Secret"
    made = await api.admin.post("/identity/v3/users", json={"user": {"name": "eve", "password": canary}})
    user = made.json()["user"]["id"]
    await api.admin.patch(f"/identity/v3/users/{user}", json={"user": {"password": canary + "2"}})
    await api.admin.post(f"/identity/v3/users/{user}/password", json={"user": {"original_password": canary + "2", "password": canary + "3"}})
    with pytest.raises(AssertionError):
        await api.token(canary, canary, "demo")
    key = (await api.member.post("/compute/v2.1/os-keypairs", json={"keypair": {"name": "k"}})).json()["keypair"]["private_key"]
    server = {"name": canary, "imageRef": "x", "flavorRef": "y", "adminPass": canary, "user_data": canary, "metadata": {"password": canary}}
    await api.member.post("/compute/v2.1/servers", json={"server": server})
    await api.member.post(f"/volume/v3/volumes?password={canary}", json={"volume": {"size": 1, "name": canary}}, headers={"User-Agent": canary})
    await api.client("gAAAAAB" + canary * 4).delete("/volume/v3/volumes/x")
    await api.member.delete("/volume/v3/volumes/gAAAAAB" + canary * 4)
    token = api.member.headers["X-Auth-Token"]
    await api.member.delete(f"/compute/v2.1/servers/{token}")
    written = "".join(f.read_text() for f in (api.cloud.home / FOLDER).iterdir())
    assert written.count("\n") > 8
    for secret in (canary, key.splitlines()[1], token, api.admin.headers["X-Auth-Token"]):
        assert secret not in written


async def test_hostile_paths_stay_one_line(api) -> None:
    before = len(events(api))
    for path in ("a%0A%7B%22x%22%3A1%7D", "%F0%9F%90%9F", "%ED%A0%80", "y" * 4000):
        await api.member.delete(f"/volume/v3/volumes/{path}")
    found = events(api)[before:]
    assert len(found) == 4 and all(len(e["requestPath"]) < 1100 for e in found)


def test_what_is_kept_is_bounded(tmp_path: Path) -> None:
    limit = 64 << 10
    audit = Audit(tmp_path, Clock(), Ids(), limit)
    for number in range(1000):
        said(audit, request_id=str(number))
    files = list(tmp_path.iterdir())
    assert len(files) == 2 and sum(f.stat().st_size for f in files) <= limit // (FILES + 2) * 2
    newest = (tmp_path / "audit-refused.log").read_text().splitlines()
    assert json.loads(newest[-1])["request_id"] == "999"
    audit.close()


def test_a_log_taken_away_is_begun_anew(tmp_path: Path) -> None:
    audit = Audit(tmp_path, Clock(), Ids(), 1 << 20)
    said(audit)
    (tmp_path / "audit-refused.log").rename(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").unlink()
    said(audit)
    assert len((tmp_path / "audit-refused.log").read_text().splitlines()) == 1
    assert (tmp_path / "audit-refused.log").stat().st_mode & 0o777 == 0o600
    audit.close()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
async def test_a_full_disk_costs_the_line_not_the_request(api, caplog) -> None:
    known = api.cloud.audit._known
    known.close()
    known.path.unlink()
    known.path.symlink_to("/dev/full")  # a link is not followed either: both are a line that the disk did not take
    made = await api.member.post("/volume/v3/volumes", json={"volume": {"size": 1}})
    assert made.status_code == 202
    assert api.cloud.audit.lost == 1 and "an audit line is lost" in caplog.text
