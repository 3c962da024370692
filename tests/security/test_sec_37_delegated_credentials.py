"""SEC-37 (OSSA-2020-003/-004, 2019-006, 2025-002, 2026-005): keys of others, delegation that widens, an oracle for signatures."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.identity.conftest import DEFAULT, Keystone, Someone, alice, keystone, password_auth, token_auth  # noqa: F401 (fixtures)
from tests.identity.test_credentials import made_by, program

NESTED = "[" * 5000


async def delegated(cloud: Keystone, who: Someone, **values: Any) -> tuple[dict[str, Any], str]:
    """An application credential and a token of it."""
    made = await made_by(cloud, who, **values)
    return made, (await cloud.ask(program(made["id"], made["secret"]))).headers["X-Subject-Token"]


async def test_what_was_delegated_narrowly_makes_nothing_that_is_wider(keystone: Keystone, alice: Someone) -> None:  # noqa: F811
    kept = (await keystone.client(alice.token).post("/v3/credentials", json={"credential": {"type": "totp", "blob": "s"}})).json()["credential"]
    made, token = await delegated(keystone, alice, roles=[{"name": "reader"}])
    derived = (await keystone.ask(token_auth(token))).headers["X-Subject-Token"]
    both = password_auth("alice", alice.password)
    both["auth"]["identity"] |= {"methods": ["password", "token"], "token": {"id": token}}
    with_password = (await keystone.ask(both)).headers["X-Subject-Token"]
    ec2 = {"type": "ec2", "blob": json.dumps({"access": "a", "secret": "b"}), "project_id": alice.project_id}
    for restricted in (token, derived, with_password):
        here = keystone.client(restricted)
        answers = [
            await here.post(f"/v3/users/{alice.id}/application_credentials", json={"application_credential": {"name": "x", "unrestricted": True}}),
            await here.delete(f"/v3/users/{alice.id}/application_credentials/{made['id']}"),
            await here.post(f"/v3/users/{alice.id}/credentials/OS-EC2", json={"tenant_id": alice.project_id}),
            await here.post("/v3/credentials", json={"credential": ec2}),
            await here.patch(f"/v3/credentials/{kept['id']}", json={"credential": {"blob": "mine"}}),
            await here.delete(f"/v3/credentials/{kept['id']}"),
        ]
        assert [a.status_code for a in answers] == [403] * len(answers)
        assert (await here.get("/v3/auth/tokens", headers={"X-Subject-Token": restricted})).json()["token"]["roles"][0]["name"] == "reader"


async def test_an_unrestricted_one_delegates_no_role_that_it_lacks(keystone: Keystone, alice: Someone) -> None:  # noqa: F811
    _, token = await delegated(keystone, alice, roles=[{"name": "reader"}], unrestricted=True)
    here, path = keystone.client(token), f"/v3/users/{alice.id}/application_credentials"
    refused = await here.post(path, json={"application_credential": {"name": "more", "roles": [{"name": "member"}]}})
    assert refused.status_code == 400 and "role" in refused.json()["error"]["message"]
    made = (await here.post(path, json={"application_credential": {"name": "same"}})).json()["application_credential"]
    assert [role["name"] for role in made["roles"]] == ["reader"]


async def test_a_token_ends_with_the_credential_that_it_came_from(keystone: Keystone, alice: Someone) -> None:  # noqa: F811
    from moln.kernel.clock import iso_micro

    soon = iso_micro(keystone.clock.now_us() + 120 * 1_000_000)
    _, token = await delegated(keystone, alice, expires_at=soon)
    assert await keystone.works(token)
    keystone.clock.ahead_us += 121 * 1_000_000
    assert not await keystone.works(token), "an hour's token of a credential that has ended"
    assert (await keystone.ask(token_auth(token))).status_code == 401


async def test_keys_of_others_are_neither_listed_nor_moved(keystone: Keystone, alice: Someone) -> None:  # noqa: F811
    bob = await keystone.make("user", name="bob", password="a password")
    await keystone.grant(bob["id"], "member", f"projects/{alice.project_id}")
    scope = {"project": {"name": "red", "domain": DEFAULT}}
    here, other = keystone.client(alice.token), keystone.client(await keystone.token("bob", "a password", scope))
    ec2 = (await here.post(f"/v3/users/{alice.id}/credentials/OS-EC2", json={"tenant_id": alice.project_id})).json()["credential"]
    (kept,) = (await here.get("/v3/credentials")).json()["credentials"]
    for query in ("", f"?user_id={alice.id}", "?type=ec2", f"?user_id={alice.id}&type=ec2"):
        assert (await other.get(f"/v3/credentials{query}")).json()["credentials"] == []
    path = f"/v3/credentials/{kept['id']}"
    assert [(await other.request(m, path, json={"credential": {"blob": "x"}})).status_code for m in ("GET", "PATCH", "DELETE")] == [403] * 3
    for change in ({"user_id": bob["id"]}, {"project_id": "admin"}, {"type": "cert"}):
        for client in (here, keystone.admin):
            assert (await client.patch(path, json={"credential": change})).status_code in (400, 403), change
    assert (await other.post("/v3/credentials", json={"credential": {"type": "cert", "blob": "x", "user_id": alice.id}})).status_code == 403
    assert (await other.post(f"/v3/users/{alice.id}/credentials/OS-EC2", json={"tenant_id": alice.project_id})).status_code == 403
    admin_project = (await keystone.admin.get("/v3/auth/projects")).json()["projects"][0]["id"]
    assert (await here.post(f"/v3/users/{alice.id}/credentials/OS-EC2", json={"tenant_id": admin_project})).status_code == 403
    again = {"type": "ec2", "blob": json.dumps({"access": ec2["access"], "secret": "mine"}), "project_id": alice.project_id}
    assert (await other.post("/v3/credentials", json={"credential": again})).status_code == 409, "another's access key is taken"


async def test_no_signature_is_checked_for_who_is_no_service(keystone: Keystone, alice: Someone) -> None:  # noqa: F811
    """An oracle for signatures is there for services and administrators alone, whatever is sent."""
    here = keystone.client(alice.token)
    made = (await here.post(f"/v3/users/{alice.id}/credentials/OS-EC2", json={"tenant_id": alice.project_id})).json()["credential"]
    for path in ("/v3/ec2tokens", "/v3/s3tokens"):
        for access in (made["access"], "unknown"):
            for body in ({"credentials": {"access": access, "signature": "s"}}, {"ec2Credentials": {"access": access, "signature": "s"}}):
                assert (await keystone.anonymous.post(path, json=body)).status_code == 401
                assert (await here.post(path, json=body)).status_code == 403
    for path in ("/v2.0/ec2tokens", "/v3/OS-EC2/tokens"):
        assert (await keystone.admin.post(path, json={})).status_code == 404


@pytest.mark.parametrize("blob", ["", "[]", "{}", "null", '{"access": ""}', '{"access": 1}', '{"access": {"a": 1}}', '{"access": null}', NESTED,
                                  '{"access":' + NESTED + "]" * 5000 + "}", "\ud800", "x" * 70_000])  # fmt: skip
async def test_a_key_pair_that_is_none_is_400(keystone: Keystone, alice: Someone, blob: str) -> None:  # noqa: F811
    body = json.dumps({"credential": {"type": "ec2", "blob": blob, "project_id": alice.project_id}})
    assert (await keystone.client(alice.token).post("/v3/credentials", content=body)).status_code == 400
