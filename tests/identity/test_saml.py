"""This cloud vouches for its users to others: signed assertions, read by others' code; keystoneauth carries one to another cloud."""

from __future__ import annotations

import asyncio
import datetime
import shutil
import subprocess
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from flask import Flask, Response, request
from keystoneauth1 import session
from keystoneauth1.identity import v3
from lxml import etree
from signxml import XMLVerifier
from tests.identity.conftest import Keystone, keystone_at, on_project, somebody
from werkzeug.serving import make_server

from moln.identity.api.proxy import by_proxy, listener
from moln.identity.model.saml import Said, response, signer_of, text
from moln.identity.settings import FederationSettings
from moln.kernel.http.serve import http_server

pytestmark = pytest.mark.asyncio(loop_scope="module")
PATH = "/v3/auth/OS-FEDERATION/saml2"
N = {"saml": "urn:oasis:names:tc:SAML:2.0:assertion", "samlp": "urn:oasis:names:tc:SAML:2.0:protocol", "ds": "http://www.w3.org/2000/09/xmldsig#",
     "md": "urn:oasis:names:tc:SAML:2.0:metadata", "ecp": "urn:oasis:names:tc:SAML:2.0:profiles:SSO:ecp"}  # fmt: skip
ENTITY = "http://cloud.example:5000/identity/v3/OS-FEDERATION/saml2/idp"


def signing_files(folder: Path) -> tuple[Path, Path]:
    key, now = rsa.generate_private_key(65537, 2048), datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "idp")])
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(7)
    certificate = made.not_valid_before(now - datetime.timedelta(1)).not_valid_after(now + datetime.timedelta(9)).sign(key, hashes.SHA256())
    files = folder / "idp.pem", folder / "idp.key"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return files


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cloud(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Keystone]:
    folder = tmp_path_factory.mktemp("saml")
    certificate, key = signing_files(folder)
    async with keystone_at(folder, federation=FederationSettings(saml_certificate=str(certificate), saml_key=str(key))) as cloud:
        await cloud.admin.put("/v3/OS-FEDERATION/service_providers/far",
                              json={"service_provider": {"auth_url": "https://far/auth", "sp_url": "https://far/ECP", "enabled": True}})  # fmt: skip
        yield cloud


def wanted(token: str, sp: str = "far") -> dict[str, Any]:
    return {"auth": {"identity": {"methods": ["token"], "token": {"id": token}}, "scope": {"service_provider": {"id": sp}}}}


def verified(xml: bytes, certificate: bytes) -> Any:
    """The assertion, as much of it as is signed. The certificate is the one that metadata told, not what the signature brings along."""
    return XMLVerifier().verify(etree.fromstring(xml), x509_cert=certificate.decode(), id_attribute="ID").signed_xml


def attributes(assertion: Any) -> dict[str, list[str]]:
    return {a.get("Name"): [v.text for v in a.findall("saml:AttributeValue", N)] for a in assertion.iterfind(".//saml:Attribute", N)}


async def test_an_assertion_says_who_has_the_token_and_is_signed(cloud: Keystone, tmp_path: Path) -> None:
    alice = await somebody(cloud, "alice", "red & <blue>")
    group = await cloud.make("group", name="developers")
    await cloud.admin.put(f"/v3/groups/{group['id']}/users/{alice.id}")
    answer = await cloud.anonymous.post(PATH, json=wanted(alice.token))
    assert answer.status_code == 200 and answer.headers["Content-Type"].startswith("text/xml"), answer.text
    assert (answer.headers["X-sp-url"], answer.headers["X-auth-url"]) == ("https://far/ECP", "https://far/auth")
    certificate = (cloud.cloud.home / "idp.pem").read_bytes()
    assertion = verified(answer.content, certificate)
    assert attributes(assertion) == {
        "openstack_user": ["alice"], "openstack_user_domain": ["Default"], "openstack_project": ["red & <blue>"], "openstack_project_domain": ["Default"],
        "openstack_roles": ["member", "reader"], "openstack_groups": ['JSON:{"name": "developers", "domain": {"name": "Default"}}'],
    }  # fmt: skip
    assert assertion.findtext("saml:Issuer", namespaces=N) == ENTITY and assertion.findtext("saml:Subject/saml:NameID", namespaces=N) == "alice"
    bounds = assertion.find("saml:Subject/saml:SubjectConfirmation/saml:SubjectConfirmationData", N)
    said = (await cloud.admin.get("/v3/auth/tokens", headers={"X-Subject-Token": alice.token})).json()["token"]
    assert bounds.get("Recipient") == "https://far/ECP" and bounds.get("NotOnOrAfter")[:19] <= said["expires_at"][:19]
    assert [p["id"] for p in said["service_providers"]] == ["far"]
    with pytest.raises(Exception, match="(?i)digest|signature"):
        verified(answer.content.replace(b">alice<", b">admin<"), certificate)
    if shutil.which("xmlsec1"):
        file = tmp_path / "response.xml"
        file.write_bytes(answer.content)
        command = ["xmlsec1", "--verify", "--pubkey-cert-pem", str(cloud.cloud.home / "idp.pem"), "--id-attr:ID", f"{N['saml']}:Assertion", str(file)]
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 0, done.stderr


