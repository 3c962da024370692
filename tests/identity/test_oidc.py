"""Users whom an OpenID Connect provider vouches for to us: in a browser, and with tokens that clients bring; a real provider on loopback."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import re
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import msgspec
import pytest
import pytest_asyncio
from joserfc.jwk import RSAKey
from keystoneauth1 import exceptions, session
from keystoneauth1.identity import v3
from tests.identity.conftest import Keystone, keystone_at
from tests.identity.oidc_provider import CLIENT, PASSWORD, SECRET, USER, OidcProvider

from moln.identity.api import websso
from moln.identity.ops.state import of
from moln.identity.settings import FederationSettings
from moln.kernel.http.serve import http_server

pytestmark = pytest.mark.asyncio(loop_scope="module")
ROOT = "/v3/OS-FEDERATION/identity_providers/corp"
AUTH = f"{ROOT}/protocols/openid/auth"
SSO = "/v3/auth/OS-FEDERATION/identity_providers/corp/protocols/openid/websso"
DASHBOARD = "https://dashboard.example/auth/websso/"
RULES = [
    {"local": [{"user": {"name": "{0}", "id": "{1}"}}], "remote": [{"type": "REMOTE_USER"}, {"type": "HTTP_OIDC_SUB"}]},
    {"local": [{"groups": "{0}", "domain": {"id": "default"}}], "remote": [{"type": "OIDC-groups"}]},
]


@pytest.fixture(scope="module")
def provider() -> Iterator[OidcProvider]:
    provider = OidcProvider()
    yield provider
    provider.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cloud(tmp_path_factory: pytest.TempPathFactory, provider: OidcProvider) -> AsyncIterator[Keystone]:
    oidc = {"corp": {"issuer": provider.issuer, "client_id": CLIENT, "client_secret": SECRET}}
    federation = msgspec.convert({"oidc": oidc, "trusted_dashboards": [DASHBOARD]}, FederationSettings)
    async with keystone_at(tmp_path_factory.mktemp("oidc"), federation=federation) as keystone:
        for path, body in (
            (ROOT, {"identity_provider": {"enabled": True, "domain_id": "default", "remote_ids": [provider.issuer]}}),
            ("/v3/OS-FEDERATION/mappings/corp", {"mapping": {"rules": RULES}}),
            (f"{ROOT}/protocols/openid", {"protocol": {"mapping_id": "corp"}}),
        ):
            assert (await keystone.admin.put(path, json=body)).status_code == 201
        for name in ("developers", "admins"):
            await keystone.make("group", name=name)
        yield keystone


@pytest.fixture(autouse=True)
def as_it_was(provider: OidcProvider) -> Iterator[None]:
    yield
    provider.opaque, provider.spoil, provider.described, provider.published = False, {}, {}, [provider.key]


class Browser:
    """Goes where it is sent, with the cookies that it was given."""

    def __init__(self, cloud: Keystone):
        self.here = cloud.client()

    async def leave(self, path: str = SSO, origin: str = DASHBOARD) -> str:
        """To the provider's address."""
        answer = await self.here.get(path, params={"origin": origin})
        assert answer.status_code == 302, answer.text
        name, value = answer.headers["Set-Cookie"].split(";")[0].split("=", 1)
        assert "HttpOnly" in answer.headers["Set-Cookie"] and "SameSite=Lax" in answer.headers["Set-Cookie"]
        self.here.headers["Cookie"] = f"{name}={value}"
        return answer.headers["Location"]

    async def sign_in(self, url: str) -> dict[str, list[str]]:
        """What the provider sends back."""
        async with httpx.AsyncClient() as there:
            answer = await there.get(url)
        assert answer.status_code == 302, answer.text
        return parse_qs(urlsplit(answer.headers["Location"]).query)

    async def come_back(self, back: dict[str, list[str]]) -> httpx.Response:
        return await self.here.get(SSO, params={name: values[0] for name, values in back.items()})


