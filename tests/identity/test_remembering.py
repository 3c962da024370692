"""What identity remembers so as not to read it again is forgotten the moment that it changes."""

from __future__ import annotations

from typing import Any

import pytest
from tests.identity.conftest import Keystone, Someone, on_project, password_auth, token_auth

from moln.identity.ops.state import of


async def program(keystone: Keystone, alice: Someone) -> dict[str, Any]:
    """What signs in for alice on her project."""
    client = keystone.client(alice.token)
    answer = await client.post(f"/v3/users/{alice.id}/application_credentials", json={"application_credential": {"name": "robot"}})
    assert answer.status_code == 201, answer.text
    made = answer.json()["application_credential"]
    return {"auth": {"identity": {"methods": ["application_credential"], "application_credential": {"id": made["id"], "secret": made["secret"]}}}}


async def test_a_programs_secret_costs_one_hash_until_it_is_wrong(keystone: Keystone, alice: Someone) -> None:
    shown, passwords = await program(keystone, alice), of(keystone.cloud).passwords
    before = passwords.hashes
    for _ in range(3):
        assert (await keystone.ask(shown)).status_code == 201
    assert passwords.hashes == before + 1
    wrong = await program_with(shown, secret="wrong")
    absent = await program_with(shown, id="0" * 32)
    for bad in (wrong, absent, wrong, absent):
        assert (await keystone.ask(bad)).status_code == 401
    assert passwords.hashes == before + 5


async def program_with(shown: dict[str, Any], **other: str) -> dict[str, Any]:
    identity = shown["auth"]["identity"]
    return {"auth": {"identity": identity | {"application_credential": identity["application_credential"] | other}}}


@pytest.mark.parametrize("way", ["disable the user", "disable the project", "disable the domain", "take the role", "delete the program"])
async def test_no_new_token_comes_of_what_is_over(keystone: Keystone, alice: Someone, way: str) -> None:
    """However it is asked for, and though one like it is remembered."""
    shown = await program(keystone, alice)
    asked = [shown, password_auth("alice", alice.password, on_project("red")), token_auth(alice.token, on_project("red"))]
    for body in asked * 2:
        assert (await keystone.ask(body)).status_code == 201
    admin = keystone.admin
    if way == "disable the user":
        done = await admin.patch(f"/v3/users/{alice.id}", json={"user": {"enabled": False}})
    elif way == "disable the project":
        done = await admin.patch(f"/v3/projects/{alice.project_id}", json={"project": {"enabled": False}})
    elif way == "disable the domain":
        done = await admin.patch("/v3/domains/default", json={"domain": {"enabled": False}})
    elif way == "take the role":
        done = await admin.delete(f"/v3/projects/{alice.project_id}/users/{alice.id}/roles/{await keystone.role_id('member')}")
    else:
        credential = shown["auth"]["identity"]["application_credential"]["id"]
        done, asked = await admin.delete(f"/v3/users/{alice.id}/application_credentials/{credential}"), asked[:1]
        if done.status_code != 204:  # an administrator may not everywhere
            done = await keystone.client(alice.token).delete(f"/v3/users/{alice.id}/application_credentials/{credential}")
    assert done.status_code in (200, 204), done.text
    assert {(await keystone.ask(body)).status_code for body in asked} == {401}


async def test_a_new_token_says_the_present_names_and_roles_and_has_its_own_id(keystone: Keystone, alice: Someone) -> None:
    body = password_auth("alice", alice.password, on_project("red"))
    first, second = [(await keystone.ask(body)).json()["token"] for _ in range(2)]
    assert first["audit_ids"] != second["audit_ids"] and first["expires_at"] <= second["expires_at"]
    assert (first["roles"], first["user"], first["project"]) == (second["roles"], second["user"], second["project"])
    await keystone.grant(alice.id, "manager", f"projects/{alice.project_id}")
    assert (await keystone.admin.patch(f"/v3/projects/{alice.project_id}", json={"project": {"name": "crimson"}})).status_code == 200
    token = (await keystone.ask(password_auth("alice", alice.password, on_project("crimson")))).json()["token"]
    assert token["project"]["name"] == "crimson" and "manager" in {role["name"] for role in token["roles"]}


async def test_a_new_token_is_found_by_its_own_audit_id(keystone: Keystone, alice: Someone) -> None:
    """Revoking one of two that say the same leaves the other."""
    body = password_auth("alice", alice.password, on_project("red"))
    first, second = [(await keystone.ask(body)).headers["X-Subject-Token"] for _ in range(2)]
    gone = await keystone.client(first).delete("/v3/auth/tokens", headers={"X-Subject-Token": first})
    assert gone.status_code == 204
    assert not await keystone.works(first) and await keystone.works(second)