async def test_a_key_of_ecdsas_signs_too_and_one_that_does_not_belong_to_the_certificate_does_not(tmp_path: Path) -> None:
    rsa_certificate, rsa_key = signing_files(tmp_path)
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=x", "-keyout", tmp_path / "ec.key",
               "-out", tmp_path / "ec.pem"]  # fmt: skip
    await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True)
    said = Said("issuer", "recipient", "ada", {"openstack_user": ["ada"]}, ("_1", "_2", "_3"), 0, 60)
    signer = signer_of((tmp_path / "ec.key").read_bytes(), (tmp_path / "ec.pem").read_bytes())
    assert attributes(verified(text(response(said, signer)), (tmp_path / "ec.pem").read_bytes())) == {"openstack_user": ["ada"]}
    for key, certificate in ((tmp_path / "ec.key", rsa_certificate), (rsa_key, tmp_path / "ec.pem"), (rsa_certificate, rsa_certificate)):
        with pytest.raises(ValueError):
            signer_of(key.read_bytes(), certificate.read_bytes())


async def test_metadata_tell_the_certificate(cloud: Keystone) -> None:
    answer = await cloud.anonymous.get("/v3/OS-FEDERATION/saml2/metadata")
    root = etree.fromstring(answer.content)
    assert answer.status_code == 200 and root.get("entityID") == ENTITY
    told = root.findtext(".//ds:X509Certificate", namespaces=N)
    assert told and told in "".join((cloud.cloud.home / "idp.pem").read_text().split())


async def test_what_leads_to_no_assertion(cloud: Keystone, shared: Keystone) -> None:
    bob = await somebody(cloud, "bob", "green")
    program = (await cloud.client(bob.token).post(f"/v3/users/{bob.id}/application_credentials", json={"application_credential": {"name": "x"}})).json()
    shown = {"id": program["application_credential"]["id"], "secret": program["application_credential"]["secret"]}
    lent = (await cloud.ask({"auth": {"identity": {"methods": ["application_credential"], "application_credential": shown}}})).headers["X-Subject-Token"]
    await cloud.admin.put("/v3/OS-FEDERATION/service_providers/off", json={"service_provider": {"auth_url": "https://x", "sp_url": "https://x"}})
    unscoped = await cloud.token("bob", "correct horse", {"unscoped": {}})
    for path in (PATH, f"{PATH}/ecp"):
        for body, status in (
            (wanted(bob.token, "nonesuch"), 404), (wanted(bob.token, "off"), 403), (wanted(unscoped), 403), (wanted(lent), 403), (wanted("guessed"), 401),
            ({}, 400), ({"auth": {}}, 400), ({"auth": wanted(bob.token)["auth"] | {"scope": {}}}, 400), ({"auth": 1}, 400),
            ({"auth": wanted(bob.token)["auth"] | {"identity": {"methods": ["password"], "token": {"id": bob.token}}}}, 400),
        ):  # fmt: skip
            assert (await cloud.anonymous.post(path, json=body)).status_code == status, body
    odd = await cloud.make("user", name="odd\u0001", password="correct horse")
    await cloud.grant(odd["id"], "member", f"projects/{bob.project_id}")
    token = await cloud.token("odd\u0001", "correct horse", on_project("green"))
    assert (await cloud.anonymous.post(PATH, json=wanted(token))).status_code == 403, "XML has no U+0001"
    assert (await shared.anonymous.get("/v3/OS-FEDERATION/saml2/metadata")).status_code == 404
    assert (await shared.anonymous.post(PATH, json=wanted(bob.token))).status_code == 404


