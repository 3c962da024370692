"""OAuth 2.0 with a client's certificate (RFC 8705): who holds it gets a token that is good with it alone. Real handshakes."""

from __future__ import annotations

import asyncio
import datetime
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from keystoneauth1 import exceptions, session
from keystoneauth1.identity import v3
from tests.identity.conftest import Keystone, keystone_at, somebody, token_auth

from moln.identity.api.proxy import by_proxy
from moln.kernel.clock import Clock
from moln.kernel.config import Settings
from moln.kernel.http.access import thumbprint
from moln.kernel.http.serve import http_server
from moln.kernel.http.tls import Tls

pytestmark = pytest.mark.asyncio(loop_scope="module")
SUBJECT = {"id": "{0}", "name": "{1}", "domain": {"name": "{2}"}}
RULES: list[dict[str, Any]] = [{
    "local": [{"user": SUBJECT}],
    "remote": [{"type": "SSL_CLIENT_SUBJECT_DN_UID"}, {"type": "SSL_CLIENT_SUBJECT_DN_CN"}, {"type": "SSL_CLIENT_SUBJECT_DN_O"},
               {"type": "SSL_CLIENT_ISSUER_DN_CN", "any_one_of": ["clients"]}],
}]  # fmt: skip


class Authority:
    """Makes clients' certificates; file: its own."""

    def __init__(self, folder: Path, name: str):
        self.folder, self.key = folder, ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(self._sign(self.name, self.key, ca=True).public_bytes(serialization.Encoding.PEM))

    def _sign(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, *, ca: bool) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(self.name).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(1)).not_valid_after(now + datetime.timedelta(2))
        return builder.add_extension(x509.BasicConstraints(ca, None), critical=True).sign(self.key, hashes.SHA256())

    def client(self, file: str, uid: str, cn: str, o: str = "Default") -> str:
        """A file with a certificate and its key."""
        parts = [(NameOID.USER_ID, uid), (NameOID.COMMON_NAME, cn), (NameOID.ORGANIZATION_NAME, o)]
        key = ec.generate_private_key(ec.SECP256R1())
        made = self._sign(x509.Name([x509.NameAttribute(oid, value) for oid, value in parts]), key, ca=False)
        secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        path = self.folder / file
        path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + secret)
        return str(path)


class World:
    """The cloud on a port with TLS, where alice has certificates."""

    def __init__(self, cloud: Keystone, folder: Path):
        self.cloud, self.folder, self.authority = cloud, folder, Authority(folder, "clients")
        self.ca, self.url = "", ""

    def http(self, certificate: str | None = None, token: str = "") -> httpx.AsyncClient:
        context = ssl.create_default_context(cafile=self.ca)
        if certificate:
            context.load_cert_chain(certificate)
        return httpx.AsyncClient(verify=context, base_url=self.url, headers={"X-Auth-Token": token} if token else {})

    async def ask(self, certificate: str | None, client_id: str, **form: str) -> httpx.Response:
        async with self.http(certificate) as there:
            return await there.post("/v3/OS-OAUTH2/token", data={"grant_type": "client_credentials", "client_id": client_id} | form)

    async def works(self, certificate: str | None, token: str, **headers: str) -> bool:
        async with self.http(certificate, token) as there:
            status = (await there.get("/v3/auth/projects", headers=headers)).status_code
            assert status in (200, 401)
            return status == 200


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    folder = tmp_path_factory.mktemp("certified")
    async with keystone_at(folder) as cloud:
        world = World(cloud, folder)
        tls = Tls(folder, Settings(tls=True), Clock(), str(world.authority.file))
        server = http_server(cloud._transport.app, tls=tls.context)
        bound = socket.socket()
        bound.bind(("127.0.0.1", 0))
        serving = asyncio.create_task(server.serve(sockets=[bound]))
        while not server.started:
            await asyncio.sleep(0.01)
        world.url, world.ca = f"https://localhost:{bound.getsockname()[1]}/identity", str(folder / "tls/ca.crt")
        assert (await cloud.admin.put("/v3/OS-FEDERATION/mappings/oauth2_mapping", json={"mapping": {"rules": RULES}})).status_code == 201
        yield world
        server.should_exit = True
        await serving


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def alice(world: World) -> Any:
    alice = await somebody(world.cloud, "alice", "red")
    assert (await world.cloud.admin.patch(f"/v3/users/{alice.id}", json={"user": {"default_project_id": alice.project_id}})).status_code == 200
    return alice


async def test_the_holder_gets_a_token_that_is_bound_to_the_certificate(world: World, alice: Any) -> None:
    mine, other = world.authority.client("mine.pem", alice.id, "alice"), world.authority.client("other.pem", alice.id, "alice")
    answer = await world.ask(mine, alice.id)
    assert answer.status_code == 200 and answer.json()["token_type"] == "Bearer", answer.text
    token = answer.json()["access_token"]
    said = (await world.cloud.admin.get("/v3/auth/tokens", headers={"X-Subject-Token": token})).json()["token"]
    der = ssl.PEM_cert_to_DER_cert(Path(mine).read_text().split("-----BEGIN PRIVATE")[0])
    assert said["oauth2_credential"] == {"x5t#S256": thumbprint(der)} and said["methods"] == ["oauth2_credential"]
    assert said["project"]["id"] == alice.project_id
    assert await world.works(mine, token)
    for certificate in (None, other):
        assert not await world.works(certificate, token)
        async with world.http(certificate) as there:
            assert (await there.get("/v3/auth/projects", headers={"Authorization": f"Bearer {token}"})).status_code == 401
    pem = Path(mine).read_text().split("-----BEGIN PRIVATE")[0].strip().replace("\n", " ")
    assert not await world.works(None, token, SSL_CLIENT_CERT=pem, SSL_CLIENT_VERIFY="SUCCESS"), "headers say nothing here"
    exchanged = await world.cloud.ask(token_auth(token, {"project": {"id": alice.project_id}}))
    derived = exchanged.headers["X-Subject-Token"]
    assert await world.works(mine, derived) and not await world.works(None, derived), "what is made of it is bound to the same"
    assert await world.works(mine, alice.token) and await world.works(None, alice.token), "other tokens are bound to nothing"