def handed_over(answer: httpx.Response) -> tuple[str, str]:
    assert answer.status_code == 200, answer.text
    form, token = re.search(r'action="([^"]+)"', answer.text), re.search(r'name="token" id="token" value="([^"]+)"', answer.text)
    assert form and token
    return form[1], token[1]


async def test_a_browser_comes_back_with_a_token_for_the_dashboard(cloud: Keystone, provider: OidcProvider) -> None:
    for path in (SSO, "/v3/auth/OS-FEDERATION/websso/openid"):
        browser = Browser(cloud)
        url = await browser.leave(path)
        asked = parse_qs(urlsplit(url).query)
        assert asked["code_challenge_method"] == ["S256"] and asked["nonce"] and asked["state"] and asked["scope"] == ["openid profile email"]
        answer = await browser.come_back(await browser.sign_in(url))
        where, token = handed_over(answer)
        assert where == DASHBOARD and "form-action https://dashboard.example;" in answer.headers["Content-Security-Policy"]
        assert "Max-Age=0" in answer.headers["Set-Cookie"]
        said = (await cloud.admin.get("/v3/auth/tokens", headers={"X-Subject-Token": token})).json()["token"]
        assert said["user"]["name"] == f"0042@{urlsplit(provider.issuer).netloc}" and said["methods"] == ["mapped"]
        groups = [g["id"] for g in said["user"]["OS-FEDERATION"]["groups"]]
        names = [(await cloud.admin.get(f"/v3/groups/{id_}")).json()["group"]["name"] for id_ in groups]
        assert names == ["developers"], "nobody;admins is one group's name, and no group of ours"


@pytest.mark.parametrize(("count", "status"), [(150, 201), (300, 401)])
async def test_a_token_tells_of_many_groups_or_is_not_given(cloud: Keystone, provider: OidcProvider, count: int, status: int) -> None:
    names = [f"group{number}" for number in range(count)]
    there = {g["name"] for g in (await cloud.admin.get("/v3/groups")).json()["groups"]}
    for name in names:
        if name not in there:
            await cloud.make("group", name=name)
    answer = await bring(cloud, provider.sign(provider.access_claims() | {"groups": names}))
    assert answer.status_code == status
    if status == 201:
        assert len(answer.json()["token"]["user"]["OS-FEDERATION"]["groups"]) == count
        cloud.cloud.areas["identity"]._tokens.clear()
        assert await cloud.works(answer.headers["X-Subject-Token"])


async def forget(cloud: Keystone) -> None:
    """What the provider said of itself."""
    if known := of(cloud.cloud).oidc.pop("corp", None):
        await known.close()


async def test_a_provider_that_only_posts_is_asked_to_and_brings_the_browser_back(cloud: Keystone, provider: OidcProvider) -> None:
    """A form of another site comes without our cookie; following the redirect, the browser has it again."""
    provider.described = {"response_modes_supported": ["form_post", "fragment"]}
    await forget(cloud)
    browser = Browser(cloud)
    url = await browser.leave()
    assert parse_qs(urlsplit(url).query)["response_mode"] == ["form_post"]
    back = await browser.sign_in(url)
    form = {name: values[0] for name, values in back.items()}
    posted = await cloud.client().post(SSO, data=form)
    assert posted.status_code == 303, posted.text
    where = urlsplit(posted.headers["Location"])
    assert f"{where.scheme}://{where.netloc}" == cloud.cloud.settings.public_url and where.path.endswith(SSO)
    assert {name: values[0] for name, values in parse_qs(where.query).items()} == form
    assert (await cloud.client().get(f"{SSO}?{where.query}")).status_code == 401, "another browser"
    origin, token = handed_over(await browser.here.get(f"{SSO}?{where.query}"))
    assert origin == DASHBOARD and await cloud.works(token)
    await forget(cloud)


