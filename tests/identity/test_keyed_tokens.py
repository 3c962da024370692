"""Tokens for requests signed with an EC2 key, and for OAuth 2.0 clients. keystoneclient and hashlib sign, as other clients do."""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import pytest_asyncio
from keystoneclient.contrib.ec2.utils import Ec2Signer
from tests.identity.conftest import Keystone, Someone, on_project, password_auth, somebody, token_auth

pytestmark = pytest.mark.asyncio(loop_scope="module")
EMPTY = hashlib.sha256(b"").hexdigest()


class Keys:
    """A user's key, and a service that has been sent requests signed with it."""

    def __init__(self, keystone: Keystone, user: Someone, service: httpx.AsyncClient, made: dict[str, Any]):
        self.keystone, self.user, self.service, self.made = keystone, user, service, made

    def now(self, ahead_s: int = 0) -> datetime:
        return datetime.fromtimestamp(self.keystone.clock.now_us() / 1e6, UTC) + timedelta(seconds=ahead_s)

    def v2(self, ahead_s: int = 0, **params: Any) -> dict[str, Any]:
        params = {"SignatureVersion": "2", "SignatureMethod": "HmacSHA256", "AWSAccessKeyId": self.made["access"], "Action": "Describe x~y",
                  "Timestamp": self.now(ahead_s).strftime("%Y-%m-%dT%H:%M:%SZ")} | params  # fmt: skip
        request = {"access": self.made["access"], "host": "ec2.example:8773", "verb": "GET", "path": "/services/Cloud", "params": params}
        return request | {"signature": Ec2Signer(self.made["secret"]).generate(request | {"params": dict(params)})}

    def v4(self, ahead_s: int = 0, verb: str = "POST") -> dict[str, Any]:
        date = self.now(ahead_s).strftime("%Y%m%dT%H%M%SZ")
        scope = f"{date[:8]}/region/ec2/aws4_request"
        header = f"AWS4-HMAC-SHA256 Credential={self.made['access']}/{scope},SignedHeaders=host;x-amz-date,Signature="
        headers = {"Host": "ec2.example:8773", "X-Amz-Date": date, "Authorization": header}
        request = {"access": self.made["access"], "host": "ec2.example:8773", "verb": verb, "path": "/", "params": {"Action": "x y"}, "headers": headers, "body_hash": EMPTY}
        return request | {"signature": Ec2Signer(self.made["secret"]).generate(request)}

    async def ask(self, given: dict[str, Any], path: str = "/v3/ec2tokens") -> httpx.Response:
        return await self.service.post(path, json={"ec2Credentials": given})


async def key_of(keystone: Keystone, user: Someone, token: str) -> httpx.Response:
    return await keystone.client(token).post(f"/v3/users/{user.id}/credentials/OS-EC2", json={"tenant_id": user.project_id})


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def keys(shared: Keystone) -> Keys:
    user, ec2 = await somebody(shared, "kim", "keyed"), await somebody(shared, "ec2-api", "services", "service")
    made = (await key_of(shared, user, user.token)).json()["credential"]
    return Keys(shared, user, shared.client(ec2.token), made)


async def test_a_signed_request_is_its_users(keys: Keys) -> None:
    for given in (keys.v2(), keys.v4(), keys.v4(verb="GET")):
        answer = await keys.ask(given)
        assert answer.status_code == 200, answer.text
        token = answer.json()["token"]
        assert (token["user"]["id"], token["project"]["id"], token["methods"]) == (keys.user.id, keys.user.project_id, ["ec2credential"])
    assert await keys.keystone.works(answer.headers["X-Subject-Token"])


async def test_a_host_may_be_signed_without_its_port(keys: Keys) -> None:
    given = keys.v2()
    bare = given | {"host": "ec2.example", "params": dict(given["params"])}
    assert (await keys.ask(given | {"signature": Ec2Signer(keys.made["secret"]).generate(bare)})).status_code == 200


@pytest.mark.parametrize("change", [{"signature": "x"}, {"signature": None}, {"path": "/other"}, {"verb": "PUT"}, {"host": "other"}, {"params": {}},
                                    {"params": []}, {"access": None}, {"headers": "x"}])  # fmt: skip
async def test_what_was_changed_on_the_way_is_refused(keys: Keys, change: dict[str, Any]) -> None:
    for given in (keys.v2(), keys.v4(verb="GET")):
        assert (await keys.ask(given | change)).status_code in (400, 401)


async def test_old_requests_and_those_without_a_time_are_refused(keys: Keys) -> None:
    for given in (keys.v2(-1000), keys.v4(-1000), keys.v2(1000), keys.v2(Timestamp=""), keys.v2(Timestamp="soon"), keys.v2(Expires="2001-01-01T00:00:00Z")):
        assert (await keys.ask(given)).status_code == 401
    assert (await keys.ask(keys.v2() | {"access": "unknown"})).status_code == 404


async def test_a_keys_token_leads_nowhere_else(keys: Keys) -> None:
    token = (await keys.ask(keys.v2())).headers["X-Subject-Token"]
    for scope in (None, "unscoped", on_project("keyed")):
        assert (await keys.keystone.ask(token_auth(token, scope))).status_code == 403
    assert (await key_of(keys.keystone, keys.user, token)).status_code == 403
    body = {"application_credential": {"name": "x"}}
    assert (await keys.keystone.client(token).post(f"/v3/users/{keys.user.id}/application_credentials", json=body)).status_code == 403


