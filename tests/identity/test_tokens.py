"""What tokens say, and who gets one."""

from __future__ import annotations

import stat

import pytest
from tests.identity.conftest import DEFAULT, Keystone, Someone, on_project, password_auth, token_auth

from moln.identity.model.tokens import Payload, Scope, pack, unpack


async def test_the_administrator_gets_a_token_with_all_implied_roles_and_the_catalogue(keystone: Keystone) -> None:
    answer = await keystone.ask(password_auth("admin", keystone.password, on_project("admin")))
    assert answer.status_code == 201
    assert answer.headers["Vary"] == "X-Auth-Token"
    token = answer.json()["token"]
    assert [role["name"] for role in token["roles"]] == ["admin", "manager", "member", "reader"]
    assert token["methods"] == ["password"] and len(token["audit_ids"]) == 1 and len(token["audit_ids"][0]) == 22
    assert token["user"]["domain"] == {"id": "default", "name": "Default"}
    assert token["user"]["password_expires_at"] is None
    assert token["project"]["name"] == "admin" and token["is_domain"] is False
    assert token["expires_at"].endswith("Z") and len(token["expires_at"]) == len("2026-01-01T00:00:00.000000Z")
    entry = next(e for e in token["catalog"] if e["type"] == "identity")
    assert {e["interface"] for e in entry["endpoints"]} == {"public", "internal", "admin"}
    assert entry["endpoints"][0]["url"] == "http://cloud.example:5000/identity/v3"
    assert entry["endpoints"][0]["region"] == entry["endpoints"][0]["region_id"] == "RegionOne"


async def test_a_token_is_shown_as_it_was_issued(keystone: Keystone) -> None:
    issued = await keystone.ask(password_auth("admin", keystone.password, on_project("admin")))
    token = issued.headers["X-Subject-Token"]
    shown = await keystone.admin.get("/v3/auth/tokens", headers={"X-Subject-Token": token})
    assert shown.status_code == 200 and shown.json() == issued.json()
    assert shown.headers["X-Subject-Token"] == token
    checked = await keystone.admin.head("/v3/auth/tokens", headers={"X-Subject-Token": token})
    assert checked.status_code == 200 and checked.content == b""


async def test_nocatalog_leaves_the_catalogue_out(keystone: Keystone) -> None:
    answer = await keystone.ask(password_auth("admin", keystone.password, on_project("admin")), "?nocatalog")
    assert "catalog" not in answer.json()["token"]
    token = answer.headers["X-Subject-Token"]
    shown = await keystone.admin.get("/v3/auth/tokens?nocatalog=", headers={"X-Subject-Token": token})
    assert "catalog" not in shown.json()["token"]


async def test_every_kind_of_scope(keystone: Keystone) -> None:
    system = (await keystone.ask(password_auth("admin", keystone.password, {"system": {"all": True}}))).json()["token"]
    assert system["system"] == {"all": True} and "project" not in system and system["roles"] and system["catalog"]
    user_id = system["user"]["id"]
    await keystone.grant(user_id, "admin", "domains/default")
    domain = (await keystone.ask(password_auth("admin", keystone.password, {"domain": DEFAULT}))).json()["token"]
    assert domain["domain"] == {"id": "default", "name": "Default"} and "project" not in domain
    for unscoped in ("unscoped", {"unscoped": {}}, None):
        token = (await keystone.ask(password_auth("admin", keystone.password, unscoped))).json()["token"]
        assert not {"project", "domain", "system", "roles", "catalog"} & set(token)


async def test_without_a_scope_the_default_project_counts_where_the_user_has_a_role(keystone: Keystone, alice: Someone) -> None:
    other = await keystone.make("project", name="blue")
    for project_id, expected in ((alice.project_id, alice.project_id), (other["id"], None), ("nowhere", None)):
        changed = await keystone.admin.patch(f"/v3/users/{alice.id}", json={"user": {"default_project_id": project_id}})
        assert changed.status_code == 200
        token = (await keystone.ask(password_auth("alice", alice.password))).json()["token"]
        assert token.get("project", {}).get("id") == expected
    explicit = await keystone.ask(password_auth("alice", alice.password, "unscoped"))
    assert "project" not in explicit.json()["token"]