async def test_a_provider_that_can_answer_in_the_query_is_not_asked_to_post(cloud: Keystone, provider: OidcProvider) -> None:
    provider.described = {"response_modes_supported": ["query", "form_post"]}
    await forget(cloud)
    assert "response_mode" not in await Browser(cloud).leave()
    await forget(cloud)


@pytest.mark.parametrize(("body", "status"), [(b"state=%ff&code=x", 303), (b"state=" + b"x" * 9000, 413), (b"a=1&" * 20, 400), (b"origin=\xff", 400)])
async def test_a_form_that_makes_no_sense_is_refused(cloud: Keystone, body: bytes, status: int) -> None:
    answer = await cloud.client().post(SSO, content=body, headers={"Content-Type": "application/x-www-form-urlencoded"})
    assert answer.status_code == status, answer.text
    if status == 303:
        assert (await cloud.client().get(f"{SSO}?{urlsplit(answer.headers['Location']).query}")).status_code == 401


async def test_only_the_browser_that_left_comes_back_and_only_once(cloud: Keystone) -> None:
    victim, thief = Browser(cloud), Browser(cloud)
    back = await victim.sign_in(await victim.leave())
    assert (await thief.come_back(back)).status_code == 401, "no cookie"
    await thief.leave()
    assert (await thief.come_back(back)).status_code == 401, "another sign-in's cookie"
    assert (await victim.come_back(back | {"iss": ["https://elsewhere"]})).status_code == 401, "RFC 9207"
    assert (await victim.come_back(back | {"code": ["guessed"]})).status_code == 401
    assert (await victim.come_back(back)).status_code == 200
    assert (await victim.come_back(back)).status_code == 401, "a code counts once"
    late = Browser(cloud)
    back = await late.sign_in(await late.leave())
    cloud.clock.ahead_us += 601 * 1_000_000
    try:
        assert (await late.come_back(back)).status_code == 401
    finally:
        cloud.clock.ahead_us = 0
    assert (await late.come_back({"error": ["access_denied"], "state": back["state"]})).status_code == 401


async def test_nobody_is_sent_to_a_dashboard_that_is_not_trusted(cloud: Keystone) -> None:
    for origin in ("https://evil.example/", DASHBOARD + "x", "javascript:alert(1)"):
        assert (await cloud.anonymous.get(SSO, params={"origin": origin})).status_code == 401
    assert (await cloud.anonymous.get(SSO)).status_code == 400
    assert (await cloud.anonymous.post(SSO, data={"origin": DASHBOARD})).status_code == 302
    other = SSO.replace("corp", "nonesuch")
    assert (await cloud.anonymous.get(other, params={"origin": DASHBOARD})).status_code == 404
    assert (await cloud.anonymous.get("/v3/auth/OS-FEDERATION/websso/saml2", params={"origin": DASHBOARD})).status_code == 404


async def test_a_provider_counts_while_it_is_enabled_and_by_the_name_that_it_is_known_by(cloud: Keystone, provider: OidcProvider) -> None:
    for change, back in (({"enabled": False}, {"enabled": True}), ({"remote_ids": ["https://other.example"]}, {"remote_ids": [provider.issuer]})):
        browser = Browser(cloud)
        came_back = await browser.sign_in(await browser.leave())
        assert (await cloud.admin.patch(ROOT, json={"identity_provider": change})).status_code == 200
        assert (await browser.come_back(came_back)).status_code == 403
        assert (await bring(cloud, provider.sign(provider.access_claims()))).status_code == 403
        assert (await cloud.admin.patch(ROOT, json={"identity_provider": back})).status_code == 200
    assert (await bring(cloud, provider.sign(provider.access_claims()))).status_code == 201


