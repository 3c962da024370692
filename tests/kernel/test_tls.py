"""TLS with real handshakes: names, versions, renewal, and clients that do not finish."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import falcon.asgi
import pytest
from cryptography import x509

from moln.app import load_settings
from moln.bench.process import lasting_port
from moln.cli import credentials
from moln.demo.client import Client
from moln.host.places import Places
from moln.kernel.clock import Clock
from moln.kernel.config import Settings
from moln.kernel.errors import Failure
from moln.kernel.http import certificates, serve
from moln.kernel.http.serve import http_server
from moln.kernel.http.tls import Tls, names_of, trusted

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NAMES = frozenset({"localhost", "127.0.0.1", "::1", "cloud.example"})


class At(Clock):
    def __init__(self, moment: datetime):
        self.moment = moment

    def now_us(self) -> int:
        return int(self.moment.timestamp() * 1e6)


class Hello:
    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        resp.data = req.scheme.encode()


@contextlib.asynccontextmanager
async def serving(tls: Tls) -> AsyncIterator[int]:
    app = falcon.asgi.App()
    app.add_route("/hello", Hello())
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = http_server(app, tls=tls.context)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:
        await asyncio.sleep(0.01)
    yield listener.getsockname()[1]
    server.should_exit = True
    await asyncio.wait_for(task, 15)


def trusting(ca: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(ca))
    context.verify_flags |= ssl.VERIFY_X509_STRICT  # the default from Python 3.13 on
    return context


async def get(port: int, context: ssl.SSLContext, name: str = "localhost") -> tuple[bytes, str, int]:
    """Body, TLS version and serial number seen."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=name)
    shown = writer.get_extra_info("ssl_object")
    serial = int(shown.getpeercert()["serialNumber"], 16)
    writer.write(b"GET /hello HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    return answer.rpartition(b"\r\n\r\n")[2], shown.version(), serial


def test_an_authority_is_made_once(tmp_path: Path) -> None:
    certificates.ensure(tmp_path, NAMES, NOW)
    before = {f.name: f.read_bytes() for f in tmp_path.iterdir()}
    certificates.ensure(tmp_path, NAMES, NOW + timedelta(days=300))
    assert before == {f.name: f.read_bytes() for f in tmp_path.iterdir()}
    assert {f.name: f.stat().st_mode & 0o777 for f in tmp_path.iterdir()} == {"ca.pem": 0o600, "ca.crt": 0o644, "server.pem": 0o600}
    assert b"PRIVATE" not in before["ca.crt"]


@pytest.mark.parametrize(("days", "names"), [(368, NAMES), (0, NAMES | {"10.0.0.7"})])
def test_a_certificate_is_renewed_before_its_end_and_for_new_names(tmp_path: Path, days: int, names: frozenset[str]) -> None:
    file = certificates.ensure(tmp_path, NAMES, NOW)
    before, ca = file.read_bytes(), (tmp_path / "ca.crt").read_bytes()
    certificates.ensure(tmp_path, names, NOW + timedelta(days=days))
    assert file.read_bytes() != before and (tmp_path / "ca.crt").read_bytes() == ca
    made = x509.load_pem_x509_certificate(file.read_bytes())
    assert made.not_valid_after_utc == NOW + timedelta(days=days + certificates.DAYS)


def test_an_authority_near_its_end_is_renewed_and_so_is_what_it_signs(tmp_path: Path) -> None:
    certificates.ensure(tmp_path, NAMES, NOW)
    old = (tmp_path / "ca.crt").read_bytes()
    later = NOW + timedelta(days=certificates.CA_DAYS - 100)
    file = certificates.ensure(tmp_path, NAMES, later)
    ca = x509.load_pem_x509_certificate((tmp_path / "ca.crt").read_bytes())
    assert (tmp_path / "ca.crt").read_bytes() != old
    x509.load_pem_x509_certificate(file.read_bytes()).verify_directly_issued_by(ca)


@pytest.mark.parametrize("name", ["ca.pem", "server.pem", "ca.crt"])
@pytest.mark.parametrize("content", [None, b"", b"-----BEGIN CERTIFICATE-----\nnonsense\n"])
async def test_a_damaged_file_is_made_again(tmp_path: Path, name: str, content: bytes | None) -> None:
    (tmp_path / "tls").mkdir()
    certificates.ensure(tmp_path / "tls", NAMES, datetime.now(UTC))
    file = tmp_path / "tls" / name
    file.unlink() if content is None else file.write_bytes(content)
    tls = Tls(tmp_path, Settings(tls=True), Clock())
    async with serving(tls) as port:
        assert (await get(port, trusting(tmp_path / "tls/ca.crt")))[0] == b"https"


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1", "cloud.example"])
async def test_a_handshake_proves_each_name(tmp_path: Path, name: str) -> None:
    settings = Settings(tls=True, public_url="https://cloud.example:5000")
    assert names_of(settings) >= NAMES
    async with serving(Tls(tmp_path, settings, Clock())) as port:
        body, version, _ = await get(port, trusting(Path(trusted(tmp_path, settings))), name)
    assert body == b"https" and version == "TLSv1.3"


async def test_another_name_or_an_unknown_authority_is_refused_by_clients(tmp_path: Path) -> None:
    async with serving(Tls(tmp_path, Settings(tls=True), Clock())) as port:
        with pytest.raises(ssl.SSLCertVerificationError):
            await get(port, trusting(tmp_path / "tls/ca.crt"), "elsewhere.example")
        with pytest.raises(ssl.SSLCertVerificationError):
            await get(port, ssl.create_default_context())


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
@pytest.mark.parametrize(("version", "taken"), [("TLSv1", False), ("TLSv1_1", False), ("TLSv1_2", True), ("TLSv1_3", True)])
async def test_only_tls_1_2_and_newer_are_spoken(tmp_path: Path, version: str, taken: bool) -> None:
    async with serving(Tls(tmp_path, Settings(tls=True), Clock())) as port:
        context = trusting(tmp_path / "tls/ca.crt")
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
        if taken:
            assert (await get(port, context))[0] == b"https"
        else:
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await get(port, context)


async def test_a_renewed_certificate_is_served_without_a_new_start(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    clock = At(now - timedelta(days=certificates.DAYS - 5))  # five days are left
    tls = Tls(tmp_path, Settings(tls=True), clock)
    async with serving(tls) as port:
        _, _, first = await get(port, trusting(tmp_path / "tls/ca.crt"))
        assert not tls.renew()
        clock.moment = now
        assert tls.renew()
        _, _, second = await get(port, trusting(tmp_path / "tls/ca.crt"))
    assert first != second


async def test_a_given_certificate_is_used_and_read_again_when_it_is_new(tmp_path: Path) -> None:
    given = tmp_path / "given"
    file = certificates.ensure(given, NAMES, datetime.now(UTC))
    settings = Settings(tls_certificate=str(file), tls_ca=str(given / "ca.crt"))
    assert settings.public_url.startswith("https://")
    tls = Tls(tmp_path, settings, Clock())
    assert not (tmp_path / "tls").exists()
    async with serving(tls) as port:
        _, _, first = await get(port, trusting(given / "ca.crt"))
        good = file.read_bytes()
        file.write_bytes(b"nonsense")
        with pytest.raises(Failure):
            tls.renew()
        assert (await get(port, trusting(given / "ca.crt")))[2] == first
        file.write_bytes(good)
        file.unlink()
        certificates.ensure(given, NAMES, datetime.now(UTC))
        assert tls.renew()
        assert (await get(port, trusting(given / "ca.crt")))[2] != first


def test_a_certificate_that_is_not_there_is_said_in_words(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="cannot be used"):
        Tls(tmp_path, Settings(tls_certificate="/nowhere/c.pem"), Clock())


async def test_a_handshake_that_does_not_end_is_cut_and_plain_http_is_no_answer(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(serve, "HEADER_S", 0.5)
    async with serving(Tls(tmp_path, Settings(tls=True), Clock())) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /hello HTTP/1.1\r\nhost: x\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            assert b"200" not in await asyncio.wait_for(reader.read(), 5)
        writer.close()
        assert (await get(port, trusting(tmp_path / "tls/ca.crt")))[0] == b"https"


def test_clients_files_name_what_to_trust(tmp_path: Path) -> None:
    found = credentials.values("https://127.0.0.1:5000", "secret", cacert="/home/x/ca.crt")
    assert "export OS_CACERT=/home/x/ca.crt\n" in credentials.openrc(found)
    assert "    cacert: /home/x/ca.crt\n" in credentials.clouds_yaml(found)
    assert "cacert" not in credentials.clouds_yaml(credentials.values("http://127.0.0.1:5000", "secret"))


def test_a_controller_begins_without_the_library_of_certificates() -> None:
    """It costs memory and time at every start, and most clouds have neither TLS nor other machines."""
    program = "import sys, moln.controller, moln.app; print('cryptography.x509' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True).stdout == "False\n"


def test_the_openstack_client_and_the_demos_client_use_a_cloud_with_tls(tmp_path: Path) -> None:
    port = lasting_port()
    read, write = os.pipe()
    command = [sys.executable, "-m", "moln.controller", "--home", str(tmp_path), "--port", str(port), "--simulate", "--tls"]
    with open(tmp_path / "log", "wb") as log:
        process = subprocess.Popen(command, env={**os.environ, "MOLN_READY_FD": str(write)}, pass_fds=[write], stderr=log)
    os.close(write)
    try:
        assert os.read(read, 16), (tmp_path / "log").read_text()
        settings = load_settings(tmp_path, port=port, tls=True)
        credentials.write(Places(tmp_path), settings.public_url, trusted(tmp_path, settings))
        clean = {k: v for k, v in os.environ.items() if not k.startswith("OS_")}
        openstack = [str(Path(sys.executable).with_name("openstack")), "--os-cloud", "moln", "catalog", "list", "-f", "json"]
        done = subprocess.run(openstack, env={**clean, "OS_CLIENT_CONFIG_FILE": str(tmp_path / "clouds.yaml")}, capture_output=True,
                              text=True, timeout=120, check=False)  # fmt: skip
        assert done.returncode == 0, done.stderr
        urls = {e["url"] for service in json.loads(done.stdout) for e in service["Endpoints"]}
        assert urls and all(url.startswith(f"https://127.0.0.1:{port}/") for url in urls)
        client = Client(settings.public_url, user="admin", password=(tmp_path / "admin.password").read_text().strip(), project="admin",
                        cacert=trusted(tmp_path, settings))  # fmt: skip
        links = client.call("GET", "/compute/v2.1/")["version"]["links"]
        assert links[0]["href"].startswith("https://")
    finally:
        os.close(read)
        process.send_signal(signal.SIGTERM)
        process.wait(20)