async def test_a_token_buys_a_token_for_another_scope(keystone: Keystone, alice: Someone) -> None:
    unscoped = await keystone.token("alice", alice.password, "unscoped")
    answer = await keystone.ask(token_auth(unscoped, {"project": {"id": alice.project_id}}))
    assert answer.status_code == 201
    token = answer.json()["token"]
    assert token["methods"] == ["password", "token"] and len(token["audit_ids"]) == 2
    again = await keystone.ask(token_auth(answer.headers["X-Subject-Token"], {"project": {"id": alice.project_id}}))
    assert again.json()["token"]["audit_ids"][1] == token["audit_ids"][1]
    assert len(again.json()["token"]["audit_ids"]) == 2


@pytest.mark.parametrize(
    "scope",
    [on_project("admin"), {"system": {"all": True}}, {"domain": DEFAULT}, on_project("nowhere"), {"project": {"id": "nowhere"}},
     {"project": {"id": "default"}}, {"domain": {"name": "nowhere"}}],
)  # fmt: skip
async def test_nobody_gets_a_scope_they_have_no_role_on(keystone: Keystone, alice: Someone, scope: dict) -> None:
    answer = await keystone.ask(password_auth("alice", alice.password, scope))
    assert answer.status_code == 401
    assert answer.json()["error"] == {
        "code": 401, "message": "The request you have made requires authentication.", "title": "Unauthorized",
    }  # fmt: skip
    assert answer.headers["WWW-Authenticate"].startswith("Keystone uri=")


async def test_a_token_ends_when_it_expires(keystone: Keystone, alice: Someone) -> None:
    assert await keystone.works(alice.token)
    keystone.clock.ahead_us = 3600 * 1_000_000
    assert not await keystone.works(alice.token)


@pytest.mark.parametrize("token", ["", "x", "gAAAAAB" + "x" * 180, "é", "x" * 5000, "gAAAAA=", "%00"])
async def test_what_is_no_token_is_refused(keystone: Keystone, token: str) -> None:
    headers = {"X-Auth-Token": token.encode()}
    assert (await keystone.anonymous.get("/v3/users", headers=headers)).status_code == 401
    if token:
        assert (await keystone.ask(token_auth(token))).status_code == 401
    shown = await keystone.admin.get("/v3/auth/tokens", headers={"X-Subject-Token": token.encode()})
    assert shown.status_code == 404


BAD_AUTH = [
    {}, {"auth": None}, {"auth": []}, {"auth": {}}, {"auth": {"identity": {}}}, {"auth": {"identity": {"methods": "password"}}},
    {"auth": {"identity": {"methods": ["password"]}}},
    {"auth": {"identity": {"methods": ["password"], "password": {}}}},
    {"auth": {"identity": {"methods": ["password"], "password": {"user": {}}}}},
    {"auth": {"identity": {"methods": ["password"], "password": {"user": {"name": "admin"}}}}},
    {"auth": {"identity": {"methods": ["password"], "password": {"user": {"name": 3, "domain": DEFAULT}}}}},
    {"auth": {"identity": {"methods": ["password"], "password": {"user": {"name": "a", "domain": {}}}}}},
    {"auth": {"identity": {"methods": ["password"], "password": None}}},
    {"auth": {"identity": {"methods": ["token"], "token": {}}}},
    {"auth": {"identity": {"methods": ["token"] * 1000, "token": {"id": "x"}}}},
    password_auth("admin", "x", {}), password_auth("admin", "x", "everything"), password_auth("admin", "x", {"project": {}}),
    password_auth("admin", "x", {"project": {"name": "admin"}, "domain": DEFAULT}),
    password_auth("admin", "x", {"system": {"all": False}}),
]  # fmt: skip