def test_the_page_that_hands_a_token_over_holds_text_alone() -> None:
    page = websso.handed_over("gAAA<script>", 'https://dashboard.example/?a="><script>alert(1)</script>', {})
    assert page.body.count(b"<script>") == 1 and b'action="https://dashboard.example/?a=&quot;&gt;&lt;script&gt;' in page.body
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and policy.count("form-action https://dashboard.example;") == 1


@pytest.mark.parametrize("spoil", [
    {"nonce": "another"}, {"aud": ["stranger"]}, {"aud": [CLIENT, "stranger"]}, {"azp": "stranger"}, {"iss": "https://elsewhere"},
    {"exp": 1}, {"exp": None}, {"sub": ""},
])  # fmt: skip
async def test_an_id_token_of_another_sign_in_client_or_provider_is_refused(cloud: Keystone, provider: OidcProvider, spoil: dict[str, Any]) -> None:
    browser = Browser(cloud)
    back = await browser.sign_in(await browser.leave())
    provider.spoil = spoil
    assert (await browser.come_back(back)).status_code == 401


async def bring(cloud: Keystone, token: str) -> httpx.Response:
    return await cloud.anonymous.post(AUTH, headers={b"Authorization": b"Bearer " + token.encode()})


async def test_a_client_brings_an_access_token(cloud: Keystone, provider: OidcProvider) -> None:
    answer = await bring(cloud, provider.sign(provider.access_claims()))
    assert answer.status_code == 201 and answer.json()["token"]["user"]["id"], answer.text
    now = int(time.time())
    id_token = {"iss": provider.issuer, "sub": "0042", "aud": CLIENT, "iat": now, "exp": now + 300}
    assert (await bring(cloud, provider.sign(id_token))).json()["token"]["user"]["id"] == answer.json()["token"]["user"]["id"]


def signed_with(secret: bytes, header: dict[str, Any], claims: dict[str, Any]) -> str:
    """A JWT whose signature is an HMAC with what everybody knows."""
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in (header, claims)]
    digest = hmac.digest(secret, ".".join(parts).encode(), "sha256")
    return ".".join([*parts, base64.urlsafe_b64encode(digest).decode().rstrip("=")])


async def test_a_token_that_is_not_good_brings_nothing(cloud: Keystone, provider: OidcProvider) -> None:
    good = provider.access_claims()
    by_public = signed_with(provider.key.as_pem(private=False), {"alg": "HS256", "kid": "first"}, good)
    other = RSAKey.generate_key(2048, auto_kid=False)
    head, body, signature = provider.sign(good).split(".")
    for token in (
        provider.sign(good | {"azp": "stranger"}), provider.sign(good | {"iss": "https://elsewhere"}), provider.sign(good | {"exp": 1}),
        provider.sign(good, key=other), provider.sign(good, kid="second"), provider.sign(good, typ="logout+jwt"),
        by_public, f"{head}.{body}.", f"{head}.{body}.{signature[::-1]}",
        "eyJhbGciOiJub25lIn0." + body + ".", "a.b.c", "..", "[" * 9000, "opaque", provider.sign({**good, "sub": 7}), "\u00e9.\u00e9.\u00e9",
    ):  # fmt: skip
        assert (await bring(cloud, token)).status_code == 401, token[:80]
    assert (await cloud.anonymous.post(AUTH)).status_code == 403


async def test_a_token_that_says_nothing_itself_is_asked_about(cloud: Keystone, provider: OidcProvider) -> None:
    provider.opaque = True
    async with httpx.AsyncClient() as there:
        form = {"grant_type": "client_credentials", "scope": "openid"}
        ours, stranger = [(await there.post(f"{provider.issuer}/token", data=form, auth=(name, SECRET))).json()["access_token"] for name in ("stranger", "stranger")]
    assert (await bring(cloud, stranger)).status_code == 401, "another client's"
    provider.tokens[ours].client_id = CLIENT
    assert (await bring(cloud, ours)).status_code == 201
    provider.tokens[ours].active = False
    assert (await bring(cloud, ours)).status_code == 401
    assert (await bring(cloud, "opaque-unknown")).status_code == 401


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def address(cloud: Keystone) -> AsyncIterator[str]:
    """The same cloud on a port, for clients that have sockets of their own."""
    server = http_server(cloud._transport.app, host="127.0.0.1", port=0)
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/identity/v3"
    server.should_exit = True
    await serving


