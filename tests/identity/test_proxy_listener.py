"""What a web server says in headers counts on the listener that is its own, and on no other."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from tests.identity.conftest import Keystone, keystone_at

from moln.identity.api.proxy import by_proxy, listener
from moln.identity.settings import FederationSettings
from moln.kernel.errors import Failure
from moln.kernel.http.serve import http_server

ROOT = "/identity/v3/OS-FEDERATION"
AUTH = f"{ROOT}/identity_providers/campus/protocols/saml2/auth"
DASHBOARD = "https://dashboard.example/auth/websso/"
ENTITY = "https://idp.campus.example/shibboleth"
SAID = {"MELLON_IDP": ENTITY, "Mellon-Name-Id": "ada@campus", "MELLON_groups": "developers;nonesuch"}
RULES: list[dict[str, Any]] = [
    {"local": [{"user": {"name": "{0}"}}], "remote": [{"type": "MELLON_NAME_ID"}]},
    {"local": [{"groups": "{0}", "domain": {"id": "default"}}], "remote": [{"type": "HTTP_MELLON_GROUPS"}]},
]


async def set_up(cloud: Keystone) -> None:
    await cloud.make("group", name="developers")
    for path, body in (
        ("/identity_providers/campus", {"identity_provider": {"enabled": True, "domain_id": "default", "remote_ids": [ENTITY]}}),
        ("/mappings/campus", {"mapping": {"rules": RULES}}),
        ("/identity_providers/campus/protocols/saml2", {"protocol": {"mapping_id": "campus", "remote_id_attribute": "MELLON_IDP"}}),
    ):
        assert (await cloud.admin.put(f"/v3/OS-FEDERATION{path}", json=body)).status_code == 201


async def test_headers_count_on_the_proxys_own_socket_alone(tmp_path: Path) -> None:
    path = tmp_path / "proxy.sock"
    settings = msgspec.convert({"listen": str(path), "trusted_dashboards": [DASHBOARD]}, FederationSettings)
    async with keystone_at(tmp_path, federation=settings) as cloud:
        await set_up(cloud)
        app = cloud._transport.app
        for _ in range(2):  # what an earlier process left is no obstacle
            bound = listener(settings.listen)
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        server = http_server(by_proxy(app), fd=bound.detach())
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=str(path)), base_url="http://moln") as proxy:
            first = await proxy.get(AUTH, headers=SAID)
            token = first.json()["token"]
            assert first.status_code == 201 and token["user"]["name"] == "ada@campus" and len(token["user"]["OS-FEDERATION"]["groups"]) == 1
            assert (await proxy.post(AUTH, headers=SAID)).status_code == 201
            assert (await proxy.get(AUTH, headers=SAID | {"MELLON_IDP": "https://elsewhere"})).status_code == 403
            assert (await proxy.get(AUTH, headers={"MELLON_IDP": ENTITY, "X-NAME-ID": "ada"})).status_code == 401, "no header of the settings' names"
            for sso in ("/identity/v3/auth/OS-FEDERATION/websso/saml2", f"/v3/auth{ROOT[12:]}/identity_providers/campus/protocols/saml2/websso"):
                page = await proxy.get(sso, params={"origin": DASHBOARD}, headers=SAID)
                assert page.status_code == 200 and f'action="{DASHBOARD}"' in page.text
                assert (await proxy.get(sso, params={"origin": "https://evil"}, headers=SAID)).status_code == 401
            assert (await proxy.get("/identity/v3/auth/OS-FEDERATION/websso/saml2", params={"origin": DASHBOARD}, headers={"MELLON_IDP": "x"})).status_code == 403
        server.should_exit = True
        await serving
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://moln") as anybody:
            for method in ("GET", "POST"):
                assert (await anybody.request(method, AUTH, headers=SAID)).status_code == 403
                assert (await anybody.request(method, AUTH, headers=SAID | {"X-Assertion-Secret": ""})).status_code == 403


@pytest.mark.parametrize("where", ["nonsense", "127.0.0.1:port", "/nonesuch/folder/proxy.sock", "127.0.0.1:99999"])
def test_where_it_cannot_listen_is_said(where: str) -> None:
    with pytest.raises(Failure, match="identity.federation.listen"):
        listener(where)


def test_an_address_will_do() -> None:
    with listener("127.0.0.1:0") as v4:
        assert v4.getsockname()[0] == "127.0.0.1"
