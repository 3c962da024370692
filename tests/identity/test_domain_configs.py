"""Configuration of domains: which options there are, kept and shown; secrets are kept and not shown."""

from __future__ import annotations

from typing import Any

import pytest
from tests.identity.conftest import Keystone, somebody

pytestmark = pytest.mark.asyncio(loop_scope="module")
PATH = "/v3/domains/default/config"
LDAP = {"identity": {"driver": "ldap"}, "ldap": {"url": "ldap://x", "user_tree_dn": "ou=x", "password": "s3cret-and-kept"}}


async def test_options_are_put_changed_and_taken_away(shared: Keystone) -> None:
    admin = shared.admin
    assert (await admin.get(PATH)).status_code == 404
    made = await admin.put(PATH, json={"config": LDAP})
    shown = {"identity": {"driver": "ldap"}, "ldap": {"url": "ldap://x", "user_tree_dn": "ou=x"}}
    assert made.status_code == 201 and made.json()["config"] == shown == (await admin.get(PATH)).json()["config"]
    assert b"s3cret-and-kept" not in (shared.cloud.home / "cloud.db").read_bytes()
    assert (await admin.get(f"{PATH}/ldap")).json() == {"config": {"ldap": shown["ldap"]}}
    assert (await admin.get(f"{PATH}/ldap/url")).json() == {"config": {"url": "ldap://x"}}
    assert (await admin.get(f"{PATH}/ldap/password")).status_code == 404
    assert (await admin.patch(PATH, json={"config": {"ldap": {"url": "ldap://y"}}})).json()["config"]["ldap"]["url"] == "ldap://y"
    assert (await admin.patch(f"{PATH}/ldap/url", json={"config": {"url": "ldap://z"}})).json()["config"]["ldap"] == {"url": "ldap://z", "user_tree_dn": "ou=x"}
    assert (await admin.patch(f"{PATH}/identity", json={"config": {"identity": {"list_limit": 5}}})).status_code == 200
    assert (await admin.patch(f"{PATH}/ldap/user", json={"config": {"user": "x"}})).status_code == 404, "an option that is not there"
    assert (await admin.delete(f"{PATH}/ldap/url")).status_code == 204 and (await admin.delete(f"{PATH}/ldap/url")).status_code == 404
    assert (await admin.delete(f"{PATH}/ldap")).status_code == 204 and (await admin.get(f"{PATH}/ldap")).status_code == 404
    again = await admin.put(PATH, json={"config": {"identity": {"driver": "sql"}}})
    assert again.status_code == 200 and again.json()["config"] == {"identity": {"driver": "sql"}}
    assert (await admin.delete(PATH)).status_code == 204 and (await admin.get(PATH)).status_code == 404


@pytest.mark.parametrize("config", [None, {}, [], {"nonesuch": {"a": 1}}, {"ldap": {"nonesuch": 1}}, {"ldap": {}}, {"ldap": 1}])
async def test_only_options_that_there_are_are_kept(shared: Keystone, config: Any) -> None:
    for method, path in (("PUT", PATH), ("PATCH", PATH), ("PATCH", f"{PATH}/ldap")):
        assert (await shared.admin.request(method, path, json={"config": config})).status_code == 403
    assert (await shared.admin.put("/v3/domains/nonesuch/config", json={"config": LDAP})).status_code == 404


async def test_defaults_are_shown(shared: Keystone) -> None:
    whole = (await shared.admin.get("/v3/domains/config/default")).json()["config"]
    assert whole["identity"]["driver"] == "sql" and "password" not in whole["ldap"]
    assert (await shared.admin.get("/v3/domains/config/ldap/default")).json()["config"] == {"ldap": whole["ldap"]}
    assert (await shared.admin.get("/v3/domains/config/ldap/url/default")).json()["config"] == {"url": whole["ldap"]["url"]}
    assert (await shared.admin.get("/v3/domains/config/nonesuch/default")).status_code == 403


async def test_only_what_passwords_must_be_is_for_everybody(shared: Keystone) -> None:
    there = shared.client((await somebody(shared, "con", "configs")).token)
    assert (await there.get(f"{PATH}/security_compliance")).json()["config"] == {
        "security_compliance": {"password_regex": None, "password_regex_description": None}
    }
    assert (await there.get(f"{PATH}/security_compliance/password_regex")).json()["config"] == {"password_regex": None}
    assert (await there.get(f"{PATH}/security_compliance/lockout_duration")).status_code == 403
    for path in (PATH, f"{PATH}/ldap", "/v3/domains/config/default"):
        assert (await there.get(path)).status_code == 403