async def test_a_key_made_with_what_was_lent_gives_no_more(keys: Keys) -> None:
    """OSSA-2020-004: a trust's and an application credential's roles bound the keys made with them."""
    keystone, user = keys.keystone, keys.user
    lee = await somebody(keystone, "lee", "of-lee")
    trust = {"trustor_user_id": user.id, "trustee_user_id": lee.id, "project_id": user.project_id, "impersonation": True, "roles": [{"name": "member"}]}
    made = (await keystone.client(user.token).post("/v3/OS-TRUST/trusts", json={"trust": trust})).json()["trust"]
    token = (await keystone.ask(password_auth("lee", lee.password, {"OS-TRUST:trust": {"id": made["id"]}}))).headers["X-Subject-Token"]
    key = (await key_of(keystone, user, token)).json()["credential"]
    assert key["trust_id"] == made["id"]
    lent = Keys(keystone, user, keys.service, key)
    assert (await lent.ask(lent.v4())).json()["token"]["OS-TRUST:trust"]["id"] == made["id"]
    for change in ({"trust_id": None}, {"trust_id": "other"}):
        blob = {"credential": {"blob": '{"access": "%s", "secret": "s", "trust_id": %s}' % (key["access"], "null" if change["trust_id"] is None else '"other"')}}
        credential = hashlib.sha256(key["access"].encode()).hexdigest()
        assert (await keystone.client(user.token).patch(f"/v3/credentials/{credential}", json=blob)).status_code == 400
    assert (await keystone.client(user.token).delete(f"/v3/OS-TRUST/trusts/{made['id']}")).status_code == 204
    assert (await lent.ask(lent.v4())).status_code == 401
    path = f"/v3/users/{user.id}/application_credentials"
    body = {"application_credential": {"name": "part", "roles": [{"name": "member"}], "unrestricted": True}}
    await keystone.grant(user.id, "manager", f"projects/{user.project_id}")
    program = (await keystone.client(user.token).post(path, json=body)).json()["application_credential"]
    shown = {"methods": ["application_credential"], "application_credential": {"id": program["id"], "secret": program["secret"]}}
    member = (await keystone.ask({"auth": {"identity": shown}})).headers["X-Subject-Token"]
    few = Keys(keystone, user, keys.service, (await key_of(keystone, user, member)).json()["credential"])
    assert {r["name"] for r in (await few.ask(few.v2())).json()["token"]["roles"]} == {"member", "reader"}
    assert {r["name"] for r in (await keys.ask(keys.v2())).json()["token"]["roles"]} == {"manager", "member", "reader"}


async def test_s3_services_ask_without_learning_the_token(keys: Keys) -> None:
    text = b"GET\n\n\nThu, 01 Jan 2026 00:00:00 GMT\n/bucket/key"
    signature = base64.b64encode(hmac.new(keys.made["secret"].encode(), text, hashlib.sha1).digest()).decode()
    given = {"access": keys.made["access"], "token": base64.urlsafe_b64encode(text).decode(), "signature": signature}
    answer = await keys.ask(given, "/v3/s3tokens")
    assert answer.json()["token"]["user"]["id"] == keys.user.id and "X-Subject-Token" not in answer.headers
    assert (await keys.ask(given | {"signature": "x"}, "/v3/s3tokens")).status_code == 401
    assert (await keys.ask(given | {"token": base64.urlsafe_b64encode(text + b"x").decode()}, "/v3/s3tokens")).status_code == 401
    old = f"AWS4-HMAC-SHA256\n{keys.now(-1000):%Y%m%dT%H%M%SZ}\n20260101/r/s3/aws4_request\nabc".encode()
    assert (await keys.ask(given | {"token": base64.urlsafe_b64encode(old).decode()}, "/v3/s3tokens")).status_code == 401


async def test_oauth2_clients_are_application_credentials(keys: Keys) -> None:
    """RFC 6749, 4.4: by the Authorization header or in the form; errors in the standard's words."""
    keystone, user = keys.keystone, keys.user
    path = f"/v3/users/{user.id}/application_credentials"
    made = (await keystone.client(user.token).post(path, json={"application_credential": {"name": "oauth2"}})).json()["application_credential"]
    grant, where = {"grant_type": "client_credentials"}, "/v3/OS-OAUTH2/token"
    answer = await keystone.anonymous.post(where, data=grant, auth=(made["id"], made["secret"]))
    assert answer.status_code == 200 and answer.json()["token_type"] == "Bearer" and 0 < answer.json()["expires_in"] <= 3600
    bearer = await keystone.anonymous.get("/v3/auth/projects", headers={"Authorization": f"Bearer {answer.json()['access_token']}"})
    assert [p["id"] for p in bearer.json()["projects"]] == [user.project_id]
    assert (await keystone.anonymous.post(where, data=grant | {"client_id": made["id"], "client_secret": made["secret"]})).status_code == 200
    for status, error, form, auth in (
        (401, "invalid_client", grant, (made["id"], "wrong")),
        (401, "invalid_client", grant, None),
        (400, "unsupported_grant_type", {"grant_type": "password"}, (made["id"], made["secret"])),
        (400, "invalid_request", {"x": "y"}, (made["id"], made["secret"])),
    ):
        refused = await keystone.anonymous.post(where, data=form, auth=auth)
        assert (refused.status_code, refused.json()["error"]) == (status, error)
    assert (await keystone.anonymous.get("/v3/auth/projects", headers={"Authorization": "Bearer nonesuch"})).status_code == 401
