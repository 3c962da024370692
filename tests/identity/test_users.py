"""Users, passwords and groups."""

from __future__ import annotations

from typing import Any

import pytest
from tests.identity.conftest import Keystone, Someone, password_auth


async def test_a_user_is_made_shown_changed_and_deleted(keystone: Keystone) -> None:
    made = await keystone.make("user", name="bob", password="a password", email="bob@example.org", description="B")
    assert made["domain_id"] == "default" and made["email"] == "bob@example.org" and made["enabled"] is True
    assert "password" not in str(made).replace("password_expires_at", "") and made["options"] == {}
    path = f"/v3/users/{made['id']}"
    assert (await keystone.admin.get(path)).json()["user"] == made
    changed = await keystone.admin.patch(path, json={"user": {"name": "rob", "email": "rob@example.org"}})
    assert changed.json()["user"] == made | {"name": "rob", "email": "rob@example.org"}
    assert [u["name"] for u in (await keystone.admin.get("/v3/users?name=rob")).json()["users"]] == ["rob"]
    assert (await keystone.admin.delete(path)).status_code == 204
    gone = await keystone.admin.get(path)
    assert gone.status_code == 404 and gone.json()["error"]["message"] == f"Could not find user: {made['id']}."


async def test_two_users_of_a_domain_have_two_names(keystone: Keystone, alice: Someone) -> None:
    twin = await keystone.admin.post("/v3/users", json={"user": {"name": "alice"}})
    assert twin.status_code == 409
    assert twin.json()["error"]["message"] == (
        "Conflict occurred attempting to store user - Duplicate entry found with name alice at domain ID default."
    )


@pytest.mark.parametrize(
    "user",
    [{}, {"name": ""}, {"name": "x" * 256}, {"name": None}, {"name": "x", "password": 3}, {"name": "x", "password": ""},
     {"name": "x", "password": "x" * 4097}, {"name": "x", "enabled": 1}, {"name": "x", "default_project_id": 3},
     {"name": "x", "default_project_id": "default"}, {"name": "x\x00"}, {"name": "x", "options": []}, None],
)  # fmt: skip
async def test_a_malformed_user_is_400(keystone: Keystone, user: Any) -> None:
    answer = await keystone.admin.post("/v3/users", json={"user": user})
    assert answer.status_code == 400, answer.text


async def test_a_user_of_an_unknown_domain_is_404(keystone: Keystone) -> None:
    answer = await keystone.admin.post("/v3/users", json={"user": {"name": "x", "domain_id": "nowhere"}})
    assert answer.status_code == 404


async def test_users_change_their_own_password_with_the_old_one(keystone: Keystone, alice: Someone) -> None:
    path = f"/v3/users/{alice.id}/password"

    async def change(original: str, new: str) -> int:
        body = {"user": {"original_password": original, "password": new}}
        return (await keystone.anonymous.post(path, json=body)).status_code

    assert await change("wrong", "new password") == 401
    assert await change(alice.password, "") == 400
    assert await change(alice.password, "new password") == 204
    assert await change(alice.password, "another") == 401
    assert (await keystone.ask(password_auth("alice", alice.password))).status_code == 401
    assert (await keystone.ask(password_auth("alice", "new password"))).status_code == 201
    unknown = await keystone.anonymous.post("/v3/users/nobody/password", json={"user": {"original_password": "a", "password": "b"}})
    assert unknown.status_code == 401


async def test_a_user_without_a_password_gets_no_token(keystone: Keystone) -> None:
    await keystone.make("user", name="robot")
    for password in ("", "None", "null"):
        assert (await keystone.ask(password_auth("robot", password))).status_code == 401


async def test_users_see_themselves_and_no_one_else(keystone: Keystone, alice: Someone) -> None:
    own = keystone.client(alice.token)
    assert (await own.get(f"/v3/users/{alice.id}")).status_code == 200
    admin_id = (await keystone.admin.get("/v3/users?name=admin")).json()["users"][0]["id"]
    for path in (f"/v3/users/{admin_id}", "/v3/users/nobody", "/v3/users", f"/v3/users/{admin_id}/projects"):
        assert (await own.get(path)).status_code == 403, path
    assert (await own.patch(f"/v3/users/{alice.id}", json={"user": {"enabled": True}})).status_code == 403
    assert [p["name"] for p in (await own.get(f"/v3/users/{alice.id}/projects")).json()["projects"]] == ["red"]
    assert (await own.get(f"/v3/users/{alice.id}/groups")).json()["groups"] == []


async def test_a_groups_members_have_the_groups_roles(keystone: Keystone, alice: Someone) -> None:
    group = await keystone.make("group", name="staff")
    project = await keystone.make("project", name="blue")
    members = f"/v3/groups/{group['id']}/users"
    granted = f"/v3/projects/{project['id']}/groups/{group['id']}/roles/{await keystone.role_id('member')}"
    assert (await keystone.admin.put(granted)).status_code == 204
    scope = {"project": {"id": project["id"]}}
    assert (await keystone.ask(password_auth("alice", alice.password, scope))).status_code == 401
    assert (await keystone.admin.put(f"{members}/{alice.id}")).status_code == 204
    assert (await keystone.admin.head(f"{members}/{alice.id}")).status_code == 204
    token = await keystone.token("alice", alice.password, scope)
    assert [u["name"] for u in (await keystone.admin.get(members)).json()["users"]] == ["alice"]
    own = keystone.client(alice.token)
    assert [g["name"] for g in (await own.get(f"/v3/users/{alice.id}/groups")).json()["groups"]] == ["staff"]
    assert [p["name"] for p in (await own.get("/v3/auth/projects")).json()["projects"]] == ["blue", "red"]
    assert (await keystone.admin.delete(f"{members}/{alice.id}")).status_code == 204
    assert (await keystone.admin.delete(f"{members}/{alice.id}")).status_code == 404
    assert (await keystone.admin.head(f"{members}/{alice.id}")).status_code == 404
    assert not await keystone.works(token)


async def test_groups_are_made_shown_changed_and_deleted(keystone: Keystone) -> None:
    made = await keystone.make("group", name="staff", description="S")
    path = f"/v3/groups/{made['id']}"
    assert (await keystone.admin.get(path)).json()["group"] == made
    assert (await keystone.admin.patch(path, json={"group": {"name": "crew"}})).json()["group"]["name"] == "crew"
    assert (await keystone.admin.post("/v3/groups", json={"group": {"name": "crew"}})).status_code == 409
    assert [g["name"] for g in (await keystone.admin.get("/v3/groups?name=crew")).json()["groups"]] == ["crew"]
    assert (await keystone.admin.delete(path)).status_code == 204
    assert (await keystone.admin.get(path)).status_code == 404
    assert (await keystone.admin.put(f"{path}/users/nobody")).status_code == 404