async def test_the_plugin_of_keystoneauth_signs_in(world: World, alice: Any) -> None:
    mine = world.authority.client("plugin.pem", alice.id, "alice")
    plugin = v3.OAuth2mTlsClientCredential(f"{world.url}/v3", f"{world.url}/v3/OS-OAUTH2/token", alice.id)
    good, bare = session.Session(verify=world.ca, cert=mine), session.Session(verify=world.ca)
    assert (await asyncio.to_thread(plugin.get_access, good)).project_id == alice.project_id
    answer = await asyncio.to_thread(good.get, f"{world.url}/v3/auth/projects", auth=plugin)
    assert [p["id"] for p in answer.json()["projects"]] == [alice.project_id]
    with pytest.raises(exceptions.ClientException, match="Client authentication failed"):
        await asyncio.to_thread(bare.get, f"{world.url}/v3/auth/projects", auth=plugin)


async def test_nobody_gets_one_for_somebody_else(world: World, alice: Any) -> None:
    bob = await somebody(world.cloud, "bob", "blue")
    mine = world.authority.client("honest.pem", alice.id, "alice")
    for certificate, client_id in (
        (None, alice.id), (mine, bob.id), (mine, "nobody"), (mine, ""), (world.authority.client("a.pem", bob.id, "bob"), bob.id),
        (world.authority.client("b.pem", alice.id, "bob"), alice.id), (world.authority.client("c.pem", alice.id, "alice", "elsewhere"), alice.id),
    ):  # fmt: skip
        answer = await world.ask(certificate, client_id)
        assert answer.status_code == 401 and answer.json()["error"] == "invalid_client", (certificate, client_id)
    stranger = Authority(world.folder, "strangers").client("d.pem", alice.id, "alice")
    with pytest.raises(httpx.TransportError):
        await world.ask(stranger, alice.id)
    await world.cloud.admin.patch(f"/v3/users/{alice.id}", json={"user": {"options": {"multi_factor_auth_rules": [["password", "totp"]]}}})
    assert (await world.ask(mine, alice.id)).status_code == 401, "a certificate alone is not enough for them"
    await world.cloud.admin.patch(f"/v3/users/{alice.id}", json={"user": {"options": {"multi_factor_auth_rules": None}}})
    assert (await world.ask(mine, alice.id)).status_code == 200
    name_alone = [{"local": [{"user": {"name": "{0}"}}], "remote": [{"type": "SSL_CLIENT_SUBJECT_DN_CN"}]}]
    path = "/v3/OS-FEDERATION/mappings/oauth2_mapping"
    assert (await world.cloud.admin.patch(path, json={"mapping": {"rules": name_alone}})).status_code == 200
    assert (await world.ask(mine, alice.id)).status_code == 401, "another domain may have an alice"
    assert (await world.cloud.admin.patch(path, json={"mapping": {"rules": RULES}})).status_code == 200
    await world.cloud.admin.patch(f"/v3/users/{bob.id}", json={"user": {"enabled": False, "default_project_id": bob.project_id}})
    assert (await world.ask(world.authority.client("e.pem", bob.id, "bob"), bob.id)).status_code == 401


@pytest.mark.parametrize("shape", ["one line", "escaped"])
async def test_a_proxy_says_which_certificate_it_was_shown(world: World, alice: Any, shape: str) -> None:
    pem = Path(world.authority.client("proxied.pem", alice.id, "alice")).read_text().split("-----BEGIN PRIVATE")[0].strip()
    shown = {"SSL_CLIENT_CERT": quote(pem) if shape == "escaped" else pem.replace("\n", " "), "SSL_CLIENT_VERIFY": "SUCCESS"}
    transport = httpx.ASGITransport(by_proxy(world.cloud._transport.app))
    async with httpx.AsyncClient(transport=transport, base_url="http://moln/identity") as proxy:
        form = {"grant_type": "client_credentials", "client_id": alice.id}
        token = (await proxy.post("/v3/OS-OAUTH2/token", data=form, headers=shown)).json()["access_token"]
        bearer = {"Authorization": f"Bearer {token}"}
        assert (await proxy.get("/v3/auth/projects", headers=shown | bearer)).status_code == 200
        for lie in ({}, shown | {"SSL_CLIENT_VERIFY": "FAILED:self-signed"}, shown | {"SSL_CLIENT_CERT": "nonsense"}, {"SSL_CLIENT_VERIFY": "SUCCESS"}):
            assert (await proxy.get("/v3/auth/projects", headers=lie | bearer)).status_code == 401
            assert (await proxy.post("/v3/OS-OAUTH2/token", data=form, headers=lie)).status_code == 401
    async with httpx.AsyncClient(transport=world.cloud._transport, base_url="http://moln/identity") as anybody:
        assert (await anybody.get("/v3/auth/projects", headers=shown | bearer)).status_code == 401
        assert (await anybody.post("/v3/OS-OAUTH2/token", data=form, headers=shown)).status_code == 401
