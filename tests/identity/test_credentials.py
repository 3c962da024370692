"""Application credentials, and what is kept for users."""

from __future__ import annotations

import json
from typing import Any

import pytest
import sqlalchemy as sa
from tests.identity.conftest import Keystone, Someone, token_auth

from moln.identity.store.credentials import CREDENTIALS
from moln.kernel.db import Query

EVERYTHING = Query(sa.select((CREDENTIALS.c.sealed + CREDENTIALS.c.extra).label("kept")), str)


def program(id_: str, secret: str) -> dict[str, Any]:
    return {"auth": {"identity": {"methods": ["application_credential"], "application_credential": {"id": id_, "secret": secret}}}}


async def made_by(keystone: Keystone, someone: Someone, **values: Any) -> dict[str, Any]:
    path = f"/v3/users/{someone.id}/application_credentials"
    answer = await keystone.client(someone.token).post(path, json={"application_credential": {"name": "ci"} | values})
    assert answer.status_code == 201, answer.text
    return answer.json()["application_credential"]


async def test_a_program_signs_in_with_part_of_its_users_roles(keystone: Keystone, alice: Someone) -> None:
    made = await made_by(keystone, alice, roles=[{"name": "reader"}])
    answer = await keystone.ask(program(made["id"], made["secret"]))
    token = answer.json()["token"]
    assert answer.status_code == 201 and [r["name"] for r in token["roles"]] == ["reader"]
    assert token["project"]["id"] == made["project_id"] and token["application_credential"]["restricted"] is True
    shown = await keystone.client(alice.token).get(f"/v3/users/{alice.id}/application_credentials/{made['id']}")
    assert "secret" not in shown.json()["application_credential"]
    assert (await keystone.ask(program(made["id"], "wrong"))).status_code == 401
    named = {"name": "ci", "secret": made["secret"], "user": {"id": alice.id}}
    by_name = {"auth": {"identity": {"methods": ["application_credential"], "application_credential": named}}}
    assert (await keystone.ask(by_name)).status_code == 201


async def test_a_restricted_program_makes_no_credentials(keystone: Keystone, alice: Someone) -> None:
    """OSSA-2020-004: neither further ones of its own kind nor EC2 keys."""
    made = await made_by(keystone, alice)
    token = (await keystone.ask(program(made["id"], made["secret"]))).headers["X-Subject-Token"]
    here = keystone.client(token)
    more = await here.post(f"/v3/users/{alice.id}/application_credentials", json={"application_credential": {"name": "more"}})
    keys = await here.post(f"/v3/users/{alice.id}/credentials/OS-EC2", json={"tenant_id": made["project_id"]})
    gone = await here.delete(f"/v3/users/{alice.id}/application_credentials/{made['id']}")
    assert [more.status_code, keys.status_code, gone.status_code] == [403, 403, 403]


async def test_a_programs_token_leads_nowhere_else(keystone: Keystone, alice: Someone) -> None:
    made = await made_by(keystone, alice, roles=[{"name": "reader"}])
    token = (await keystone.ask(program(made["id"], made["secret"]))).headers["X-Subject-Token"]
    again = await keystone.ask(token_auth(token))
    assert [r["name"] for r in again.json()["token"]["roles"]] == ["reader"]
    assert again.json()["token"]["application_credential"]["id"] == made["id"]
    assert (await keystone.ask(token_auth(token, "unscoped"))).status_code == 401


async def test_a_program_is_out_with_its_credential_its_time_or_its_users_role(keystone: Keystone, alice: Someone) -> None:
    one, two, three = [await made_by(keystone, alice, name=name, expires_at=end) for name, end in
                       (("one", None), ("two", "2999-01-01T00:00:00.000000"), ("three", None))]  # fmt: skip
    token = (await keystone.ask(program(one["id"], one["secret"]))).headers["X-Subject-Token"]
    assert await keystone.works(token)
    path = f"/v3/users/{alice.id}/application_credentials/{one['id']}"
    assert (await keystone.client(alice.token).delete(path)).status_code == 204
    assert not await keystone.works(token)
    await keystone.admin.delete(f"/v3/projects/{three['project_id']}/users/{alice.id}/roles/{await keystone.role_id('member')}")
    assert (await keystone.ask(program(three["id"], three["secret"]))).status_code == 401
    assert (await keystone.ask(program(two["id"], two["secret"]))).status_code == 401


@pytest.mark.parametrize("values", [{"expires_at": "2001-01-01T00:00:00"}, {"expires_at": "soon"}, {"roles": [{"name": "admin"}]},
                                    {"access_rules": {}}, {"name": ""}])  # fmt: skip
async def test_a_malformed_application_credential_is_400(keystone: Keystone, alice: Someone, values: dict[str, Any]) -> None:
    path = f"/v3/users/{alice.id}/application_credentials"
    answer = await keystone.client(alice.token).post(path, json={"application_credential": {"name": "ci"} | values})
    assert answer.status_code == 400, answer.text


async def test_ec2_keys_are_their_users_own(keystone: Keystone, alice: Someone) -> None:
    here = keystone.client(alice.token)
    project = (await here.get("/v3/auth/projects")).json()["projects"][0]["id"]
    made = (await here.post(f"/v3/users/{alice.id}/credentials/OS-EC2", json={"tenant_id": project})).json()["credential"]
    bob = await keystone.make("user", name="bob", password="a password")
    await keystone.grant(bob["id"], "member", f"projects/{project}")
    other = keystone.client(await keystone.token("bob", "a password", {"project": {"id": project}}))
    path = f"/v3/users/{alice.id}/credentials/OS-EC2"
    assert (await here.get(f"{path}/{made['access']}")).json()["credential"] == made
    assert (await other.get(path)).status_code == 403 and (await other.get(f"{path}/{made['access']}")).status_code == 403
    assert (await other.get("/v3/credentials")).json()["credentials"] == []
    sealed = await keystone.cloud.db.all(EVERYTHING)
    assert sealed and made["secret"] not in "".join(sealed)
    assert (await here.delete(f"{path}/{made['access']}")).status_code == 204
    assert (await here.get(f"{path}/{made['access']}")).status_code == 404


async def test_a_credential_keeps_its_user_and_type(keystone: Keystone, alice: Someone) -> None:
    made = await keystone.make("credential", type="totp", blob="seed", user_id=alice.id)
    path = f"/v3/credentials/{made['id']}"
    assert (await keystone.admin.patch(path, json={"credential": {"type": "cert"}})).status_code == 400
    changed = await keystone.admin.patch(path, json={"credential": {"blob": json.dumps({"a": 1})}})
    assert changed.json()["credential"]["blob"] == '{"a": 1}'
    assert (await keystone.admin.delete(f"/v3/users/{alice.id}")).status_code == 204
    assert (await keystone.admin.get(path)).status_code == 404


async def test_no_rules_are_none(keystone: Keystone, alice: Someone) -> None:
    """The openstack command says so where it was told of none."""
    body = {"application_credential": {"name": "free", "roles": [], "access_rules": []}}
    made = await keystone.client(alice.token).post(f"/v3/users/{alice.id}/application_credentials", json=body)
    assert made.status_code == 201 and "access_rules" not in made.json()["application_credential"]