class ServiceProvider:
    """A web server with a SAML module in front of a cloud: it takes assertions, and tells the cloud on the proxy's socket whom they name."""

    def __init__(self, certificate: bytes, socket_path: Path, auth: str):
        self.state = ""
        self.sessions: list[dict[str, list[str]]] = []
        app = Flask("far")

        @app.post("/ECP")
        def take() -> Response:
            assert request.content_type == "application/vnd.paos+xml"
            root = etree.fromstring(request.get_data())
            self.state = root.findtext(".//ecp:RelayState", namespaces=N)
            said = attributes(verified(request.get_data(), certificate))
            answer = Response(status=303)
            self.sessions.append(said)
            answer.set_cookie("session", str(len(self.sessions) - 1))
            return answer

        @app.get(auth)
        def sign_in() -> Response:
            said = self.sessions[int(request.cookies["session"])]
            with httpx.Client(transport=httpx.HTTPTransport(uds=str(socket_path)), base_url="http://moln") as proxy:
                found = proxy.get(f"/identity{auth}", headers={"MELLON_openstack_user": said["openstack_user"][0]})
            return Response(found.content, found.status_code, {"X-Subject-Token": found.headers["X-Subject-Token"]}, mimetype="application/json")

        self._server = make_server("127.0.0.1", 0, app, threaded=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


async def test_keystoneauth_carries_an_assertion_to_another_cloud(cloud: Keystone, tmp_path: Path) -> None:
    auth = "/v3/OS-FEDERATION/identity_providers/home/protocols/saml2/auth"
    async with keystone_at(tmp_path) as far:
        for path, body in (
            ("/identity_providers/home", {"identity_provider": {"enabled": True, "domain_id": "default"}}),
            ("/mappings/home", {"mapping": {"rules": [{"local": [{"user": {"name": "{0}"}}], "remote": [{"type": "MELLON_OPENSTACK_USER"}]}]}}),
            ("/identity_providers/home/protocols/saml2", {"protocol": {"mapping_id": "home"}}),
        ):
            assert (await far.admin.put(f"/v3/OS-FEDERATION{path}", json=body)).status_code == 201
        servers = [http_server(cloud._transport.app, host="127.0.0.1", port=0),
                   http_server(by_proxy(far._transport.app), fd=listener(str(tmp_path / "proxy.sock")).detach())]  # fmt: skip
        serving = [asyncio.create_task(server.serve()) for server in servers]
        while not all(server.started for server in servers):
            await asyncio.sleep(0.01)
        provider = ServiceProvider((cloud.cloud.home / "idp.pem").read_bytes(), tmp_path / "proxy.sock", auth)
        try:
            values = {"auth_url": provider.url + auth, "sp_url": provider.url + "/ECP", "enabled": True, "relay_state_prefix": "ss:moln:"}
            assert (await cloud.admin.put("/v3/OS-FEDERATION/service_providers/near", json={"service_provider": values})).status_code == 201
            carl = await somebody(cloud, "carl", "yellow")
            url = f"http://127.0.0.1:{servers[0].servers[0].sockets[0].getsockname()[1]}/identity/v3"
            home = v3.Password(url, username="carl", password=carl.password, user_domain_id="default", project_id=carl.project_id)
            found = await asyncio.to_thread(v3.Keystone2Keystone(home, "near").get_access, session.Session())
            assert found.username == "carl" and found.user_id != carl.id and provider.state.startswith("ss:moln:")
            assert await far.works(found.auth_token)
        finally:
            provider.close()
            for server in servers:
                server.should_exit = True
            await asyncio.gather(*serving)
