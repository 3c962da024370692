"""OAuth 1.0a: a consumer asks, a user agrees, the consumer signs. The signatures here are written from RFC 5849, apart from ours."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any
from urllib.parse import parse_qs, quote

import httpx
import pytest
import pytest_asyncio
from tests.identity.conftest import Keystone, Someone, on_project, somebody, token_auth

from moln.identity.model.oauth1 import base_string, parse_header, sign

pytestmark = pytest.mark.asyncio(loop_scope="module")
URL = "http://cloud.example:5000/identity/v3"


async def test_the_standards_own_example() -> None:
    """RFC 5849, 3.4.1.1, and the signature of 1.2."""
    params = [("b5", "=%3D"), ("a3", "a"), ("c@", ""), ("a2", "r b"), ("oauth_consumer_key", "9djdj82h48djs9d2"), ("oauth_token", "kkk9d7dh3k39sjv7"),
              ("oauth_signature_method", "HMAC-SHA1"), ("oauth_timestamp", "137131201"), ("oauth_nonce", "7d8f3e4a"), ("c2", ""), ("a3", "2 q")]  # fmt: skip
    assert base_string("post", "http://EXAMPLE.com:80/request", params) == (
        "POST&http%3A%2F%2Fexample.com%2Frequest&a2%3Dr%2520b%26a3%3D2%2520q%26a3%3Da%26b5%3D%253D%25253D%26c%2540%3D%26c2%3D%26oauth_consumer_"
        "key%3D9djdj82h48djs9d2%26oauth_nonce%3D7d8f3e4a%26oauth_signature_method%3DHMAC-SHA1%26oauth_timestamp%3D137131201%26oauth_token%3Dkkk9d7dh3k39sjv7"
    )
    photos = [("file", "vacation.jpg"), ("size", "original"), ("oauth_consumer_key", "dpf43f3p2l4k3l03"), ("oauth_token", "nnch734d00sl2jdk"),
              ("oauth_signature_method", "HMAC-SHA1"), ("oauth_timestamp", "137131202"), ("oauth_nonce", "chapoH")]  # fmt: skip
    text = base_string("GET", "http://photos.example.net/photos", photos)
    assert sign("HMAC-SHA1", text, "kd94hf93k423kf44", "pfkkdhi9sl3r4s00") == "MdpQcU8iPSUjWoN/UDMsK2sui9I="
    assert sign("PLAINTEXT", text, "a", "b") is None
    assert parse_header('OAuth realm="x", oauth_token="a%20b",junk') == {"realm": "x", "oauth_token": "a b"} and parse_header("Basic x") == {}


class Consumer:
    """A program with its secret, which signs requests."""

    def __init__(self, keystone: Keystone, made: dict[str, Any]):
        self.keystone, self.id, self.secret, self.count = keystone, made["id"], made["secret"], 0

    def header(self, path: str, token: str = "", token_secret: str = "", method: str = "POST", **more: str) -> str:
        self.count += 1
        params = {"oauth_consumer_key": self.id, "oauth_signature_method": "HMAC-SHA1", "oauth_nonce": str(self.count),
                  "oauth_timestamp": str(self.keystone.clock.now_us() // 1_000_000)} | more  # fmt: skip
        if token:
            params["oauth_token"] = token
        enc = lambda text: quote(text, safe="-._~")  # noqa: E731
        pairs = "&".join(f"{enc(k)}={enc(v)}" for k, v in sorted(params.items()))
        text = "&".join((method, enc(URL + path), enc(pairs)))
        digest = hmac.new(f"{enc(self.secret)}&{enc(token_secret)}".encode(), text.encode(), hashlib.sha1).digest()
        params["oauth_signature"] = base64.b64encode(digest).decode()
        return "OAuth " + ", ".join(f'{k}="{enc(v)}"' for k, v in params.items())

    async def request_token(self, project_id: str) -> dict[str, str]:
        path = "/OS-OAUTH1/request_token"
        answer = await self.keystone.anonymous.post(f"/v3{path}", headers={"Authorization": self.header(path), "Requested-Project-Id": project_id})
        assert answer.status_code == 201, answer.text
        return {name: values[0] for name, values in parse_qs(answer.text).items()}

    async def access_token(self, asked: dict[str, str], verifier: str) -> httpx.Response:
        path = "/OS-OAUTH1/access_token"
        header = self.header(path, asked["oauth_token"], asked["oauth_token_secret"], oauth_verifier=verifier)
        return await self.keystone.anonymous.post(f"/v3{path}", headers={"Authorization": header})

    async def sign_in(self, token: str, secret: str, **more: str) -> httpx.Response:
        header = self.header("/auth/tokens", token, secret, **more)
        return await self.keystone.anonymous.post("/v3/auth/tokens", json={"auth": {"identity": {"methods": ["oauth1"], "oauth1": {}}}}, headers={"Authorization": header})


class Scene:
    def __init__(self, keystone: Keystone, consumer: Consumer, user: Someone):
        self.keystone, self.consumer, self.user = keystone, consumer, user

    async def agree(self, asked: dict[str, str], *roles: str) -> httpx.Response:
        there = self.keystone.client(self.user.token)
        return await there.put(f"/v3/OS-OAUTH1/authorize/{asked['oauth_token']}", json={"roles": [{"name": role} for role in roles]})

    async def access(self, *roles: str) -> tuple[str, str]:
        asked = await self.consumer.request_token(self.user.project_id)
        verifier = (await self.agree(asked, *roles)).json()["token"]["oauth_verifier"]
        found = parse_qs((await self.consumer.access_token(asked, verifier)).text)
        return found["oauth_token"][0], found["oauth_token_secret"][0]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(shared: Keystone) -> Scene:
    made = (await shared.admin.post("/v3/OS-OAUTH1/consumers", json={"consumer": {"description": "prints photos"}})).json()["consumer"]
    user = await somebody(shared, "olga", "photos", "admin")
    return Scene(shared, Consumer(shared, made), user)


async def test_consumers_are_kept_and_their_secrets_are_not_shown(scene: Scene) -> None:
    admin, path = scene.keystone.admin, f"/v3/OS-OAUTH1/consumers/{scene.consumer.id}"
    assert (await admin.get(path)).json()["consumer"]["description"] == "prints photos"
    assert "secret" not in (await admin.patch(path, json={"consumer": {"description": "more", "note": 1}})).json()["consumer"]
    assert (await admin.patch(path, json={"consumer": {"secret": "mine"}})).status_code == 400
    assert [c["note"] for c in (await admin.get("/v3/OS-OAUTH1/consumers")).json()["consumers"]] == [1]
    assert scene.consumer.secret.encode() not in (scene.keystone.cloud.home / "cloud.db").read_bytes()


async def test_a_consumer_does_what_a_user_agreed_to(scene: Scene) -> None:
    token, secret = await scene.access("member")
    answer = await scene.consumer.sign_in(token, secret)
    shown = answer.json()["token"]
    assert (shown["user"]["id"], shown["project"]["id"], shown["methods"]) == (scene.user.id, scene.user.project_id, ["oauth1"])
    assert {r["name"] for r in shown["roles"]} == {"member", "reader"}
    assert shown["OS-OAUTH1"] == {"access_token_id": token, "consumer_id": scene.consumer.id}
    issued = answer.headers["X-Subject-Token"]
    for scope in (None, "unscoped", on_project("photos")):
        assert (await scene.keystone.ask(token_auth(issued, scope))).status_code == 403
    there = scene.keystone.client(issued)
    assert (await there.post(f"/v3/users/{scene.user.id}/application_credentials", json={"application_credential": {"name": "x"}})).status_code == 403
    mine = scene.keystone.client(scene.user.token)
    path = f"/v3/users/{scene.user.id}/OS-OAUTH1/access_tokens"
    assert token in [a["id"] for a in (await mine.get(path)).json()["access_tokens"]]
    role = (await mine.get(f"{path}/{token}/roles")).json()["roles"][0]
    assert role["name"] == "member" and (await mine.get(f"{path}/{token}/roles/{role['id']}")).json()["role"]["id"] == role["id"]
    assert (await mine.get(f"{path}/{token}")).json()["access_token"]["consumer_id"] == scene.consumer.id
    assert (await mine.delete(f"{path}/{token}")).status_code == 204
    assert not await scene.keystone.works(issued) and (await scene.consumer.sign_in(token, secret)).status_code == 401


async def test_only_what_was_signed_right_counts(scene: Scene) -> None:
    token, secret = await scene.access("member")
    assert (await scene.consumer.sign_in(token, "wrong")).status_code == 401
    assert (await scene.consumer.sign_in(token, secret, oauth_timestamp="1")).status_code == 401
    assert (await scene.consumer.sign_in(token, secret, oauth_signature_method="PLAINTEXT")).status_code == 400
    assert (await scene.consumer.sign_in(token, secret, oauth_version="2.0")).status_code == 400
    other = Consumer(scene.keystone, (await scene.keystone.admin.post("/v3/OS-OAUTH1/consumers", json={"consumer": {}})).json()["consumer"])
    assert (await other.sign_in(token, secret)).status_code == 401
    bare = await scene.keystone.ask({"auth": {"identity": {"methods": ["oauth1"], "oauth1": {}}}})
    assert bare.status_code == 400


async def test_a_verifier_is_needed_and_counts_once(scene: Scene) -> None:
    asked = await scene.consumer.request_token(scene.user.project_id)
    assert (await scene.consumer.access_token(asked, "guess")).status_code == 401
    assert (await scene.agree(asked, "nonesuch")).status_code == 403
    assert (await scene.agree(asked)).status_code == 400
    verifier = (await scene.agree(asked, "reader")).json()["token"]["oauth_verifier"]
    assert (await scene.consumer.access_token(asked, verifier + "x")).status_code == 401
    assert (await scene.consumer.access_token(asked, verifier)).status_code == 201
    assert (await scene.consumer.access_token(asked, verifier)).status_code == 401
    assert (await scene.agree(asked, "reader")).status_code == 404


async def test_what_was_agreed_to_ends_with_its_consumer(scene: Scene) -> None:
    keystone = scene.keystone
    made = (await keystone.admin.post("/v3/OS-OAUTH1/consumers", json={"consumer": {}})).json()["consumer"]
    other = Scene(keystone, Consumer(keystone, made), scene.user)
    token, secret = await other.access("member")
    issued = (await other.consumer.sign_in(token, secret)).headers["X-Subject-Token"]
    assert (await keystone.admin.delete(f"/v3/OS-OAUTH1/consumers/{made['id']}")).status_code == 204
    assert not await keystone.works(issued) and (await other.consumer.sign_in(token, secret)).status_code == 401