@pytest.mark.parametrize("opaque", [False, True])
async def test_the_plugins_of_keystoneauth_sign_in(cloud: Keystone, provider: OidcProvider, address: str, opaque: bool) -> None:
    provider.opaque = opaque
    here: dict[str, Any] = {"auth_url": address, "identity_provider": "corp", "protocol": "openid"}
    at_provider = {"client_id": CLIENT, "client_secret": SECRET, "discovery_endpoint": f"{provider.issuer}/.well-known/openid-configuration"}
    password = v3.OidcPassword(**here, **at_provider, username=USER, password=PASSWORD)
    person = await asyncio.to_thread(password.get_access, session.Session())
    assert person.username == f"0042@{urlsplit(provider.issuer).netloc}" and len(person._data["token"]["user"]["OS-FEDERATION"]["groups"]) == 1
    bearer = await asyncio.to_thread(password._get_access_token, session.Session(), {"grant_type": "password", "username": USER, "password": PASSWORD, "scope": "openid"})
    again = await asyncio.to_thread(v3.OidcAccessToken(**here, access_token=bearer).get_access, session.Session())
    assert again.user_id == person.user_id
    program = await asyncio.to_thread(v3.OidcClientCredentials(**here, **at_provider).get_access, session.Session())
    assert program.user_id != person.user_id and program.username.startswith("service-account-")
    project = await cloud.make("project", name=f"of-ada-{opaque}")
    await cloud.grant(person.user_id, "member", f"projects/{project['id']}")
    scoped = v3.OidcPassword(**here, **at_provider, username=USER, password=PASSWORD, project_id=project["id"])
    assert (await asyncio.to_thread(scoped.get_access, session.Session())).project_id == project["id"]
    wrong = v3.OidcPassword(**here, **at_provider, username=USER, password="guessed")
    with pytest.raises(exceptions.ClientException):
        await asyncio.to_thread(wrong.get_access, session.Session())


async def test_new_keys_of_the_provider_are_fetched(cloud: Keystone, provider: OidcProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    second = RSAKey.generate_key(2048, {"kid": "second"}, auto_kid=False)
    provider.published = [provider.key, second]
    token = provider.sign(provider.access_claims(), key=second, kid="second")
    known = cloud.cloud.areas["identity"].oidc["corp"]
    began = known._monotonic()
    known._monotonic = lambda: began
    assert (await bring(cloud, token)).status_code == 401, "asked a moment ago"
    known._monotonic = lambda: began + 61
    assert (await bring(cloud, token)).status_code == 201


async def test_a_provider_that_is_not_there_is_told_and_others_sign_in(cloud: Keystone, provider: OidcProvider) -> None:
    known = cloud.cloud.areas["identity"].oidc
    await known.pop("corp").close()
    provider.described = {"issuer": "https://elsewhere"}
    answer = await bring(cloud, provider.sign(provider.access_claims()))
    assert answer.status_code == 503 and "https://elsewhere" in answer.json()["error"]["message"]
    provider.described = {"token_endpoint": 7}
    assert (await bring(cloud, provider.sign(provider.access_claims()))).status_code == 503
    provider.described = {"jwks_uri": "http://192.0.2.1/keys"}
    answer = await bring(cloud, provider.sign(provider.access_claims()))
    assert answer.status_code == 503 and "without TLS" in answer.json()["error"]["message"]
    provider.described = {}
    await known.pop("corp").close()
    assert (await bring(cloud, provider.sign(provider.access_claims()))).status_code == 201
    assert await cloud.token("admin", cloud.password)