@pytest.mark.parametrize("body", BAD_AUTH)
async def test_a_malformed_request_for_a_token_is_400(keystone: Keystone, body: dict) -> None:
    answer = await keystone.ask(body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["title"] == "Bad Request"


async def test_a_project_by_name_needs_its_domain(keystone: Keystone) -> None:
    answer = await keystone.ask(password_auth("admin", keystone.password, {"project": {"name": "admin"}}))
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith("Expecting to find domain in project.")


async def test_a_method_we_do_not_have_is_refused(keystone: Keystone) -> None:
    answer = await keystone.ask({"auth": {"identity": {"methods": ["kerberos"], "kerberos": {}}}})
    assert answer.status_code == 401
    assert answer.json()["error"]["message"] == "Attempted to authenticate with an unsupported method."


async def test_only_administrators_and_the_bearer_see_a_token(keystone: Keystone, alice: Someone) -> None:
    own = keystone.client(alice.token)
    assert (await own.get("/v3/auth/tokens", headers={"X-Subject-Token": alice.token})).status_code == 200
    others = await keystone.token("admin", keystone.password)
    for method in ("GET", "HEAD", "DELETE"):
        answer = await own.request(method, "/v3/auth/tokens", headers={"X-Subject-Token": others})
        assert answer.status_code == 403
    assert (await own.get("/v3/auth/tokens")).status_code in (403, 404)


async def test_where_a_token_can_lead(keystone: Keystone, alice: Someone) -> None:
    own = keystone.client(alice.token)
    assert [p["name"] for p in (await own.get("/v3/auth/projects")).json()["projects"]] == ["red"]
    assert (await own.get("/v3/auth/domains")).json()["domains"] == []
    assert (await own.get("/v3/auth/system")).json()["system"] == []
    assert (await keystone.admin.get("/v3/auth/system")).json()["system"] == [{"all": True}]
    assert len((await own.get("/v3/auth/catalog")).json()["catalog"]) == 7
    unscoped = keystone.client(await keystone.token("alice", alice.password, "unscoped"))
    assert (await unscoped.get("/v3/auth/catalog")).status_code == 403
    assert [p["name"] for p in (await unscoped.get("/v3/auth/projects")).json()["projects"]] == ["red"]


async def test_keys_rotate_and_old_tokens_live_on(keystone: Keystone, alice: Someone) -> None:
    state = keystone.cloud.areas["identity"]
    state.keys.rotate()
    fresh = await keystone.token("alice", alice.password, "unscoped")
    state.keys.rotate()
    state.forget(alice.token)
    state.forget(fresh)
    assert await keystone.works(alice.token) and await keystone.works(fresh)
    state.keys.rotate()
    state.forget(alice.token)
    assert not await keystone.works(alice.token)
    files = list((keystone.cloud.home / "keys").iterdir())
    assert len(files) == 3 and all(stat.S_IMODE(f.stat().st_mode) == 0o600 for f in files)


async def test_the_administrators_password_is_for_the_owner_of_the_home_only(keystone: Keystone) -> None:
    assert stat.S_IMODE((keystone.cloud.home / "admin.password").stat().st_mode) == 0o600
    assert len(keystone.password) >= 32


@pytest.mark.parametrize("scope", [Scope(), Scope(project_id="a" * 32), Scope(domain_id="default"), Scope(system=True)])
def test_a_payload_is_small_and_comes_back_whole(scope: Scope) -> None:
    payload = Payload("f" * 32, ("password", "token"), scope, 1, 2, ("A" * 21 + "A", "B" * 21 + "A"))
    assert unpack(pack(payload)) == payload
    assert len(pack(payload)) < 128


async def test_version_documents(keystone: Keystone) -> None:
    listed = await keystone.anonymous.get("/")
    assert listed.status_code == 300
    assert listed.json()["versions"]["values"][0]["id"] == "v3.14"
    shown = await keystone.anonymous.get("/v3")
    assert shown.json()["version"]["links"] == [{"rel": "self", "href": "http://cloud.example:5000/identity/v3/"}]
    root = await keystone.anonymous.get("http://moln/v3/")
    assert root.json() == shown.json()
